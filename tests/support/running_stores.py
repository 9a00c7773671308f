"""Stores for tests that block: of the kind for threads, or of the kind for event loops, in a loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

from registrar_server.immediate import complete
from registrar_server.storage.database import Database
from registrar_server.storage.loop_store import LoopStore
from registrar_server.storage.stores import BlockingStore, Store

Result = TypeVar("Result")

BLOCKING = "blocking"
LOOP = "loop"


class RunningStore:
    """A store of a database, and ``run`` for the coroutines that use it.

    All users of a database share one event loop and its store, as the lanes of a server do.
    """

    in_loop: ClassVar[bool] = False
    """Whether stores on PostgreSQL are in an event loop, as a server has them. The fixture ``each_store`` sets it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop: _LoopThread | None = None
        self.store: Store = BlockingStore(database)
        if self.in_loop and not database.is_sqlite:
            self._loop = _loops.get(database) or _loops.setdefault(database, _LoopThread(database))
            self.store = self._loop.store

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Block until a coroutine that uses the store returns its result or raises its error."""
        return self._loop.run(coroutine) if self._loop else complete(coroutine)

    def close(self) -> None:
        """End the event loop of the database, if it has one."""
        if loop := _loops.pop(self._database, None):
            loop.close()


class _LoopThread:
    """An event loop with a store, in a thread of its own until ``close``."""

    def __init__(self, database: Database) -> None:
        self.store = LoopStore(database)
        self._ended = asyncio.Event()
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(begun),), name="event loop", daemon=True)
        self._thread.start()
        self._loop = begun.result()

    async def _serve(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        begun.set_result(asyncio.get_running_loop())
        await self._ended.wait()
        await self.store.close()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        assert threading.current_thread() is not self._thread, "the loop would wait for itself"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()


_loops: dict[Database, _LoopThread] = {}


def close_loops() -> None:
    """End the event loops of all databases."""
    while _loops:
        _loops.popitem()[1].close()
