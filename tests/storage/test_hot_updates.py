"""The counters of a course change without new entries in any index, as heap-only tuples of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, text

from registrar_server.core.commands import CreateCourse
from registrar_server.storage import statements
from registrar_server.storage.bulk.postgresql_arrays import parameters
from registrar_server.storage.bulk.postgresql_text import text_of
from tests.support.ledgers import carry_out_on

UPDATED = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'courses'")


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection]:
    """A transaction on a database with the courses c-1 to c-200."""
    carry_out_on(postgresql_url, *(CreateCourse(f"c-{number}", {"capacity": 1}) for number in range(1, 201)))
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def updates(connection: Connection, *rows: tuple[int, int, int, int, bool]) -> tuple[int, int]:
    """Count the course as the server does, and return how many updates this transaction made, and how many were HOT."""
    raw = connection.connection.driver_connection
    assert raw is not None
    assert statements.COUNT_COURSES.columns[-1] == "has_waiters"
    for row in rows:
        values = parameters(statements.COUNT_COURSES, [("c-1", *row)])
        result = raw.pgconn.exec_params(text_of(statements.COUNT_COURSES).encode(), values)
        assert result.command_tuples == 1
    changed, hot = connection.execute(UPDATED).one()
    return changed, hot


def test_counters_that_change_while_the_flag_of_waiters_stays(connection: Connection) -> None:
    """``has_waiters`` is written with the counters and has an index, but an equal value needs no new entry."""
    connection.execute(UPDATED)
    assert updates(connection, *((seats, 0, 0, seats, False) for seats in range(1, 6))) == (5, 5)


def test_a_change_of_the_flag_of_waiters(connection: Connection) -> None:
    """The first waiter and the last one cost an entry in each index, and those between them do not."""
    connection.execute(UPDATED)
    waitlists = [(1, 1, 0, 2, True), (1, 2, 0, 3, True), (1, 3, 0, 4, True), (1, 0, 0, 4, False)]
    assert updates(connection, *waitlists) == (4, 2)


def test_pages_have_room_for_the_next_version_of_each_course(connection: Connection) -> None:
    connection.execute(UPDATED)
    connection.execute(text("UPDATE courses SET enrolled_count = enrolled_count + 1"))
    assert tuple(connection.execute(UPDATED).one()) == (200, 200)
