"""Connections and transactions, for SQLite and PostgreSQL.

Writers, lookups and queries have separate engines. Write transactions and lookups run the statements of ``bulk`` on the
driver's own connection; queries run through SQLAlchemy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar, cast

from sqlalchemy import QueuePool, Select, text
from sqlalchemy.engine import make_url

from registrar_server import stopwatch
from registrar_server.availability import Availability
from registrar_server.immediate import complete
from registrar_server.storage import bulk
from registrar_server.storage.engines import create_engine, sqlite_file
from registrar_server.storage.failures import DatabaseReplaced, Failure, classify, error_of_commit
from registrar_server.storage.kept_connections import Connections

Found = TypeVar("Found")
Asked = TypeVar("Asked", bound=bulk.Statement)
Result = TypeVar("Result")

NO_READS: Mapping[bulk.Query[Any], bulk.Rows] = MappingProxyType({})
QUIET_S = 1.0
"""How long calls wait for the calls before them when all connections are replaced."""


class Database:
    """A database's engines: ``autocommit`` for single queries, and two for the statements of ``bulk``."""

    def __init__(self, url: str, *, writers: int = 2, readers: int = 4) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._bulk: bulk.Dialect = bulk.SQLite() if self.is_sqlite else bulk.PostgreSQL()
        self.writers = 1 if self.is_sqlite else writers
        """How many lanes of changes may write at once; SQLite has one writer."""
        self.availability = Availability()
        """Whether the database works, as far as the callers of this object know."""
        self._file = sqlite_file(self.url)
        self._identity = _identity(self._file)
        # Housekeeping and the write probe share one more connection, so that they do not wait for the lanes.
        self.writer = create_engine(self.url, self.writers + 1, one_plan=True)
        self.looker = create_engine(self.url, readers, autocommit=True, one_plan=True)
        # API keys are looked up, their use is noted, and watchers read the history beside the queries.
        self.autocommit = create_engine(self.url, readers + 5, autocommit=True)
        self._writing = Connections(self.writer, keep=self.is_sqlite)
        self._looking = Connections(self.looker, keep=self.is_sqlite)
        self.generation = 0
        """Rises each time when all connections are closed; those opened before are not to be used any more."""
        self._admits = threading.Event()
        self._admits.set()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a write transaction. It is rolled back unless its ``commit`` ends it."""
        with self._connection(self._writing) as connection:
            if self.is_sqlite:
                connection.execute("BEGIN IMMEDIATE")
            yield Transaction(self._bulk, connection)

    @contextmanager
    def read_connection(self) -> Iterator[Transaction]:
        """Read with the statements of ``bulk``, without locks and without a transaction."""
        with self._connection(self._looking) as connection:
            yield Transaction(self._bulk, connection)

    def rows(
        self, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any] | None = None, *, calls: int = 1
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a query. After a lost connection, retry once on a new one.

        ``calls`` is the number of callers who wait for the rows, for the log of an outage.
        """
        return complete(twice_if_lost(lambda: self._rows(query, parameters), self.availability, calls))

    async def _rows(
        self, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any] | None
    ) -> Sequence[Sequence[Any]]:
        self._check()
        with self.autocommit.connect() as connection:
            return connection.execute(query, parameters).all()

    @contextmanager
    def _connection(self, connections: Connections) -> Iterator[Any]:
        self._check()
        with connections.lend() as connection:
            yield connection

    def _check(self) -> None:
        if not self._admits.is_set():
            self._admits.wait(QUIET_S)
        self._check_file()

    def _check_file(self) -> None:
        """Raise ``DatabaseReplaced`` if the SQLite file is no longer the one in the folder.

        Open connections to a removed file still work, but no new connection would see what they write.
        """
        if self._identity is not None and _identity(self._file) != self._identity:
            raise DatabaseReplaced(f"the file {self._file} was moved, removed or replaced since the server started")

    def ping(self) -> None:
        """Query the event counter; raises if the database does not answer."""
        self._check_file()
        with self.autocommit.connect() as connection:
            connection.execute(text("SELECT revision FROM event_counter"))

    def reconnect(self) -> None:
        """Replace all connections with new ones. On SQLite, new calls wait until those in progress are finished.

        The connections of a process share what they know about a SQLite file. If one was opened while the file was
        read-only, later ones cannot write either, until all of them are closed.
        """
        self._admits.clear()
        try:
            if self.is_sqlite:
                self._await_quiet()
            self.close()
        finally:
            self._admits.set()

    def _await_quiet(self) -> None:
        until = time.monotonic() + QUIET_S
        queries = cast("QueuePool", self.autocommit.pool)
        while not (self._writing.are_idle and self._looking.are_idle and queries.checkedout() == 0):
            if time.monotonic() >= until:
                return
            time.sleep(0.001)

    def close(self) -> None:
        """Close all pooled connections."""
        self._writing.close()
        self._looking.close()
        self.autocommit.dispose()
        self.generation += 1  # After the pools are empty, so that a connection from before never counts as a new one.


async def twice_if_lost(read: Callable[[], Awaitable[Result]], availability: Availability, calls: int) -> Result:
    """Return the result of ``read``, and note whether reading works. After a lost connection, read once more."""
    stopwatch.enter("database")
    try:
        found = await _twice_if_lost(read)
    except Exception as error:
        if classify(error) is Failure.UNAVAILABLE:
            availability.failed("reading", error, calls=calls)
        raise
    stopwatch.enter("packed")
    availability.succeeded("reading")
    return found


async def _twice_if_lost(read: Callable[[], Awaitable[Result]]) -> Result:
    try:
        return await read()
    except Exception as error:
        if classify(error) is not Failure.UNAVAILABLE:
            raise
    return await read()


class QueryResults:
    """What queries found, by query: a list with one value per row."""

    def __init__(self, found: Mapping[bulk.Query[Any], list[Any]]) -> None:
        self._found = found

    @classmethod
    def of(cls, asked: Mapping[bulk.Query[Any], bulk.Rows], rows: Iterable[bulk.Rows]) -> Self:
        """Read the rows that the database returned for those queries that have parameters, in order."""
        each = iter(rows)
        return cls({query: list(map(query.read, next(each))) if given else [] for query, given in asked.items()})

    def row_count(self) -> int:
        """Return how many rows all queries found."""
        return sum(map(len, self._found.values()))

    def __getitem__(self, query: bulk.Query[Found]) -> list[Found]:
        return self._found[query]


class Transaction:
    """Runs ``bulk`` statements on a driver's connection."""

    def __init__(self, dialect: bulk.Dialect, connection: Any) -> None:
        self._dialect = dialect
        self._connection = connection

    def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        """Run selects and locks in order, each with its rows of parameters; one without parameters is not sent."""
        sent = with_parameters(requests.items())
        return QueryResults.of(requests, self._dialect.read(self._connection, sent) if sent else ())

    def commit(
        self, *requests: tuple[bulk.Statement, bulk.Rows], reads: Mapping[bulk.Query[Any], bulk.Rows] = NO_READS
    ) -> QueryResults:
        """Write, run selects, and commit. Raises ``CommitUncertain`` if the result of the commit is lost, or may be.

        Any other error is the database's report on a statement: nothing was committed.
        """
        try:
            found = self._dialect.write(self._connection, with_parameters(requests), with_parameters(reads.items()))
            return QueryResults.of(reads, found)
        except Exception as error:
            raise error_of_commit(error) from error.__cause__


def with_parameters(requests: Iterable[tuple[Asked, bulk.Rows]]) -> list[tuple[Asked, bulk.Rows]]:
    """Return the statements that have rows of parameters; the others are not sent."""
    return [request for request in requests if request[1]]


def _identity(file: Path | None) -> tuple[int, int] | None:
    try:
        found = file.stat() if file else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found else None
