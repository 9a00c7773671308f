"""Engines, connections and their failures, for SQLite and PostgreSQL.

Writers, lookups and queries have engines of their own. A writer's transaction is begun here, worked on through the
driver's own connection by ``bulk``, and committed there; lookups read through ``bulk`` too, each statement by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from sqlalchemy import Engine, Select, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from registrar_server.errors import contention, database_unavailable
from registrar_server.storage import bulk

Result = TypeVar("Result")

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
UNANSWERED_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 5


class Failure(Enum):
    """What a database error means for the batch it met."""

    CONFLICT = "transactions met and this one was rolled back; run again"
    TAKEN = "another transaction wrote the same key first; run again and see it"
    CONTENTION = "locks were held for too long"
    DATA = "one of the values cannot be stored"
    UNAVAILABLE = "the database cannot be reached or cannot work"
    UNKNOWN = "none of these"


_BY_SQLSTATE = {
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "23505": Failure.TAKEN,
    "23503": Failure.TAKEN,
    "25P03": Failure.UNAVAILABLE,
    "55P03": Failure.CONTENTION,
    "25006": Failure.UNAVAILABLE,
}
_BY_SQLSTATE_CLASS = {
    "08": Failure.UNAVAILABLE,
    "22": Failure.DATA,
    "23": Failure.DATA,
    "53": Failure.UNAVAILABLE,
    "57": Failure.UNAVAILABLE,
    "58": Failure.UNAVAILABLE,
}
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: Failure.CONTENTION,
    sqlite3.SQLITE_LOCKED: Failure.CONTENTION,
    sqlite3.SQLITE_FULL: Failure.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: Failure.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: Failure.UNAVAILABLE,
    sqlite3.SQLITE_READONLY: Failure.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: Failure.UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: Failure.UNAVAILABLE,
}


def classify(error: BaseException) -> Failure:
    """Tell what a driver's or SQLAlchemy's error means."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, PoolTimeout | DatabaseReplaced):
        return Failure.UNAVAILABLE
    if isinstance(error, psycopg.Error):
        return _classify_postgresql(error)
    if isinstance(error, sqlite3.Error | OverflowError):
        return _classify_sqlite(error)
    return Failure.UNKNOWN


def _classify_postgresql(error: psycopg.Error) -> Failure:
    if error.sqlstate is None:
        return Failure.UNAVAILABLE if isinstance(error, psycopg.OperationalError) else Failure.DATA
    by_class = _BY_SQLSTATE_CLASS.get(error.sqlstate[:2], Failure.UNKNOWN)
    return _BY_SQLSTATE.get(error.sqlstate, by_class)


def _classify_sqlite(error: sqlite3.Error | OverflowError) -> Failure:
    if isinstance(error, sqlite3.IntegrityError):
        keyed = "UNIQUE" in str(error) or "FOREIGN KEY" in str(error)
        return Failure.TAKEN if keyed else Failure.DATA
    if isinstance(error, sqlite3.DataError | OverflowError):
        return Failure.DATA
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # The low byte is the primary result code.
    return _BY_SQLITE_CODE.get(code, Failure.UNKNOWN)


def refusal_of(error: Exception) -> Exception:
    """Return what a caller is told of a failed read: a refusal where another try may help, else the error itself."""
    match classify(error):
        case Failure.UNAVAILABLE:
            return database_unavailable()
        case Failure.CONTENTION | Failure.CONFLICT:
            return contention()
    return error


class DatabaseReplaced(Exception):
    """The database's file is not the one that the server began with."""


class CommitUncertain(Exception):
    """The connection broke while committing: the changes may or may not have been made."""


class Database:
    """A database's engines: ``autocommit`` for queries by themselves, write transactions and lookups for ``bulk``."""

    def __init__(self, url: str, *, writers: int = 2, readers: int = 4) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._bulk: bulk.Dialect = bulk.SQLite() if self.is_sqlite else bulk.PostgreSQL()
        self.writers = 1 if self.is_sqlite else writers
        """How many write transactions are worth having at once; SQLite has one writer."""
        self._file = sqlite_file(url)
        self._identity = _identity(self._file)
        self._writer = _create_engine(self.url, self.writers, one_plan=True)
        self._looker = _create_engine(self.url, readers, autocommit=True, one_plan=True)
        self.autocommit = _create_engine(self.url, readers, autocommit=True)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a write transaction; it is rolled back unless its ``commit`` ends it."""
        with self._connection(self._writer) as connection:
            if self.is_sqlite:
                connection.execute("BEGIN IMMEDIATE")
            yield Transaction(self._bulk, connection)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read in the ledger's own way, without locks and without a transaction."""
        with self._connection(self._looker) as connection:
            yield Transaction(self._bulk, connection)

    def look(self, read: Callable[[Transaction], Result]) -> Result:
        """Return what ``read`` finds in a snapshot; a connection that was lost is tried once more, on a new one."""

        def once() -> Result:
            with self.snapshot() as transaction:
                return read(transaction)

        return _twice_if_lost(once)

    def rows(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        """Return what a query finds; a connection that was lost is tried once more, on a new one."""

        def once() -> Sequence[Sequence[Any]]:
            self._check_file()
            with self.autocommit.connect() as connection:
                return connection.execute(query).all()

        return _twice_if_lost(once)

    @contextmanager
    def _connection(self, engine: Engine) -> Iterator[Any]:
        self._check_file()
        pooled = engine.raw_connection()
        try:
            yield pooled.driver_connection
        except BaseException as error:
            lost = classify(error) is Failure.UNAVAILABLE or isinstance(error, CommitUncertain)
            if lost or getattr(pooled.driver_connection, "closed", False):
                pooled.invalidate()
            if lost:
                engine.dispose()  # What ended this connection has likely ended all that were waiting in the pool.
            raise
        finally:
            pooled.close()  # Rolls back whatever was not committed.

    def _check_file(self) -> None:
        """Refuse to work on a SQLite file that is no longer the one in the folder.

        It still answers those who have it open, and nobody else will ever see what is written to it.
        """
        if self._identity is not None and _identity(self._file) != self._identity:
            raise DatabaseReplaced(f"the file {self._file} was moved, removed or replaced since the server started")

    def ping(self) -> None:
        """Ask the database for something of ours; raises when it does not answer."""
        self._check_file()
        with self.autocommit.connect() as connection:
            connection.execute(text("SELECT revision FROM event_counter"))

    def close(self) -> None:
        """Close all pooled connections."""
        self._writer.dispose()
        self._looker.dispose()
        self.autocommit.dispose()


def _twice_if_lost(read: Callable[[], Result]) -> Result:
    try:
        return read()
    except Exception as error:
        if classify(error) is not Failure.UNAVAILABLE:
            raise
    return read()


class Transaction:
    """A driver's connection with ``bulk`` statements to run on it."""

    def __init__(self, dialect: bulk.Dialect, connection: Any) -> None:
        self._dialect = dialect
        self._connection = connection

    def read(self, *requests: tuple[bulk.Statement, bulk.Rows]) -> list[bulk.Rows]:
        """Run selects and locks in order and return the rows of each; those without keys are not sent."""
        wanted = [request for request in requests if request[1]]
        found = iter(self._dialect.read(self._connection, wanted) if wanted else ())
        return [next(found) if rows else [] for _, rows in requests]

    def commit(self, *requests: tuple[bulk.Statement, bulk.Rows]) -> None:
        """Write and commit; raises ``CommitUncertain`` when the answer to the commit was, or may have been, lost.

        Any other error was reported by the database about a statement: nothing was committed, and it is raised as is.
        """
        try:
            self._dialect.write(self._connection, [request for request in requests if request[1]])
        except Exception as error:
            if classify(error) is Failure.UNAVAILABLE:
                raise CommitUncertain from error
            raise


def _create_engine(url: URL, size: int, *, autocommit: bool = False, one_plan: bool = False) -> Engine:
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
        # The statements of ``bulk`` are always the same few, and made so that one plan fits all of their parameters.
        # Left to itself, PostgreSQL plans some of them anew each time, which takes longer than carrying them out.
        settings.append("plan_cache_mode=force_generic_plan")
    return sqlalchemy.create_engine(url, connect_args=_postgresql_arguments(url, settings), **options)


def _postgresql_arguments(url: URL, settings: Sequence[str]) -> dict[str, Any]:
    given = url.query.get("options", "")
    ours = " ".join(f"-c {setting}" for setting in settings)
    return {
        "options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip(),
        "connect_timeout": int(str(url.query.get("connect_timeout", CONNECT_TIMEOUT_S))),
        "application_name": str(url.query.get("application_name", "registrar")),
        # A server that vanished from the network is noticed in seconds rather than in the system's quarter of an hour.
        "tcp_user_timeout": UNANSWERED_TIMEOUT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The module's own BEGIN comes too late and is the wrong one for writers; transactions are begun explicitly.
    connection.isolation_level = None
    # In a large database every enrollment touches pages of its own in the indexes: at the usual 1,000 pages nearly
    # every batch would pay for moving the log into the file. Here the log may grow to 32 MB before somebody does.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 8000"):
        connection.execute(f"PRAGMA {pragma}")


def _identity(file: Path | None) -> tuple[int, int] | None:
    try:
        found = file.stat() if file else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL, or None for another database or one in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))
