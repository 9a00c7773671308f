"""Connections of SQLite that stay ready between their uses."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from registrar_server.storage.engines import create_engine
from registrar_server.storage.kept_connections import Connections

PATIENCE_S = 10


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Connections]:
    """The connections of a database with a table ``numbers``."""
    connections = Connections(create_engine(make_url(f"sqlite:///{tmp_path}/numbers.db"), 2), keep=True)
    with connections.lend() as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
    yield connections
    connections.close()


def test_a_connection_is_lent_again(connections: Connections) -> None:
    """The next use gets the same connection, also in another thread."""
    first = lent(connections)
    assert lent(connections) is first
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lent, connections).result() is first


def test_an_open_transaction_is_rolled_back(connections: Connections) -> None:
    """What a use did not commit is gone, after an error and without one."""
    with pytest.raises(ZeroDivisionError):
        insert_and_fail(connections)
    with connections.lend() as connection:
        insert(connection)
    with connections.lend() as connection:
        assert not connection.in_transaction
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)


def test_close(connections: Connections) -> None:
    """The kept connection is closed at once, one in use after its use."""
    kept = lent(connections)
    connections.close()
    assert is_closed(kept)
    with connections.lend() as used:
        assert used is not kept
        connections.close()
        assert not is_closed(used)
    assert is_closed(used)


def test_a_lost_connection_takes_the_kept_one_with_it(connections: Connections) -> None:
    """After an error that says that the database is gone, all connections are new."""
    with connections.lend() as kept, connections.lend() as other:
        pass
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    with pytest.raises(sqlite3.OperationalError), connections.lend():
        raise error
    assert is_closed(kept)
    assert is_closed(other)


def test_whether_they_are_idle(connections: Connections) -> None:
    """A kept connection is idle, a lent one is not."""
    assert connections.are_idle
    with connections.lend():
        assert not connections.are_idle
    assert connections.are_idle


def test_more_threads_than_connections(connections: Connections) -> None:
    """Threads that find no connection wait until another thread gives one back."""
    entered, leave = threading.Barrier(3), threading.Event()

    def use() -> None:
        with connections.lend():
            entered.wait(PATIENCE_S)
            assert leave.wait(PATIENCE_S)

    with ThreadPoolExecutor(3) as threads:
        using = [threads.submit(use) for _ in range(2)]
        entered.wait(PATIENCE_S)
        waiting = threads.submit(lent, connections)
        leave.set()
        assert waiting.result(PATIENCE_S) is not None
        assert [one.result(PATIENCE_S) for one in using] == [None, None]


def lent(connections: Connections) -> sqlite3.Connection:
    """Return the connection that the next use gets."""
    with connections.lend() as connection:
        found: sqlite3.Connection = connection
        return found


def insert(connection: sqlite3.Connection) -> None:
    """Insert a row without a commit."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO numbers VALUES (1)")


def insert_and_fail(connections: Connections) -> None:
    """Insert a row, and fail before the commit."""
    with connections.lend() as connection:
        insert(connection)
        raise ZeroDivisionError


def is_closed(connection: sqlite3.Connection) -> bool:
    """Return whether a connection is closed."""
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False
