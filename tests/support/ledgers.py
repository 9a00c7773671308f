"""Ledgers for tests: they block, whatever kind of store they use; and calls to run, with their outcomes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

from sqlalchemy import Engine, text

from registrar_server import ids
from registrar_server.core.commands import Command, CreateCourse, CreateStudent, Enroll
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer, Call, Message, Outcome
from registrar_server.ledger.ledger import Ledger as ServerLedger
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.ledger.loading import ExpectedWaiters
from registrar_server.ledger.previews import Previews
from registrar_server.storage.database import Database
from registrar_server.storage.stores import BlockingStore
from tests.support.running_stores import RunningStore
from tests.support.watched_stores import WatchedStore


@dataclass(frozen=True)
class Receipt:
    """A response: the fields of the record that a decision returned, as they were when it was packed."""

    fields: Mapping[str, Any]

    def SerializeToString(self) -> bytes:
        """Return the receipt as bytes, as a protobuf message would."""
        return json.dumps(self.fields).encode()

    @classmethod
    def of(cls, result: Any) -> Self:
        """Make a receipt for the result of a decision; of several records, the first contains the others.

        A plain tuple has the promoted enrollments only.
        """
        record, others = result, {}
        if type(result) is tuple:
            return cls(json.loads(json.dumps({"promoted": _plain(result)})))
        if isinstance(result, tuple):
            (_, record), *rest = result._asdict().items()  # type: ignore[attr-defined]  # All results are named tuples.
            others = {name: _plain(value) for name, value in rest}
        return cls({} if record is None else json.loads(json.dumps(dataclasses.asdict(record) | others)))


def _plain(value: Any) -> Any:
    """Return a record, or each of several records, as a dictionary."""
    return [dataclasses.asdict(one) for one in value] if isinstance(value, tuple) else dataclasses.asdict(value)


class Ledger:
    """A server's ledger and its previews on one database, for tests that block.

    It uses a store of the kind that the fixture ``each_store`` chooses, by default one for threads. It calls
    ``before_step`` before each step and ``pause`` instead of pausing, as a ``WatchedStore`` does.
    """

    def __init__(
        self,
        database: Database,
        *,
        before_step: Callable[[str], None] = lambda _step: None,
        pause: Callable[[float], None] | None = None,
        clock: Callable[[], int] = microseconds_now,
        new_id: Callable[[int], str] = ids.new_id,
    ) -> None:
        self._running = RunningStore(database)
        store = WatchedStore(self._running.store, before_step, pause)
        expected = ExpectedWaiters()
        self._ledger = ServerLedger(store, expected, clock=clock, new_id=new_id)
        # Whatever this store awaits is done at once, as with the store that it watches.
        blocking = cast("BlockingStore", WatchedStore(BlockingStore(database), before_step))
        self._previews = Previews(blocking, expected, clock=clock)

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """Carry out a batch; see the method of the server's ledger."""
        return self._running.run(self._ledger.run(calls))

    def preview(self, call: Call) -> Message:
        """Return the response that the call would get; see ``Previews``."""
        return self._previews.preview(call)

    def close(self) -> None:
        """End the event loop of the ledgers on this database, if they run in one."""
        self._running.close()


def call(command: Command, request_id: str = "", content: bytes = b"content", caller: str = "") -> Call:
    """Return a call whose response is a ``Receipt``."""
    return Call(command, Receipt.of, request_id, content if request_id else b"", caller)


def carry_out(ledger: Ledger, *commands: Command) -> None:
    """Run commands as one batch that must succeed."""
    for outcome in ledger.run([call(command) for command in commands]):
        assert isinstance(outcome, Answer), outcome


def fields(outcome: Outcome) -> Mapping[str, Any]:
    """Return the fields in the receipt of an answered call."""
    assert isinstance(outcome, Answer), outcome
    answered: Mapping[str, Any] = json.loads(outcome.response)
    return answered


def promoted(outcome: Outcome) -> list[str]:
    """Return the students that an answered call has promoted."""
    return [enrollment["student_id"] for enrollment in fields(outcome)["promoted"]]


def reasons(outcomes: Iterable[Outcome]) -> list[Reason | None]:
    """Return the reason of each refusal, and None for each answer; raise any other error."""
    return [_reason(outcome) for outcome in outcomes]


def _reason(outcome: Outcome) -> Reason | None:
    if isinstance(outcome, Refusal):
        return outcome.reason
    if isinstance(outcome, Exception):
        raise outcome
    return None


def carry_out_on(url: str, *commands: Command) -> None:
    """Run commands as one batch that must succeed, on a database connection of its own."""
    database = Database(url)
    ledger = Ledger(database)
    carry_out(ledger, *commands)
    ledger.close()
    database.close()


@contextmanager
def watched_ledger(url: str, before_step: Callable[[str], None]) -> Iterator[tuple[Ledger, list[float]]]:
    """Open a ledger on a database of its own, with a list of its pauses, which take no time.

    The ledger calls ``before_step`` as a ``WatchedStore`` does.
    """
    pauses: list[float] = []
    database = Database(url)
    ledger = Ledger(database, before_step=before_step, pause=pauses.append)
    yield ledger, pauses
    ledger.close()
    database.close()


def create_university(url: str) -> str:
    """Create the students s-1 to s-8 and the course c-1 with 8 seats, and return the URL."""
    students = [CreateStudent(f"s-{number}") for number in range(1, 9)]
    carry_out_on(url, CreateCourse("c-1", {"capacity": 8}), *students)
    return url


def enroll_calls(*numbers: int) -> list[Call]:
    """Return calls that enroll these students in c-1, each with a request id."""
    return [call(Enroll(f"s-{number}", "c-1"), f"enroll-{number}") for number in numbers]


def seated_students(engine: Engine) -> list[str]:
    """Return the students who have a seat."""
    query = "SELECT student_id FROM enrollments WHERE state = 'ENROLLED' ORDER BY student_id"
    with engine.connect() as connection:
        return list(connection.execute(text(query)).scalars())


def failing(error: Exception) -> Callable[[], None]:
    """Return a function that raises an error."""

    def fail() -> None:
        raise error

    return fail
