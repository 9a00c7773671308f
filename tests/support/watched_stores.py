"""Stores that report each of their steps, so that tests can count the steps and let them fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from registrar_server.storage import bulk
from registrar_server.storage.database import NO_READS, QueryResults
from registrar_server.storage.stores import Exchanges, Store

Result = TypeVar("Result")


class WatchedStore(Store):
    """A real store of any kind that calls ``before_step`` before each step.

    The steps are ``"begin"``, ``"read"`` and ``"commit"`` of a transaction, and ``"look"``, which is a read of a
    snapshot. An exception from ``before_step`` is raised from the step. With ``pause``, pauses take no time and their
    seconds are passed to it.
    """

    def __init__(
        self, store: Store, before_step: Callable[[str], None], pause: Callable[[float], None] | None = None
    ) -> None:
        super().__init__(store.availability)
        self._store = store
        self._before_step = before_step
        self._pause = pause

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Exchanges]:
        """Begin a write transaction whose steps are reported."""
        self._before_step("begin")
        async with self._store.transaction() as exchanges:
            yield _WatchedExchanges(exchanges, self._before_step)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Exchanges]:
        """Read on a connection whose reads are reported."""
        async with self._store.snapshot() as exchanges:
            yield _WatchedExchanges(exchanges, lambda _step: self._before_step("look"))

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    async def pause(self, seconds: float) -> None:
        """Wait as the store does, or pass the seconds on."""
        if seconds and self._pause:
            self._pause(seconds)
            seconds = 0
        await self._store.pause(seconds)

    async def compute(self, microseconds: int, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function where the store does."""
        return await self._store.compute(microseconds, function, *arguments)


class _WatchedExchanges:
    def __init__(self, exchanges: Exchanges, before_step: Callable[[str], None]) -> None:
        self._exchanges = exchanges
        self._before_step = before_step

    async def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        self._before_step("read")
        return await self._exchanges.read(requests)

    async def commit(
        self, *requests: tuple[bulk.Statement, bulk.Rows], reads: Mapping[bulk.Query[Any], bulk.Rows] = NO_READS
    ) -> QueryResults:
        self._before_step("commit")
        return await self._exchanges.commit(*requests, reads=reads)


class OnceBefore:
    """Calls ``action`` once before a step of a ``WatchedStore``, after ``skip`` such steps, and notes all steps."""

    def __init__(self, step: str, action: Callable[[], object], skip: int = 0) -> None:
        self._when = (step, skip + 1)
        self._action = action
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if (step, self.steps.count(step)) == self._when:
            self._action()
