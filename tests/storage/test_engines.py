"""Connections to a database that no server has used yet."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from registrar_server.storage import engines
from registrar_server.storage.database import Database


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    engine = engines.create_engine(make_url(sqlite_url), 1)
    yield engine
    engine.dispose()


@pytest.fixture
def other(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """A connection that locks the file, whose log is not yet in a file of its own."""
    with closing(sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_first_connections_wait_for_each_other(
    engine: Engine, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: other.rollback())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.usefixtures("other")
def test_first_connection_gives_up_after_the_lock_timeout(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 20)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        engine.raw_connection()


def test_postgresql_compiles_no_queries(postgresql_url: str) -> None:
    """It would compile short queries each time, as long as their tables were never analyzed."""
    database = Database(postgresql_url)
    try:
        for each in (database.writer, database.looker, database.autocommit):
            with each.connect() as connection:
                assert connection.exec_driver_sql("SHOW jit").scalar() == "off"
    finally:
        database.close()
