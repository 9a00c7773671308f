"""Verify reports a course, an enrollment or a student that was changed by hand, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from registrar_server.core.commands import CreateStudent
from registrar_server.storage.database import Database
from tests.support.ledgers import Ledger, carry_out
from tests.support.tampering import IN_ART, IN_BIO, case, disagreements_in, tamper

COURSES = (
    case(
        "seats",
        "UPDATE courses SET enrolled_count = 3 WHERE course_id = 'bio'",
        finds='Course "bio": enrolled_count is 3, where its enrollments come to 2.',
    ),
    case(
        "waitlisted count",
        "UPDATE courses SET waitlisted_count = 3 WHERE course_id = 'bio'",
        finds='Course "bio": waitlisted_count is 3, where its enrollments come to 0.',
    ),
    case(
        "completed seats",
        "UPDATE courses SET completed_count = 2 WHERE course_id = 'bio'",
        finds='Course "bio": completed_count is 2, where its enrollments come to 1.',
    ),
    case(
        "flag of waiters",
        "UPDATE courses SET has_waiters = TRUE WHERE course_id = 'bio'",
        finds='Course "bio": has_waiters is true, where its enrollments come to false.',
    ),
    case(
        "last number",
        "UPDATE courses SET last_number = 3 WHERE course_id = 'bio'",
        finds='Course "bio": last_number is 3, where its enrollments come to 4.',
    ),
    case(
        "capacity",
        "UPDATE courses SET capacity = 3 WHERE course_id = 'art'",
        finds='Course "art": capacity is 3, where the history comes to 1.',
    ),
    case(
        "version",
        "UPDATE courses SET version = 3 WHERE course_id = 'art'",
        finds='Course "art": version is 3, where the history comes to 5.',
    ),
    case(
        "deletion",
        "UPDATE courses SET delete_time = 1 WHERE course_id = 'cop'",
        finds='Course "cop": deleted is true, where the history comes to false.',
    ),
    case(
        "keys of a course",
        "UPDATE courses SET code = ' Art\u00a01', term = 'FALL', component = 'Lab', search_text = 'art art 1'"
        " WHERE course_id = 'art'",
        finds=(
            'Course "art": code_key is "", where its texts come to "art1".',
            'Course "art": term_key is "", where its texts come to "fall".',
            'Course "art": component_key is "", where its texts come to "lab".',
            """Course "art": a search does not find it by ' Art\\xa01'.""",
        ),
    ),
    case(
        "number gap",
        "UPDATE enrollments SET number = 9 WHERE enrollment_id = 'id-51'",
        "UPDATE courses SET last_number = 9 WHERE course_id = 'bio'",
        finds='Course "bio": number 3 is followed by 9.',
    ),
    case(
        "number order",
        "UPDATE enrollments SET number = 99 WHERE enrollment_id = 'id-10'",
        "UPDATE enrollments SET number = 2 WHERE enrollment_id = 'id-12'",
        "UPDATE enrollments SET number = 3 WHERE enrollment_id = 'id-10'",
        finds='Course "art": number 2 was given after number 3.',
    ),
    case(
        "attempt",
        "UPDATE enrollments SET attempt = 4 WHERE enrollment_id = 'id-47'",
        finds='Course "art": the attempts of student "ada" are 1, 2, 4.',
    ),
    case(
        "two live enrollments",
        "UPDATE enrollments SET student_id = 'cyd', attempt = 2 WHERE enrollment_id = 'id-51'",
        "UPDATE events SET student_id = 'cyd' WHERE enrollment_id = 'id-51'",
        finds='Course "bio": student "cyd" has 2 live enrollments.',
    ),
    case(
        "missing course",
        "DELETE FROM courses WHERE course_id = 'cop'",
        finds='Course "cop" is missing, but there are events or enrollments of it.',
    ),
    case(
        "course without events",
        "UPDATE events SET course_id = 'cow' WHERE course_id = 'cop'",
        finds=('Course "cop" has no events.', 'Course "cow" is missing, but there are events or enrollments of it.'),
    ),
)

ENROLLMENTS = (
    case(
        "student",
        "UPDATE enrollments SET student_id = 'eve' WHERE enrollment_id = 'id-12'",
        finds=f'{IN_ART("id-12")}: student_id is "eve", where the history comes to "cyd".',
    ),
    case(
        "state",
        "UPDATE enrollments SET state = 'DROPPED' WHERE enrollment_id = 'id-26'",
        finds=f'{IN_BIO("id-26")}: state is "DROPPED", where the history comes to "COMPLETED".',
    ),
    case(
        "restored completion",
        "UPDATE enrollments SET state = 'COMPLETED' WHERE enrollment_id = 'id-20'",
        finds=f'{IN_ART("id-20")}: state is "COMPLETED", where the history comes to "VOIDED".',
    ),
    case(
        "version",
        "UPDATE enrollments SET version = 2 WHERE enrollment_id = 'id-26'",
        finds=f"{IN_BIO('id-26')}: version is 2, where the history comes to 3.",
    ),
    case(
        "grade",
        "UPDATE enrollments SET grade = 'B' WHERE enrollment_id = 'id-26'",
        finds=f'{IN_BIO("id-26")}: grade is "B", where the history comes to "A".',
    ),
    case(
        "passed",
        "UPDATE enrollments SET passed = FALSE WHERE enrollment_id = 'id-26'",
        finds=f"{IN_BIO('id-26')}: passed is false, where the history comes to true.",
    ),
    case(
        "bypassed rules",
        "UPDATE enrollments SET bypassed_rules = '[]' WHERE enrollment_id = 'id-18'",
        finds=f'{IN_ART("id-18")}: bypassed_rules is [], where the history comes to ["COURSE_FULL"].',
    ),
    case(
        "bypassed violations",
        "UPDATE enrollments SET bypassed_violations = '[]' WHERE enrollment_id = 'id-18'",
        finds=(
            f"{IN_ART('id-18')}: bypassed_violations is [], where the history comes to"
            ' [["COURSE_FULL", "The only seat is taken in \\"art\\".", {"capacity": "1", "enrolled_count": "1"}]].'
        ),
    ),
    case(
        "violations of another enrollment",
        "UPDATE enrollments SET bypassed_violations = '[7]' WHERE enrollment_id = 'id-12'",
        finds=f"{IN_ART('id-12')}: bypassed_violations is [7], where the history comes to [].",
    ),
    case(
        "completion that does not count",
        "UPDATE enrollments SET counted = FALSE WHERE enrollment_id = 'id-26'",
        finds=(
            'Course "bio": completed_count is 1, where its enrollments come to 0.',
            f"{IN_BIO('id-26')}: counted is false, where the history comes to true.",
        ),
    ),
    case(
        "seat that counts as completed",
        "UPDATE enrollments SET counted = TRUE WHERE enrollment_id = 'id-51'",
        "UPDATE courses SET completed_count = 2 WHERE course_id = 'bio'",
        finds=f"{IN_BIO('id-51')}: counted is true, where the history comes to null.",
    ),
    case(
        "completion that was counted and is not any more",
        "UPDATE enrollments SET counted = NULL WHERE enrollment_id = 'id-26'",
        finds='Course "bio": completed_count is 1, where its enrollments come to 0.',
    ),
    case(
        "last skip",
        "UPDATE enrollments SET last_skip = '[1]' WHERE enrollment_id = 'id-12'",
        finds=f"{IN_ART('id-12')}: last_skip is [1], where the history comes to [].",
    ),
    case(
        "missing end time",
        "UPDATE enrollments SET end_time = NULL WHERE enrollment_id = 'id-18'",
        finds=f"{IN_ART('id-18')}: it is DROPPED, but has no end_time.",
    ),
    case(
        "unexpected end time",
        "UPDATE enrollments SET end_time = 1 WHERE enrollment_id = 'id-51'",
        finds=f"{IN_BIO('id-51')}: it is ENROLLED, but has an end_time.",
    ),
    case(
        "missing enrollment",
        "DELETE FROM enrollments WHERE enrollment_id = 'id-51'",
        "UPDATE courses SET enrolled_count = 1, last_number = 3 WHERE course_id = 'bio'",
        finds=f"{IN_BIO('id-51')} is missing, but there are events of it.",
    ),
    case(
        "enrollment without events",
        "UPDATE events SET enrollment_id = 'id-99' WHERE enrollment_id = 'id-51'",
        finds=(f"{IN_BIO('id-99')} is missing, but there are events of it.", f"{IN_BIO('id-51')} has no events."),
    ),
)

STUDENTS = (
    case(
        "version",
        "UPDATE students SET version = 9 WHERE student_id = 'ada'",
        finds='Student "ada": version is 9, where the history comes to 1.',
    ),
    case(
        "deletion",
        "UPDATE students SET delete_time = 1 WHERE student_id = 'bob'",
        finds='Student "bob": deleted is true, where the history comes to false.',
    ),
    case(
        "missing hold",
        "UPDATE students SET holds = '[]' WHERE student_id = 'eve'",
        finds=(
            'Student "eve": holds is {}, where the history comes to {"LIBRARY": null}.',
            'Student "eve": hold_keys is ["library"], where its texts come to [].',
        ),
    ),
    case(
        "reason of a hold",
        """UPDATE students SET holds = '[["LIBRARY","a book",1]]' WHERE student_id = 'eve'""",
        finds='Student "eve": holds is {"LIBRARY": "a book"}, where the history comes to {"LIBRARY": null}.',
    ),
    case(
        "keys of holds",
        """UPDATE students SET hold_keys = '["bursar"]' WHERE student_id = 'eve'""",
        finds='Student "eve": hold_keys is ["bursar"], where its texts come to ["library"].',
    ),
    case(
        "search text of a student",
        "UPDATE students SET search_text = 'eve' WHERE student_id = 'eve'",
        finds="""Student "eve": a search does not find it by 'eve@example.edu'.""",
    ),
    case(
        "sort name",
        "UPDATE students SET sort_name = 'adams' WHERE student_id = 'eve'",
        finds='Student "eve": sort_name is "adams", where its texts come to "  ".',
    ),
    case(
        "unreadable holds",
        "UPDATE students SET holds = '5' WHERE student_id = 'eve'",
        finds='Student "eve": holds is 5, where the history comes to {"LIBRARY": null}.',
    ),
    case(
        "code before a replaced hold",
        """UPDATE events SET changes = '[["code",null,"BURSAR"],["reason","unpaid","still unpaid"]]'
        WHERE revision = 18""",
        finds='Event 18 (HOLD_PLACED): code before is null, where the history comes to "BURSAR".',
    ),
    case(
        "reason before a replaced hold",
        """UPDATE events SET changes = '[["code","BURSAR","BURSAR"],["reason",null,"still unpaid"]]'
        WHERE revision = 18""",
        finds='Event 18 (HOLD_PLACED): reason before is null, where the history comes to "unpaid".',
    ),
    case(
        "code after a released hold",
        """UPDATE events SET changes = '[["code","BURSAR","BURSAR"],["reason","still unpaid",null]]'
        WHERE revision = 19""",
        finds='Event 19 (HOLD_RELEASED): code after is "BURSAR", where the history comes to null.',
    ),
    case(
        "missing creation of a student",
        "UPDATE events SET type = 'STUDENT_UPDATED' WHERE revision = 1",
        finds='Event 1 (STUDENT_UPDATED): Student "ada" was unknown before.',
    ),
    case(
        "second creation of a student",
        "UPDATE events SET type = 'STUDENT_CREATED' WHERE revision = 39",
        finds='Event 39 (STUDENT_CREATED): Student "eve" was known before.',
    ),
    case(
        "event type of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 39",
        finds=(
            'Event 39 (COURSE_UPDATED): nothing of this type happens to Student "eve".',
            'Student "eve": version is 5, where the history comes to 4.',
        ),
    ),
    case(
        "missing student",
        "DELETE FROM students WHERE student_id = 'bob'",
        finds='Student "bob" is missing, but there are events of it.',
    ),
    case(
        "student without events",
        "UPDATE events SET student_id = 'fay' WHERE student_id = 'eve' AND course_id = ''",
        finds=('Student "eve" has no events.', 'Student "fay" is missing, but there are events of it.'),
    ),
    case(
        "live enrollment of a deleted student",
        "UPDATE students SET delete_time = 1 WHERE student_id = 'cyd'",
        finds=(
            'Student "cyd": deleted is true, where the history comes to false.',
            f'{IN_BIO("id-31")}: it is ENROLLED, but the course or student "cyd" is deleted.',
        ),
    ),
    case(
        "live enrollment in a deleted course",
        "UPDATE courses SET delete_time = 1 WHERE course_id = 'art'",
        finds=(
            'Course "art": deleted is true, where the history comes to false.',
            f'{IN_ART("id-47")}: it is ENROLLED, but the course or student "ada" is deleted.',
        ),
    ),
)


@pytest.mark.parametrize(("statements", "finds"), COURSES)
def test_course(ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
    """A course row must match its enrollments and its events."""
    tamper(engine, *statements)
    assert disagreements_in(engine) == finds


@pytest.mark.parametrize(("statements", "finds"), ENROLLMENTS)
def test_enrollment(ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
    """An enrollment row must match its events."""
    tamper(engine, *statements)
    assert disagreements_in(engine) == finds


@pytest.mark.parametrize(("statements", "finds"), STUDENTS)
def test_student(ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
    """A student row must match its events, and a deleted student or course has no live enrollment."""
    tamper(engine, *statements)
    assert disagreements_in(engine) == finds


def test_a_document_that_is_not_json(sqlite_url: str) -> None:
    """On SQLite a document column can hold text that is not JSON."""
    database = Database(sqlite_url)
    carry_out(Ledger(database), CreateStudent("ada"))
    with database.autocommit.connect() as connection:
        connection.execute(text("UPDATE students SET holds = 'none'"))
    assert disagreements_in(database.autocommit) == ['Student "ada": holds is "none", where the history comes to {}.']
    database.close()
