"""One migration at a time on a database, however many are started."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import structlog
from sqlalchemy import URL, Connection, text

from registrar_server.migrate.errors import MigrationError
from registrar_server.migrate.schema import connect_autocommit, sqlite_file

# Advisory locks are numbers shared by all who use a database: ours is "registra" in ASCII.
_KEY = int.from_bytes(b"registra")
_POLL_S = 0.1
_TRY = text("SELECT pg_try_advisory_lock(:key)")

_log = structlog.get_logger()


def exclusive(url: URL) -> AbstractContextManager[None]:
    """Wait until no other process migrates this database, then keep others waiting.

    A process that is killed lets go by itself.
    """
    return _advisory_lock(url) if url.get_backend_name() == "postgresql" else _file_lock(url)


@contextmanager
def _advisory_lock(url: URL) -> Iterator[None]:
    with connect_autocommit(url) as connection:
        if not _try_advisory(connection):
            _log.info("migration_waiting", reason="another process is migrating this database")
            # pg_advisory_lock() would wait by itself, but as a running statement: CREATE INDEX CONCURRENTLY
            # in the process that migrates would then wait for us, and we for it.
            while not _try_advisory(connection):
                time.sleep(_POLL_S)
        yield


def _try_advisory(connection: Connection) -> bool:
    return bool(connection.scalar(_TRY, {"key": _KEY}))


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    with _lock_file(sqlite_file(url)) as file:
        if not _try_flock(file):
            _log.info("migration_waiting", reason="another process is migrating this database")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_file(database: Path) -> IO[str]:
    # The file stays: if it were removed, two processes could hold locks on two files of the same name.
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
