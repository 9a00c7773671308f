"""A connection that the event loop watches: how the watching ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from registrar_server.storage.bulk.postgresql import reading
from registrar_server.storage.loop_exchange import Line
from tests.support.drivers import SELECT_STUDENTS
from tests.support.sessions import end_sessions

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection[Any]]:
    """A connection as a pool makes it."""
    connection = psycopg.connect(postgresql_url)
    yield connection
    connection.close()


def sockets() -> set[int]:
    """Return the open sockets of this process."""
    return {int(entry.name) for entry in DESCRIPTORS.iterdir() if entry.is_socket()}


async def ask(line: Line, connection: Connection[Any]) -> list[Any]:
    exchange = reading(connection, [(SELECT_STUDENTS, [("s-1",)])])
    await line.converse(exchange)
    return exchange.rows()


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not list descriptors")
@pytest.mark.parametrize("how", ["hangs up", "lets go", "is lost"])
async def test_a_line_that_ends_leaves_no_descriptor_and_nothing_watched(
    how: str, connection: Connection[Any], postgresql_url: str
) -> None:
    """Another socket may get the number at once, and the event loop must not take its input for that of the line."""
    await asyncio.to_thread(sockets)  # The event loop opens its own sockets before.
    before = sockets()
    line = Line(connection)
    (watched,) = sockets() - before
    assert await ask(line, connection) == [[]]
    match how:
        case "hangs up":
            line.hang_up()
        case "lets go":
            line.let_go()
        case "is lost":
            await asyncio.to_thread(end_sessions, postgresql_url)
            with pytest.raises(psycopg.OperationalError):
                await ask(line, connection)
    assert watched not in sockets()
    assert not asyncio.get_running_loop().remove_reader(watched)


async def test_a_connection_stays_usable_after_its_line_let_go(connection: Connection[Any]) -> None:
    line = Line(connection)
    assert await ask(line, connection) == [[]]
    line.let_go()
    connection.rollback()
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


async def test_a_line_that_hung_up_carries_nothing_out(connection: Connection[Any]) -> None:
    line = Line(connection)
    line.hang_up()
    with pytest.raises(psycopg.OperationalError, match="lost"):
        await ask(line, connection)


async def test_a_notice_that_nobody_asked_for_is_read(connection: Connection[Any], postgresql_url: str) -> None:
    connection.execute("LISTEN news")
    connection.commit()
    line = Line(connection)
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute("NOTIFY news")
    assert await ask(line, connection) == [[]]
    line.let_go()
