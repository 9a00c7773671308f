"""Blocks in the ledger: in order, in one transaction, and halved only if a call breaks it; atomic ones never."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from registrar_server.core.commands import CreateCourse, CreateStudent, Enroll, UpdateStudent
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer, Block, Call, Mark, Outcome
from registrar_server.ledger.ledger import Ledger as ServerLedger
from registrar_server.storage.database import Database
from registrar_server.storage.failures import CommitUncertain, Failure, classify
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Receipt, call, create_university, enroll_calls, reasons, seated_students
from tests.support.running_stores import RunningStore
from tests.support.watched_stores import OnceBefore, WatchedStore

pytestmark = pytest.mark.usefixtures("each_store")

TOO_LONG = 2**63
MARK = Mark("b-1", b"atomic")


class Blocks:
    """Carries out blocks, and blocks meanwhile."""

    def __init__(self, database: Database, before_step: Callable[[str], None]) -> None:
        self._running = RunningStore(database)
        self._ledger = ServerLedger(WatchedStore(self._running.store, before_step, lambda _seconds: None))

    def run(self, calls: Sequence[Call], *, atomic: bool = False, mark: Mark | None = None) -> list[Outcome]:
        """Carry out a block; see the method of the server's ledger."""
        return self._running.run(self._ledger.run_block(Block(calls, atomic, mark)))

    def close(self) -> None:
        self._running.close()


@contextmanager
def blocks_on(url: str, before_step: Callable[[str], None] = lambda _step: None) -> Iterator[Blocks]:
    """Open a ledger for blocks on a database connection of its own."""
    database = Database(url)
    blocks = Blocks(database, before_step)
    yield blocks
    blocks.close()
    database.close()


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the students s-1 to s-8 and the course c-1 with 8 seats."""
    return create_university(database_url)


@pytest.fixture(autouse=True)
def _consistent(engine: Engine) -> Iterator[None]:
    """The database is consistent after every block."""
    yield
    assert_consistent(engine)


def poison(number: int) -> Call:
    """Return a call with a value that the database cannot store."""
    return call(UpdateStudent(f"s-{number}", {"max_credits": TOO_LONG}), f"poison-{number}")


def raising(error: Exception) -> Callable[[], None]:
    """Return a function that raises an error."""

    def fail() -> None:
        raise error

    return fail


class TestOrder:
    """Each call sees the effects of those before it."""

    def test_in_one_transaction(self, url: str) -> None:
        """Calls that create, use and fill a course are decided in order."""
        steps: list[str] = []
        with blocks_on(url, steps.append) as blocks:
            outcomes = blocks.run(
                [
                    call(Enroll("s-1", "c-2")),
                    call(CreateCourse("c-2", {"capacity": 1})),
                    call(Enroll("s-9", "c-2")),
                    call(CreateStudent("s-9")),
                    call(Enroll("s-9", "c-2")),
                    call(Enroll("s-1", "c-2")),
                ]
            )
        assert reasons(outcomes) == [
            Reason.COURSE_NOT_FOUND,
            None,
            Reason.STUDENT_NOT_FOUND,
            None,
            None,
            Reason.COURSE_FULL,
        ]
        assert steps.count("begin") == 1

    def test_equal_request_ids(self, url: str) -> None:
        """The second call gets the first answer without its events, or is refused if its content differs."""
        first, other = enroll_calls(1)[0], call(Enroll("s-2", "c-1"), "enroll-1", b"other")
        with blocks_on(url) as blocks:
            done, again, reused = blocks.run([first, first, other])
        assert isinstance(done, Answer)
        assert isinstance(again, Answer)
        assert (again.response, again.events) == (done.response, ())
        assert reasons([reused]) == [Reason.REQUEST_ID_REUSED]


class TestHalving:
    """A call that breaks the transaction is found by halving the block."""

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_only_the_broken_call_fails(self, url: str, engine: Engine, place: int) -> None:
        """The others keep their order."""
        calls = enroll_calls(*range(1, 9))
        calls[place] = poison(place + 1)
        with blocks_on(url) as blocks:
            outcomes = blocks.run(calls, mark=MARK)
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [at != place for at in range(8)]
        with engine.connect() as connection:
            order = connection.scalars(
                text("SELECT student_id FROM events WHERE enrollment_id <> '' ORDER BY revision")
            )
            assert list(order) == [f"s-{at + 1}" for at in range(8) if at != place]

    @pytest.mark.parametrize(
        "error",
        [psycopg.errors.LockNotAvailable(), psycopg.OperationalError(), CommitUncertain()],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize(("skip", "done"), [(2, 4), (3, 4), (4, 6), (6, 7)])
    def test_stops_at_an_interruption(self, url: str, engine: Engine, error: Exception, skip: int, done: int) -> None:
        """What was done before has its outcomes; nothing begins afterwards."""
        committed: list[str] = []

        def hook(step: str) -> None:
            if step == "commit":
                committed.append(step)
                if len(committed) > skip:
                    raise error

        calls = enroll_calls(*range(1, 9))
        calls[7] = poison(8)
        with blocks_on(url, hook) as blocks:
            outcomes = blocks.run(calls)
        # The commits are of the calls 1 to 8, 1 to 4, 5 to 8, 5 and 6, 7 and 8, 7, 8.
        assert [isinstance(outcome, Answer) for outcome in outcomes] == [at < done for at in range(8)]
        (reason,) = set(reasons(outcomes[done:]))
        assert reason in (Reason.CONTENTION, Reason.DATABASE_UNAVAILABLE)
        assert seated_students(engine) == [f"s-{at + 1}" for at in range(done)]

    @pytest.mark.parametrize("place", [0, 1])
    def test_nothing_begins_after_an_interruption_that_is_over(self, url: str, engine: Engine, place: int) -> None:
        """The second half does not begin if the first one was interrupted, even if it could be carried out."""
        # The commits are of the calls 1 to 8, 1 to 4, 1 and 2, 1, 2, 3 and 4. The last one is interrupted.
        hook = OnceBefore("commit", raising(psycopg.errors.LockNotAvailable()), skip=5)
        calls = enroll_calls(*range(1, 9))
        calls[place] = poison(place + 1)
        with blocks_on(url, hook) as blocks:
            outcomes = blocks.run(calls)
        assert reasons(outcomes[2:]) == [Reason.CONTENTION] * 6
        assert seated_students(engine) == [f"s-{at + 1}" for at in (0, 1) if at != place]


class TestInterruptions:
    """A block that cannot be carried out raises, and has changed nothing."""

    @pytest.mark.parametrize("atomic", [True, False])
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (psycopg.errors.LockNotAvailable(), Reason.CONTENTION),
            (psycopg.errors.SerializationFailure(), Reason.CONTENTION),
            (psycopg.OperationalError(), Reason.DATABASE_UNAVAILABLE),
        ],
        ids=["locks", "conflict", "outage"],
    )
    def test_raises(self, url: str, engine: Engine, error: Exception, reason: Reason, *, atomic: bool) -> None:
        def hook(step: str) -> None:
            if step == "commit":
                raise error

        with blocks_on(url, hook) as blocks, pytest.raises(Refusal) as refused:
            blocks.run(enroll_calls(1, 2), atomic=atomic, mark=MARK)
        assert refused.value.reason is reason
        assert not refused.value.uncertain
        assert seated_students(engine) == []

    def test_is_repeated_after_a_conflict(self, url: str, engine: Engine) -> None:
        """A block that was rolled back runs again as a whole."""
        hook = OnceBefore("commit", raising(psycopg.errors.SerializationFailure()))
        with blocks_on(url, hook) as blocks:
            assert reasons(blocks.run(enroll_calls(1, 2), mark=MARK)) == [None, None]
        assert hook.steps.count("begin") == 2
        assert seated_students(engine) == ["s-1", "s-2"]


class TestAtomic:
    """All calls or none."""

    def test_all(self, url: str, engine: Engine) -> None:
        steps: list[str] = []
        with blocks_on(url, steps.append) as blocks:
            assert reasons(blocks.run(enroll_calls(1, 2, 3), atomic=True)) == [None] * 3
        assert steps.count("commit") == 1
        assert seated_students(engine) == ["s-1", "s-2", "s-3"]

    def test_none_if_any_is_refused(self, url: str, engine: Engine) -> None:
        """The refusal has those of all refused calls, by place."""
        calls = [*enroll_calls(1), call(Enroll("s-9", "c-1")), *enroll_calls(2), call(Enroll("s-1", "c-9"))]
        with blocks_on(url) as blocks, pytest.raises(Refusal) as refused:
            blocks.run(calls, atomic=True, mark=MARK)
        assert refused.value.reason is Reason.STUDENT_NOT_FOUND
        assert refused.value.metadata == {"index": "1", "student_id": "s-9"}
        assert {place: one.reason for place, one in refused.value.refused.items()} == {
            1: Reason.STUDENT_NOT_FOUND,
            3: Reason.COURSE_NOT_FOUND,
        }
        assert seated_students(engine) == []

    def test_is_never_halved(self, url: str, engine: Engine) -> None:
        """A call that breaks the transaction fails the whole block."""
        steps: list[str] = []
        unstorable = (DBAPIError, psycopg.Error, OverflowError)
        with blocks_on(url, steps.append) as blocks, pytest.raises(unstorable) as failed:
            blocks.run([*enroll_calls(1, 2, 3), poison(4)], atomic=True, mark=MARK)
        assert classify(failed.value) is Failure.DATA
        assert steps.count("begin") == 1
        assert seated_students(engine) == []

    def test_a_response_that_cannot_be_packed(self, url: str, engine: Engine) -> None:
        """It fails the whole block too."""
        broken = Call(Enroll("s-4", "c-1"), lambda result: Receipt({"result": result}), "failing")
        with blocks_on(url) as blocks, pytest.raises(TypeError):
            blocks.run([*enroll_calls(1, 2), broken], atomic=True)
        assert seated_students(engine) == []


class TestMarks:
    """A block keeps its options under its own ``request_id``."""

    def test_is_kept(self, url: str, engine: Engine) -> None:
        """Also if it has no call that succeeds, or none at all, and only once."""
        with blocks_on(url) as blocks:
            for calls in ([call(Enroll("s-9", "c-1"))], [], enroll_calls(1)):
                blocks.run(calls, mark=MARK)
        with engine.connect() as connection:
            kept = connection.scalars(text("SELECT request_id FROM request_ids ORDER BY request_id")).all()
        assert kept == ["b-1", "enroll-1"]

    def test_another_one(self, url: str, engine: Engine) -> None:
        """If it differs, the block is refused and changes nothing."""
        with blocks_on(url) as blocks:
            blocks.run([], mark=MARK)
            with pytest.raises(Refusal) as refused:
                blocks.run(enroll_calls(1), mark=Mark("b-1", b"ordered"))
        assert refused.value.reason is Reason.REQUEST_ID_REUSED
        assert seated_students(engine) == []

    def test_of_another_caller(self, url: str) -> None:
        """The ids of two callers are different ids."""
        with blocks_on(url) as blocks:
            blocks.run([], mark=MARK)
            assert reasons(blocks.run(enroll_calls(1), mark=Mark("b-1", b"ordered", "ada"))) == [None]

    def test_of_a_call(self, url: str) -> None:
        """The id of a call that was carried out is not free for a block, and the other way round."""
        with blocks_on(url) as blocks:
            blocks.run(enroll_calls(1), mark=MARK)
            with pytest.raises(Refusal, match="enroll-1"):
                blocks.run([], mark=Mark("enroll-1", b"atomic"))
            assert reasons(blocks.run([call(Enroll("s-2", "c-1"), "b-1")])) == [Reason.REQUEST_ID_REUSED]
