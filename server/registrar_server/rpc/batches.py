"""Carries out batches of writes. Each write is opened, decided, answered and logged as a call of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from registrar_server.errors import Refusal, batch_refused, overloaded
from registrar_server.ids import numbered_ids
from registrar_server.ledger.calls import Answer, Block, Call, Message, all_refused, is_interruption
from registrar_server.ledger.submissions import give
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_answers import BatchAnswers
from registrar_server.rpc.batch_requests import (
    NO_WRITE,
    asked_by,
    no_change,
    note_faults,
    read_options,
)
from registrar_server.rpc.opening import Opened, admit, enter_change, open_change
from registrar_server.rpc.running_batch import RunningBatch, stopped
from registrar_server.rpc.twins import BlockLane, Twins
from registrar_server.rpc.validation import Fields

PIECE = 16
"""After so many writes, other work in the event loop gets a turn."""
MAKES_WAY_S = 1.0
"""How long pieces stay small after a single call."""
SMALL_PIECE = 64
"""The most writes of a piece while single calls arrive."""

PreviewAll = Callable[[Sequence[Call]], Awaitable[Sequence[Message | Refusal]]]


class BatchLimits(NamedTuple):
    """How much of a batch is carried out at once, and how much may wait."""

    piece: int
    """The number of ordered writes in one transaction."""
    max_waiting: int
    """The number of writes that batches may have under way."""


class Batches:
    """Carries out batches, each in a task of its own."""

    def __init__(
        self,
        twins: Twins,
        lane: BlockLane,
        preview_all: PreviewAll,
        latest_revision: Callable[[], int],
        answers: BatchAnswers,
        limits: BatchLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._twins = twins
        self._lane = lane
        self._preview_all = preview_all
        self._latest_revision = latest_revision
        self._answers = answers
        self._limits = limits
        self._clock = clock
        self._last_single_call = float("-inf")
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, arrival: Arrival) -> RunningBatch:
        """Begin a batch, and return at once; the outcome goes to ``arrival.end``.

        Raises INVALID_FIELD if the batch itself is wrong, and OVERLOADED if too many writes are under way.
        """
        running = RunningBatch(arrival, read_options(arrival.request))
        count = len(arrival.request.writes)
        if self._waiting and self._waiting + count > self._limits.max_waiting:
            raise overloaded(self._waiting, 1.0)
        self._waiting += count
        running.task = task = asyncio.get_running_loop().create_task(self._run(running))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, count))
        return running

    def _end(self, count: int, task: asyncio.Task[None]) -> None:
        self._waiting -= count
        self._tasks.discard(task)

    async def close(self) -> None:
        """Return when all batches have ended, which the lanes that refuse new work make happen soon."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, running: RunningBatch) -> None:
        arrival = running.arrival
        try:
            give(arrival.end, await self._answer(running))
        except asyncio.CancelledError:
            # The caller has left. The task keeps an error that it raises, and the error's traceback keeps the batch, so
            # the task ends without one.
            running.leave_writes()
        except Exception as error:
            give(arrival.end, error)

    async def _answer(self, running: RunningBatch) -> Answer:
        """Carry a batch out and return its answer, or raise the refusal of the whole batch."""
        if running.options.validate_only:
            await self._preview(running)
        elif running.options.unordered:
            await self._carry_out_unordered(running)
        elif running.options.atomic:
            await self._carry_out_at_once(running)
        else:
            await self._carry_out_in_order(running)
        packed, summary = self._answers.results(running.writes, errors_only=running.options.errors_only)
        if not running.options.validate_only:
            summary.revision = self._latest_revision()
        # The log line of a batch needs only the summary.
        return Answer(packed + summary.SerializeToString(), message=summary)

    async def _carry_out_in_order(self, running: RunningBatch) -> None:
        """Carry out a block in pieces. If one is interrupted, none of the later ones begins."""
        mark = running.options.mark(running.arrival.caller)
        count = len(running.arrival.request.writes)
        first = 0
        while first < count:
            places = range(first, min(first + self._piece(), count))
            opened = await self._open_all(running, places)
            running.has_begun = True
            if opened or mark:
                block = Block([one.call for one in opened], mark=mark)
                try:
                    await self._carry_out(running, block, opened)
                except (Refusal, TimeoutError) as error:
                    if running.has_made_any():
                        error = stopped(error, running.first_open(places), is_repeatable=running.is_repeatable())
                    raise error from None
            mark, first = None, places.stop

    async def _carry_out_at_once(self, running: RunningBatch) -> None:
        """Carry out an atomic batch as one block."""
        opened = await self._open_all(running, range(len(running.arrival.request.writes)))
        running.has_begun = True
        if not opened:
            raise batch_refused(running.unread)
        mark = running.options.mark(running.arrival.caller)
        await self._carry_out(running, Block([one.call for one in opened], True, mark, running.unread), opened)

    def make_way(self) -> None:
        """Note a single call: for a while, pieces are smaller, since a call may wait for the locks of a whole piece."""
        self._last_single_call = self._clock()

    def _piece(self) -> int:
        """Return how many writes the next piece has."""
        is_alone = self._clock() - self._last_single_call > MAKES_WAY_S
        return self._limits.piece if is_alone else min(self._limits.piece, SMALL_PIECE)

    async def _carry_out(self, running: RunningBatch, block: Block, opened: Sequence[Opened]) -> None:
        def end(outcomes: Sequence[Any]) -> None:
            for one, outcome in zip(opened, outcomes, strict=True):
                if not is_interruption(outcome):
                    give(one.end, outcome)

        try:
            await self._twins.carry_out(self._lane, block, end, timeout=running.time_remaining())
        except Refusal as refusal:
            by_place = {one.arrival.place: one for one in opened}
            for place, one in refusal.refused.items():
                if place in by_place:  # Otherwise the write could not be read, and has ended already.
                    give(by_place[place].end, one)
            raise

    async def _carry_out_unordered(self, running: RunningBatch) -> None:
        """Carry out each write in the lane of its own."""
        if mark := running.options.mark(running.arrival.caller):
            timeout = running.arrival.time_remaining()
            await self._twins.carry_out(self._lane, Block((), mark=mark), _ignore, timeout=timeout)
        places = range(len(running.arrival.request.writes))
        opened = await self._open_all(running, places)
        running.has_begun = True
        # All at once, so that the lanes gather them.
        for one in opened:
            enter_change(self._twins, one)
        for one in opened:
            await one.arrival.wait()

    async def _preview(self, running: RunningBatch) -> None:
        """Answer the writes in order, on one state; nothing is changed."""
        opened = await self._open_all(running, range(len(running.arrival.request.writes)))
        outcomes = await self._preview_all([one.call for one in opened])
        for one, outcome in zip(opened, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                give(one.arrival.end, outcome)
        if running.options.atomic and (refused := all_refused(outcomes, running.unread)):
            raise batch_refused(refused)
        for one, outcome in zip(opened, outcomes, strict=True):
            if not isinstance(outcome, Refusal):
                give(one.arrival.end, Answer(outcome.SerializeToString(), message=outcome))

    async def _open_all(self, running: RunningBatch, places: range) -> list[Opened]:
        """Read writes. One that cannot be read ends with its refusal. A fault of the server ends an atomic batch."""
        opened: list[Opened] = []
        id_of = numbered_ids(running.options.request_id) if running.options.request_id else None
        for place, write in zip(places, running.arrival.request.writes[places.start : places.stop], strict=True):
            if place % PIECE == 0:
                await asyncio.sleep(0)
            try:
                opened.append(_open(running, write, place, id_of))
            except Refusal as refusal:
                give(running.writes[-1].end, refusal)
                running.unread[place] = refusal.with_traceback(None)  # The traceback keeps this frame.
            except Exception as error:
                give(running.writes[-1].end, error)
                if running.options.atomic:
                    raise
        return opened


def _open(running: RunningBatch, write: Any, place: int, id_of: Callable[[int], str] | None) -> Opened:
    """Read a write and add it to those of the batch. ``id_of`` makes the ids of writes that have none."""
    change, request, timeout = asked_by(write)
    arrival = running.arrival.write(change or NO_WRITE, request, place, timeout)
    running.writes.append(arrival)
    if timeout is not None:
        running.limited.append(arrival)
    if change is None:
        raise no_change()
    admit(arrival)
    given = Fields()
    note_faults(given, change, request, timeout)
    new_id = id_of(place) if id_of and not request.request_id else ""
    return open_change(arrival, change, given, new_id)


def _ignore(_outcomes: Sequence[Any]) -> None:
    """Take the outcomes of a block without calls."""
