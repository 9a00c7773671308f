"""The queries of filtered lists find their rows by an index, so that they do not read a whole history.

SQLite tells its plan for any number of rows. PostgreSQL chooses by statistics, which only tests with many rows have.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import Engine, Select, create_engine, text
from sqlalchemy.dialects import sqlite

from registrar_server.core.vocabulary import EventType
from registrar_server.reading import enrollment_lists, history, lists
from registrar_server.reading.enrollment_lists import EnrollmentSearch
from registrar_server.reading.history import EventSearch
from registrar_server.reading.lists import StudentSearch
from registrar_server.reading.reader import Reader
from registrar_server.storage.database import Database

LATER = ["c-5", 7]


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Engine:
    return create_engine(sqlite_url)


def plan(engine: Engine, query: Select[Any]) -> str:
    """Return the steps of a query's plan."""
    statement = query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        return "\n".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("search", "index"),
    [
        (EventSearch(after=9), "ix_events_revision (revision>?"),
        (EventSearch(student_id="s-1", types=("A", "B"), start=5), "ix_events_student_id_revision (student_id=?"),
        (EventSearch(enrollment_id="e-1"), "ix_events_student_id_revision (student_id=?"),
        (EventSearch(course_id="c-1", end=5), "sqlite_autoindex_events_1 (course_id=?"),
        (EventSearch(types=("A", "B")), "ix_events_type_revision (type=? AND revision>?"),
        (EventSearch(actor="ada"), "ix_events_actor_revision (actor=?"),
        (EventSearch(on_behalf_of="ada"), "ix_events_on_behalf_of_revision (on_behalf_of=?"),
        (EventSearch(start=5), "ix_events_revision (revision>?"),
        (EventSearch(start=5, end=9), "ix_events_revision (revision>? AND revision<?"),
        (EventSearch(start=5, end=9), "COVERING INDEX ix_events_time_revision (time>? AND time<?"),
    ],
)
def test_events_are_found_by_an_index_in_the_order_of_revisions(
    sqlite_engine: Engine, search: EventSearch, index: str, descending: bool
) -> None:
    """No event is read that is not in the index's range, and only a page is sorted."""
    steps = plan(sqlite_engine, history.events(search._replace(descending=descending), 51))
    assert index in steps
    assert "SCAN events" not in steps
    assert "ORDER BY" not in steps.partition("SCAN event_counter")[0]


PERIODS = (EventSearch(start=1), EventSearch(end=3_000, descending=True))


@pytest.mark.parametrize("search", PERIODS, ids=["start", "end"])
def test_a_page_that_follows_an_event_of_the_period_does_not_read_the_period_again(
    sqlite_engine: Engine, search: EventSearch
) -> None:
    """Otherwise every page of a long period would take as long as the whole period."""
    with sqlite_engine.begin() as connection:
        connection.execute(text(MANY_EVENTS))
    later = search._replace(before=1_000) if search.descending else search._replace(after=1_000)
    assert steps_of(sqlite_engine, later) < steps_of(sqlite_engine, search) / 5


def test_a_period_is_read_once_for_many_types(sqlite_engine: Engine) -> None:
    with sqlite_engine.begin() as connection:
        connection.execute(text(MANY_EVENTS))
    one = EventSearch(types=("STUDENT_CREATED",), start=1, end=3_000)
    many = one._replace(types=tuple(EventType))
    assert steps_of(sqlite_engine, many) < 2 * steps_of(sqlite_engine, one)


MANY_EVENTS = """
    INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state,
                        previous_state, reason, comment, bypassed_rules, changes, request_id, grade, violations)
    WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 2000)
    SELECT '', i, 'e-' || i, 'STUDENT_CREATED', i, '', 's-' || i, '', '', '', '', '', '[]', '[]', '', '', '[]'
      FROM numbers"""


def steps_of(engine: Engine, search: EventSearch) -> int:
    """Return how many steps SQLite takes for a page of ten events."""
    steps = itertools.count()
    with engine.connect() as connection:
        assert connection.connection.driver_connection
        connection.connection.driver_connection.set_progress_handler(lambda: next(steps) and None, 1)
        assert len(connection.execute(history.events(search, 10)).all()) == 10
        connection.connection.driver_connection.set_progress_handler(None, 1)
    return next(steps)


def test_postgresql_looks_up_the_enrollments_of_a_page_of_events(postgresql_url: str) -> None:
    """Otherwise it reads the whole table for hundreds of events, since it takes that to be faster."""
    database = Database(postgresql_url)
    engine = database.writer
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # Without students and courses.
        connection.execute(text(MANY_ENROLLMENTS))
        connection.execute(text(THEIR_EVENTS))
        connection.execute(text("ANALYZE"))
    page = Reader(database).list_events(EventSearch(after=4), 2)
    query = history.events(EventSearch(), 500, lateral=True)
    statement = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        steps = "\n".join(row[0] for row in connection.execute(text(f"EXPLAIN {statement}")))
    database.close()
    assert [entry.enrollment and entry.enrollment.number for entry in page.entries] == [5, 6]
    assert "ix_enrollments_enrollment_id on enrollments" in steps
    assert "Seq Scan on enrollments" not in steps


MANY_ENROLLMENTS = """
    INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade, bypassed_rules,
                             reason, version, create_time, update_time, last_skip)
    SELECT 'c-1', 'e-' || i, 's-' || i, i, 1, 'ENROLLED', '', '[]', '', 1, i, i, '[]'
      FROM generate_series(1, 3000) AS i"""
THEIR_EVENTS = """
    INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state,
                        previous_state, reason, comment, bypassed_rules, changes, request_id, grade, violations)
    SELECT 'c-1', i, 'e-' || i, 'STUDENT_ENROLLED', i, '', 's-' || i, 'e-' || i, 'ENROLLED', '', '', '', '[]', '[]', '',
           '', '[]'
      FROM generate_series(1, 3000) AS i"""


@pytest.mark.parametrize(
    ("search", "index"),
    [
        (EnrollmentSearch(student_id="s-1"), "(student_id=? AND course_id>?)"),
        (EnrollmentSearch(course_id="c-1"), "(course_id=?"),
        (EnrollmentSearch(term="fall"), "ix_courses_term_key_course_id (term_key=? AND course_id>?"),
        (EnrollmentSearch(code="CS 1"), "ix_courses_code_key_course_id (code_key=? AND course_id>?"),
        (EnrollmentSearch(updated_after=5), "ix_enrollments_update_time_course_id (update_time>?"),
        (EnrollmentSearch(states=("WAITLISTED",)), "ix_enrollments_waitlist"),
        (EnrollmentSearch(), "((course_id,number)>(?,?))"),
    ],
)
def test_enrollments_are_found_by_an_index(sqlite_engine: Engine, search: EnrollmentSearch, index: str) -> None:
    steps = plan(sqlite_engine, enrollment_lists.enrollments(search, LATER, 51))
    assert index in steps
    assert "SCAN enrollments" not in steps


def test_positions_are_counted_by_the_index_of_waitlists(sqlite_engine: Engine) -> None:
    """Each row counts only the waiters since the waiter before it."""
    steps = plan(sqlite_engine, enrollment_lists.enrollments(EnrollmentSearch(), LATER, 51))
    assert "SEARCH ahead USING INDEX ix_enrollments_waitlist (course_id=? AND number>? AND number<?)" in steps


def test_students_with_a_hold_are_found_by_an_index(sqlite_engine: Engine) -> None:
    steps = plan(sqlite_engine, lists.search_students(StudentSearch(hold_code="BURSAR"), None, 51))
    assert "USING INDEX ix_students_held" in steps
