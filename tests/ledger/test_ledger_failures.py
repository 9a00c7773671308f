"""What the ledger makes of failures that a database reports: it runs again, or finds the call at fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Engine, text

from registrar_server.core.commands import UpdateStudent
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.ledger import MAX_TRIES, Answer, Call, Outcome
from registrar_server.storage import engines
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Once, Receipt, call, enrollments, failing, found_university, meddled, reasons, seats

TOO_LONG = 2**63


@pytest.fixture
def university(database_url: str) -> str:
    """A database where s-1 to s-8 and c-1, a course of 8 seats, are known."""
    return found_university(database_url)


@pytest.fixture(autouse=True)
def _consistent(engine: Engine) -> Iterator[None]:
    """Whatever fails here, the database stays consistent."""
    yield
    assert_consistent(engine)


class TestOneAtFault:
    """An error of one call that breaks the transaction is found by halving; its neighbours succeed."""

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_a_value_that_cannot_be_stored(self, university: str, engine: Engine, place: int) -> None:
        """The database refuses one value; only the call that brought it fails."""
        calls = enrollments(*range(1, 9))
        calls[place] = call(UpdateStudent(f"s-{place + 1}", {"max_credits": TOO_LONG}))
        self.assert_alone(university, engine, calls, place)

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_a_response_that_cannot_be_written(self, university: str, engine: Engine, place: int) -> None:
        """A mistake of ours in one call is an error of that call."""
        calls = enrollments(*range(1, 9))
        calls[place] = Call(calls[place].command, lambda made: Receipt({"broken": made}), Receipt, "broken")
        outcome = self.assert_alone(university, engine, calls, place)
        assert isinstance(outcome, TypeError)

    def assert_alone(self, url: str, engine: Engine, calls: list[Call], place: int) -> Outcome:
        steps: list[str] = []
        with meddled(url, steps.append) as (ledger, pauses):
            outcomes = ledger.run(calls)
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [at != place for at in range(8)]
        assert seats(engine) == [f"s-{at + 1}" for at in range(8) if at != place]
        assert steps.count("begin") == 7, "8, then two of each 4, 2 and 1"
        assert pauses == []
        return outcomes[place]

    def test_is_not_a_refusal(self, university: str) -> None:
        """What cannot be stored is raised as it came, for the caller of the ledger to log."""
        with meddled(university, lambda _step: None) as (ledger, _):
            (outcome,) = ledger.run([call(UpdateStudent("s-1", {"max_credits": TOO_LONG}))])
        assert isinstance(outcome, Exception)
        assert not isinstance(outcome, Refusal)

    def test_several(self, university: str, engine: Engine) -> None:
        """However many are at fault, each is found."""
        calls = enrollments(*range(1, 9))
        for place in (1, 2, 6):
            calls[place] = call(UpdateStudent(f"s-{place + 1}", {"max_credits": TOO_LONG}))
        with meddled(university, lambda _step: None) as (ledger, _):
            ledger.run(calls)
        assert seats(engine) == ["s-1", "s-4", "s-5", "s-6", "s-8"]


class TestRunAgain:
    """What was definitely rolled back is run again as a whole, after a pause of random length."""

    @pytest.mark.parametrize(
        "error",
        [psycopg.errors.SerializationFailure(), psycopg.errors.DeadlockDetected(), psycopg.errors.UniqueViolation()],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("step", ["read", "commit"])
    def test_once(self, university: str, engine: Engine, step: str, error: Exception) -> None:
        """The second time goes well, and nobody notices."""
        meddle = Once(step, failing(error))
        with meddled(university, meddle) as (ledger, pauses):
            assert reasons(ledger.run(enrollments(1, 2))) == [None, None]
        assert meddle.steps.count("begin") == 2
        assert len(pauses) == 1
        assert seats(engine) == ["s-1", "s-2"]

    @pytest.mark.parametrize("error", [psycopg.errors.SerializationFailure(), psycopg.errors.DeadlockDetected()])
    def test_again_and_again(self, university: str, engine: Engine, error: Exception) -> None:
        """After some attempts it is the callers' turn to try again; nothing was changed."""
        steps: list[str] = []

        def meddle(step: str) -> None:
            steps.append(step)
            if step == "commit":
                raise error

        with meddled(university, meddle) as (ledger, pauses):
            outcomes = ledger.run(enrollments(1, 2))
        assert reasons(outcomes) == [Reason.CONTENTION, Reason.CONTENTION]
        assert steps.count("begin") == MAX_TRIES
        assert len(pauses) == MAX_TRIES - 1
        assert seats(engine) == []


class TestLocks:
    """Who waits too long for a lock is told so, and has changed nothing."""

    def test_held_too_long(self, university: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """CONTENTION for the whole batch, without another attempt; later it goes well."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 20)
        steps: list[str] = []
        with meddled(university, steps.append) as (ledger, pauses):
            with holding(engine):
                outcomes = ledger.run(enrollments(1, 2))
                assert steps.count("begin") == 1
            assert reasons(outcomes) == [Reason.CONTENTION, Reason.CONTENTION]
            assert [outcome.retry_after for outcome in outcomes if isinstance(outcome, Refusal)] == [0.05, 0.05]
            assert seats(engine) == []
            assert reasons(ledger.run(enrollments(1, 2))) == [None, None]
        assert pauses == []


@contextmanager
def holding(engine: Engine) -> Iterator[None]:
    """Hold what a batch about c-1 must lock: its row, or the whole of SQLite."""
    with engine.connect() as connection:
        connection.execute(text("UPDATE courses SET title = 'held' WHERE course_id = 'c-1'"))
        yield
        connection.rollback()
