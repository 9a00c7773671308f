"""The data side: yoyo's steps on our connections.

yoyo keeps a lock of its own, a row that outlives a killed process. Ours (``lock.py``) is held whenever these
functions run, so a row that is found there is stale and is removed.
"""

from __future__ import annotations

import getpass
import os
import socket
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, inspect, text
from yoyo.backends import DatabaseBackend
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.backends.core.sqlite3 import SQLiteBackend
from yoyo.migrations import Migration

from registrar_server.migrate.errors import MigrationError
from registrar_server.migrate.revisions import DataStep
from registrar_server.migrate.schema import POSTGRESQL_SETTINGS, SQLITE_BUSY_TIMEOUT_S, sqlite_file

_TABLE = "_yoyo_migration"
_APPLIED = text("SELECT migration_id FROM _yoyo_migration ORDER BY migration_id")


class _LogData:
    """Fills yoyo's log rows where yoyo itself would fail or be slow.

    yoyo asks getpass, which raises for a user id without a passwd entry (any container may have one), and
    looks the host's full name up in DNS, which can take seconds.
    """

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": _user_name(),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class _PostgreSQL(_LogData, PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo on psycopg 3, connected exactly as SQLAlchemy would."""

    def connect(self, url: URL) -> psycopg.Connection:
        args, kwargs = url.get_dialect()().create_connect_args(url)
        return psycopg.connect(*args, **kwargs, autocommit=True)

    def init_connection(self, connection: psycopg.Connection) -> None:
        connection.execute(POSTGRESQL_SETTINGS)


class _SQLite(_LogData, SQLiteBackend):  # type: ignore[misc]
    """yoyo on SQLite with foreign keys, patience, and any path."""

    def connect(self, url: URL) -> sqlite3.Connection:
        connection = sqlite3.connect(sqlite_file(url), timeout=SQLITE_BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def begin(self) -> None:
        # A plain BEGIN takes the write lock late, and then fails at once if someone else wrote meanwhile.
        self._in_transaction = True
        self.execute("BEGIN IMMEDIATE")


def applied(connection: Connection) -> tuple[str, ...]:
    """The names of the data steps marked as applied."""
    if not inspect(connection).has_table(_TABLE):
        return ()
    return tuple(connection.scalars(_APPLIED))


def apply(url: URL, step: DataStep) -> None:
    """Run a data step and mark it as applied; in two transactions, hence steps must bear being run twice.

    Raises:
        MigrationError: if its SQL fails; nothing of it is kept.
    """
    with _backend(url, step) as backend:
        backend.apply_one(_migration(step))


def revert(url: URL, step: DataStep) -> None:
    """Run a data step's rollback and unmark it; the same holds as for ``apply``.

    Raises:
        MigrationError: if its SQL fails; nothing of it is kept.
    """
    with _backend(url, step) as backend:
        backend.rollback_one(_migration(step))


def _migration(step: DataStep) -> Migration:
    return Migration(step.name, str(step.path), str(step.path.parent))


@contextmanager
def _backend(url: URL, step: DataStep) -> Iterator[DatabaseBackend]:
    kind = _PostgreSQL if url.get_backend_name() == "postgresql" else _SQLite
    try:
        with kind(url, _TABLE) as backend:
            if backend.lock_table not in backend.list_tables():
                backend.create_lock_table()
            backend.break_lock()
            yield backend
    except (psycopg.Error, sqlite3.Error) as error:
        raise MigrationError(f"Data step {step.name} failed and was rolled back: {error}") from error
