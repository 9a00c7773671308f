"""Locks a database, so that only one process migrates it at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import structlog
from sqlalchemy import URL, Connection, text

from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.migrate.schema import connect_autocommit, resolved_file

DEFAULT_WAIT_S = 300.0

# All applications of a database share the numbers of its advisory locks. Ours is "registra" in ASCII.
_ADVISORY_KEY = int.from_bytes(b"registra")
_POLL_SECONDS = 0.1
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_HOLDER = text("""
    SELECT format('pid %s, %s, from %s, since %s', pid, coalesce(nullif(application_name, ''), 'without a name'),
                  coalesce(host(client_addr), 'the same machine'), backend_start)
      FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid = :high AND objid = :low
       AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")

_log = structlog.get_logger()


def migration_lock(url: URL, wait: float = DEFAULT_WAIT_S) -> AbstractContextManager[None]:
    """Wait until no other process migrates this database, at most ``wait`` seconds, then make others wait.

    The lock is released when its process ends, even if it is killed.

    Raises:
        MigrationError: if another process still holds the lock; the message describes that process.
    """
    return _advisory_lock(url, wait) if url.get_backend_name() == "postgresql" else _file_lock(url, wait)


@contextmanager
def _advisory_lock(url: URL, wait: float) -> Iterator[None]:
    with connect_autocommit(url) as connection:
        # Poll instead of calling pg_advisory_lock(): CREATE INDEX CONCURRENTLY in the migrating process waits for every
        # running statement, so it and a waiting pg_advisory_lock() would deadlock.
        _acquire(lambda: _try_advisory(connection), lambda: _advisory_holder(connection), wait)
        yield


@contextmanager
def _file_lock(url: URL, wait: float) -> Iterator[None]:
    with _lock_file(resolved_file(url)) as file:
        _acquire(lambda: _try_flock(file), lambda: _noted_holder(file), wait)
        _note_holder(file)
        yield


def _acquire(try_lock: Callable[[], bool], holder: Callable[[], str], wait: float) -> None:
    if try_lock():
        return
    _log.info("migration_waiting", reason="another process is migrating this database", holder=holder())
    end = time.monotonic() + wait
    while not try_lock():
        if time.monotonic() >= end:
            raise MigrationError(
                f"Another process has been migrating this database for more than {wait:g} seconds: {holder()}. "
                "Let it finish or end it. REGISTRAR_MIGRATION_WAIT says how long to wait."
            )
        time.sleep(_POLL_SECONDS)


def _try_advisory(connection: Connection) -> bool:
    return bool(connection.scalar(_TRY_LOCK, {"key": _ADVISORY_KEY}))


def _advisory_holder(connection: Connection) -> str:
    high, low = divmod(_ADVISORY_KEY, 1 << 32)
    return str(connection.scalar(_HOLDER, {"high": high, "low": low}) or "it has just finished")


def _lock_file(database: Path) -> IO[str]:
    # Never remove the file: two processes could then lock two different files of the same name.
    path = database.with_name(f"{database.name}.migrate.lock")
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise MigrationError(f"The lock file cannot be opened: {error}") from error


def _try_flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note_holder(file: IO[str]) -> None:
    file.truncate(0)
    now = datetime.now(UTC).isoformat(" ", "seconds")
    file.write(f"pid {os.getpid()}, on {socket.gethostname()}, since {now}\n")
    file.flush()


def _noted_holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "an unknown process"
