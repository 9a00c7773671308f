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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from registrar_server.errors import Refusal, database_unavailable, overloaded
from registrar_server.ledger.batching import Lanes
from registrar_server.ledger.ledger import Answer, Call, Outcome
from registrar_server.ledger.submissions import Submission, give
from registrar_server.stopwatch import Stopwatch

Key = tuple[str, str, bytes]


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


class Twins:
    """Enters calls into the lanes of the ledger, and those that are twins only once. Tests may inject the clock."""

    def __init__(
        self, lanes: Lanes[Call, Answer], max_waiting: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting = 0
        self._under_way: dict[Key, OrderedDict[_Twin, None]] = {}
        """For each call that is under way, the twins that wait, in the order of their arrival."""

    def enter(self, call: Call, then: Callable[[Outcome], None], *, timeout: float | None) -> Entry:
        """Carry out a call, or share the outcome of a twin that is under way; ``then`` gets the outcome.

        After ``timeout`` (seconds) the outcome of a call that still waits is a TimeoutError. Of the callers that share
        an answer, only one gets its events. Raises OVERLOADED if too many calls or twins wait already.
        """
        if not call.request_id:
            return self._lanes.enter(call, then, timeout=timeout)
        deadline = None if timeout is None else self._clock() + timeout
        twin = _Twin(self, (call.caller, call.request_id, call.fingerprint), call, deadline, then)
        queue = self._under_way.get(twin.key)
        if queue is None:
            self._carry_out(twin, timeout)
            self._under_way[twin.key] = OrderedDict()
        else:
            self._wait(twin, queue, timeout)
        return twin

    def _carry_out(self, twin: _Twin, timeout: float | None) -> None:
        twin.submission = self._lanes.enter(twin.call, partial(self._end, twin), timeout=timeout)

    def _wait(self, twin: _Twin, queue: OrderedDict[_Twin, None], timeout: float | None) -> None:
        if self._waiting >= self._max_waiting:
            raise overloaded(self._waiting, 1.0)
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
        """Share an answer or an uncertain outcome with all twins; after any other end, give the next one its turn."""
        give(twin.then, outcome)
        # The submission refers to the twin. A circle would keep the request in memory until a garbage collection.
        twin.submission = None
        if isinstance(outcome, Answer):
            self._share(twin.key, lambda: outcome._replace(events=()))
        elif isinstance(outcome, Refusal) and outcome.uncertain:
            # An error keeps the traceback of the caller that raises it, so each twin gets an error of its own.
            self._share(twin.key, lambda: database_unavailable(uncertain=True))
        else:
            self._give_turn(twin.key)

    def _share(self, key: Key, outcome: Callable[[], Outcome]) -> None:
        queue = self._under_way.pop(key)
        while twin := self._next_of(queue):
            give(twin.then, outcome())

    def _give_turn(self, key: Key) -> None:
        """Carry out the next twin; if it cannot enter, its outcome is the error, and the next one gets the turn."""
        queue = self._under_way[key]
        while twin := self._next_of(queue):
            try:
                self._carry_out(twin, None if twin.deadline is None else twin.deadline - self._clock())
                return
            except Exception as error:
                give(twin.then, error)
        del self._under_way[key]

    def _next_of(self, queue: OrderedDict[_Twin, None]) -> _Twin | None:
        """Remove and return the first twin that still waits."""
        first = next(iter(queue), None)
        if first:
            self._remove(first)
        return first
