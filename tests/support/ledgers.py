"""Ledgers for tests: calls to run and their outcomes, and a database that reports each of its steps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Engine, text

from registrar_server.core.commands import Command, CreateCourse, CreateStudent, Enroll
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.ledger import Answer, Call, Ledger, Outcome
from registrar_server.storage import bulk
from registrar_server.storage.database import Database, QueryResults, Transaction


@dataclass(frozen=True)
class Receipt:
    """A response: the fields of the record that a decision returned, as they were when it was packed."""

    fields: Mapping[str, Any]

    def SerializeToString(self) -> bytes:
        """Return the receipt as bytes, as a protobuf message would."""
        return json.dumps(self.fields).encode()

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        """Read a stored receipt."""
        return cls(json.loads(data))

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


def call(command: Command, request_id: str = "", content: bytes = b"content", caller: str = "") -> Call:
    """Return a call whose response is a ``Receipt``."""
    return Call(command, Receipt.of, Receipt, request_id, content if request_id else b"", caller)


def carry_out(ledger: Ledger, *commands: Command) -> None:
    """Run commands as one batch that must succeed."""
    for outcome in ledger.run([call(command) for command in commands]):
        assert isinstance(outcome, Answer), outcome


def fields(outcome: Outcome) -> Mapping[str, Any]:
    """Return the fields in the receipt of an answered call."""
    assert isinstance(outcome, Answer), outcome
    assert isinstance(outcome.response, Receipt)
    return outcome.response.fields


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
    carry_out(Ledger(database), *commands)
    database.close()


class WatchedDatabase(Database):
    """A real database that calls ``before_step`` before each step.

    The steps are ``"begin"``, ``"read"`` and ``"commit"`` of a transaction, and ``"look"``, which is a read of a
    preview. An exception from ``before_step`` is raised from the step.
    """

    def __init__(self, url: str, before_step: Callable[[str], None], **options: Any) -> None:
        super().__init__(url, **options)
        self._before_step = before_step

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a write transaction whose steps are reported."""
        self._before_step("begin")
        with super().transaction() as transaction:
            yield _WatchedTransaction(transaction, self._before_step)

    @contextmanager
    def read_connection(self) -> Iterator[Transaction]:
        """Open a read connection whose reads are reported."""
        with super().read_connection() as transaction:
            yield _WatchedTransaction(transaction, lambda _step: self._before_step("look"))


class _WatchedTransaction(Transaction):
    def __init__(self, transaction: Transaction, before_step: Callable[[str], None]) -> None:
        self._transaction = transaction
        self._before_step = before_step

    def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        self._before_step("read")
        return self._transaction.read(requests)

    def commit(self, *requests: tuple[bulk.Statement, bulk.Rows]) -> None:
        self._before_step("commit")
        self._transaction.commit(*requests)


class OnceBefore:
    """Calls ``action`` once before a step of a ``WatchedDatabase``, after ``skip`` such steps, and notes all steps."""

    def __init__(self, step: str, action: Callable[[], object], skip: int = 0) -> None:
        self._when = (step, skip + 1)
        self._action = action
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if (step, self.steps.count(step)) == self._when:
            self._action()


@contextmanager
def watched_ledger(url: str, before_step: Callable[[str], None]) -> Iterator[tuple[Ledger, list[float]]]:
    """Open a ledger on a ``WatchedDatabase``, with a list of its pauses, which take no time."""
    pauses: list[float] = []
    database = WatchedDatabase(url, before_step)
    yield Ledger(database, pause=pauses.append), pauses
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
