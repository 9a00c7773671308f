"""Answers calls with ``validate_only``: decides them on a snapshot, without locks and without changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from registrar_server.core.decide import decide
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from registrar_server.immediate import complete
from registrar_server.ledger.ledger import Call, Message, microseconds_now
from registrar_server.ledger.loading import ExpectedWaiters, Widened, load_without_locks
from registrar_server.storage.failures import refusal_of
from registrar_server.storage.stores import BlockingStore, Exchanges


class Previews:
    """Runs previews, and blocks the calling thread meanwhile. Tests may inject the clock."""

    def __init__(
        self,
        store: BlockingStore,
        expected: ExpectedWaiters | None = None,
        *,
        clock: Callable[[], int] = microseconds_now,
    ) -> None:
        self._store = store
        self._expected = expected or ExpectedWaiters()
        self._clock = clock

    def preview(self, call: Call) -> Message:
        """Return the response that the call would get, without locks and without changes; raises the call's refusal.

        The ids, times and etags that the server would create are empty. Raises DATABASE_UNAVAILABLE or CONTENTION if
        the database cannot be read.
        """
        widened = Widened(self._expected)
        while True:
            try:
                result, state = complete(self._store.look(lambda snapshot: self._decide(snapshot, call, widened)))
            except OutOfWaiters as missing:
                widened.widen(missing)
            except Refusal:
                raise
            except Exception as error:
                raise refusal_of(error) from error
            else:
                state.journal.clear_generated()
                return call.pack(result)

    async def _decide(self, snapshot: Exchanges, call: Call, widened: Widened) -> tuple[Any, State]:
        scope = widened.scope([call.command])
        state = await load_without_locks(self._store, snapshot, scope, clock=self._clock)
        result = decide(state, call.command)
        self._expected.learn(state, scope.spare)
        return result, state
