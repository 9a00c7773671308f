"""What servers of the previous version leave uncounted is counted by those of this version, once and for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.dialects import sqlite

from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    CreateCourse,
    CreateStudent,
    Enroll,
    RecordCompletion,
    Unenroll,
    VoidCompletion,
)
from registrar_server.ledger import recounting
from registrar_server.ledger.recounting import recount
from registrar_server.storage.database import Database
from registrar_server.storage.models import Course, Enrollment
from tests.support.comparison import clear_database, enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.histories import COMMANDS, FOUNDATION, by_real_ids
from tests.support.ledgers import Ledger, call, carry_out, watched_ledger
from tests.support.older_server import as_an_older_server
from tests.support.properties import scaled
from tests.support.tampering import disagreements_in
from tests.support.watched_stores import OnceBefore

STUDENTS = ("ada", "bob", "cyd", "dot")
LOCK_WAITS = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A ledger with a course of two seats, and four students: two have a seat, two wait."""
    ledger = Ledger(database)
    carry_out(
        ledger,
        CreateCourse("art", {"capacity": 2, "waitlist_capacity": 5}),
        *map(CreateStudent, STUDENTS),
        *(Enroll(student_id, "art") for student_id in STUDENTS),
    )
    return ledger


@pytest.fixture
def older(ledger: Ledger, engine: Engine) -> Callable[..., None]:
    """A server of the previous version: it carries out commands, which name enrollments such as ``art#1``."""

    def carry_out_there(*commands: Command) -> None:
        with as_an_older_server(engine):
            carry_out_here(ledger, engine, *commands)

    return carry_out_there


def carry_out_here(ledger: Ledger, engine: Engine, *commands: Command) -> None:
    """Carry out commands, which name enrollments such as ``art#1``."""
    ids = enrollment_ids(engine)
    carry_out(ledger, *(by_real_ids(command, ids) for command in commands))


def counts(engine: Engine) -> tuple[int, bool, list[bool | None]]:
    """Return what "art" counts, its flag, and ``counted`` of its enrollments in the order of their numbers."""
    with engine.connect() as connection:
        course = connection.execute(select(Course.completed_count, Course.has_waiters)).one()
        counted = select(Enrollment.counted).order_by(Enrollment.number)
        return (*course, list(connection.scalars(counted)))


def test_seats_that_an_older_server_completed_are_counted(
    older: Callable[..., None], database: Database, engine: Engine
) -> None:
    """A corrected completion counts once."""
    older(Complete("ada", "art", "B"), Complete("ada", "art", "A"))
    assert counts(engine) == (0, True, [None, None, None, None])
    assert recount(database) == 1
    assert counts(engine) == (1, True, [True, None, None, None])
    assert_consistent(engine)


def test_recorded_completions_are_not_counted(older: Callable[..., None], database: Database, engine: Engine) -> None:
    """A completion that an older server recorded ended no seat, also if it was corrected."""
    older(RecordCompletion("dot", "art", "A"))
    older(CompleteById("art#5", "B"))
    assert recount(database) == 1
    assert counts(engine) == (0, True, [None, None, None, None, False])
    assert_consistent(engine)


def test_a_counted_completion_that_an_older_server_voids_is_not_counted_any_more(
    ledger: Ledger, older: Callable[..., None], database: Database, engine: Engine
) -> None:
    carry_out(ledger, Complete("ada", "art", "A"), Complete("bob", "art", "A"))
    older(VoidCompletion("art#1", "wrong student"))
    assert counts(engine)[0] == 2
    assert recount(database) == 1
    assert counts(engine) == (1, True, [False, True, None, None])
    assert_consistent(engine)


def test_a_completion_that_an_older_server_made_and_voided_is_not_counted(
    older: Callable[..., None], database: Database, engine: Engine
) -> None:
    older(Complete("ada", "art", "A"), RecordCompletion("dot", "art", "A"))
    older(VoidCompletion("art#1"), VoidCompletion("art#5"))
    assert recount(database) == 2
    assert counts(engine) == (0, True, [False, None, None, None, False])
    assert_consistent(engine)


def test_what_this_version_voids_uncounted_is_not_counted(
    ledger: Ledger, older: Callable[..., None], database: Database, engine: Engine
) -> None:
    """Voiding a completion that is not counted yet lowers no counter, and nothing is left to count."""
    older(Complete("ada", "art", "A"))
    carry_out_here(ledger, engine, VoidCompletion("art#1"))
    assert recount(database) == 0
    assert counts(engine) == (0, True, [False, None, None, None])
    assert_consistent(engine)


def test_flags_of_courses_are_corrected(
    ledger: Ledger, older: Callable[..., None], database: Database, engine: Engine
) -> None:
    """An older server does not flag a course when its first waiter comes or its last one leaves."""
    older(Unenroll("cyd", "art"), Unenroll("dot", "art"), CreateCourse("bio", {"capacity": 0, "waitlist_capacity": 1}))
    older(Enroll("ada", "bio"))
    assert disagreements_in(engine) == [
        'Course "art": has_waiters is true, where its enrollments come to false.',
        'Course "bio": has_waiters is false, where its enrollments come to true.',
    ]
    assert recount(database) == 2
    assert_consistent(engine)


def test_nothing_is_counted_twice(
    ledger: Ledger, older: Callable[..., None], database: Database, engine: Engine
) -> None:
    """Without new work by an older server, another run finds nothing, and changes nothing."""
    carry_out(ledger, Complete("ada", "art", "A"))
    older(Complete("bob", "art", "A"))
    assert [recount(database), recount(database)] == [1, 0]
    assert counts(engine) == (2, True, [True, True, None, None])


def test_in_chunks(older: Callable[..., None], database: Database, engine: Engine) -> None:
    """All rows are completed, in chunks of any size, also if a course has more of them than a chunk."""
    older(Complete("ada", "art", "A"), *(RecordCompletion(student_id, "art", "A") for student_id in STUDENTS))
    older(*(CreateCourse(f"c-{number}", {"capacity": 0, "waitlist_capacity": 1}) for number in range(3)))
    older(*(Enroll("ada", f"c-{number}") for number in range(3)))
    assert recount(database, chunk=2) == 8
    assert_consistent(engine)


def test_it_stops_when_the_server_stops(older: Callable[..., None], database: Database, engine: Engine) -> None:
    """No further chunk begins; another run continues."""
    older(*(RecordCompletion(student_id, "art", "A") for student_id in STUDENTS))
    answers = iter([True, False, False])
    assert recount(database, chunk=1, may_continue=lambda: next(answers)) == 1
    assert recount(database) == 3


def test_a_server_that_holds_the_course_is_waited_for(postgresql_url: str) -> None:
    """A completion that a server voids meanwhile is not counted, and one that it makes keeps its own count."""
    engine = create_engine(postgresql_url)
    database = Database(postgresql_url)
    carry_out(Ledger(database), CreateCourse("art"), *map(CreateStudent, STUDENTS))
    carry_out(Ledger(database), *(Enroll(student_id, "art") for student_id in STUDENTS))
    with as_an_older_server(engine):
        carry_out(Ledger(database), Complete("ada", "art", "A"), Complete("bob", "art", "A"))
    running = threading.Thread(target=recount, args=(database,))

    def let_it_wait() -> None:
        running.start()
        with engine.connect() as connection:
            while running.is_alive() and not connection.scalar(LOCK_WAITS):
                pass

    with watched_ledger(postgresql_url, OnceBefore("commit", let_it_wait)) as (server, _):
        carry_out_here(server, engine, VoidCompletion("art#1"), Complete("cyd", "art", "A"))
    running.join()
    assert counts(engine) == (2, False, [False, True, True, None])
    assert_consistent(engine)
    database.close()
    engine.dispose()


@pytest.fixture
def campus(database: Database, engine: Engine) -> Iterator[Ledger]:
    """A ledger; the database is empty at the end of the test."""
    yield Ledger(database)
    clear_database(engine)


STEPS = st.tuples(st.sampled_from(["older", "newer", "recount"]), st.lists(COMMANDS, min_size=1, max_size=12))


@given(steps=st.lists(STEPS, max_size=8))
@settings(
    max_examples=scaled(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_servers_of_both_versions_together(
    campus: Ledger, database: Database, engine: Engine, steps: list[tuple[str, list[Command]]]
) -> None:
    """Whatever they do, in any order: after a recount everything is as the history says."""
    clear_database(engine)
    carry_out(campus, *FOUNDATION)
    for kind, commands in steps:
        ids = enrollment_ids(engine)
        calls = [call(by_real_ids(command, ids)) for command in commands]
        if kind == "older":
            with as_an_older_server(engine):
                campus.run(calls)
        elif kind == "newer":
            campus.run(calls)
        else:
            recount(database, chunk=3)
            assert_consistent(engine)
        assert [one for one in disagreements_in(engine) if "has_waiters" not in one] == []
    recount(database)
    assert_consistent(engine)
    assert recount(database) == 0


def test_uncounted_completions_are_found_by_their_index(sqlite_url: str) -> None:
    """The index has no entries once everything is counted, so that looking for more costs nothing."""
    query = recounting.COMPLETIONS.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with create_engine(sqlite_url).connect() as connection:
        plan = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert plan == ["SCAN enrollments USING INDEX ix_enrollments_uncounted"]
