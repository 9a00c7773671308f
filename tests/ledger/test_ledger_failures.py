"""How the ledger handles failures of the database: it retries, or finds the call that causes the failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Engine, text

from registrar_server.core.commands import UpdateStudent
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.ledger.ledger import MAX_TRIES
from registrar_server.storage import engines
from tests.support.consistency import assert_consistent
from tests.support.ledgers import (
    Receipt,
    call,
    create_university,
    enroll_calls,
    failing,
    reasons,
    seated_students,
    watched_ledger,
)
from tests.support.watched_stores import OnceBefore

pytestmark = pytest.mark.usefixtures("each_store")

TOO_LONG = 2**63


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the students s-1 to s-8 and the course c-1 with 8 seats."""
    return create_university(database_url)


@pytest.fixture(autouse=True)
def _consistent(engine: Engine) -> Iterator[None]:
    """The database is consistent after every failure."""
    yield
    assert_consistent(engine)


class TestOneAtFault:
    """A call that breaks the transaction is found by halving the batch, and the other calls succeed."""

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_a_value_that_cannot_be_stored(self, url: str, engine: Engine, place: int) -> None:
        """If the database rejects a value, only the call with that value fails."""
        calls = enroll_calls(*range(1, 9))
        calls[place] = call(UpdateStudent(f"s-{place + 1}", {"max_credits": TOO_LONG}))
        self.assert_only_one_fails(url, engine, calls, place)

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_a_response_that_cannot_be_packed(self, url: str, engine: Engine, place: int) -> None:
        """An error in packing one response is the outcome of that call only."""
        calls = enroll_calls(*range(1, 9))
        calls[place] = Call(calls[place].command, lambda result: Receipt({"result": result}), "failing")
        outcome = self.assert_only_one_fails(url, engine, calls, place)
        assert isinstance(outcome, TypeError)

    def assert_only_one_fails(self, url: str, engine: Engine, calls: list[Call], place: int) -> Outcome:
        steps: list[str] = []
        with watched_ledger(url, steps.append) as (ledger, pauses):
            outcomes = ledger.run(calls)
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [at != place for at in range(8)]
        assert seated_students(engine) == [f"s-{at + 1}" for at in range(8) if at != place]
        assert steps.count("begin") == 7, "8, then two of each 4, 2 and 1"
        assert pauses == []
        return outcomes[place]

    def test_is_not_a_refusal(self, url: str) -> None:
        """The error is returned as it is, so that the caller of the ledger can log it."""
        with watched_ledger(url, lambda _step: None) as (ledger, _):
            (outcome,) = ledger.run([call(UpdateStudent("s-1", {"max_credits": TOO_LONG}))])
        assert isinstance(outcome, Exception)
        assert not isinstance(outcome, Refusal)

    def test_several(self, url: str, engine: Engine) -> None:
        """Several failing calls are each found."""
        calls = enroll_calls(*range(1, 9))
        for place in (1, 2, 6):
            calls[place] = call(UpdateStudent(f"s-{place + 1}", {"max_credits": TOO_LONG}))
        with watched_ledger(url, lambda _step: None) as (ledger, _):
            ledger.run(calls)
        assert seated_students(engine) == ["s-1", "s-4", "s-5", "s-6", "s-8"]


class TestRetry:
    """A batch that was rolled back is retried as a whole, after a pause of random length."""

    @pytest.mark.parametrize(
        "error",
        [psycopg.errors.SerializationFailure(), psycopg.errors.DeadlockDetected(), psycopg.errors.UniqueViolation()],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("step", ["read", "commit"])
    def test_once(self, url: str, engine: Engine, step: str, error: Exception) -> None:
        """If the second try succeeds, no caller notices."""
        hook = OnceBefore(step, failing(error))
        with watched_ledger(url, hook) as (ledger, pauses):
            assert reasons(ledger.run(enroll_calls(1, 2))) == [None, None]
        assert hook.steps.count("begin") == 2
        assert len(pauses) == 1
        assert seated_students(engine) == ["s-1", "s-2"]

    @pytest.mark.parametrize("error", [psycopg.errors.SerializationFailure(), psycopg.errors.DeadlockDetected()])
    def test_again_and_again(self, url: str, engine: Engine, error: Exception) -> None:
        """After the last try every call is refused with CONTENTION, and nothing has changed."""
        steps: list[str] = []

        def hook(step: str) -> None:
            steps.append(step)
            if step == "commit":
                raise error

        with watched_ledger(url, hook) as (ledger, pauses):
            outcomes = ledger.run(enroll_calls(1, 2))
        assert reasons(outcomes) == [Reason.CONTENTION, Reason.CONTENTION]
        assert steps.count("begin") == MAX_TRIES
        assert len(pauses) == MAX_TRIES - 1
        assert seated_students(engine) == []


class TestLocks:
    """A batch that waits too long for a lock is refused, and changes nothing."""

    def test_lock_timeout(self, url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The whole batch gets CONTENTION without a retry, and succeeds later."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 20)
        steps: list[str] = []
        with watched_ledger(url, steps.append) as (ledger, pauses):
            with other_transaction(engine):
                outcomes = ledger.run(enroll_calls(1, 2))
                assert steps.count("begin") == 1
            assert reasons(outcomes) == [Reason.CONTENTION, Reason.CONTENTION]
            assert [outcome.retry_after for outcome in outcomes if isinstance(outcome, Refusal)] == [0.05, 0.05]
            assert seated_students(engine) == []
            assert reasons(ledger.run(enroll_calls(1, 2))) == [None, None]
        assert pauses == []


@contextmanager
def other_transaction(engine: Engine) -> Iterator[None]:
    """Lock what a batch about c-1 must lock: its row, or the whole SQLite database."""
    with engine.connect() as connection:
        connection.execute(text("UPDATE courses SET title = 'locked' WHERE course_id = 'c-1'"))
        yield
        connection.rollback()
