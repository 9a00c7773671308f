"""Lets changing calls that are under way at the same time travel together, as batches.

A call that is alone stays a plain call. Nothing waits for a timer: a call is sent in the next turn of the event loop,
or when an earlier RPC returns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from registrar_client._call import Rpc
from registrar_client._connection import Metadata
from registrar_client._gathered_batch import WRITE_FIELDS, GatheredBatch, GatheredCall
from registrar_client._grpc_errors import rpc_error

MAX_UNDER_WAY = 2
"""The number of RPCs under way, beyond which calls wait. While the server works on one, the client makes the other."""
MAX_WRITES = 128
"""The largest batch. Larger ones cost the server as much per write, and keep the callers waiting for longer."""
MAX_BYTES = 1_048_576
"""The largest batch in bytes, except for a single call: a quarter of what a server accepts by default."""
STALLED_S = 0.2
"""How long other calls wait for an RPC. One write that waits for a lock must not stop the client's other calls."""


class Gatherer:
    """Collects calls and sends them together."""

    def __init__(self, batch_write: Callable[[], Any], metadata: Metadata, now: Callable[[], float]) -> None:
        self.is_off = False
        """Whether the server is too old for batches."""
        self.is_closed = False
        self.now = now
        self._batch_write = batch_write
        self._metadata = metadata
        self._waiting: deque[GatheredCall] = deque()
        self._batches: dict[GatheredBatch, asyncio.Task[None]] = {}
        self._under_way = 0
        self._will_look = False
        self._alarm = _Alarm(now, self._end_late)

    def method(self, rpc: Rpc, plain: Any) -> Any:
        """Return a method of gRPC that gathers. For an RPC that changes nothing, return the plain method."""
        field = WRITE_FIELDS.get(rpc.name)
        return plain if field is None else _GatheringMethod(self, plain, field)

    def enter(self, call: GatheredCall) -> None:
        """Take a call, which gets its answer later."""
        self._waiting.append(call)
        self._alarm.set_to(call.due)
        self._look_soon()

    def close(self) -> None:
        """End the calls that wait."""
        self.is_closed = True
        waiting = [*self._waiting, *(call for batch in self._batches for call in batch.unsent())]
        for call in waiting:
            call.end(_closed())
        self._waiting.clear()
        self._alarm.stop()

    def _look_soon(self) -> None:
        # The calls that begin in this turn of the event loop come first.
        if self._waiting and not self._will_look and self._under_way < MAX_UNDER_WAY:
            self._will_look = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._will_look = False
        while self._under_way < MAX_UNDER_WAY and (calls := self._take()):
            self._under_way += 1
            place = _Place(self._leave_place)
            if len(calls) == 1:
                calls[0].belongs_to(place.leave)
                calls[0].end(None)
            else:
                batch = GatheredBatch(calls, self.now())
                self._batches[batch] = asyncio.get_running_loop().create_task(self._carry_out(batch, place))

    def _take(self) -> list[GatheredCall]:
        """Remove as many calls as one batch may have."""
        taken: list[GatheredCall] = []
        size = 0
        while self._waiting and len(taken) < MAX_WRITES:
            if self._waiting[0].is_open:
                size += self._waiting[0].request.ByteSize()
                if taken and size > MAX_BYTES:
                    break
                taken.append(self._waiting[0])
            self._waiting.popleft()
        return taken

    async def _carry_out(self, batch: GatheredBatch, place: _Place) -> None:
        try:
            await batch.carry_out(self._batch_write, self._metadata)
        finally:
            del self._batches[batch]
            if batch.is_unknown:
                self._turn_off()
            place.leave()

    def _turn_off(self) -> None:
        self.is_off = True
        while self._waiting:
            self._waiting.popleft().end(None)

    def _leave_place(self) -> None:
        self._under_way -= 1
        self._look_soon()

    def _end_late(self) -> float | None:
        """End the calls whose deadline has passed, and return the next deadline."""
        now = self.now()
        for call in list(self._open()):
            if call.due <= now:
                call.end(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        return min((call.due for call in self._open()), default=None)

    def _open(self) -> Iterator[GatheredCall]:
        yield from (call for call in self._waiting if call.is_open)
        for batch in self._batches:
            yield from (call for call in batch.calls if call.is_open)


class _GatheringMethod:
    """A method of gRPC for one RPC, whose calls travel with others."""

    def __init__(self, gatherer: Gatherer, plain: Any, field: str) -> None:
        self._gatherer = gatherer
        self._plain = plain
        self._field = field

    async def __call__(self, request: Any, *, timeout: float, metadata: Metadata) -> Any:
        gatherer = self._gatherer
        if gatherer.is_off or getattr(request, "validate_only", False):
            return await self._plain(request, timeout=timeout, metadata=metadata)
        call = GatheredCall(self._field, request, gatherer.now() + timeout)
        gatherer.enter(call)
        try:
            answer = await call.answer
            if answer is None and gatherer.is_closed:
                raise _closed()
            if answer is None:
                answer = await self._plain(request, timeout=call.due - gatherer.now(), metadata=metadata)
        finally:
            call.leave()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _closed() -> grpc.RpcError:
    return rpc_error(grpc.StatusCode.CANCELLED, "The client was closed.")


class _Place:
    """The place of an RPC among those under way. An RPC that takes long loses it."""

    def __init__(self, left: Callable[[], None]) -> None:
        self._left: Callable[[], None] | None = left
        self._timer = asyncio.get_running_loop().call_later(STALLED_S, self.leave)

    def leave(self) -> None:
        """Give the place to other calls, once."""
        left, self._left = self._left, None
        self._timer.cancel()
        if left is not None:
            left()


class _Alarm:
    """One timer for the deadlines of all calls, since a timer for each call would cost much more."""

    def __init__(self, now: Callable[[], float], ring: Callable[[], float | None]) -> None:
        self._now = now
        self._ring = ring
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set_to(self, due: float) -> None:
        """Ring at this time, unless it rings earlier."""
        if self._timer is None or due < self._due:
            self.stop()
            self._due = due
            self._timer = asyncio.get_running_loop().call_later(due - self._now(), self._end)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        due = self._ring()
        if due is not None:
            self.set_to(due)
