"""Shares one execution among twins: calls of one caller with the same ``request_id`` and content at the same time.

A caller that gave up an attempt and repeats the call must not be refused while the first attempt may still take effect.
So a call waits for a twin that is under way, and shares its success or its uncertainty. After any other end the next
twin is decided by itself, one after the other.

Everything happens in the event loop, so nothing needs a lock. Twins in different processes do not know of each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from registrar_server.errors import Refusal, database_unavailable, overloaded
from registrar_server.ledger.batching import Batcher, Lanes
from registrar_server.ledger.calls import Answer, Block, Call, Outcome, interruption_of
from registrar_server.ledger.submissions import Submission, give, outcome_of
from registrar_server.stopwatch import Stopwatch

Key = tuple[str, str, bytes]
BlockLane = Batcher[Block, Sequence[Outcome]]


def _key(call: Call) -> Key:
    return (call.caller, call.request_id, call.fingerprint)


class Entry(Protocol):
    """A call that has entered, and that its caller may leave."""

    @property
    def stopwatch(self) -> Stopwatch | None:
        """Measures the work of the call; None while it waits."""

    def leave(self) -> bool:
        """Give the call up, and return whether it may have begun. If it has, it is carried out nevertheless."""


@dataclass(slots=True, eq=False)
class _Twin:
    """A call with a ``request_id``: it waits for its twin, or is carried out."""

    twins: Twins
    key: Key
    call: Call
    deadline: float | None
    then: Callable[[Outcome], None]
    submission: Submission[Call, Answer] | None = None
    """Its place in a lane; None before it is carried out, and after it has its outcome or has left the lane."""
    queue: OrderedDict[_Twin, None] | None = None
    """The twins that wait, if this one is among them."""
    timer: asyncio.TimerHandle | None = None

    @property
    def stopwatch(self) -> Stopwatch | None:
        return self.submission.stopwatch if self.submission else None

    def leave(self) -> bool:
        return self.twins.leave(self)


@dataclass(slots=True, eq=False)
class _BlockEntry:
    """A block in its lane."""

    twins: Twins
    keys: Sequence[Key | None]
    """The keys of the calls; None for those without a ``request_id``."""
    then: Callable[[Sequence[Outcome]], None]
    ended: Callable[[Exception | None], None]
    submission: Submission[Block, Sequence[Outcome]] | None = None

    def end(self, outcome: Sequence[Outcome] | Exception) -> None:
        """Give the outcome to the caller, and to the twins of the calls."""
        self.submission = None
        if isinstance(outcome, Exception):
            give(self.ended, outcome)
            self.twins.end_block(self.keys, [outcome] * len(self.keys))
        else:
            give(lambda _none: self.then(outcome), None)
            give(self.ended, interruption_of(outcome))
            self.twins.end_block(self.keys, outcome)

    def leave(self) -> bool:
        """Give the block up, and return whether it may have begun."""
        if self.submission is None or self.submission.leave():
            return True
        self.submission = None
        self.twins.end_block(self.keys, [TimeoutError()] * len(self.keys))
        return False


class Twins:
    """Enters calls into the lanes of the ledger, and those that are twins only once. Tests may inject the clock."""

    def __init__(
        self, lanes: Lanes[Call, Answer], max_waiting: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting = 0
        self._under_way: dict[Key, OrderedDict[_Twin, None] | None] = {}
        """For each call that is under way, the twins that wait, in the order of their arrival; None if none did."""
        self._cleared: dict[Key, asyncio.Future[None]] = {}
        """For calls that a block waits for: done when neither the call nor a twin of it is under way."""

    def enter(self, call: Call, then: Callable[[Outcome], None], *, timeout: float | None) -> Entry:
        """Carry out a call, or share the outcome of a twin that is under way; ``then`` gets the outcome.

        After ``timeout`` (seconds) the outcome of a call that still waits is a TimeoutError. Of the callers that share
        an answer, only one gets its events. Raises OVERLOADED if too many calls or twins wait already.
        """
        if not call.request_id:
            return self._lanes.enter(call, then, timeout=timeout)
        deadline = None if timeout is None else self._clock() + timeout
        twin = _Twin(self, _key(call), call, deadline, then)
        if twin.key in self._under_way:
            self._wait(twin, timeout)
        else:
            self._carry_out(twin, timeout)
            self._under_way[twin.key] = None
        return twin

    async def carry_out(
        self, lane: BlockLane, block: Block, then: Callable[[Sequence[Outcome]], None], *, timeout: float | None
    ) -> None:
        """Carry out a block when no twin of its calls is under way; ``then`` gets the outcomes of its calls.

        If the task is cancelled before the block begins, the block is dropped; afterwards ``then`` gets the outcomes
        nevertheless. Raises TimeoutError if ``timeout`` (seconds) passes before the block begins, and the ``Refusal``
        of the whole block.
        """
        deadline = None if timeout is None else self._clock() + timeout
        keys = [_key(call) if call.request_id else None for call in block.calls]
        while key := next((key for key in keys if key in self._under_way), None):
            cleared = self._cleared.setdefault(key, asyncio.get_running_loop().create_future())
            async with asyncio.timeout(None if deadline is None else deadline - self._clock()):
                await asyncio.shield(cleared)
        left = None if deadline is None else deadline - self._clock()
        await outcome_of(partial(self._enter_block, lane, block, keys, then, timeout=left))

    def _enter_block(
        self,
        lane: BlockLane,
        block: Block,
        keys: Sequence[Key | None],
        then: Callable[[Sequence[Outcome]], None],
        ended: Callable[[Exception | None], None],
        *,
        timeout: float | None,
    ) -> _BlockEntry:
        entry = _BlockEntry(self, keys, then, ended)
        entry.submission = lane.enter(block, entry.end, timeout=timeout, behind=True)
        self._under_way.update((key, None) for key in keys if key)
        return entry

    def end_block(self, keys: Sequence[Key | None], outcomes: Sequence[Outcome]) -> None:
        """Share the outcomes of a block that is no longer under way, as those of single calls."""
        # Calls of a block can be twins of each other. If one of them is answered, so are all that come after it.
        last = dict(zip(keys, outcomes, strict=True))
        for key, outcome in last.items():
            if key:
                self._pass_on(key, outcome)

    def _carry_out(self, twin: _Twin, timeout: float | None) -> None:
        twin.submission = self._lanes.enter(twin.call, partial(self._end, twin), timeout=timeout)

    def _wait(self, twin: _Twin, timeout: float | None) -> None:
        if self._waiting >= self._max_waiting:
            raise overloaded(self._waiting, 1.0)
        queue = self._under_way[twin.key]
        if queue is None:
            queue = self._under_way[twin.key] = OrderedDict()
        queue[twin] = None
        twin.queue = queue
        self._waiting += 1
        if timeout is not None:
            twin.timer = asyncio.get_running_loop().call_later(timeout, self._expire, twin)

    def _expire(self, twin: _Twin) -> None:
        self._remove(twin)
        twin.then(TimeoutError())

    def leave(self, twin: _Twin) -> bool:
        """Give a call up, and return whether it, or the twin that it waits for, may have begun.

        If its batch has begun, the other twins get the outcome, and ``then`` gets it too.
        """
        if twin.submission is None:
            self._remove(twin)
        elif not twin.submission.leave():
            twin.submission = None
            self._give_turn(twin.key)
            return False
        return True

    def _remove(self, twin: _Twin) -> None:
        """Let a twin no longer wait, if it does."""
        if twin.queue is None:
            return
        del twin.queue[twin]
        twin.queue = None
        self._waiting -= 1
        if twin.timer:
            twin.timer.cancel()
            twin.timer = None

    def _end(self, twin: _Twin, outcome: Outcome) -> None:
        give(twin.then, outcome)
        # The submission refers to the twin. A circle would keep the request in memory until a garbage collection.
        twin.submission = None
        self._pass_on(twin.key, outcome)

    def _pass_on(self, key: Key, outcome: Outcome) -> None:
        """Share an answer or an uncertain outcome with all twins; after any other end, give the next one its turn."""
        if not self._under_way[key]:  # Few calls have twins.
            self._clear(key)
        elif isinstance(outcome, Answer):
            self._share(key, lambda: outcome._replace(events=()))
        elif isinstance(outcome, Refusal) and outcome.uncertain:
            # An error keeps the traceback of the caller that raises it, so each twin gets an error of its own.
            self._share(key, lambda: database_unavailable(uncertain=True))
        else:
            self._give_turn(key)

    def _share(self, key: Key, outcome: Callable[[], Outcome]) -> None:
        queue = self._clear(key)
        while twin := self._next_of(queue):
            give(twin.then, outcome())

    def _clear(self, key: Key) -> OrderedDict[_Twin, None] | None:
        """Note that a call is no longer under way, and return the twins that wait."""
        if cleared := self._cleared.pop(key, None):
            cleared.set_result(None)
        return self._under_way.pop(key)

    def _give_turn(self, key: Key) -> None:
        """Carry out the next twin; if it cannot enter, its outcome is the error, and the next one gets the turn."""
        queue = self._under_way[key]
        while twin := self._next_of(queue):
            try:
                self._carry_out(twin, None if twin.deadline is None else twin.deadline - self._clock())
                return
            except Exception as error:
                give(twin.then, error)
        self._clear(key)

    def _next_of(self, queue: OrderedDict[_Twin, None] | None) -> _Twin | None:
        """Remove and return the first twin that still waits."""
        first = next(iter(queue), None) if queue else None
        if first:
            self._remove(first)
        return first
