"""Carries out batches of calls: lock, load, decide, write, commit, in a few set-based statements per batch.

A batch usually takes two round trips, whatever its size: one locks and reads, one writes and commits. Waiters or
prerequisites, and deletions by force or enrollments named by id, add one each. Decisions are made in between, in
memory, so a refused call does not affect the other calls of its batch.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from registrar_server import ids, stopwatch
from registrar_server.core.decide import decide
from registrar_server.core.journal import Journal
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.state import State
from registrar_server.errors import Refusal, batch_refused, contention, database_unavailable, request_id_reused
from registrar_server.ledger.calls import Answer, Block, Call, Mark, Outcome, all_refused, interruption_of
from registrar_server.ledger.loading import ExpectedWaiters, Unlocked, Widened, lock_and_load
from registrar_server.ledger.request_ids import Responses
from registrar_server.storage import statements
from registrar_server.storage.bulk import Rows, Statement
from registrar_server.storage.failures import CommitUncertain, Failure, classify
from registrar_server.storage.statements import StoredResponse
from registrar_server.storage.stores import Store

MAX_TRIES = 5
PIECE = 64
"""How many calls are decided before other work in the event loop may go on."""
STUDENT_US = 10
"""How long a decision about all students of a batch takes for each of them, such as the deletion of a course."""
WRITES_US = 3
"""How long it takes to make the rows of a change."""


def microseconds_now() -> int:
    """Return the wall-clock time in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Ledger:
    """Runs batches on one database. Tests may inject the clock and the ids."""

    def __init__(
        self,
        store: Store,
        expected: ExpectedWaiters | None = None,
        *,
        recorded: Callable[[], object] = lambda: None,
        clock: Callable[[], int] = microseconds_now,
        new_id: Callable[[int], str] = ids.new_id,
    ) -> None:
        """``recorded`` is called after each commit with new events, in the thread that runs the batch."""
        self.revision = 0
        """No event of a call that this ledger has carried out, or whose response it has repeated, has a higher one."""
        self._recorded = recorded
        self._store = store
        self._expected = expected or ExpectedWaiters()
        self._clock = clock
        self._new_id = new_id

    async def work(self, items: Sequence[Call | Block]) -> Sequence[Outcome | list[Outcome]]:
        """Carry out what a lane has gathered: several calls, or blocks. The outcome of a block is a list, see below."""
        if isinstance(items[0], Block):
            return [await self.run_block(block) for block in items if isinstance(block, Block)]
        return await self.run([call for call in items if isinstance(call, Call)])

    async def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """Carry out a batch in one transaction, and return an answer or an error for each call, in order.

        If one call breaks the whole transaction, the batch is halved until that call is alone. After an uncertain
        commit nothing runs again, and every call gets a refusal that says so.
        """
        try:
            return await self._run_repeatedly(Block(calls))
        except Exception as error:
            if refusal := self._interruption(error, len(calls)):
                return [refusal() for _ in calls]
            if len(calls) == 1:
                return [error]
        half = len(calls) // 2
        return await self.run(calls[:half]) + await self.run(calls[half:])

    async def run_block(self, block: Block) -> list[Outcome]:
        """Carry out a block in one transaction, and return an answer or an error for each call, in order.

        A block is halved as a batch is, unless it is atomic. Raises a ``Refusal`` if the block is interrupted, by
        ``CONTENTION`` or ``DATABASE_UNAVAILABLE``. If that happens after some calls of a halved block were carried out,
        it is the outcome of all other calls instead. Also raises a ``Refusal``, with nothing changed, if the mark
        differs or if any call of an atomic block is refused.
        """
        try:
            return await self._run_repeatedly(block)
        except Exception as error:
            if refusal := self._interruption(error, len(block.calls)):
                raise refusal() from None
            if block.atomic or isinstance(error, Refusal) or not block.calls:
                raise
            if len(block.calls) == 1:
                return [error]
        half = len(block.calls) // 2
        done = await self.run_block(replace(block, calls=block.calls[:half]))
        return done + await self._run_rest(replace(block, calls=block.calls[half:]), interruption_of(done))

    async def _run_rest(self, block: Block, interruption: Refusal | None) -> list[Outcome]:
        """Carry out the second half of a block, unless the first half was interrupted."""
        try:
            if interruption is None:
                return await self.run_block(block)
        except Refusal as refusal:
            interruption = refusal.with_traceback(None)
        return [interruption] * len(block.calls)

    def _interruption(self, error: Exception, calls: int) -> Callable[[], Refusal] | None:
        """Return what makes the refusal of a call if none of the batch can be carried out now, and note an outage."""
        uncertain = isinstance(error, CommitUncertain)
        match Failure.UNAVAILABLE if uncertain else classify(error):
            case Failure.UNAVAILABLE:
                self._store.availability.failed("writing", error, calls=calls, uncertain=uncertain)
                return partial(database_unavailable, uncertain=uncertain)
            case Failure.CONTENTION | Failure.CONFLICT:
                return contention
        return None

    async def _run_repeatedly(self, block: Block) -> list[Outcome]:
        """Run a transaction, and retry what was certainly rolled back and may succeed the next time."""
        widened = Widened(self._expected)
        tries = 0
        while True:
            try:
                return await self._run_once(block, widened)
            except (Unlocked, OutOfWaiters) as missing:
                widened.widen(missing)
            except CommitUncertain:
                raise
            except Exception as error:
                # A pooled connection may have broken while idle, so a lost connection is retried once, on a new one.
                most = {Failure.CONFLICT: MAX_TRIES, Failure.TAKEN: MAX_TRIES, Failure.UNAVAILABLE: 2}
                tries += 1
                if tries >= most.get(classify(error), 1):
                    raise
                await self._store.pause(random.uniform(0, 0.005 * 2**tries))

    async def _run_once(self, block: Block, widened: Widened) -> list[Outcome]:
        calls, mark = block.calls, block.mark
        scope = widened.scope(call.command for call in calls)
        asked = {(call.caller, call.request_id) for call in calls if call.request_id}
        if mark:
            asked.add((mark.caller, mark.request_id))
        stopwatch.enter("locked")
        async with self._store.transaction() as transaction:
            state, responses = await lock_and_load(
                self._store, transaction, scope, asked, clock=self._clock, new_id=self._new_id
            )
            stopwatch.enter("packed")
            if mark:
                _keep(mark, responses, state.now)
            outcomes = await self._carry_out_all(state, responses, calls)
            if block.atomic:
                _check(block, outcomes)
            stopwatch.enter("database")
            found = await transaction.commit(*await self._writes(state.journal, responses), reads=statements.LATEST)
        stopwatch.enter("packed")
        self.revision = max(self.revision, *found[statements.REVISION])
        self._expected.learn(state, scope.spare)
        if state.journal.events or responses.added:  # Otherwise the commit had nothing to write.
            self._store.availability.succeeded("writing")
        if state.journal.events:
            self._recorded()
        return outcomes

    async def _writes(self, journal: Journal, responses: Responses) -> tuple[tuple[Statement, Rows], ...]:
        changes = len(journal.events) + len(journal.changed_enrollments)
        return await self._store.compute(changes * WRITES_US, statements.writes, journal, responses.added)

    async def _carry_out_all(self, state: State, responses: Responses, calls: Sequence[Call]) -> list[Outcome]:
        """Decide all calls, in pieces, so that other work can go on between them."""
        outcomes: list[Outcome] = []
        for first in range(0, len(calls), PIECE):
            if outcomes:
                await self._store.pause(0)
            piece = calls[first : first + PIECE]
            microseconds = len(state.students) * STUDENT_US
            outcomes += await self._store.compute(microseconds, _carry_out_piece, state, responses, piece)
        return outcomes


def _check(block: Block, outcomes: Sequence[Outcome]) -> None:
    """Refuse an atomic block with a refused write. Without a commit, its transaction is rolled back."""
    if refused := all_refused(outcomes, block.unread):
        raise batch_refused(refused)


def _carry_out_piece(state: State, responses: Responses, calls: Sequence[Call]) -> list[Outcome]:
    return [_carry_out(state, responses, call) for call in calls]


def _carry_out(state: State, responses: Responses, call: Call) -> Outcome:
    if stored := responses.find(call.caller, call.request_id):
        return _stored_answer(stored, call)
    journal = state.journal
    journal.actor, journal.request_id, journal.on_behalf_of = call.caller, call.request_id, call.on_behalf_of
    first = len(journal.events)
    try:
        message = call.pack(decide(state, call.command))
    except Refusal as refusal:
        return refusal.with_traceback(None)  # The traceback would keep the whole batch in memory.
    response = message.SerializeToString()
    if call.request_id:
        responses.add(StoredResponse(call.caller, call.request_id, call.fingerprint, response, state.now))
    return Answer(response, journal.events[first:], message)


def _keep(mark: Mark, responses: Responses, now: int) -> None:
    """Keep the mark of a block, unless it is kept already; raises REQUEST_ID_REUSED if another one is."""
    stored = responses.find(mark.caller, mark.request_id)
    if stored is None:
        responses.add(StoredResponse(mark.caller, mark.request_id, mark.fingerprint, b"", now))
    elif stored.fingerprint != mark.fingerprint:
        raise request_id_reused(mark.request_id)


def _stored_answer(stored: StoredResponse, call: Call) -> Outcome:
    return Answer(stored.response) if stored.fingerprint == call.fingerprint else request_id_reused(call.request_id)
