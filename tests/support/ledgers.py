"""Small parts for tests of the core: states to decide over, calls to run, and how to read what came of them."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pytest
from sqlalchemy import Engine, text

from registrar_server.core.attempts import Attempts
from registrar_server.core.commands import Command, CreateCourse, CreateStudent, Enroll
from registrar_server.core.decide import decide
from registrar_server.core.queue import Queue
from registrar_server.core.records import Commitment, Course, Enrollment, Passed, Student
from registrar_server.core.seats import Swapped, Unenrolled
from registrar_server.core.state import State
from registrar_server.core.transcripts import Transcripts
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.ledger import Answer, Call, Ledger, Outcome
from registrar_server.storage import bulk
from registrar_server.storage.database import Database, QueryResults, Transaction

NOW = 1_795_449_600_123_456


def given(*records: Student | Course | Enrollment, now: int = NOW) -> State:
    """Return a state that has loaded these records and all that the rules see of them.

    The ids it makes are ``id-1``, ``id-2`` and so on. Of a course that counts more waiters than there are here, only
    the head of the queue was loaded.
    """
    ids = itertools.count(1)
    state = State(now, lambda _now: f"id-{next(ids)}")
    courses = {record.course_id: record for record in records if isinstance(record, Course)}
    enrollments = [record for record in records if isinstance(record, Enrollment)]
    queues: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for waiter in sorted(enrollments, key=lambda enrollment: enrollment.number):
        if waiter.waits:
            queues[waiter.course_id].append(waiter)
            waiter.waitlist_position = len(queues[waiter.course_id])
    state.load([record for record in records if isinstance(record, Student)], courses.values(), enrollments)
    for course in courses.values():
        state.load_queue(course, queues[course.course_id])
    for one in enrollments:
        course = courses.get(one.course_id, Course(one.course_id))
        if one.state == "ENROLLED":
            state.load_transcripts(
                [Commitment(course.course_id, course.term, course.credits, course.meetings, one.student_id)]
            )
        elif one.passed:
            passed = Passed(one.student_id, one.enrollment_id, course.course_id, course.code)
            state.load_transcripts(passed=[passed])
    return state


def refusal(state: State, command: Command) -> Refusal:
    """Decide, and return the refusal that it must be."""
    with pytest.raises(Refusal) as refused:
        decide(state, command)
    return refused.value


def contents(state: State) -> dict[str, Any]:
    """Return a copy of everything that a state holds, without the empty entries that look-ups leave behind."""
    return copy.deepcopy(_filled(vars(state) | {"journal": {**vars(state.journal), "new_id": None}}))


def _filled(value: Any) -> Any:
    if isinstance(value, Attempts | Queue | Transcripts):
        return _filled(vars(value))
    if isinstance(value, dict):
        return {key: filled for key, item in value.items() if (filled := _filled(item))}
    return value


@dataclass(frozen=True)
class Receipt:
    """A response: the fields of the record that a decision made, as they were when it was packed."""

    fields: Mapping[str, Any]

    def SerializeToString(self) -> bytes:
        """Return the bytes to store."""
        return json.dumps(self.fields).encode()

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        """Read a stored receipt."""
        return cls(json.loads(data))

    @classmethod
    def of(cls, made: Any) -> Self:
        """Write a receipt for what a decision made; of several records the first, with the others in it."""
        fields: dict[str, Any] = {}
        if isinstance(made, Unenrolled | Swapped):
            fields["promoted"] = [dataclasses.asdict(one) for one in made.promoted]
        if isinstance(made, Swapped):
            fields["dropped"] = dataclasses.asdict(made.dropped)
        record = made.enrollment if fields else made
        return cls({} if record is None else json.loads(json.dumps(dataclasses.asdict(record) | fields)))


def call(command: Command, request_id: str = "", content: bytes = b"content", caller: str = "") -> Call:
    """Return a call that is answered with a ``Receipt``."""
    return Call(command, Receipt.of, Receipt, request_id, content if request_id else b"", caller)


def carry_out(ledger: Ledger, *commands: Command) -> None:
    """Run commands as one batch that must succeed."""
    for outcome in ledger.run([call(command) for command in commands]):
        assert isinstance(outcome, Answer), outcome


def fields(outcome: Outcome) -> Mapping[str, Any]:
    """Return what an answered call made."""
    assert isinstance(outcome, Answer), outcome
    assert isinstance(outcome.response, Receipt)
    return outcome.response.fields


def reasons(outcomes: Iterable[Outcome]) -> list[Reason | None]:
    """Return why each call was refused, None where it was answered; anything else is raised."""
    return [_reason(outcome) for outcome in outcomes]


def _reason(outcome: Outcome) -> Reason | None:
    if isinstance(outcome, Refusal):
        return outcome.reason
    if isinstance(outcome, Exception):
        raise outcome
    return None


class Watched(Database):
    """A real database where a test may look on, or meddle, just before each step.

    ``before`` is called with ``"begin"``, ``"read"`` and ``"commit"``, and with ``"look"`` where a preview reads. What
    it raises is raised from that step.
    """

    def __init__(self, url: str, before: Callable[[str], None], **options: Any) -> None:
        super().__init__(url, **options)
        self._before = before

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a write transaction whose steps are told."""
        self._before("begin")
        with super().transaction() as transaction:
            yield _Watched(transaction, self._before)

    @contextmanager
    def read_connection(self) -> Iterator[Transaction]:
        """Read in a way that is told."""
        with super().read_connection() as transaction:
            yield _Watched(transaction, lambda _step: self._before("look"))


class _Watched(Transaction):
    def __init__(self, transaction: Transaction, before: Callable[[str], None]) -> None:
        self._transaction = transaction
        self._before = before

    def read(self, requests: Mapping[bulk.Query[Any], bulk.Rows]) -> QueryResults:
        self._before("read")
        return self._transaction.read(requests)

    def commit(self, *requests: tuple[bulk.Statement, bulk.Rows]) -> None:
        self._before("commit")
        self._transaction.commit(*requests)


class Once:
    """Something to do just before a step of a ``Watched`` database, once; notes every step.

    With ``skip``, that many of these steps pass by first.
    """

    def __init__(self, step: str, action: Callable[[], object], skip: int = 0) -> None:
        self._when = (step, skip + 1)
        self._action = action
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if (step, self.steps.count(step)) == self._when:
            self._action()


@contextmanager
def meddled(url: str, meddle: Callable[[str], None]) -> Iterator[tuple[Ledger, list[float]]]:
    """A ledger on a ``Watched`` database, and the pauses it made, which take no time."""
    pauses: list[float] = []
    database = Watched(url, meddle)
    yield Ledger(database, pause=pauses.append), pauses
    database.close()


def found_university(url: str) -> str:
    """Make s-1 to s-8 known, and c-1, a course of 8 seats; return the URL again."""
    database = Database(url)
    students = [CreateStudent(f"s-{number}") for number in range(1, 9)]
    carry_out(Ledger(database), CreateCourse("c-1", {"capacity": 8}), *students)
    database.close()
    return url


def enrollments(*numbers: int) -> list[Call]:
    """Calls that enroll these students of the university in c-1, each with a request id."""
    return [call(Enroll(f"s-{number}", "c-1"), f"enroll-{number}") for number in numbers]


def seats(engine: Engine) -> list[str]:
    """Who has a seat."""
    query = "SELECT student_id FROM enrollments WHERE state = 'ENROLLED' ORDER BY student_id"
    with engine.connect() as connection:
        return list(connection.execute(text(query)).scalars())


def failing(error: Exception) -> Callable[[], None]:
    """Something that raises this error."""

    def fail() -> None:
        raise error

    return fail
