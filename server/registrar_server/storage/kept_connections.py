"""Keeps a connection of SQLite ready, so that a lone call does not pay for the pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, cast

from sqlalchemy import Engine, PoolProxiedConnection, QueuePool

from registrar_server.storage.failures import CommitUncertain, Failure, classify


class Connections:
    """Lends the connections of an engine to threads.

    With ``keep``, one of them stays out of the pool between its uses. For a call that comes alone, the pool takes as
    long as all statements of SQLite together.
    """

    def __init__(self, engine: Engine, *, keep: bool) -> None:
        self._engine = engine
        self._keep = keep
        self._kept: PoolProxiedConnection | None = None
        self._generation = 0
        """Rises when all connections are closed; one that was lent before is not kept."""
        self._lock = Lock()

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection of the driver. Its transaction is rolled back unless it was committed."""
        pooled, generation = self._take()
        try:
            yield pooled.driver_connection
        except BaseException as error:
            lost = classify(error) is Failure.UNAVAILABLE or isinstance(error, CommitUncertain)
            if lost or getattr(pooled.driver_connection, "closed", False):
                pooled.invalidate()
            if lost:
                self.close()  # The idle connections are likely lost too.
            raise
        finally:
            self._take_back(pooled, generation)

    def _take(self) -> tuple[PoolProxiedConnection, int]:
        with self._lock:
            kept, self._kept = self._kept, None
            generation = self._generation
        return kept or self._engine.raw_connection(), generation

    def _take_back(self, pooled: PoolProxiedConnection, generation: int) -> None:
        driver: Any = pooled.driver_connection
        with self._lock:
            is_current = generation == self._generation
            if self._keep and is_current and self._kept is None and driver and not driver.in_transaction:
                self._kept = pooled
                return
        if driver and not is_current:
            pooled.invalidate()
        pooled.close()  # Rolls back an uncommitted transaction.

    @property
    def are_idle(self) -> bool:
        """Whether no thread uses a connection."""
        return cast("QueuePool", self._engine.pool).checkedout() == (self._kept is not None)

    def close(self) -> None:
        """Close the connections that nobody uses; the others are closed after their use."""
        with self._lock:
            kept, self._kept = self._kept, None
            self._generation += 1
        if kept:
            kept.close()
        self._engine.dispose()
