"""PostgreSQL in the event loop: statements are sent and their results are read without a thread.

Connecting and closing block, so they run in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, PoolProxiedConnection

from registrar_server.storage import bulk
from registrar_server.storage.bulk.postgresql import Exchange, reading, rolling_back, writing
from registrar_server.storage.database import Database, QueryResults, with_parameters
from registrar_server.storage.failures import CommitUncertain, Failure, classify, error_of_commit
from registrar_server.storage.loop_exchange import converse
from registrar_server.storage.stores import Exchanges, Store

Result = TypeVar("Result")

MANY_ROWS = 1_000
"""From this many rows on, a computation runs in a thread: it would keep the event loop for many milliseconds."""


class LoopStore(Store):
    """A store whose transactions the event loop drives. It belongs to one event loop."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.availability)
        self._writers = _Connections(database, database.writer)
        self._lookers = _Connections(database, database.looker)

    def transaction(self) -> AbstractAsyncContextManager[Exchanges]:
        """Begin a write transaction; the first read begins it in the database."""
        return self._writers.use()

    def snapshot(self) -> AbstractAsyncContextManager[Exchanges]:
        """Read without locks and without a transaction."""
        return self._lookers.use()

    async def pause(self, seconds: float) -> None:
        """Let other work go on."""
        await asyncio.sleep(seconds)

    async def compute(self, rows: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call the function, in a thread if it takes long."""
        if rows < MANY_ROWS:
            return function(*arguments)
        return await asyncio.to_thread(function, *arguments)

    async def close(self) -> None:
        """Close all idle connections."""
        await self._writers.close_idle()
        await self._lookers.close_idle()


class _Connections:
    """The connections of one engine: each is used by one transaction at a time, and kept for the next."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine
        self._idle: list[_Connection] = []

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Exchanges]:
        connection = await self._take()
        try:
            yield connection
        except BaseException as error:
            if classify(error) is Failure.UNAVAILABLE or isinstance(error, CommitUncertain):
                await connection.close()
                await self.close_idle()  # They are likely lost too.
            else:
                await connection.roll_back()
            raise
        else:
            await connection.end()
        finally:
            if connection.is_open:
                self._idle.append(connection)

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.generation == self._database.generation:
                return connection
            await connection.close()
        return _Connection(await asyncio.to_thread(self._engine.raw_connection), self._database.generation)

    async def close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        await asyncio.to_thread(self._engine.dispose)


class _Connection:
    def __init__(self, pooled: PoolProxiedConnection, generation: int) -> None:
        self._pooled = pooled
        self._driver: Any = pooled.driver_connection
        self.generation = generation

    @property
    def is_open(self) -> bool:
        return not self._driver.closed

    async def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        """Run selects and locks; see ``Transaction.read``."""
        sent = with_parameters(requests.items())
        if not sent:
            return QueryResults.of(requests, ())
        exchange = reading(self._driver, sent)
        return QueryResults.of(requests, exchange.rows(await self._converse(exchange)))

    async def commit(self, *requests: tuple[bulk.Statement, bulk.Rows]) -> None:
        """Write and commit; see ``Transaction.commit``."""
        try:
            exchange = writing(self._driver, with_parameters(requests))
            exchange.check(await self._converse(exchange))
        except Exception as error:
            raise error_of_commit(error) from error.__cause__

    async def end(self) -> None:
        """Roll back a transaction that was not committed."""
        if self._driver.pgconn.transaction_status != TransactionStatus.IDLE:
            await self.roll_back()

    async def roll_back(self) -> None:
        """Roll the transaction back, or close the connection if that fails."""
        if self.is_open:
            try:
                exchange = rolling_back(self._driver)
                exchange.check(await self._converse(exchange))
            except Exception:
                await self.close()

    async def _converse(self, exchange: Exchange) -> Any:
        return await converse(self._driver, exchange)

    async def close(self) -> None:
        """Close the connection, in a thread since that may block."""
        await asyncio.to_thread(self._pooled.invalidate)
