"""The revision that counts completions: old rows get what the server would have written.

Servers of the previous version may run meanwhile: the revision locks as they do, and only for a short time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine, event

from registrar_server import migrate
from registrar_server.core.commands import (
    Complete,
    CompleteById,
    CreateCourse,
    CreateStudent,
    Enroll,
    Override,
    RecordCompletion,
    Unenroll,
    VoidCompletion,
)
from registrar_server.ledger.recounting import recount
from registrar_server.storage.database import Database
from tests.support.comparison import enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.databases import described, execute
from tests.support.ledgers import Ledger, carry_out, carry_out_on

BEFORE_COUNTS = "20261126_1625"
COUNTS = "20261126_1930"
STUDENTS = [f"s-{number}" for number in range(1, 9)]
COUNTED = {
    "art#1": True,  # completed
    "art#2": True,  # completed, and corrected
    "art#3": False,  # completed, and voided
    "art#4": None,  # a seat
    "art#5": False,  # recorded, and corrected
    "art#6": False,  # recorded, and voided
    "bio#1": None,  # a seat
    "bio#2": None,  # waits
    "bio#3": None,  # a seat beyond the capacity
    "cop#1": None,  # waited, and left
    "cop#2": True,  # completed
}
COURSES = [("art", 2, False), ("bio", 0, True), ("cop", 1, False)]


@pytest.fixture
def counted(database_url: str) -> str:
    """A database of this version with all kinds of completions and waiters."""
    engine = create_engine(database_url, poolclass=NullPool)
    database = Database(database_url)
    ledger = Ledger(database)
    carry_out(
        ledger,
        *map(CreateStudent, STUDENTS),
        CreateCourse("art"),
        CreateCourse("bio", {"capacity": 1, "waitlist_capacity": 5}),
        CreateCourse("cop", {"capacity": 0, "waitlist_capacity": 5}),
        *(Enroll(student_id, "art") for student_id in ("s-1", "s-2", "s-3", "s-4")),
        *(Complete(student_id, "art", "B") for student_id in ("s-1", "s-2", "s-3", "s-2")),
        *(RecordCompletion(student_id, "art", "A") for student_id in ("s-5", "s-6")),
        *(Enroll(student_id, "bio") for student_id in ("s-6", "s-7")),
        Enroll("s-8", "bio", override=Override(frozenset({"COURSE_FULL"}), "because")),
        Enroll("s-1", "cop"),
        Unenroll("s-1", "cop"),
        Enroll("s-2", "cop", override=Override(frozenset({"COURSE_FULL"}), "because")),
        Complete("s-2", "cop", "A"),
    )
    ids = enrollment_ids(engine)
    carry_out(ledger, VoidCompletion(ids["art#3"]), CompleteById(ids["art#5"], "C"), VoidCompletion(ids["art#6"]))
    database.close()
    return database_url


@pytest.fixture
def before_counts(counted: str) -> str:
    """The same database as the previous version leaves it."""
    migrate.downgrade(counted, BEFORE_COUNTS)
    return counted


def stored_counts(url: str) -> tuple[dict[str, bool | None], list[tuple[Any, ...]]]:
    """Return ``counted`` by enrollment, such as ``art#1``, and what the courses count."""
    enrollments = execute(url, "SELECT course_id, number, counted FROM enrollments")
    courses = execute(url, "SELECT course_id, completed_count, has_waiters FROM courses ORDER BY course_id")
    by_name = {f"{course_id}#{number}": counted for course_id, number, counted in map(tuple, enrollments)}
    return by_name, list(map(tuple, courses))


def assert_counted(url: str) -> None:
    """Assert that the database is as the server wrote it."""
    assert stored_counts(url) == (COUNTED, COURSES)
    assert_consistent(create_engine(url, poolclass=NullPool))


def test_what_the_server_counts(counted: str) -> None:
    """The expectations of these tests are what the server writes itself."""
    assert_counted(counted)


def test_seats_that_ended_as_completed_are_counted(before_counts: str) -> None:
    """Recorded and voided completions are not, and courses with waiters are flagged."""
    migrate.upgrade(before_counts)
    assert_counted(before_counts)


def test_violations_that_were_set_aside_come_back_after_a_downgrade(before_counts: str) -> None:
    """An override still covers what it was given for, and no more."""
    query = "SELECT CAST(bypassed_violations AS TEXT) FROM enrollments WHERE student_id = 's-8'"
    migrate.upgrade(before_counts)
    ((document,),) = execute(before_counts, query)
    assert "COURSE_FULL" in document


def test_a_downgrade_restores_the_old_schema(before_counts: str) -> None:
    before = described(before_counts)
    migrate.upgrade(before_counts, COUNTS)
    migrate.downgrade(before_counts, BEFORE_COUNTS)
    assert described(before_counts) == before
    migrate.upgrade(before_counts)


def test_courses_with_more_completions_than_a_page(counted: str) -> None:
    """A student who completes a course again and again counts each time."""
    attempts = [command for _ in range(1_200) for command in (Enroll("s-1", "dig"), Complete("s-1", "dig", "A"))]
    records = [RecordCompletion("s-1", "eth", "A")] * 1_200
    carry_out_on(counted, CreateCourse("dig"), CreateCourse("eth"), *attempts, *records)
    migrate.downgrade(counted, BEFORE_COUNTS)
    migrate.upgrade(counted)
    _, courses = stored_counts(counted)
    assert courses == [*COURSES, ("dig", 1_200, False), ("eth", 0, False)]
    assert_consistent(create_engine(counted, poolclass=NullPool))


INTERRUPTED = {
    "after the first column": (
        "DROP INDEX ix_courses_has_waiters, ix_enrollments_uncounted",
        "ALTER TABLE courses DROP CONSTRAINT ck_courses_completed_count, DROP COLUMN has_waiters",
        "ALTER TABLE enrollments DROP COLUMN counted, DROP COLUMN bypassed_violations",
        "UPDATE courses SET completed_count = 0",
    ),
    "before the validation of the constraint": (
        "DROP INDEX ix_courses_has_waiters, ix_enrollments_uncounted",
        "ALTER TABLE courses DROP CONSTRAINT ck_courses_completed_count",
        "ALTER TABLE courses ADD CONSTRAINT ck_courses_completed_count CHECK (completed_count >= 0) NOT VALID",
        "UPDATE courses SET completed_count = 0, has_waiters = FALSE",
        "UPDATE enrollments SET counted = NULL, bypassed_violations = '[]'",
    ),
    "between two pages": (
        "UPDATE courses SET completed_count = 0, has_waiters = FALSE WHERE course_id > 'art'",
        "UPDATE enrollments SET counted = NULL, bypassed_violations = '[]' WHERE course_id > 'art'",
    ),
    "and a counted completion was voided": (
        "UPDATE enrollments SET counted = TRUE WHERE course_id = 'art' AND number = 3",
        "UPDATE courses SET completed_count = 3 WHERE course_id = 'art'",
    ),
}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statements", INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupted_run_continues(counted: str, statements: tuple[str, ...]) -> None:
    """On PostgreSQL each step is committed by itself, so a run may find the result of an earlier one."""
    after = described(counted)
    for statement in (*statements, f"UPDATE alembic_version SET version_num = '{BEFORE_COUNTS}'"):
        execute(counted, statement)
    migrate.upgrade(counted, COUNTS)
    assert described(counted) == after
    assert_counted(counted)
    assert execute(counted, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]


def previous_server(url: str) -> psycopg.Connection[Any]:
    """Return a connection of a server; a statement that takes longer than ten seconds fails."""
    return psycopg.connect(url, options="-c statement_timeout=10s")


def wait_for_a_lock(url: str, running: threading.Thread) -> None:
    """Return when a connection waits for a lock, or when the thread has ended."""
    with psycopg.connect(url, autocommit=True) as other:
        while running.is_alive() and other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (
            0,
        ):
            pass


def once_after(statement: str, action: Callable[[], None]) -> Callable[..., None]:
    """Return a listener that calls ``action`` once, after a statement that begins so."""
    pending = [action]

    def after_cursor_execute(_connection: Any, _cursor: Any, executed: str, *_rest: Any) -> None:
        if executed.startswith(statement) and pending:
            pending.pop()()

    return after_cursor_execute


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_page_waits_for_the_course_and_then_counts_what_the_server_did(before_counts: str) -> None:
    """A server of the previous version voids a completion of the page and completes a seat; other courses are free."""
    server = previous_server(before_counts)

    def use_the_course(migrating: threading.Thread) -> None:
        wait_for_a_lock(before_counts, migrating)
        with previous_server(before_counts) as other:
            other.execute("UPDATE courses SET waitlisted_count = 0 WHERE course_id = 'bio'")
        server.execute("UPDATE enrollments SET state = 'VOIDED' WHERE course_id = 'art' AND number = 1")
        server.execute(
            "UPDATE enrollments SET state = 'COMPLETED', end_time = 9 WHERE course_id = 'art' AND number = 4"
        )
        server.execute(
            "INSERT INTO events SELECT (jsonb_populate_record(events, jsonb_build_object('revision', 99, 'student_id',"
            " 's-4', 'enrollment_id', (SELECT enrollment_id FROM enrollments WHERE course_id = 'art' AND number = 4)))"
            ").* FROM events WHERE type = 'ENROLLMENT_COMPLETED' AND course_id = 'art' ORDER BY revision LIMIT 1"
        )
        server.commit()

    def take_the_course() -> None:
        server.execute("SELECT 1 FROM courses WHERE course_id = 'art' FOR NO KEY UPDATE")
        threading.Thread(target=use_the_course, args=(threading.current_thread(),)).start()

    listener = once_after("SELECT enrollments.course_id, enrollments.enrollment_id", take_the_course)
    event.listen(Engine, "after_cursor_execute", listener)
    migrate.upgrade(before_counts)
    event.remove(Engine, "after_cursor_execute", listener)
    server.close()
    database = Database(before_counts)
    assert recount(database) == 1, "the seat was completed in a course whose page was read before"
    database.close()
    by_name, courses = stored_counts(before_counts)
    assert by_name == COUNTED | {"art#1": False, "art#4": True}
    assert courses == [("art", 2, False), ("bio", 0, False), ("cop", 1, False)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("used", "free"), [("enrollments", "courses"), ("courses", "enrollments")])
def test_one_table_at_a_time_is_locked_for_all_others(before_counts: str, used: str, free: str) -> None:
    """While the revision waits for a table that a server uses, others read and write the other table."""
    server = previous_server(before_counts)
    server.execute(f"SELECT 1 FROM {used}")
    migrating = threading.Thread(target=migrate.upgrade, args=(before_counts,))
    migrating.start()
    wait_for_a_lock(before_counts, migrating)
    with previous_server(before_counts) as other:
        other.execute(f"UPDATE {free} SET update_time = update_time")
    server.rollback()
    migrating.join()
    server.close()
    assert_counted(before_counts)
