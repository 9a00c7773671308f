"""PostgreSQL in the event loop: statements are sent and their results are read without a thread.

Connecting, closing and long computations would block the event loop, so they run in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, cast

from psycopg import Connection
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, PoolProxiedConnection

from registrar_server.storage import bulk
from registrar_server.storage.bulk.postgresql import Exchange, reading, rolling_back, writing
from registrar_server.storage.database import NO_READS, Database, QueryResults, with_parameters
from registrar_server.storage.failures import CommitUncertain, Failure, classify, error_of_commit
from registrar_server.storage.loop_exchange import EXCHANGE_TIMEOUT_S, LoopConnection
from registrar_server.storage.stores import Exchanges, Store

Result = TypeVar("Result")

LONG_US = 5_000
"""How many microseconds a computation may keep the event loop; a longer one runs in a thread. A shorter one would wait
there for the interpreter, up to 5 ms, while the locks of its transaction are held."""
CONVERSION_US = 2
"""How long it takes at most to convert a row to parameters or from a result, unless it has long documents."""

SPARE_THREADS = 4
"""How many threads there are beside one for each lane of changes: for lookups, and to close connections meanwhile."""

_IN_NO_TRANSACTION = int(TransactionStatus.IDLE)


class LoopStore(Store):
    """A store whose transactions the event loop drives. It belongs to one event loop."""

    def __init__(self, database: Database, *, exchange_timeout: float = EXCHANGE_TIMEOUT_S) -> None:
        super().__init__(database.availability)
        # The threads are its own, since those of the event loop may all be busy with other work.
        self._threads = _Threads(database.writers + SPARE_THREADS)
        self._writers = _Connections(database, database.writer, self._threads, exchange_timeout)
        self._lookers = _Connections(database, database.looker, self._threads, exchange_timeout)

    def transaction(self) -> AbstractAsyncContextManager[Exchanges]:
        """Begin a write transaction; the first read begins it in the database."""
        return _Use(self._writers)

    def snapshot(self) -> AbstractAsyncContextManager[Exchanges]:
        """Read without locks and without a transaction."""
        return _Use(self._lookers)

    async def pause(self, seconds: float) -> None:
        """Let other work go on."""
        await asyncio.sleep(seconds)

    async def compute(self, microseconds: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call the function, in a thread if it takes long."""
        return await self._threads.compute(microseconds, function, *arguments)

    async def close(self) -> None:
        """Close all connections, which must be idle, and end the threads."""
        await self._writers.close_idle()
        await self._lookers.close_idle()
        self._threads.close()


class _Threads:
    def __init__(self, most: int) -> None:
        self._executor = ThreadPoolExecutor(most, thread_name_prefix="database")

    def run(self, function: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    async def compute(self, microseconds: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function here, or in a thread if it takes long."""
        if microseconds < LONG_US:
            return function(*arguments)
        return await self.run(function, *arguments)

    def begin(self, function: Callable[[], object]) -> None:
        """Run a function, and wait for nothing."""
        self._executor.submit(function)

    def close(self) -> None:
        self._executor.shutdown(wait=False)


class _Connections:
    """The connections of one engine: each is used by one transaction at a time, and kept for the next.

    They stay checked out of the engine's pool, which other threads use too.
    """

    def __init__(self, database: Database, engine: Engine, threads: _Threads, exchange_timeout: float) -> None:
        self._database = database
        self._engine = engine
        self._threads = threads
        self._exchange_timeout = exchange_timeout
        self._idle: list[_Connection] = []
        self._unused: set[asyncio.Future[PoolProxiedConnection]] = set()
        """The connections that are being made, although nobody waits for them any more."""

    async def take(self) -> _Connection:
        """Return an idle connection, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.generation == self._database.generation:
                return connection
            self._threads.begin(connection.closing())
        return await self._connect()

    async def _connect(self) -> _Connection:
        generation = self._database.generation  # It may rise while this connects.
        connecting = self._threads.run(self._engine.raw_connection)
        try:
            pooled = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            self._unused.add(connecting)
            connecting.add_done_callback(self._close_unused)
            raise
        return _Connection(pooled, generation, self._threads, self._exchange_timeout)

    def _close_unused(self, connecting: asyncio.Future[PoolProxiedConnection]) -> None:
        """Close a new connection that nobody waits for any more."""
        self._unused.discard(connecting)
        if not connecting.cancelled() and connecting.exception() is None:
            self._threads.begin(connecting.result().invalidate)

    async def put_back(self, connection: _Connection, error: BaseException | None) -> None:
        """Keep a connection after its transaction, which may have failed."""
        if error is not None and not isinstance(error, Exception):
            connection.abort()  # The task is cancelled, and the end of the event loop may be near: do not talk.
        elif isinstance(error, CommitUncertain) or (error and classify(error) is Failure.UNAVAILABLE):
            connection.abort()
            await self._close_all(connection)  # The idle ones are likely lost too.
            return
        else:
            await connection.end()
        if connection.is_open:
            self._idle.append(connection)
        else:
            self._threads.begin(connection.closing())

    async def close_idle(self) -> None:
        """Close the idle connections, also those in the pool of the engine, and those that nobody uses."""
        if self._unused:
            await asyncio.wait(self._unused)
        await self._close_all()

    async def _close_all(self, *others: _Connection) -> None:
        idle, self._idle = [*self._idle, *others], []
        closings = [*(connection.closing() for connection in idle), self._engine.dispose]
        await asyncio.shield(self._threads.run(_call_all, closings))


def _call_all(functions: Iterable[Callable[[], object]]) -> None:
    for function in functions:
        function()


class _Use:
    """A transaction or a snapshot, as a context manager."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections

    async def __aenter__(self) -> Exchanges:
        self._connection = await self._connections.take()
        return self._connection

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._connections.put_back(self._connection, error)


class _Connection:
    def __init__(
        self, pooled: PoolProxiedConnection, generation: int, threads: _Threads, exchange_timeout: float
    ) -> None:
        self._pooled = pooled
        self._driver = cast("Connection[Any]", pooled.driver_connection)
        self._threads = threads
        self._loop_connection = LoopConnection(self._driver, exchange_timeout)
        self.generation = generation

    @property
    def is_open(self) -> bool:
        return self._loop_connection.is_open

    async def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        """Run selects and locks; see ``Transaction.read``."""
        sent = with_parameters(requests.items())
        if not sent:
            return QueryResults.of(requests, ())
        exchange = await self._prepare(reading, sent)
        await self._loop_connection.run(exchange)
        return await self._threads.compute(exchange.row_count() * CONVERSION_US, _read, requests, exchange)

    async def commit(
        self, *requests: tuple[bulk.Statement, bulk.Rows], reads: Mapping[bulk.Query[Any], bulk.Rows] = NO_READS
    ) -> QueryResults:
        """Write, run selects, and commit; see ``Transaction.commit``."""
        exchange = await self._prepare(writing, with_parameters(requests), with_parameters(reads.items()))
        self._loop_connection.check()  # Nothing is sent on a connection that is lost already, so nothing is uncertain.
        try:
            await self._loop_connection.run(exchange)
            return _read(reads, exchange)
        except Exception as error:
            raise error_of_commit(error) from error.__cause__

    async def _prepare(self, kind: Callable[..., Exchange], *sent: list[tuple[Any, bulk.Rows]]) -> Exchange:
        rows = sum([len(rows) for part in sent for _, rows in part])
        return await self._threads.compute(rows * CONVERSION_US, kind, self._driver, *sent)

    async def end(self) -> None:
        """Roll back a transaction that was not committed."""
        if self.is_open and self._driver.pgconn.transaction_status != _IN_NO_TRANSACTION:
            exchange = rolling_back(self._driver)
            try:
                await self._loop_connection.run(exchange)
                exchange.check()
            except Exception:
                self.abort()

    def abort(self) -> None:
        """End the connection without talking to the database."""
        self._loop_connection.abort()

    def closing(self) -> Callable[[], object]:
        """Stop watching the connection, and return what closes it. That may block, so it has to run in a thread."""
        self._loop_connection.detach()
        return self._pooled.invalidate


def _read(requests: Mapping[bulk.Query[Any], bulk.Rows], exchange: Exchange) -> QueryResults:
    return QueryResults.of(requests, exchange.rows())
