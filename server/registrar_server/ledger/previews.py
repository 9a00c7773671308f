"""Answers calls with ``validate_only``: decides them on a snapshot, without locks and without changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from registrar_server.core.decide import decide
from registrar_server.core.formats import format_etag
from registrar_server.core.journal import Journal
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.errors import Reason, Refusal, unwrap
from registrar_server.immediate import complete
from registrar_server.ledger.calls import Call, Message
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.ledger.loading import ExpectedWaiters, Widened, load_without_locks
from registrar_server.storage.failures import refusal_of
from registrar_server.storage.stores import BlockingStore, Exchanges

NEW = "(new)"
"""Stands in a message for an id or an etag that an earlier call of the same preview would make."""


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
        """Return the response that the call would get; raises the call's refusal, and what ``preview_all`` raises."""
        return unwrap(self.preview_all([call])[0])

    def preview_all(self, calls: Sequence[Call]) -> list[Message | Refusal]:
        """Return the response or the refusal of each call, as if they were carried out in order.

        Nothing is locked or changed. The ids, times and etags that the server would create are empty. Raises
        DATABASE_UNAVAILABLE or CONTENTION if the database cannot be read.
        """
        widened = Widened(self._expected)
        while True:
            try:
                return complete(self._store.look(lambda snapshot: self._decide(snapshot, calls, widened)))
            except OutOfWaiters as missing:
                widened.widen(missing)
            except Exception as error:
                raise refusal_of(error) from error

    async def _decide(self, snapshot: Exchanges, calls: Sequence[Call], widened: Widened) -> list[Message | Refusal]:
        scope = widened.scope(call.command for call in calls)
        state = await load_without_locks(self._store, snapshot, scope, clock=self._clock)
        outcomes = [_outcome(state, call) for call in calls]
        self._expected.learn(state, scope.spare)
        return outcomes


def _outcome(state: State, call: Call) -> Message | Refusal:
    try:
        return call.pack(state.journal.preview(decide(state, call.command)))
    except Refusal as refusal:
        _hide_generated(state.journal, refusal)
        return refusal.with_traceback(None)


def _hide_generated(journal: Journal, refusal: Refusal) -> None:
    if refusal.reason is Reason.ETAG_MISMATCH:
        for etag in _generated_etags(journal, refusal.metadata):
            refusal.message = refusal.message.replace(f'"{etag}"', f'"{NEW}"')
    enrollment_id = refusal.metadata.get("enrollment_id")
    if enrollment_id in journal.added_enrollments:
        refusal.metadata["enrollment_id"] = ""
        refusal.message = refusal.message.replace(enrollment_id, NEW)


def _generated_etags(journal: Journal, ids: Mapping[str, str]) -> Iterator[str]:
    """Yield the etags of records that the preview added or changed; ``ids`` are theirs, by name."""
    written: Mapping[str, Iterable[Mapping[str, Student | Course | Enrollment]]] = {
        "student_id": (journal.added_students, journal.changed_students),
        "course_id": (journal.added_courses, journal.changed_courses),
        "enrollment_id": (journal.added_enrollments, journal.changed_enrollments),
    }
    for name, record_id in ids.items():
        for records in written.get(name, ()):
            record = records.get(record_id)
            if record is not None and journal.preview(record) is not record:
                yield format_etag(record_id, record.version)
