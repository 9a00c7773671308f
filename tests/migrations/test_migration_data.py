"""An upgrade of a database with rows: afterwards the old rows state everything that new rows state."""

from __future__ import annotations

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import IntegrityError

from registrar_server import migrate
from tests.support.consistency import assert_consistent
from tests.support.databases import described, execute

DESCRIBE = "0002_describe_enrollments_in_events"
BEFORE_WAITLISTS = "20261123_1610"
BEFORE_VOIDED = "20261124_2345"
VOIDED = "20261126_1625"

#: Type, course, student, enrollment, its state, and the capacity and enrolled count after the event.
OLD_EVENTS: list[tuple[str, str, str, str, str, int | None, int | None]] = [
    ("STUDENT_CREATED", "", "s-1", "", "", None, None),
    ("STUDENT_CREATED", "", "s-2", "", "", None, None),
    ("COURSE_CREATED", "c-1", "", "", "", 1, 0),
    ("COURSE_CREATED", "c-2", "", "", "", None, 0),
    ("STUDENT_ENROLLED", "c-1", "s-1", "e-1", "ENROLLED", 1, 1),
    ("STUDENT_UNENROLLED", "c-1", "s-1", "e-1", "DROPPED", 1, 0),
    ("STUDENT_ENROLLED", "c-1", "s-2", "e-2", "ENROLLED", 1, 1),
    ("STUDENT_ENROLLED", "c-2", "s-2", "e-3", "ENROLLED", None, 1),
    ("STUDENT_UNENROLLED", "c-1", "s-2", "e-2", "DROPPED", 1, 0),
    ("STUDENT_ENROLLED", "c-1", "s-1", "e-4", "ENROLLED", 1, 1),
]
#: Values of the required columns that do not matter here.
USUAL: dict[str, dict[str, object]] = {
    "students": {"state": "ACTIVE", "version": 1, "create_time": 5, "update_time": 5, "search_text": ""},
    "courses": {
        **dict.fromkeys(("code", "title", "description", "term", "search_text"), ""),
        **{"credits": 0, "meetings": "[]", "prerequisite_course_ids": "[]", "state": "OPEN", "version": 1},
        **{"create_time": 5, "update_time": 5, "waitlisted_count": 0},
    },
    "enrollments": {
        **dict.fromkeys(("grade", "reason"), ""),
        **{"attempt": 1, "bypassed_rules": "[]", "create_time": 5, "update_time": 8},
    },
    "events": {
        **dict.fromkeys(("actor", "reason", "comment", "request_id"), ""),
        **{"bypassed_rules": "[]", "changes": "[]", "time": 5},
    },
}


@pytest.fixture
def before_waitlists(empty_database_url: str) -> str:
    """A database at revision 20261123_1610, in which two students enrolled in two courses and dropped."""
    url = empty_database_url
    migrate.upgrade(url, BEFORE_WAITLISTS)
    for student_id in ("s-1", "s-2"):
        insert(url, "students", student_id=student_id, given_name="", family_name="", email="", holds="[]")
    insert(url, "courses", course_id="c-1", capacity=1, enrolled_count=1, last_number=3)
    insert(url, "courses", course_id="c-2", capacity=None, enrolled_count=1, last_number=1)
    enrolled = {"state": "ENROLLED", "version": 1, "end_time": None}
    dropped = {"state": "DROPPED", "version": 2, "end_time": 8}
    insert(url, "enrollments", course_id="c-1", enrollment_id="e-1", student_id="s-1", number=1, **dropped)
    insert(url, "enrollments", course_id="c-1", enrollment_id="e-2", student_id="s-2", number=2, **dropped)
    insert(url, "enrollments", course_id="c-1", enrollment_id="e-4", student_id="s-1", number=3, attempt=2, **enrolled)
    insert(url, "enrollments", course_id="c-2", enrollment_id="e-3", student_id="s-2", number=1, **enrolled)
    for revision, (type, course_id, student_id, enrollment_id, state, capacity, count) in enumerate(OLD_EVENTS, 1):
        insert(
            url,
            "events",
            revision=revision,
            event_id=f"event-{revision}",
            type=type,
            course_id=course_id,
            student_id=student_id,
            enrollment_id=enrollment_id,
            state=state,
            previous_state="ENROLLED" if state == "DROPPED" else "",
            capacity=capacity,
            enrolled_count=count,
        )
    execute(url, "UPDATE event_counter SET revision = :last", last=len(OLD_EVENTS))
    return url


def insert(url: str, table: str, **values: object) -> None:
    """Insert a row that is valid at the current revision."""
    row = USUAL[table] | values
    execute(url, f"INSERT INTO {table} ({', '.join(row)}) VALUES (:{', :'.join(row)})", **row)


def described_enrollments(url: str) -> list[tuple[object, ...]]:
    """Return what each event states about the waitlist and its enrollment."""
    query = "SELECT revision, waitlisted_count, enrollment_version, grade, passed FROM events ORDER BY revision"
    return [tuple(row) for row in execute(url, query)]


def test_a_database_with_rows_is_upgraded(before_waitlists: str) -> None:
    """Events get the version of their enrollment and a waitlisted count of 0, and the database is consistent."""
    migrate.upgrade(before_waitlists)
    assert described_enrollments(before_waitlists) == [
        (1, None, None, "", None),
        (2, None, None, "", None),
        (3, 0, None, "", None),
        (4, 0, None, "", None),
        (5, 0, 1, "", None),
        (6, 0, 2, "", None),
        (7, 0, 1, "", None),
        (8, 0, 1, "", None),
        (9, 0, 2, "", None),
        (10, 0, 1, "", None),
    ]
    documents = "SELECT CAST(last_skip AS TEXT) FROM enrollments UNION ALL SELECT CAST(violations AS TEXT) FROM events"
    assert {document for (document,) in execute(before_waitlists, documents)} == {"[]"}
    assert_consistent(create_engine(before_waitlists, poolclass=NullPool))


VOID = "UPDATE enrollments SET state = 'VOIDED' WHERE enrollment_id = 'e-1'"


def test_enrollments_can_be_voided_after_their_revision(before_waitlists: str) -> None:
    """The constraint of the states allows VOIDED, and nothing that it refused before."""
    migrate.upgrade(before_waitlists, BEFORE_VOIDED)
    with pytest.raises(IntegrityError):
        execute(before_waitlists, VOID)
    migrate.upgrade(before_waitlists)
    execute(before_waitlists, VOID)
    with pytest.raises(IntegrityError):
        execute(before_waitlists, VOID.replace("VOIDED", "LOST"))


def test_a_downgrade_is_refused_while_enrollments_are_voided(before_waitlists: str) -> None:
    """The previous version has no state for them, so nothing changes."""
    migrate.upgrade(before_waitlists, VOIDED)
    execute(before_waitlists, VOID)
    after = described(before_waitlists)
    with pytest.raises(migrate.MigrationError, match="ck_enrollments_state"):
        migrate.downgrade(before_waitlists, BEFORE_VOIDED)
    assert described(before_waitlists) == after
    assert execute(before_waitlists, "SELECT count(*) FROM enrollments WHERE state = 'VOIDED'") == [(1,)]


def test_a_postgresql_constraint_that_was_not_validated_is_replaced_again(postgresql_url: str) -> None:
    """The revision can be repeated after it was killed between its two transactions."""
    migrate.downgrade(postgresql_url, BEFORE_VOIDED)
    after = "state IN ('ENROLLED', 'WAITLISTED', 'DROPPED', 'COMPLETED', 'VOIDED')"
    execute(postgresql_url, "ALTER TABLE enrollments DROP CONSTRAINT ck_enrollments_state")
    execute(postgresql_url, f"ALTER TABLE enrollments ADD CONSTRAINT ck_enrollments_state CHECK ({after}) NOT VALID")
    migrate.upgrade(postgresql_url)
    query = "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_enrollments_state'"
    assert execute(postgresql_url, query) == [(True,)]


def test_describing_events_again_leaves_newer_ones_alone(before_waitlists: str) -> None:
    """A second run of the step changes neither its first result nor later events."""
    migrate.upgrade(before_waitlists)
    row = {"event_id": "event-11", "type": "PROMOTION_SKIPPED", "course_id": "c-1", "enrollment_id": "e-4"}
    new = {"grade": "", "violations": "[]", "waitlisted_count": 3, "enrollment_version": 1}
    insert(before_waitlists, "events", **row, **new, revision=11, student_id="s-1", state="", previous_state="")
    before = described_enrollments(before_waitlists)
    execute(before_waitlists, "DELETE FROM _yoyo_migration WHERE migration_id = :step", step=DESCRIBE)
    migrate.upgrade(before_waitlists)
    assert described_enrollments(before_waitlists) == before


def test_describing_events_can_be_reverted(before_waitlists: str) -> None:
    """A downgrade restores the old schema, and another upgrade gives the same result as the first."""
    before = described(before_waitlists)
    migrate.upgrade(before_waitlists)
    events = described_enrollments(before_waitlists)
    migrate.downgrade(before_waitlists, BEFORE_WAITLISTS)
    assert described(before_waitlists) == before
    migrate.upgrade(before_waitlists)
    assert described_enrollments(before_waitlists) == events
