"""Batcher: many waiting calls, one piece of work.

While one batch is being worked on, the next one gathers; an idle lane starts at once. Nothing ever waits for a timer,
so a lone call is as fast as it can be, and under load the batches grow by themselves (group commit; the DataLoader
pattern for reads).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from registrar_server.errors import overloaded, shutting_down

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result | Exception]
    deadline: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a lane takes on."""

    max_batch: int = 256
    """Items worked on at once, at most."""
    max_waiting: int = 10_000
    """Calls that may wait; one more is refused."""


class Batcher(Generic[Item, Result]):
    """One lane: a queue at the event loop's side, and a thread that works on whatever has gathered.

    ``run`` is called in the lane's thread and returns one result or error for each item, in their order. A call beyond
    those that may wait is refused as OVERLOADED.
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
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._working = False
        self._closing = False
        self._seconds_per_item = 0.001
        self._loop: asyncio.AbstractEventLoop | None = None

    async def submit(self, item: Item, *, timeout: float | None = None) -> Result:
        """Wait for ``item`` to be worked on and return its result, or raise its error.

        An item whose caller is gone, or whose ``timeout`` (seconds) is over before its work begins, is dropped.
        Raises a ``Refusal``: OVERLOADED when the queue is full, SHUTTING_DOWN after ``close``.
        """
        loop = self._loop = asyncio.get_running_loop()
        deadline = float("inf") if timeout is None else self._clock() + timeout
        waiting = _Waiting[Item, Result](item, loop.create_future(), deadline)
        with self._lock:
            self._admit(waiting)
            begin = not self._working
            self._working = True
        if begin:
            self._thread.submit(self._work)
        outcome = await waiting.future
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _admit(self, waiting: _Waiting[Item, Result]) -> None:
        if self._closing:
            raise shutting_down()
        if len(self._waiting) >= self._limits.max_waiting:
            seconds = min(max(len(self._waiting) * self._seconds_per_item, 0.05), 5.0)
            raise overloaded(len(self._waiting), round(seconds, 2))
        self._waiting.append(waiting)

    def _work(self) -> None:
        """Run in the lane's thread until nothing waits."""
        while batch := self._take():
            begun = self._clock()
            outcomes = self._outcomes(batch)
            self._seconds_per_item = (self._clock() - begun) / len(batch)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_release, batch, outcomes)

    def _take(self) -> list[_Waiting[Item, Result]]:
        with self._lock:
            batch: list[_Waiting[Item, Result]] = []
            now = self._clock()
            while self._waiting and len(batch) < self._limits.max_batch:
                waiting = self._waiting.popleft()
                if waiting.deadline > now and not waiting.future.cancelled():
                    batch.append(waiting)
            self._working = bool(batch)
            return batch

    def _outcomes(self, batch: list[_Waiting[Item, Result]]) -> Sequence[Result | Exception]:
        try:
            return self._run([waiting.item for waiting in batch])
        except Exception as error:
            return [error] * len(batch)

    async def close(self) -> None:
        """Take no more calls, and return when all that waited have been worked on."""
        with self._lock:
            self._closing = True
        await asyncio.to_thread(self._thread.shutdown)


def _release(batch: Sequence[_Waiting[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(outcome)


class Lanes(Generic[Item, Result]):
    """Several batchers, so that one stalled key does not stall the rest; equal keys meet in one lane."""

    def __init__(self, lanes: Sequence[Batcher[Item, Result]], key: Callable[[Item], str]) -> None:
        self._lanes = lanes
        self._key = key

    async def submit(self, item: Item, *, timeout: float | None = None) -> Result:
        """As ``Batcher.submit``, in the lane of the item's key."""
        lane = self._lanes[hash(self._key(item)) % len(self._lanes)]
        return await lane.submit(item, timeout=timeout)

    async def close(self) -> None:
        """Close every lane."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
