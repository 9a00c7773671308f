"""SQLAlchemy engines, with the connection settings that Registrar needs on each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    settings = [
        f"lock_timeout={LOCK_TIMEOUT_MS}",
        f"idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
    ]
    if autocommit:
        options["isolation_level"] = "AUTOCOMMIT"
    if one_plan:
        # One plan of a ``bulk`` statement fits all of its parameters. By default, PostgreSQL plans some of them at
        # every execution, which takes longer than the execution itself.
        settings.append("plan_cache_mode=force_generic_plan")
    return sqlalchemy.create_engine(url, connect_args=_postgresql_arguments(url, settings), **options)


def _postgresql_arguments(url: URL, settings: Sequence[str]) -> dict[str, Any]:
    given = url.query.get("options", "")
    ours = " ".join(f"-c {setting}" for setting in settings)
    return {
        "options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip(),
        "connect_timeout": int(str(url.query.get("connect_timeout", CONNECT_TIMEOUT_S))),
        "application_name": str(url.query.get("application_name", "registrar")),
        # Detect a server that left the network within seconds; the system's default is a quarter of an hour.
        "tcp_user_timeout": UNANSWERED_TIMEOUT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The module's own BEGIN comes too late and is deferred, so transactions begin explicitly.
    connection.isolation_level = None
    # In a large database every enrollment touches different index pages. At the default of 1,000 pages nearly every
    # batch would pay for a checkpoint; with 8,000 pages the log may grow to 32 MB before one.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 8000"):
        connection.execute(f"PRAGMA {pragma}")


def sqlite_file(url: str | URL) -> Path | None:
    """Return the file of a SQLite URL, or None for another database or one in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))
