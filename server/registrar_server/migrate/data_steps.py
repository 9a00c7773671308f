"""Runs the data steps: yoyo's migrations on our own connections.

yoyo's own lock is a row, which remains after its process is killed. Callers hold the lock of ``lock.py``, so a row in
yoyo's lock table is stale, and is removed.
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

from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.migrate.revisions import DataStep
from registrar_server.migrate.schema import (
    APPLICATION_NAME,
    POSTGRESQL_SETTINGS,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    resolved_file,
)

_TABLE = "_yoyo_migration"
_APPLIED = text("SELECT migration_id FROM _yoyo_migration ORDER BY migration_id")


class _LogRowMixin:
    """Fills yoyo's log rows without the calls that can fail or be slow.

    yoyo calls getpass, which raises for a user id without a passwd entry, as containers often have. It also looks up
    the full host name in DNS, which can take seconds.
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


class _PostgreSQLBackend(_LogRowMixin, PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo on psycopg 3, with the connection arguments that SQLAlchemy uses."""

    def connect(self, url: URL) -> psycopg.Connection:
        args, kwargs = url.get_dialect()().create_connect_args(url)
        return psycopg.connect(*args, **{**kwargs, "application_name": APPLICATION_NAME}, autocommit=True)

    def init_connection(self, connection: psycopg.Connection) -> None:
        connection.execute(POSTGRESQL_SETTINGS)


class _SQLiteBackend(_LogRowMixin, SQLiteBackend):  # type: ignore[misc]
    """yoyo on SQLite with foreign keys, a busy timeout, and any path."""

    def connect(self, url: URL) -> sqlite3.Connection:
        connection = sqlite3.connect(resolved_file(url), timeout=SQLITE_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def begin(self) -> None:
        # After a plain BEGIN, the first write fails at once if another connection wrote since the first read.
        self._in_transaction = True
        self.execute("BEGIN IMMEDIATE")


def applied(connection: Connection) -> tuple[str, ...]:
    """Return the names of the data steps that are marked as applied."""
    if not inspect(connection).has_table(_TABLE):
        return ()
    return tuple(connection.scalars(_APPLIED))


def apply(url: URL, step: DataStep) -> None:
    """Run a data step and mark it as applied. These are two transactions, so every step must be idempotent.

    Raises:
        MigrationError: if its SQL fails and is rolled back.
    """
    with _backend(url, step) as backend:
        backend.apply_one(_migration(step))


def revert(url: URL, step: DataStep) -> None:
    """Run the rollback of a data step and unmark it. These are two transactions, too.

    Raises:
        MigrationError: if its SQL fails and is rolled back.
    """
    with _backend(url, step) as backend:
        backend.rollback_one(_migration(step))


def _migration(step: DataStep) -> Migration:
    return Migration(step.name, str(step.path), str(step.path.parent))


@contextmanager
def _backend(url: URL, step: DataStep) -> Iterator[DatabaseBackend]:
    backend_class = _PostgreSQLBackend if url.get_backend_name() == "postgresql" else _SQLiteBackend
    try:
        with backend_class(url, _TABLE) as backend:
            if backend.lock_table not in backend.list_tables():
                backend.create_lock_table()
            backend.break_lock()
            yield backend
    except (psycopg.Error, sqlite3.Error) as error:
        raise MigrationError(f"Data step {step.name} failed and was rolled back: {error}") from error
