"""Lets changing calls that are under way at the same time travel together, as batches.

A call that is alone stays a plain call. Nothing waits for a timer: a call is sent in the next turn of the event loop,
or when an earlier RPC returns. Calls travel together only if they have the same metadata, since the server looks at the
caller, and at the person on whose behalf it calls, once for a whole batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from registrar_client._call import Rpc
from registrar_client._call_metadata import Metadata
from registrar_client._gather_queue import GatheringQueue
from registrar_client._gathered_batch import WRITE_FIELDS, GatheredBatch, GatheredCall
from registrar_client._grpc_errors import rpc_error


class Gatherer:
    """Collects calls and sends them together."""

    def __init__(self, batch_write: Callable[[], Any], now: Callable[[], float]) -> None:
        self.is_off = False
        """Whether the server is too old for batches."""
        self.is_closed = False
        self.now = now
        self._batch_write = batch_write
        self._queues: dict[Metadata, GatheringQueue] = {}
        self._alarm = _Alarm(now, self._end_late)

    def method(self, rpc: Rpc, plain: Any) -> Any:
        """Return a method of gRPC that gathers. For an RPC that changes nothing, return the plain method."""
        field = WRITE_FIELDS.get(rpc.name)
        return plain if field is None else _GatheringMethod(self, plain, field)

    def enter(self, call: GatheredCall, metadata: Metadata) -> None:
        """Take a call, which gets its answer later."""
        queue = self._queues.get(metadata)
        if queue is None:
            # Tokens change, and callers act for many people: a queue is forgotten as soon as it is empty.
            forget = partial(self._queues.pop, metadata)
            queue = self._queues[metadata] = GatheringQueue(self.now, partial(self._carry_out, metadata), forget)
        queue.enter(call)
        self._alarm.set_to(call.due)

    def close(self) -> None:
        """End the calls that wait."""
        self.is_closed = True
        for call in [call for queue in self._queues.values() for call in queue.unsent()]:
            call.end(_closed())
        self._alarm.stop()

    async def _carry_out(self, metadata: Metadata, batch: GatheredBatch) -> None:
        try:
            await batch.carry_out(self._batch_write, metadata)
        finally:
            if batch.is_unknown:
                self._turn_off()

    def _turn_off(self) -> None:
        self.is_off = True
        for queue in self._queues.values():
            queue.release()

    def _end_late(self) -> float | None:
        """End the calls whose deadline has passed, and return the next deadline."""
        now = self.now()
        for call in list(self._open()):
            if call.due <= now:
                call.end(rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        return min((call.due for call in self._open()), default=None)

    def _open(self) -> Iterator[GatheredCall]:
        return (call for queue in self._queues.values() for call in queue.open())


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
        gatherer.enter(call, metadata)
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
