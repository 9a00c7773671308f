"""Threads for queries that are not gathered into batches: lists and previews."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from registrar_server.errors import overloaded, shutting_down
from registrar_server.stopwatch import Stopwatch, measured

Result = TypeVar("Result")


@dataclass(slots=True)
class Running:
    """A function in a thread, or waiting for one."""

    stopwatch: Stopwatch
    _ended: asyncio.Future[Any]

    def leave(self) -> bool:
        """Give the outcome up, and return whether the function may run. If it still waits for a thread, it never does.

        It changes nothing, so that nobody needs to know it exactly.
        """
        self._ended.cancel()
        return True


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"a query ended with {error!r}")


class QueryThreads:
    """A pool of threads with a bounded number of calls that run or wait."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._max_waiting = max_waiting
        self._in_progress = 0
        self._closing = False

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a blocking function in a thread; refuse as OVERLOADED or SHUTTING_DOWN."""
        return await self._begin(Stopwatch(), partial(function, *arguments))

    def enter(self, function: Callable[[], Result], then: Callable[[Result | Exception], None]) -> Running:
        """Run a blocking function in a thread, and return at once; ``then`` gets the outcome.

        Raises a ``Refusal``: OVERLOADED or SHUTTING_DOWN.
        """
        stopwatch = Stopwatch()

        def end(ended: asyncio.Future[Result]) -> None:
            if not ended.cancelled():
                error = ended.exception()
                then(ended.result() if error is None else _as_exception(error))

        ended = self._begin(stopwatch, function)
        ended.add_done_callback(end)
        return Running(stopwatch, ended)

    def _begin(self, stopwatch: Stopwatch, function: Callable[[], Result]) -> asyncio.Future[Result]:
        if self._closing:
            raise shutting_down()
        if self._in_progress >= self._max_waiting:
            raise overloaded(self._in_progress, 1.0)
        self._in_progress += 1
        work = self._threads.submit(measured, stopwatch, function)
        loop = asyncio.get_running_loop()
        # The caller may leave, but the function is in progress until its thread has ended it.
        work.add_done_callback(lambda _work: loop.call_soon_threadsafe(self._end))
        return asyncio.wrap_future(work, loop=loop)

    def _end(self) -> None:
        self._in_progress -= 1

    async def close(self) -> None:
        """Refuse new calls, and return when those in progress are done."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown)
