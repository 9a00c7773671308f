"""Shares one execution among twins: calls of one caller with the same ``request_id`` and content at the same time.

A caller that gave up an attempt and repeats the call must not be refused while the first attempt may still take effect.
So a call waits for a twin that is under way, and shares its success or its uncertainty. After any other end the next
twin is decided by itself, one after the other.

Everything happens in the event loop, so nothing needs a lock. Twins in different processes do not know of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from registrar_server.errors import Refusal, database_unavailable, overloaded
from registrar_server.ledger.batching import Lanes, Submission
from registrar_server.ledger.ledger import Answer, Call, Outcome
from registrar_server.stopwatch import Stopwatch

Key = tuple[str, str, bytes]


class Entry(Protocol):
    """A call that has entered, and that its caller may leave."""

    @property
    def stopwatch(self) -> Stopwatch | None:
        """Measures the work of the call; None while it waits."""

    def leave(self) -> object:
        """Give the call up. If it has begun, it is carried out nevertheless."""


@dataclass(slots=True, eq=False)
class _Twin:
    """A call with a ``request_id``: it waits for its twin, or is carried out."""

    twins: Twins
    key: Key
    call: Call
    timeout: float | None
    then: Callable[[Outcome], None]
    submission: Submission[Call, Answer] | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def stopwatch(self) -> Stopwatch | None:
        return self.submission.stopwatch if self.submission else None

    def leave(self) -> None:
        self.twins.leave(self)

    def stop_waiting(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None


class Twins:
    """Enters calls into the lanes of the ledger, and those that are twins only once."""

    def __init__(self, lanes: Lanes[Call, Answer], max_waiting: int) -> None:
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._waiting = 0
        self._under_way: dict[Key, dict[_Twin, None]] = {}
        """For each call that is under way, the twins that wait, in the order of their arrival."""

    def enter(self, call: Call, then: Callable[[Outcome], None], *, timeout: float | None) -> Entry:
        """Carry out a call, or share the outcome of a twin that is under way; ``then`` gets the outcome.

        After ``timeout`` (seconds) the outcome of a call that still waits is a TimeoutError. Of the callers that share
        an answer, only one gets its events. Raises OVERLOADED if too many calls or twins wait already.
        """
        if not call.request_id:
            return self._lanes.enter(call, then, timeout=timeout)
        twin = _Twin(self, (call.caller, call.request_id, call.fingerprint), call, timeout, then)
        waiting = self._under_way.get(twin.key)
        if waiting is None:
            self._carry_out(twin)
            self._under_way[twin.key] = {}
        else:
            self._wait(twin, waiting)
        return twin

    def _carry_out(self, twin: _Twin) -> None:
        twin.submission = self._lanes.enter(twin.call, partial(self._end, twin), timeout=twin.timeout)

    def _wait(self, twin: _Twin, waiting: dict[_Twin, None]) -> None:
        if self._waiting >= self._max_waiting:
            raise overloaded(self._waiting, 1.0)
        waiting[twin] = None
        self._waiting += 1
        if twin.timeout is not None:
            twin.timer = asyncio.get_running_loop().call_later(twin.timeout, self._expire, twin)

    def _expire(self, twin: _Twin) -> None:
        self.leave(twin)
        twin.then(TimeoutError())

    def leave(self, twin: _Twin) -> None:
        """Give a call up. If its batch has begun, the other twins get the outcome, and ``then`` gets it too."""
        if twin.submission is None:
            self._remove(twin)
        elif not twin.submission.leave():
            self._give_turn(twin.key)

    def _remove(self, twin: _Twin) -> None:
        if self._under_way.get(twin.key, {}).pop(twin, twin) is None:
            self._waiting -= 1
        twin.stop_waiting()

    def _end(self, twin: _Twin, outcome: Outcome) -> None:
        """Share an answer or an uncertain outcome with all twins; after any other end, give the next one its turn."""
        twin.then(outcome)
        if isinstance(outcome, Answer):
            self._share(twin.key, lambda: outcome._replace(events=()))
        elif isinstance(outcome, Refusal) and outcome.uncertain:
            # An error keeps the traceback of the caller that raises it, so each twin gets an error of its own.
            self._share(twin.key, lambda: database_unavailable(uncertain=True))
        else:
            self._give_turn(twin.key)

    def _share(self, key: Key, outcome: Callable[[], Outcome]) -> None:
        waiting = self._under_way[key]
        while next_one := self._next_of(waiting):
            next_one.then(outcome())
        del self._under_way[key]

    def _give_turn(self, key: Key) -> None:
        """Carry out the next twin; if it cannot enter, its outcome is the error, and the next one gets the turn."""
        waiting = self._under_way[key]
        while next_one := self._next_of(waiting):
            try:
                self._carry_out(next_one)
                return
            except Exception as error:
                next_one.then(error)
        del self._under_way[key]

    def _next_of(self, waiting: dict[_Twin, None]) -> _Twin | None:
        """Remove and return the first twin that still waits."""
        for first in waiting:
            self._remove(first)
            return first
        return None
