"""The write probe: it writes to the database, and nothing remains."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from registrar_server.ledger.ledger import microseconds_now
from registrar_server.ledger.write_probe import PROBE_BYTES, probe_writes
from registrar_server.storage.database import Database
from registrar_server.storage.engines import sqlite_file
from registrar_server.storage.failures import is_read_only
from tests.support.databases import execute


def test_a_probe_leaves_nothing_behind(database: Database, database_url: str) -> None:
    for _ in range(3):
        probe_writes(database, microseconds_now)
    for table in ("request_ids", "events", "students", "courses", "enrollments"):
        assert execute(database_url, f"SELECT * FROM {table}") == []
    assert execute(database_url, "SELECT revision FROM event_counter") == [(0,)]


def test_a_probe_writes_its_row_to_the_disk(sqlite_url: str) -> None:
    """A transaction that is rolled back would not reach a full disk."""
    file = sqlite_file(sqlite_url)
    assert file
    with closing(Database(sqlite_url)) as database:
        probe_writes(database, microseconds_now)
        assert file.with_name(f"{file.name}-wal").stat().st_size > PROBE_BYTES


def test_a_probe_does_not_wait_for_lanes_that_wait_for_locks(postgresql_url: str) -> None:
    """Every lane may hold its connection for as long as a lock takes."""
    with closing(Database(postgresql_url, writers=2)) as database, database.transaction(), database.transaction():
        probe_writes(database, microseconds_now)


def test_a_probe_fails_while_the_database_is_read_only(postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2]
    execute(postgresql_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with closing(Database(postgresql_url)) as database:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            probe_writes(database, microseconds_now)
        writable = f"{postgresql_url}?options=-c default_transaction_read_only=off"
        execute(writable, f"ALTER DATABASE {name} RESET ALL")
        probe_writes(database, microseconds_now)


@pytest.mark.parametrize(
    ("code", "read_only"), [(sqlite3.SQLITE_READONLY_DIRECTORY, True), (sqlite3.SQLITE_FULL, False)]
)
def test_only_read_only_failures_replace_the_connections(code: int, read_only: bool) -> None:
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = code
    assert is_read_only(error) is read_only
    assert is_read_only(DBAPIError("", None, error)) is read_only
