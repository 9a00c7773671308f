"""Verify reports an event that was changed by hand, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.support.ledgers import Ledger
from tests.support.tampering import IN_ART, IN_BIO, case, disagreements_in, tamper

SEQUENCE = (
    case(
        "gap",
        "UPDATE events SET revision = 45 WHERE revision = 43",
        "UPDATE event_counter SET revision = 45",
        finds="Events: revision 42 is followed by 45.",
    ),
    case(
        "late start",
        "UPDATE events SET revision = revision + 50",
        "UPDATE event_counter SET revision = 93",
        finds="Events: the first revision is 51.",
    ),
    case(
        "repetition",
        "UPDATE events SET revision = 42 WHERE revision = 43",
        "UPDATE event_counter SET revision = 42",
        finds="Events: revision 42 is followed by 42.",
    ),
    case(
        "counter",
        "UPDATE event_counter SET revision = 44",
        finds="Event counter: revision is 44, where the history comes to 43.",
    ),
    case(
        "event id",
        "UPDATE events SET event_id = 'id-1' WHERE revision = 7",
        finds='Event 1: its event_id "id-1" is that of 2 events.',
    ),
)

EVENTS = (
    case(
        "previous state",
        "UPDATE events SET previous_state = 'WAITLISTED' WHERE revision = 12",
        finds='Event 12 (STUDENT_UNENROLLED): previous_state is "WAITLISTED", where the history comes to "ENROLLED".',
    ),
    case(
        "state",
        "UPDATE events SET state = 'DROPPED' WHERE revision = 14",
        finds='Event 14 (STUDENT_PROMOTED): state is "DROPPED", where the history comes to "ENROLLED".',
    ),
    case(
        "completion of no enrollment",
        "UPDATE events SET type = 'ENROLLMENT_COMPLETED' WHERE revision = 16",
        finds=f'Event 16 (ENROLLMENT_COMPLETED): {IN_ART("id-20")} was "" before.',
    ),
    case(
        "voiding of a seat",
        "UPDATE events SET type = 'COMPLETION_VOIDED', state = 'VOIDED' WHERE revision = 26",
        finds=(
            f'Event 26 (COMPLETION_VOIDED): {IN_BIO("id-26")} was "ENROLLED" before.',
            'Event 27 (ENROLLMENT_COMPLETED): previous_state is "COMPLETED", where the history comes to "VOIDED".',
            f"{IN_BIO('id-26')}: counted is true, where the history comes to false.",
        ),
    ),
    case(
        "version",
        "UPDATE events SET enrollment_version = 3 WHERE revision = 26",
        finds="Event 26 (ENROLLMENT_COMPLETED): enrollment_version is 3, where the history comes to 2.",
    ),
    case(
        "version after a skip",
        "UPDATE events SET enrollment_version = 2 WHERE revision = 13",
        finds="Event 13 (PROMOTION_SKIPPED): enrollment_version is 2, where the history comes to 1.",
    ),
    case(
        "student",
        "UPDATE events SET student_id = 'eve' WHERE revision = 28",
        finds='Event 28 (STUDENT_UNENROLLED): student_id is "eve", where the history comes to "dot".',
    ),
    case(
        "seats",
        "UPDATE events SET enrolled_count = 0 WHERE revision = 14",
        finds="Event 14 (STUDENT_PROMOTED): enrolled_count is 0, where the history comes to 1.",
    ),
    case(
        "waitlisted count",
        "UPDATE events SET waitlisted_count = NULL WHERE revision = 16",
        finds="Event 16 (COMPLETION_RECORDED): waitlisted_count is null, where the history comes to 1.",
    ),
    case(
        "capacity",
        "UPDATE events SET capacity = 2 WHERE revision = 14",
        finds="Event 14 (STUDENT_PROMOTED): capacity is 2, where the history comes to 1.",
    ),
    case(
        "capacity before a change",
        """UPDATE events SET changes = '[["capacity","2","5"]]' WHERE revision = 17""",
        finds='Event 17 (COURSE_UPDATED): capacity before is "2", where the history comes to "1".',
    ),
    case(
        "capacity after a change",
        """UPDATE events SET changes = '[["capacity","1","4"]]' WHERE revision = 17""",
        finds=(
            "Event 17 (COURSE_UPDATED): capacity is 5, where the history comes to 4.",
            'Event 20 (COURSE_UPDATED): capacity before is "5", where the history comes to "4".',
        ),
    ),
    case(
        "unreadable change",
        "UPDATE events SET changes = '5' WHERE revision = 20",
        finds=(
            "Event 20 (COURSE_UPDATED): capacity is 1, where the history comes to 5.",
            'Course "art": capacity is 1, where the history comes to 5.',
        ),
    ),
    case(
        "capacity of a course without one",
        "UPDATE events SET capacity = 5 WHERE revision = 24",
        finds="Event 24 (STUDENT_ENROLLED): capacity is 5, where the history comes to null.",
    ),
    case(
        "seat beyond capacity",
        "UPDATE events SET bypassed_rules = '[]' WHERE revision = 15",
        finds=(
            "Event 15 (STUDENT_ENROLLED): it sets COURSE_FULL aside, which is not in its bypassed_rules.",
            "Event 15 (STUDENT_ENROLLED): it gives seat 2, where there are 1.",
        ),
    ),
    case(
        "seat beyond capacity of an older version",
        "UPDATE events SET bypassed_rules = '[]', violations = '[]' WHERE revision = 15",
        "UPDATE enrollments SET bypassed_violations = '[]' WHERE enrollment_id = 'id-18'",
        finds="Event 15 (STUDENT_ENROLLED): it gives seat 2, where there are 1.",
    ),
    case(
        "violation whose rule is not named",
        """UPDATE events SET violations = '[["STUDENT_HOLD","",{}],7]' WHERE revision = 28""",
        """UPDATE enrollments SET bypassed_violations = '[["COURSE_FULL","",{}]]' WHERE enrollment_id = 'id-18'""",
        """UPDATE events SET violations = '[["COURSE_FULL","",{}]]' WHERE revision = 15""",
        finds=(
            "Event 28 (STUDENT_UNENROLLED): it sets STUDENT_HOLD aside, which is not in its bypassed_rules.",
            "Event 28 (STUDENT_UNENROLLED): it sets 7 aside, which is not in its bypassed_rules.",
            f'{IN_ART("id-18")}: bypassed_violations is [["COURSE_FULL", "", {{}}]], where the history comes to'
            ' [["COURSE_FULL", "", {}], ["STUDENT_HOLD", "", {}], 7].',
        ),
    ),
    case(
        "missing completion of a seat",
        "UPDATE events SET type = 'COMPLETION_RECORDED' WHERE revision = 26",
        finds=(
            f'Event 26 (COMPLETION_RECORDED): {IN_BIO("id-26")} was "ENROLLED" before.',
            f"{IN_BIO('id-26')}: counted is true, where the history comes to false.",
        ),
    ),
    case(
        "unenrollment by a sweep",
        "UPDATE events SET actor = 'system:sweep' WHERE revision = 12",
        finds="Event 12 (STUDENT_UNENROLLED): a sweep does nothing of this type.",
    ),
    case(
        "change of a course by a sweep",
        "UPDATE events SET actor = 'system:sweep' WHERE revision = 17",
        finds="Event 17 (COURSE_UPDATED): a sweep does nothing of this type.",
    ),
    case(
        "seats beyond capacity 0",
        "UPDATE events SET capacity = 0 WHERE course_id = 'art' AND revision < 17",
        """UPDATE events SET changes = '[["capacity","0","5"]]' WHERE revision = 17""",
        finds=(
            "Event 8 (STUDENT_ENROLLED): it gives seat 1, where there are 0.",
            "Event 14 (STUDENT_PROMOTED): it gives seat 1, where there are 0.",
        ),
    ),
    case(
        "missing event",
        "DELETE FROM events WHERE revision = 28",
        finds=(
            "Events: revision 27 is followed by 29.",
            "Event 29 (STUDENT_PROMOTED): enrolled_count is 1, where the history comes to 2.",
            f'{IN_ART("id-18")}: state is "DROPPED", where the history comes to "ENROLLED".',
            f"{IN_ART('id-18')}: version is 2, where the history comes to 1.",
        ),
    ),
    case(
        "missing creation of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 6",
        finds=(
            'Event 6 (COURSE_UPDATED): Course "art" was unknown before.',
            'Event 6 (COURSE_UPDATED): capacity before is null, where the history comes to "1".',
        ),
    ),
    case(
        "missing deletion of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 36",
        finds='Event 37 (COURSE_UNDELETED): Course "art" was known before.',
    ),
    case(
        "enrollment after a course is deleted",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 36",
        "UPDATE events SET type = 'COURSE_DELETED' WHERE revision = 37",
        finds='Event 38 (STUDENT_ENROLLED): Course "art" was deleted before.',
    ),
)


@pytest.mark.parametrize(("statements", "finds"), SEQUENCE)
def test_sequence(ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
    """Revisions are complete, and revisions and event ids are unique."""
    tamper(engine, *statements)
    assert disagreements_in(engine) == finds


@pytest.mark.parametrize(("statements", "finds"), EVENTS)
def test_event(ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
    """An event of a course must match the events before it."""
    tamper(engine, *statements)
    assert disagreements_in(engine) == finds
