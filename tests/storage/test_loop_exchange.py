"""A connection that the event loop watches: what it reads unasked, and how the watching ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from registrar_server.storage import loop_exchange
from registrar_server.storage.bulk.postgresql import Exchange, reading
from registrar_server.storage.loop_exchange import LoopConnection
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


async def ask(watched: LoopConnection, connection: Connection[Any]) -> list[Any]:
    exchange = reading(connection, [(SELECT_STUDENTS, [("s-1",)])])
    await watched.run(exchange)
    return exchange.rows()


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not list descriptors")
@pytest.mark.parametrize("how", ["is aborted", "is detached", "is lost"])
async def test_a_connection_that_ends_leaves_no_descriptor_and_nothing_watched(
    how: str, connection: Connection[Any], postgresql_url: str
) -> None:
    """Another socket may get the number at once, and the event loop must not read it for this connection."""
    await asyncio.to_thread(sockets)  # The event loop opens its own sockets before.
    before = sockets()
    watched = LoopConnection(connection)
    (descriptor,) = sockets() - before
    assert await ask(watched, connection) == [[]]
    match how:
        case "is aborted":
            watched.abort()
        case "is detached":
            watched.detach()
        case "is lost":
            await asyncio.to_thread(end_sessions, postgresql_url)
            with pytest.raises(psycopg.OperationalError):
                await ask(watched, connection)
    assert descriptor not in sockets()
    assert not asyncio.get_running_loop().remove_reader(descriptor)


async def test_a_connection_stays_usable_after_it_is_detached(connection: Connection[Any]) -> None:
    watched = LoopConnection(connection)
    assert await ask(watched, connection) == [[]]
    watched.detach()
    connection.rollback()
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


async def test_an_aborted_connection_runs_nothing(connection: Connection[Any]) -> None:
    watched = LoopConnection(connection)
    watched.abort()
    with pytest.raises(psycopg.OperationalError, match="lost"):
        await ask(watched, connection)


async def test_a_notice_that_nobody_asked_for_is_read(connection: Connection[Any], postgresql_url: str) -> None:
    connection.execute("LISTEN news")
    connection.commit()
    watched = LoopConnection(connection)
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute("NOTIFY news")
    assert await ask(watched, connection) == [[]]
    watched.detach()


async def test_input_that_encryption_has_kept_is_read_without_new_input(
    connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket reports only new input. What the layer of encryption has taken from it is found by trying again."""
    receive, tries = Exchange.receive, list[bool]()

    def receive_late(exchange: Exchange) -> bool:
        if True not in tries:
            tries.append(receive(exchange))
            return False
        tries.append(True)
        return len(tries) > 3

    monkeypatch.setattr(Exchange, "receive", receive_late)
    monkeypatch.setattr(loop_exchange, "_buffers_input", lambda _connection: True)
    watched = LoopConnection(connection, timeout=5)
    assert await ask(watched, connection) == [[]]
    watched.detach()
