"""Shares one execution among twins: calls of one caller with the same ``request_id`` and content at the same time.

A caller that gave up an attempt and repeats the call must not be refused while the first attempt may still take effect.
So a call waits for a twin that is under way, and shares its success or its uncertainty. After any other end the next
twin is decided by itself, one after the other.

Everything happens in the event loop, so nothing needs a lock. Twins in different processes do not know of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial

from registrar_server.errors import Refusal, database_unavailable, overloaded
from registrar_server.ledger.batching import Lanes
from registrar_server.ledger.ledger import Answer, Call

Key = tuple[str, str, bytes]


class Notice(Enum):
    """What a waiting twin learns, if it is not an answer to share."""

    YOUR_TURN = "the call is decided by itself"
    UNCERTAIN = "the change may or may not have been made"


Twin = asyncio.Future[Answer | Notice]


class Twins:
    """Runs calls in the lanes of the ledger, and those that are twins only once."""

    def __init__(self, lanes: Lanes[Call, Answer], max_waiting: int) -> None:
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._waiting = 0
        self._under_way: dict[Key, dict[Twin, None]] = {}
        """For each call that is under way, the twins that wait, in the order of their arrival."""

    async def run(self, call: Call, time_remaining: Callable[[], float | None]) -> Answer:
        """Carry out a call, or share the outcome of a twin that is under way; raise the call's error.

        ``time_remaining`` returns the seconds until the call's own deadline; after it, TimeoutError is raised. Of the
        callers that share an answer, only one gets its events. A twin is refused as OVERLOADED if too many wait
        already.
        """
        if not call.request_id:
            return await self._lanes.submit(call, timeout=time_remaining())
        key = (call.caller, call.request_id, call.fingerprint)
        waiting = self._under_way.get(key)
        if waiting is None:
            self._under_way[key] = {}
            return await self._execute(key, call, time_remaining())
        match await self._wait(key, waiting, time_remaining()):
            case Answer() as answer:
                return answer
            case Notice.UNCERTAIN:
                # An error keeps the traceback of the caller that raises it, so each twin raises an error of its own.
                raise database_unavailable(uncertain=True)
            case Notice.YOUR_TURN:
                return await self._execute(key, call, time_remaining())

    async def _execute(self, key: Key, call: Call, timeout: float | None) -> Answer:
        try:
            submission = self._lanes.enter(call, timeout=timeout)
        except Exception as error:
            self._end(key, error)
            raise
        try:
            answer = await submission.result()
        except asyncio.CancelledError:
            # The execution does not belong to this caller: if its batch has begun, the twins get the outcome.
            submission.leave_to(partial(self._end, key))
            raise
        except Exception as error:
            self._end(key, error)
            raise
        # This caller logs the events.
        self._end(key, answer._replace(events=()))
        return answer

    async def _wait(self, key: Key, waiting: dict[Twin, None], timeout: float | None) -> Answer | Notice:
        if self._waiting >= self._max_waiting:
            raise overloaded(self._waiting, 1.0)
        twin: Twin = asyncio.get_running_loop().create_future()
        waiting[twin] = None
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                return await twin
        except (asyncio.CancelledError, TimeoutError):
            waiting.pop(twin, None)
            if twin.done() and not twin.cancelled() and twin.result() is Notice.YOUR_TURN:
                self._give_turn(key)
            raise
        finally:
            self._waiting -= 1

    def _end(self, key: Key, outcome: Answer | Exception | None) -> None:
        """Share an answer or an uncertain outcome with all twins; after any other end, give the next one its turn."""
        shared = _shared(outcome)
        if shared is None:
            self._give_turn(key)
            return
        waiting = self._under_way.pop(key)
        while twin := _next_of(waiting):
            twin.set_result(shared)
            shared = _without_events(shared)

    def _give_turn(self, key: Key) -> None:
        if twin := _next_of(self._under_way[key]):
            twin.set_result(Notice.YOUR_TURN)
        else:
            del self._under_way[key]


def _shared(outcome: Answer | Exception | None) -> Answer | Notice | None:
    """Return what twins share of an outcome, None if they share nothing."""
    if isinstance(outcome, Answer):
        return outcome
    return Notice.UNCERTAIN if isinstance(outcome, Refusal) and outcome.uncertain else None


def _without_events(shared: Answer | Notice) -> Answer | Notice:
    return shared._replace(events=()) if isinstance(shared, Answer) else shared


def _next_of(waiting: dict[Twin, None]) -> Twin | None:
    """Remove and return the first twin that still waits."""
    while waiting:
        twin = next(iter(waiting))
        del waiting[twin]
        if not twin.done():
            return twin
    return None
