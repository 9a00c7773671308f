"""Threads for queries that are not gathered into batches: lists and previews."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from registrar_server.errors import overloaded, shutting_down
from registrar_server.stopwatch import Stopwatch, keep, measured

Result = TypeVar("Result")


class QueryThreads:
    """A pool of threads with a bounded number of calls that run or wait."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._max_waiting = max_waiting
        self._in_progress = 0
        self._closing = False

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a blocking function in a thread; refuse as OVERLOADED or SHUTTING_DOWN."""
        if self._closing:
            raise shutting_down()
        if self._in_progress >= self._max_waiting:
            raise overloaded(self._in_progress, 1.0)
        self._in_progress += 1
        stopwatch = Stopwatch()
        keep(stopwatch)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, measured, stopwatch, function, *arguments)
        finally:
            self._in_progress -= 1

    async def close(self) -> None:
        """Refuse new calls, and return when those in progress are done."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown)
