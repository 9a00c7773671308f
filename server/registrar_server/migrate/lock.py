"""Locks a database, so that only one process migrates it at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import structlog
from sqlalchemy import URL, Connection, text

from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.migrate.schema import connect_autocommit, resolved_file

# All applications of a database share the numbers of its advisory locks. Ours is "registra" in ASCII.
_ADVISORY_KEY = int.from_bytes(b"registra")
_POLL_SECONDS = 0.1
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")

_log = structlog.get_logger()


def migration_lock(url: URL) -> AbstractContextManager[None]:
    """Wait until no other process migrates this database, then make others wait.

    The lock is released when its process ends, even if it is killed.
    """
    return _advisory_lock(url) if url.get_backend_name() == "postgresql" else _file_lock(url)


@contextmanager
def _advisory_lock(url: URL) -> Iterator[None]:
    with connect_autocommit(url) as connection:
        if not _try_advisory(connection):
            _log.info("migration_waiting", reason="another process is migrating this database")
            # Poll instead of calling pg_advisory_lock(): CREATE INDEX CONCURRENTLY in the migrating process waits
            # for every running statement, so it and a waiting pg_advisory_lock() would deadlock.
            while not _try_advisory(connection):
                time.sleep(_POLL_SECONDS)
        yield


def _try_advisory(connection: Connection) -> bool:
    return bool(connection.scalar(_TRY_LOCK, {"key": _ADVISORY_KEY}))


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    with _lock_file(resolved_file(url)) as file:
        if not _try_flock(file):
            _log.info("migration_waiting", reason="another process is migrating this database")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_file(database: Path) -> IO[str]:
    # Never remove the file: two processes could then lock two different files of the same name.
    path = database.with_name(f"{database.name}.migrate.lock")
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"The lock file cannot be opened: {error}") from error


def _try_flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
