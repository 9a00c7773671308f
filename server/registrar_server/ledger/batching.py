"""Gathers waiting calls into batches, in one or several lanes.

While a lane carries out one batch, the next one gathers; an idle lane starts at once. Nothing ever waits for a timer,
so a single call is as fast as it can be, and under load the batches grow by themselves (group commit; the DataLoader
pattern for reads). If many wait at the end of a batch, the next one is sent to the database before the outcomes go to
their callers, so that the database goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from registrar_server.errors import database_unavailable, overloaded, shutting_down
from registrar_server.ledger.submissions import Submission, nothing, outcome_of
from registrar_server.stopwatch import Stopwatch

Item = TypeVar("Item")
Result = TypeVar("Result")

MANY = 4
"""Many items wait if they fill this part of the largest batch."""
SEARCH_PAUSE_S = 0.02
"""How long a full lane waits before it searches its queue again for items whose deadline has passed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many calls a lane accepts."""

    max_batch: int = 256
    """The most items in one batch."""
    max_waiting: int = 10_000
    """The most calls that may wait; further calls are refused."""


Run = Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Result | Exception]]]
"""Carries out a batch, and returns one result or error for each item, in order."""


class Batcher(Generic[Item, Result]):
    """One lane: a queue in the event loop, whose items are carried out in batches, at most ``depth`` at a time.

    A call is refused as OVERLOADED if too many wait already. Everything happens in the event loop, except what ``run``
    does elsewhere, so nothing needs a lock.
    """

    def __init__(
        self,
        run: Run[Item, Result],
        limits: Limits = Limits(),
        *,
        depth: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._limits = limits
        self._depth = depth
        self._clock = clock
        self._waiting: deque[Submission[Item, Result]] = deque()
        self._behind: deque[Submission[Item, Result]] = deque()
        """The items that run alone, one after each batch of those in ``_waiting``."""
        self._others_first = True
        self._idle = asyncio.Event()
        self._idle.set()
        self._at_work = 0
        self._will_begin = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._seconds_per_item = 0.001
        self._left = 0
        """How many items of ``_waiting`` nobody waits for any more."""
        self._search_again = 0.0

    async def submit(self, item: Item, *, timeout: float | None = None, behind: bool = False) -> Result:
        """Carry out ``item`` in one of the next batches, and return its result or raise its error.

        An item whose call is cancelled before its batch begins is dropped. Raises TimeoutError if ``timeout`` (seconds)
        passes before its batch begins, and a ``Refusal``: OVERLOADED if the queue is full, SHUTTING_DOWN after
        ``close``.
        """
        return await outcome_of(partial(self.enter, item, timeout=timeout, behind=behind))

    def enter(
        self,
        item: Item,
        then: Callable[[Result | Exception], None],
        *,
        timeout: float | None = None,
        behind: bool = False,
    ) -> Submission[Item, Result]:
        """Put ``item`` into the queue, as ``submit`` does, and return at once; ``then`` gets the outcome.

        An item that is ``behind`` the others is a batch of its own, and one such batch follows each batch of others. So
        its failure or its locks do not affect them, and it does not wait forever.
        """
        deadline = float("inf") if timeout is None else self._clock() + timeout
        waiting: Submission[Item, Result] = Submission(item, then, deadline, nothing if behind else self._note_left)
        self._admit(waiting, behind=behind)
        self._begin_soon()
        return waiting

    def _begin_soon(self) -> None:
        """Begin a batch in the next turn of the loop, so that the items that enter in this turn are one batch."""
        if not self._will_begin and self._at_work < self._depth:
            self._will_begin = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._begin)

    def _admit(self, waiting: Submission[Item, Result], *, behind: bool) -> None:
        if self._closing:
            raise shutting_down()
        if self._count() >= self._limits.max_waiting:
            self._drop_expired()
        count = self._count()
        if count >= self._limits.max_waiting:
            seconds = min(max(count * self._seconds_per_item, 0.05), 5.0)
            raise overloaded(count, round(seconds, 2))
        (self._behind if behind else self._waiting).append(waiting)

    def _count(self) -> int:
        return len(self._waiting) - self._left

    def _drop_expired(self) -> None:
        """Make room, but not for each of the items that a full lane refuses: a search takes a millisecond."""
        now = self._clock()
        if now >= self._search_again:
            self._search_again = now + SEARCH_PAUSE_S
            self._drop_dead(now)

    def _note_left(self) -> None:
        self._left += 1
        if self._left > self._limits.max_waiting:  # Seldom, so that a flood of such items costs little.
            self._drop_dead(self._clock())

    def _drop_dead(self, now: float) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if waiting.is_alive(now))
        self._left = 0

    def _begin(self) -> None:
        """Begin the next batch with the gathered items, or become idle."""
        self._will_begin = False
        if batch := self._take():
            self._at_work += 1
            task = asyncio.get_running_loop().create_task(self._work(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._begin_soon()
        elif not self._at_work:
            self._idle.set()

    def _go_on(self) -> None:
        """Note that a batch has ended, and begin the next one."""
        self._at_work -= 1
        if not self._will_begin and self._at_work < self._depth:
            self._begin()

    def _take(self) -> list[Submission[Item, Result]]:
        batch: list[Submission[Item, Result]] = []
        now = self._clock()
        queues = [(self._waiting, self._limits.max_batch), (self._behind, 1)]
        for waiting, size in queues if self._others_first else reversed(queues):
            left = _move(waiting, batch, size, now)
            if waiting is self._waiting:
                self._left -= left
            if batch:
                self._others_first = waiting is self._behind
                break
        return batch

    async def _work(self, batch: list[Submission[Item, Result]]) -> None:
        begun = self._clock()
        stopwatch = Stopwatch()
        stopwatch.begin()
        for waiting in batch:
            waiting.stopwatch = stopwatch
        try:
            outcomes = await self._outcomes([waiting.item for waiting in batch])
        except asyncio.CancelledError:  # The event loop ends, perhaps while the batch commits.
            for waiting in batch:
                waiting.end(database_unavailable(uncertain=True))
            self._go_on()
            raise
        self._seconds_per_item = (self._clock() - begun) / len(batch)
        if self._count() * MANY >= self._limits.max_batch and not self._will_begin:
            # The next batch sends its statements first, and the database works while the calls of this one end.
            self._begin()
            asyncio.get_running_loop().call_soon(self._end, batch, outcomes)
        else:
            self._end(batch, outcomes)

    def _end(self, batch: Sequence[Submission[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.end(outcome)
        # Two turns of the loop allow the finished calls to send their responses, and new calls to join the queue. This
        # makes batches larger by half and costs no waiting time.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._go_on)

    async def _outcomes(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """Carry out a batch, and return one outcome for each item.

        The traceback of an error keeps the frame of this function, which therefore keeps no error.
        """
        try:
            outcomes = await self._run(items)
            if len(outcomes) != len(items):
                raise RuntimeError(f"{len(outcomes)} outcomes for {len(items)} items")
            return outcomes
        except Exception as error:
            return [error] * len(items)

    async def close(self) -> None:
        """Refuse new calls, and return when all waiting calls are done."""
        self._closing = True
        await self._idle.wait()


def _move(
    waiting: deque[Submission[Item, Result]], batch: list[Submission[Item, Result]], size: int, now: float
) -> int:
    """Begin items and add them to a batch until it has this size; return how many of them nobody waited for."""
    left = 0
    while waiting and len(batch) < size:
        first = waiting.popleft()
        left += first.was_left
        if first.begin(now):
            batch.append(first)
    return left


class Lanes(Generic[Item, Result]):
    """Several batchers, so that a slow key does not delay all others. Items with equal keys go to the same lane."""

    def __init__(self, lanes: Sequence[Batcher[Item, Result]], key: Callable[[Item], str]) -> None:
        self._lanes = lanes
        self._key = key

    async def submit(self, item: Item, *, timeout: float | None = None, behind: bool = False) -> Result:
        """Carry out ``item`` in the lane of its key; see ``Batcher.submit``."""
        return await self._lane(item).submit(item, timeout=timeout, behind=behind)

    def enter(
        self, item: Item, then: Callable[[Result | Exception], None], *, timeout: float | None = None
    ) -> Submission[Item, Result]:
        """Put ``item`` into the lane of its key; see ``Batcher.enter``."""
        return self._lane(item).enter(item, then, timeout=timeout)

    def _lane(self, item: Item) -> Batcher[Item, Result]:
        return self._lanes[hash(self._key(item)) % len(self._lanes)]

    async def close(self) -> None:
        """Close every lane."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
