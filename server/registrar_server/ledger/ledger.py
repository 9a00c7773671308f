"""Carries out batches of calls: lock, load, decide, write, commit, in a few set-based statements per batch.

Whatever the size of the batch, a write is two round trips: one locks and reads, one writes and commits. Decisions are
made in between, in memory, so that one refused call never disturbs its neighbours.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import structlog

from registrar_server import ids
from registrar_server.core.commands import Command
from registrar_server.core.decide import decide
from registrar_server.core.records import Event, StoredResponse
from registrar_server.core.state import OutOfWaiters, State
from registrar_server.errors import Reason, Refusal, contention, database_unavailable
from registrar_server.ledger.loading import Unlocked, Widened, load, look
from registrar_server.storage import statements
from registrar_server.storage.database import CommitUncertain, Database, Failure, Transaction, classify, refusal_of

ATTEMPTS = 5

log = structlog.get_logger()


class Message(Protocol):
    """A response: whatever can be written as bytes and read back from them."""

    def SerializeToString(self) -> bytes:
        """Return the bytes to store."""

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        """Read a stored response."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command as one caller sent it: how to answer it, and the ``request_id`` under which the answer is kept."""

    command: Command
    pack: Callable[[Any], Message]
    """Makes the response from what the decision returned, before later commands of the batch change it."""
    response: type[Message]
    request_id: str = ""
    fingerprint: bytes = b""
    """A digest of the RPC and the request's content; the same ``request_id`` must mean the same content."""
    caller: str = ""


class Answer(NamedTuple):
    """The response to a call, and the events it made; a repeated response made none."""

    response: Any
    events: Sequence[Event] = ()


Outcome = Answer | Exception


def microseconds_now() -> int:
    """Return the wall clock, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Ledger:
    """Runs batches against one database. Time, ids and the pause between attempts can be given by tests."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], int] = microseconds_now,
        new_id: Callable[[int], str] = ids.new_id,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._pause = pause

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """Carry out a batch in one transaction; every call gets its own answer or its own error.

        An error that belongs to one call but breaks the transaction is found by halving the batch until that call is
        alone. After an uncertain commit nothing is run again: every call of the batch is told so.
        """
        try:
            return self._run_repeatedly(calls)
        except CommitUncertain as error:
            log.error("commit_uncertain", calls=len(calls), exc_info=error)
            return [database_unavailable(uncertain=True) for _ in calls]
        except Exception as error:
            match classify(error):
                case Failure.UNAVAILABLE:
                    log.error("database_unavailable", calls=len(calls), error=str(error.__cause__ or error))
                    return [database_unavailable() for _ in calls]
                case Failure.CONTENTION | Failure.CONFLICT:
                    return [contention() for _ in calls]
            if len(calls) == 1:
                return [error]
            half = len(calls) // 2
            return self.run(calls[:half]) + self.run(calls[half:])

    def _run_repeatedly(self, calls: Sequence[Call]) -> list[Outcome]:
        """Run again what was definitely rolled back and may fare better the next time."""
        widened = Widened()
        attempt = 0
        while True:
            try:
                return self._run_once(calls, widened)
            except (Unlocked, OutOfWaiters) as missing:
                widened.widen(missing)
            except CommitUncertain:
                raise
            except Exception as error:
                # A pooled connection may have died while idle, so a lost one is tried once more, on a new one.
                tries = {Failure.CONFLICT: ATTEMPTS, Failure.TAKEN: ATTEMPTS, Failure.UNAVAILABLE: 2}
                attempt += 1
                if attempt >= tries.get(classify(error), 1):
                    raise
                self._pause(random.uniform(0, 0.005 * 2**attempt))

    def _run_once(self, calls: Sequence[Call], widened: Widened) -> list[Outcome]:
        scope = widened.scope(call.command for call in calls)
        asked = {(call.caller, call.request_id) for call in calls if call.request_id}
        with self._database.transaction() as transaction:
            state = load(transaction, scope, asked, clock=self._clock, new_id=self._new_id)
            outcomes = [_carry_out(state, call) for call in calls]
            transaction.commit(*statements.writes(state.journal))
        return outcomes

    def preview(self, call: Call) -> Message:
        """Answer as the call would, without locks and without changing anything; raises the call's refusal.

        What the server would make (ids, times, etags) is left empty. Raises DATABASE_UNAVAILABLE or CONTENTION where it
        cannot look.
        """
        widened = Widened()
        while True:
            try:
                result, state = self._database.look(lambda transaction: self._foresee(transaction, call, widened))
            except OutOfWaiters as missing:
                widened.widen(missing)
            except Refusal:
                raise
            except Exception as error:
                raise refusal_of(error) from error
            else:
                state.journal.forget_made()
                return call.pack(result)

    def _foresee(self, transaction: Transaction, call: Call, widened: Widened) -> tuple[Any, State]:
        state = look(transaction, widened.scope([call.command]), clock=self._clock)
        return decide(state, call.command), state


def _carry_out(state: State, call: Call) -> Outcome:
    if call.request_id and (stored := state.responses.get((call.caller, call.request_id))):
        return _replay(stored, call)
    journal = state.journal
    journal.actor, journal.request_id = call.caller, call.request_id
    first = len(journal.events)
    try:
        response = call.pack(decide(state, call.command))
    except Refusal as refusal:
        return refusal
    if call.request_id:
        state.answer(
            StoredResponse(call.caller, call.request_id, call.fingerprint, response.SerializeToString(), state.now)
        )
    return Answer(response, journal.events[first:])


def _replay(stored: StoredResponse, call: Call) -> Outcome:
    if stored.fingerprint != call.fingerprint:
        return Refusal(
            Reason.REQUEST_ID_REUSED,
            f'request_id "{call.request_id}" was already used for another request; use a new one.',
            request_id=call.request_id,
        )
    return Answer(call.response.FromString(stored.response))
