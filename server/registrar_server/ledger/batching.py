"""Gathers waiting calls into batches, in one or several lanes.

While a lane runs one batch, the next one gathers; an idle lane starts at once. Nothing ever waits for a timer, so a
single call is as fast as it can be, and under load the batches grow by themselves (group commit; the DataLoader pattern
for reads).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from registrar_server.errors import overloaded, shutting_down, unwrap
from registrar_server.stopwatch import Stopwatch, keep, measured

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result | Exception]
    deadline: float
    stopwatch: Stopwatch | None = None
    """What measured the batch of this call; None while the call waits."""

    def is_alive(self, now: float) -> bool:
        """Return whether the caller still waits; fail the call with TimeoutError if its deadline has passed."""
        if self.deadline <= now:
            self.answer(TimeoutError())
        return not self.future.done()

    def answer(self, outcome: Result | Exception) -> None:
        """Give the caller the outcome, unless the call was cancelled."""
        if not self.future.done():
            self.future.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls a lane accepts."""

    max_batch: int = 256
    """The most items in one batch."""
    max_waiting: int = 10_000
    """The most calls that may wait; further calls are refused."""


class Batcher(Generic[Item, Result]):
    """One lane: a queue in the event loop, and a thread that runs the batches.

    ``run`` is called in the lane's thread and returns one result or error for each item, in order. A call is refused as
    OVERLOADED if too many wait already. Everything else happens in the event loop, so nothing needs a lock.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        name: str,
        limits: Limits = Limits(),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._limits = limits
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._seconds_per_item = 0.001

    async def submit(self, item: Item, *, timeout: float | None = None) -> Result:
        """Run ``item`` in one of the next batches, and return its result or raise its error.

        An item whose call is cancelled before its batch begins is dropped. Raises TimeoutError if ``timeout`` (seconds)
        passes before its batch begins, and a ``Refusal``: OVERLOADED if the queue is full, SHUTTING_DOWN after
        ``close``.
        """
        loop = asyncio.get_running_loop()
        deadline = float("inf") if timeout is None else self._clock() + timeout
        waiting: _Waiting[Item, Result] = _Waiting(item, loop.create_future(), deadline)
        self._admit(waiting)
        if self._idle.is_set():
            self._idle.clear()
            self._begin(loop)
        try:
            return unwrap(await waiting.future)
        finally:
            keep(waiting.stopwatch)
            del waiting  # It has the error, whose traceback keeps this frame, see ``unwrap``.

    def _admit(self, waiting: _Waiting[Item, Result]) -> None:
        if self._closing:
            raise shutting_down()
        if len(self._waiting) >= self._limits.max_waiting:
            self._drop_abandoned()
        if len(self._waiting) >= self._limits.max_waiting:
            seconds = min(max(len(self._waiting) * self._seconds_per_item, 0.05), 5.0)
            raise overloaded(len(self._waiting), round(seconds, 2))
        self._waiting.append(waiting)

    def _drop_abandoned(self) -> None:
        now = self._clock()
        self._waiting = deque(waiting for waiting in self._waiting if waiting.is_alive(now))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the gathered items to the lane's thread, or become idle."""
        batch = self._take()
        if batch:
            self._thread.submit(self._work, batch, loop)
        else:
            self._idle.set()

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        now = self._clock()
        while self._waiting and len(batch) < self._limits.max_batch:
            waiting = self._waiting.popleft()
            if waiting.is_alive(now):
                batch.append(waiting)
        return batch

    def _work(self, batch: list[_Waiting[Item, Result]], loop: asyncio.AbstractEventLoop) -> None:
        begun = self._clock()
        stopwatch = Stopwatch()
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = measured(stopwatch, self._run, [waiting.item for waiting in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        self._seconds_per_item = (self._clock() - begun) / len(batch)
        loop.call_soon_threadsafe(self._finish, batch, outcomes, stopwatch, loop)

    def _finish(
        self,
        batch: list[_Waiting[Item, Result]],
        outcomes: Sequence[Result | Exception],
        stopwatch: Stopwatch,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.stopwatch = stopwatch
            waiting.answer(outcome)
        # Two turns of the loop allow the finished calls to send their responses, and new calls to join the queue. This
        # makes batches larger by half and costs no waiting time.
        loop.call_soon(loop.call_soon, self._begin, loop)

    async def close(self) -> None:
        """Refuse new calls, and return when all waiting calls are done."""
        self._closing = True
        await self._idle.wait()
        self._thread.shutdown(wait=False)


class Lanes(Generic[Item, Result]):
    """Several batchers, so that a slow key does not delay all others. Items with equal keys go to the same lane."""

    def __init__(self, lanes: Sequence[Batcher[Item, Result]], key: Callable[[Item], str]) -> None:
        self._lanes = lanes
        self._key = key

    async def submit(self, item: Item, *, timeout: float | None = None) -> Result:
        """Run ``item`` in the lane of its key; see ``Batcher.submit``."""
        lane = self._lanes[hash(self._key(item)) % len(self._lanes)]
        return await lane.submit(item, timeout=timeout)

    async def close(self) -> None:
        """Close every lane."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
