"""SQLAlchemy engines, with the connection settings that Registrar needs on each database."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, make_url

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
UNANSWERED_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 5


def create_engine(url: URL, size: int, *, autocommit: bool = False, one_plan: bool = False) -> Engine:
    """Return an engine with a pool of ``size`` connections.

    ``one_plan`` makes PostgreSQL plan each prepared statement once, for any parameters.
    """
    options: dict[str, Any] = {"pool_size": size, "max_overflow": 0, "pool_timeout": CONNECT_TIMEOUT_S}
    if url.get_backend_name() == "sqlite":
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_MS / 1000}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    settings: dict[str, str | int] = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
        # Before PostgreSQL has analyzed a table, it takes short queries for long ones, and compiles them each time,
        # which takes some hundred times as long as the queries.
        "jit": "off",
    }
    if autocommit:
        options["isolation_level"] = "AUTOCOMMIT"
    if one_plan:
        # One plan of a ``bulk`` statement fits all of its parameters. By default, PostgreSQL plans some of them at
        # every execution, which takes longer than the execution itself.
        settings["plan_cache_mode"] = "force_generic_plan"
    engine = sqlalchemy.create_engine(url, connect_args=_postgresql_arguments(url), **options)
    event.listen(engine, "connect", partial(_prepare_postgresql, _set_all(url, settings)))
    return engine


def postgresql_arguments(url: URL) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that psycopg takes to connect, with the settings of all connections of a server."""
    arguments, options = url.get_dialect()().create_connect_args(url)
    return list(arguments), {**options, **_postgresql_arguments(url)}


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    return {
        "connect_timeout": int(str(url.query.get("connect_timeout", CONNECT_TIMEOUT_S))),
        "application_name": application_name(url),
        # Detect a server that left the network within seconds; the system's default is a quarter of an hour.
        "tcp_user_timeout": UNANSWERED_TIMEOUT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def application_name(url: URL) -> str:
    """Return the name that PostgreSQL shows for the connections of a server: the URL's, else ``registrar``."""
    return str(url.query.get("application_name", "registrar"))


def _set_all(url: URL, settings: Mapping[str, str | int]) -> str:
    """Return the statements for these settings, except for those in the ``options`` of the URL."""
    given = str(url.query.get("options", ""))
    return "; ".join(f"SET {name} = {value}" for name, value in settings.items() if f"{name}=" not in given)


def _prepare_postgresql(statements: str, connection: psycopg.Connection, _record: Any) -> None:
    # PgBouncer refuses ``options`` when a connection starts, so the settings take a round trip of their own. A driver
    # that would begin a transaction for them would need another one.
    autocommit = connection.autocommit
    connection.autocommit = True
    connection.execute(statements)
    connection.autocommit = autocommit


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The module's own BEGIN comes too late and is deferred, so transactions begin explicitly.
    connection.isolation_level = None
    _write_ahead(connection)
    # In a large database every enrollment touches different index pages. At the default of 1,000 pages nearly every
    # batch would pay for a checkpoint; with 8,000 pages the log may grow to 32 MB before one.
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 8000"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Keep the log of changes in a file of its own, so that reads do not wait for writes.

    The first connection to a database changes its file for this. SQLite does not wait for the others meanwhile.
    """
    until = time.monotonic() + LOCK_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(0.001)


def sqlite_file(url: str | URL) -> Path | None:
    """Return the file of a SQLite URL, or None for another database or one in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))
