"""The database as the code of batches sees it: awaitable transactions, whether a thread or the event loop drives them.

The ledger and the lookups exist once. On PostgreSQL the event loop runs them; on SQLite, whose driver blocks, a thread
does, and everything that they await is done at once (``immediate.complete``).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from registrar_server.availability import Availability
from registrar_server.storage import bulk
from registrar_server.storage.database import NO_READS, Database, QueryResults, Transaction, twice_if_lost

Result = TypeVar("Result")


class Exchanges(Protocol):
    """The statements of one transaction, or of one snapshot."""

    async def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        """Run selects and locks; see ``Transaction.read``."""

    async def commit(
        self, *requests: tuple[bulk.Statement, bulk.Rows], reads: Mapping[bulk.Query[Any], bulk.Rows] = NO_READS
    ) -> QueryResults:
        """Write, run selects, and commit; see ``Transaction.commit``."""


class Store(ABC):
    """Runs transactions, snapshots and long computations where they disturb nobody."""

    def __init__(self, availability: Availability) -> None:
        self.availability = availability
        """Whether the database works, as far as the callers of this object know."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Exchanges]:
        """Begin a write transaction. It is rolled back unless its ``commit`` ends it."""

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Exchanges]:
        """Read without locks and without a transaction."""

    @abstractmethod
    async def pause(self, seconds: float) -> None:
        """Wait; with 0 seconds, only let other work in the event loop go on."""

    @abstractmethod
    async def compute(self, microseconds: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that takes about so many microseconds, and return its result.

        A long one may run in a thread. Nothing else may use meanwhile what it reads or changes.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections that the store keeps, which must be idle."""

    async def look(self, read: Callable[[Exchanges], Awaitable[Result]], *, calls: int = 1) -> Result:
        """Return the result of ``read`` on a snapshot. After a lost connection, retry once on a new one.

        ``calls`` is the number of callers who wait for the result, for the log of an outage.
        """
        return await twice_if_lost(lambda: self._look_once(read), self.availability, calls)

    async def _look_once(self, read: Callable[[Exchanges], Awaitable[Result]]) -> Result:
        async with self.snapshot() as snapshot:
            return await read(snapshot)


class BlockingStore(Store):
    """A store for threads: each await is done at once, and blocks the thread meanwhile."""

    def __init__(self, database: Database, *, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(database.availability)
        self._database = database
        self._sleep = sleep

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Exchanges]:
        """Begin a write transaction on a connection of this thread."""
        with self._database.transaction() as transaction:
            yield _BlockingExchanges(transaction)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Exchanges]:
        """Read on a connection of this thread."""
        with self._database.read_connection() as transaction:
            yield _BlockingExchanges(transaction)

    async def close(self) -> None:
        """Do nothing, since the database keeps the connections of threads."""

    async def pause(self, seconds: float) -> None:
        """Block this thread."""
        if seconds:
            self._sleep(seconds)

    async def compute(self, microseconds: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call the function in this thread."""
        return function(*arguments)


class _BlockingExchanges:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        return self._transaction.read(requests)

    async def commit(
        self, *requests: tuple[bulk.Statement, bulk.Rows], reads: Mapping[bulk.Query[Any], bulk.Rows] = NO_READS
    ) -> QueryResults:
        return self._transaction.commit(*requests, reads=reads)
