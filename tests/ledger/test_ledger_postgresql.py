"""The ledger with other processes on the same PostgreSQL database, and with connections that are lost at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Unenroll,
    UpdateStudent,
)
from registrar_server.core.decide import decide
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.storage import statements
from registrar_server.storage.database import Database
from registrar_server.storage.statements import StoredResponse
from tests.support.consistency import assert_consistent
from tests.support.ledgers import (
    Ledger,
    Receipt,
    call,
    carry_out,
    carry_out_on,
    create_university,
    enroll_calls,
    fields,
    reasons,
    seated_students,
    watched_ledger,
)
from tests.support.states import NOW, loaded_state
from tests.support.watched_stores import OnceBefore
from tests.support.wire import Wire

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture
def url(postgresql_url: str) -> str:
    """A PostgreSQL database with the students s-1 to s-8 and the course c-1 with 8 seats."""
    return create_university(postgresql_url)


@pytest.fixture
def other_engine(url: str) -> Iterator[Engine]:
    """An engine that the ledger does not use; after the test the database must be consistent."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    yield engine
    assert_consistent(engine)
    engine.dispose()


def close_connections(other_engine: Engine) -> None:
    """Close every other connection to the database, and wait until they are gone."""
    with other_engine.connect() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ended = connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) {others}")).scalars().all()
    assert ended
    assert all(ended)


class TestLostConnections:
    """The effect of a lost connection depends on the step in which it is lost."""

    @pytest.mark.parametrize("pooled", [1, 2])
    def test_while_idle(self, url: str, other_engine: Engine, pooled: int) -> None:
        """If pooled connections are lost, the batch uses a new one."""
        database = Database(url, writers=2)
        run_together(lambda: read_in_transaction(database), pooled)
        close_connections(other_engine)
        outcomes = Ledger(database, pause=lambda _seconds: None).run(enroll_calls(1, 2))
        database.close()
        assert reasons(outcomes) == [None, None]

    def test_between_batches(self, url: str, other_engine: Engine) -> None:
        """If the connection of the last batch is lost, the next batch uses a new one, and so does the one after it."""
        steps: list[str] = []
        with watched_ledger(url, steps.append) as (ledger, _):
            for number in (1, 2, 3):
                steps.clear()
                assert reasons(ledger.run(enroll_calls(number))) == [None]
                close_connections(other_engine)
        # A thread learns of the loss when it reads, an event loop often before.
        assert steps in (["begin", "read", "begin", "read", "commit"], ["begin", "read", "commit"])
        assert seated_students(other_engine) == ["s-1", "s-2", "s-3"]

    def test_while_reading(self, url: str, other_engine: Engine) -> None:
        """Nothing has changed at this point, so the batch is retried."""
        hook = OnceBefore("read", lambda: close_connections(other_engine))
        with watched_ledger(url, hook) as (ledger, _):
            assert reasons(ledger.run(enroll_calls(1, 2))) == [None, None]
        assert hook.steps == ["begin", "read", "begin", "read", "commit"]

    def test_before_the_commit(self, url: str, other_engine: Engine) -> None:
        """The ledger cannot know whether the commit happened, so every call gets an uncertain outcome."""
        hook = OnceBefore("commit", lambda: close_connections(other_engine))
        with watched_ledger(url, hook) as (ledger, pauses):
            outcomes = ledger.run(enroll_calls(1, 2))
            assert_uncertain(outcomes)
            assert hook.steps == ["begin", "read", "commit"]
            assert pauses == []
            assert seated_students(other_engine) == []
            assert reasons(ledger.run(enroll_calls(1, 2))) == [None, None]
        assert seated_students(other_engine) == ["s-1", "s-2"]

    def test_before_the_answer_to_the_commit(self, url: str, other_engine: Engine) -> None:
        """The batch is committed and not retried, and a repeated request gets the first response."""
        with Wire(url) as wire:
            hook = OnceBefore("commit", lambda: wire.cut_at_answer(b"COMMIT"))
            with watched_ledger(wire.url, hook) as (ledger, pauses):
                assert_uncertain(ledger.run(enroll_calls(1, 2)))
                assert hook.steps == ["begin", "read", "commit"]
                assert pauses == []
                assert seated_students(other_engine) == ["s-1", "s-2"]
                retried = ledger.run(enroll_calls(1, 2))
        assert [fields(outcome)["number"] for outcome in retried] == [1, 2]
        assert [outcome.events for outcome in retried if isinstance(outcome, Answer)] == [(), ()]

    def test_unreachable_database(self, url: str) -> None:
        """If the database cannot be reached, every call reports that nothing was changed."""
        with Wire(url) as wire:
            gone = wire.url
        database = Database(gone)
        outcomes = Ledger(database, pause=lambda _seconds: None).run(enroll_calls(1, 2))
        assert reasons(outcomes) == [Reason.DATABASE_UNAVAILABLE] * 2
        messages = {str(outcome) for outcome in outcomes}
        assert messages == {"The database is not reachable; nothing was changed. Try again."}
        with pytest.raises(Refusal) as refused:
            Ledger(database).preview(enroll_calls(1)[0])
        assert refused.value.reason is Reason.DATABASE_UNAVAILABLE
        database.close()

    def test_while_frozen(self, url: str, other_engine: Engine) -> None:
        """A process that stops in a transaction loses it after a timeout, so that others can continue."""
        impatient = f"{url}?options=-c%20idle_in_transaction_session_timeout%3D20"
        other_database = Database(url)
        others: list[Outcome] = []

        def freeze() -> None:
            others.extend(Ledger(other_database).run(enroll_calls(3)))

        with watched_ledger(impatient, OnceBefore("commit", freeze)) as (ledger, _):
            assert_uncertain(ledger.run(enroll_calls(1, 2)))
        other_database.close()
        assert reasons(others) == [None]
        assert seated_students(other_engine) == ["s-3"]


def read_in_transaction(database: Database) -> None:
    """Begin a transaction, read, and roll back."""
    with database.transaction() as transaction:
        transaction.read({statements.STUDENTS: [("s-1",)]})


def run_together(work: Callable[[], None], count: int) -> None:
    """Run a function in several threads at once."""
    barrier = threading.Barrier(count)

    def begin(_number: int) -> None:
        barrier.wait()
        work()

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(begin, range(count)))


def assert_uncertain(outcomes: Sequence[Outcome]) -> None:
    message = (
        "The database is not reachable; the change may or may not have been made."
        " Retry with the same request_id to learn which."
    )
    for outcome in outcomes:
        assert isinstance(outcome, Refusal)
        assert (outcome.reason, outcome.status) == (Reason.DATABASE_UNAVAILABLE, "UNAVAILABLE")
        assert (outcome.message, outcome.retry_after) == (message, 1.0)


class TestOtherProcesses:
    """Other processes on the same database do not disturb each other's batches."""

    @pytest.fixture
    def other_ledger(self, url: str) -> Iterator[Ledger]:
        """The ledger of another process."""
        database = Database(url)
        yield Ledger(database)
        database.close()

    def test_a_key_that_others_wrote_first(self, url: str, other_engine: Engine, other_ledger: Ledger) -> None:
        """If two processes create the same student at once, one succeeds and the other gets STUDENT_EXISTS."""
        hook = OnceBefore("commit", lambda: carry_out(other_ledger, CreateStudent("new", {"email": "other@b.edu"})))
        with watched_ledger(url, hook) as (ledger, pauses):
            outcomes = ledger.run([call(CreateStudent("new")), call(CreateStudent("newer"))])
        assert reasons(outcomes) == [Reason.STUDENT_EXISTS, None]
        assert len(pauses) == 1

    def test_a_request_that_others_answered_first(self, url: str, other_engine: Engine, other_ledger: Ledger) -> None:
        """If two processes get the same request at once, one carries it out and the other repeats its response."""
        create = call(CreateStudent("new"), "twin")
        first: list[Outcome] = []
        hook = OnceBefore("commit", lambda: first.extend(other_ledger.run([create])))
        with watched_ledger(url, hook) as (ledger, _):
            (second,) = ledger.run([create])
        assert fields(second) == fields(first[0])
        assert isinstance(second, Answer)
        assert second.events == ()

    def test_a_seat_that_others_took_first(self, url: str, other_engine: Engine, other_ledger: Ledger) -> None:
        """The batch sees all changes before it took its locks, so the last seat is taken once."""
        carry_out(other_ledger, *(Enroll(f"s-{number}", "c-1") for number in range(1, 8)))
        hook = OnceBefore("read", lambda: carry_out(other_ledger, Enroll("s-8", "c-1"), CreateStudent("late")))
        with watched_ledger(url, hook) as (ledger, _):
            assert reasons(ledger.run([call(Enroll("late", "c-1"))])) == [Reason.COURSE_FULL]

    def test_a_waiting_batch_sees_what_it_waited_for(
        self, url: str, other_engine: Engine, other_ledger: Ledger
    ) -> None:
        """A batch that waited for a course sees its values after the wait."""
        waiting: list[list[Outcome]] = []

        def ask() -> None:
            waiting.append(other_ledger.run(enroll_calls(1)))

        other = threading.Thread(target=ask)

        def let_the_other_wait() -> None:
            other.start()
            wait_until(other_engine, "SELECT count(*) FROM pg_locks WHERE NOT granted")

        with watched_ledger(url, OnceBefore("commit", let_the_other_wait)) as (ledger, _):
            (first,) = ledger.run([call(Enroll("s-1", "c-1"))])
        other.join()
        (second,) = waiting[0]
        assert isinstance(second, Refusal)
        assert second.reason is Reason.ALREADY_ENROLLED
        assert second.metadata["enrollment_id"] == fields(first)["enrollment_id"]

    def test_a_preview_while_others_enroll(self, url: str, other_engine: Engine, other_ledger: Ledger) -> None:
        """A course that appears between two reads of a preview does not make it fail."""
        carry_out(other_ledger, Enroll("s-1", "c-1"), CreateCourse("c-2"))
        hook = OnceBefore("look", lambda: carry_out(other_ledger, Enroll("s-1", "c-2")), skip=1)
        with watched_ledger(url, hook) as (ledger, _):
            preview = ledger.preview(call(DeleteStudent("s-1", force=True)))
        assert isinstance(preview, Receipt)
        assert preview.fields["delete_time"] == 0

    def test_opposite_orders(self, url: str, other_engine: Engine) -> None:
        """Two processes that use the same rows in opposite orders do not deadlock."""
        courses = [f"many-{number}" for number in range(12)]
        forward: list[Command] = [
            command(f"s-{number}", course, True)
            for course in courses
            for number in range(1, 9)
            for command in (Enroll, Unenroll)
        ]
        forward += [DeleteCourse("many-3", force=True), DeleteStudent("s-5", force=True)]
        databases = [Database(url), Database(url)]
        carry_out(Ledger(databases[0]), *map(CreateCourse, courses))
        pauses: list[float] = []
        barrier = threading.Barrier(2)

        def run(database: Database, commands: Sequence[Command]) -> None:
            ledger = Ledger(database, pause=pauses.append)
            for _ in range(8):
                barrier.wait()
                assert Reason.CONTENTION not in reasons(ledger.run([call(command) for command in commands]))

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(run, *each) for each in zip(databases, (forward, forward[::-1]), strict=True)]:
                done.result()
        for database in databases:
            database.close()
        assert pauses == [], "each pause is a deadlock that PostgreSQL had to break"


def wait_until(other_engine: Engine, query: str) -> None:
    """Run a query until its result is not zero."""
    with other_engine.connect() as connection:
        while not connection.execute(text(query)).scalar_one():
            pass


def test_new_rows_are_written_in_order_of_their_keys() -> None:
    """New rows are written in the order of their keys, so that two processes with the same keys do not deadlock."""
    state = loaded_state()
    responses: list[StoredResponse] = []
    for number in (3, 1, 2):
        decide(state, CreateStudent(f"s-{number}"))
        decide(state, CreateCourse(f"c-{number}"))
        responses.append(StoredResponse("caller", f"r-{number}", b"", b"", NOW))
    writes = statements.writes(state.journal, responses)
    written = {statement: [tuple(row)[:2] for row in rows] for statement, rows in writes}
    for statement in (statements.INSERT_STUDENTS, statements.INSERT_COURSES, statements.INSERT_RESPONSES):
        assert len(written[statement]) == 3
        assert written[statement] == sorted(written[statement])


def wait_for_a_lock(connection: Connection) -> None:
    """Return when another transaction waits for a lock of this one."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)) AND NOT granted")
    while not connection.scalar(waiting):
        pass


def test_a_student_created_while_the_batch_waits_for_its_locks(url: str, other_engine: Engine) -> None:
    """A call that came before its student existed does not find the student, whenever its batch gets the locks."""
    steps: list[str] = []
    database = Database(url)
    holder = create_engine(url)
    with ThreadPoolExecutor(1) as thread, holder.connect() as other:
        other.execute(text("SELECT 1 FROM students WHERE student_id = 's-1' FOR NO KEY UPDATE"))
        batch = [call(Enroll("s-1", "c-1")), call(Enroll("s-9", "c-1"))]
        running = thread.submit(Ledger(database, before_step=steps.append).run, batch)
        wait_for_a_lock(other)
        carry_out_on(url, CreateStudent("s-9"))
        other.rollback()
        outcomes = running.result(10)
    holder.dispose()
    database.close()
    assert reasons(outcomes) == [None, Reason.STUDENT_NOT_FOUND]
    assert steps == ["begin", "read", "commit"]
    carry_out_on(url, Enroll("s-9", "c-1"))


def test_a_course_created_with_a_seat_of_a_student_to_delete(url: str, other_engine: Engine) -> None:
    """If a course of a student to delete did not exist when the locks were taken, the batch restarts and locks it."""
    steps: list[str] = []
    database = Database(url)
    holder = create_engine(url)
    with ThreadPoolExecutor(1) as thread, holder.connect() as other:
        other.execute(text("SELECT 1 FROM students WHERE student_id = 's-1' FOR NO KEY UPDATE"))
        batch = [call(Enroll("s-1", "c-9")), call(DeleteStudent("s-2", force=True))]
        running = thread.submit(Ledger(database, before_step=steps.append).run, batch)
        wait_for_a_lock(other)
        carry_out_on(url, CreateCourse("c-9"), Enroll("s-2", "c-9"))
        other.rollback()
        outcomes = running.result(10)
    holder.dispose()
    database.close()
    assert reasons(outcomes) == [None, None]
    assert steps == ["begin", "read", "read"] * 2 + ["commit"]


def test_a_student_who_came_with_a_course_while_the_batch_waits_for_its_locks(url: str, other_engine: Engine) -> None:
    """A waiter of a course that is not locked is not locked either, so no call of the batch finds the student."""
    database = Database(url)
    holder = create_engine(url)
    with ThreadPoolExecutor(1) as thread, holder.connect() as other:
        other.execute(text("SELECT 1 FROM students WHERE student_id = 's-1' FOR NO KEY UPDATE"))
        commands: list[Command] = [
            Enroll("s-1", "c-1"),
            UpdateStudent("s-9", {"email": "late@b.edu"}),
            Unenroll("s-2", "c-9"),
        ]
        running = thread.submit(Ledger(database).run, [call(command) for command in commands])
        wait_for_a_lock(other)
        carry_out_on(
            url,
            CreateStudent("s-9"),
            CreateCourse("c-9", {"capacity": 1, "waitlist_capacity": 1}),
            Enroll("s-2", "c-9"),
            Enroll("s-9", "c-9"),
        )
        other.rollback()
        outcomes = running.result(10)
    holder.dispose()
    database.close()
    assert reasons(outcomes) == [None, Reason.STUDENT_NOT_FOUND, Reason.COURSE_NOT_FOUND]
