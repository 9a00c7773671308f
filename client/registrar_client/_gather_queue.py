"""Holds the calls of a gathering client that have the same metadata until they are sent together, as batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from registrar_client._gathered_batch import GatheredBatch, GatheredCall

MAX_UNDER_WAY = 2
"""The number of RPCs under way, beyond which calls wait. While the server works on one, the client makes the other."""
MAX_WRITES = 128
"""The largest batch. Larger ones cost the server as much per write, and keep the callers waiting for longer."""
MAX_BYTES = 1_048_576
"""The largest batch in bytes, except for a single call: a quarter of what a server accepts by default."""
STALLED_S = 0.2
"""How long other calls wait for an RPC. One write that waits for a lock must not stop the client's other calls."""


class GatheringQueue:
    """Collects calls and sends them together. It calls ``emptied`` when nothing waits and no RPC is under way."""

    def __init__(
        self,
        now: Callable[[], float],
        carry_out: Callable[[GatheredBatch], Awaitable[None]],
        emptied: Callable[[], object],
    ) -> None:
        self._now = now
        self._carry_out = carry_out
        self._emptied = emptied
        self._waiting: deque[GatheredCall] = deque()
        self._batches: dict[GatheredBatch, asyncio.Task[None]] = {}
        self._under_way = 0
        self._will_look = False

    def enter(self, call: GatheredCall) -> None:
        """Take a call, which gets its answer later."""
        self._waiting.append(call)
        self._look_soon()

    def release(self) -> None:
        """Let the calls that wait be sent as plain calls."""
        while self._waiting:
            self._waiting.popleft().end(None)

    def unsent(self) -> Iterator[GatheredCall]:
        """Return the open calls that are not on their way."""
        yield from (call for call in self._waiting if call.is_open)
        for batch in self._batches:
            yield from batch.unsent()

    def open(self) -> Iterator[GatheredCall]:
        """Return the calls that have no answer yet and whose callers still wait."""
        yield from (call for call in self._waiting if call.is_open)
        for batch in self._batches:
            yield from (call for call in batch.calls if call.is_open)

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
                batch = GatheredBatch(calls, self._now())
                self._batches[batch] = asyncio.get_running_loop().create_task(self._send(batch, place))
        self._notice_the_end()

    def _take(self) -> list[GatheredCall]:
        """Remove as many calls as one batch may have."""
        taken: list[GatheredCall] = []
        size = 0
        while self._waiting and len(taken) < MAX_WRITES:
            call = self._waiting[0]
            if call.is_open:
                size += call.request.ByteSize()
                if taken and size > MAX_BYTES:
                    break
                taken.append(call)
            self._waiting.popleft()
        return taken

    async def _send(self, batch: GatheredBatch, place: _Place) -> None:
        try:
            await self._carry_out(batch)
        finally:
            place.leave()
            del self._batches[batch]
            self._notice_the_end()

    def _leave_place(self) -> None:
        self._under_way -= 1
        self._look_soon()
        self._notice_the_end()

    def _notice_the_end(self) -> None:
        if not (self._waiting or self._batches or self._under_way or self._will_look):
            self._emptied()


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
