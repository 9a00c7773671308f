"""The ledger on a real database: a batch is one transaction, responses are stored, and previews leave no trace."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Swap,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
)
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer
from registrar_server.storage import models
from registrar_server.storage.database import Database
from registrar_server.storage.statements import LOCK_COURSES
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Ledger, Receipt, call, carry_out, carry_out_on, fields, reasons, watched_ledger
from tests.support.states import NOW
from tests.support.watched_stores import OnceBefore

pytestmark = pytest.mark.usefixtures("each_store")

FIRST_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def ledger(database: Database, engine: Engine) -> Iterator[Ledger]:
    """A ledger with s-1, s-2 and the course c-1 with one seat; after the test the database must be consistent."""
    ledger = Ledger(database)
    carry_out(ledger, CreateStudent("s-1"), CreateStudent("s-2"), CreateCourse("c-1", {"capacity": 1}))
    yield ledger
    assert_consistent(engine)


def rows_of(engine: Engine, model: type[models.Base]) -> list[Any]:
    """Return every row of a table, as a tuple."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*model.__table__.columns))]


def all_rows(engine: Engine) -> list[list[Any]]:
    """Return every row of every table."""
    return [rows_of(engine, mapper.class_) for mapper in models.Base.registry.mappers]


class TestBatch:
    """A batch of calls is one transaction, and each call has its own outcome."""

    def test_answers_in_order(self, ledger: Ledger) -> None:
        """Outcomes are in the order of the calls, and a refusal does not affect the other calls."""
        commands: list[Command] = [
            Enroll("s-1", "c-1"),
            Enroll("s-2", "c-1"),
            Unenroll("s-1", "c-1"),
            Enroll("s-2", "c-1"),
        ]
        outcomes = ledger.run([call(command) for command in commands])
        assert reasons(outcomes) == [None, Reason.COURSE_FULL, None, None]
        assert [fields(outcomes[place])["state"] for place in (0, 2, 3)] == ["ENROLLED", "DROPPED", "ENROLLED"]

    def test_a_response_is_packed_at_once(self, ledger: Ledger) -> None:
        """A response has the values after its own command, not those after the batch."""
        outcomes = ledger.run([call(UpdateCourse("c-1", {"title": title})) for title in ("first", "second")])
        assert [fields(outcome)["title"] for outcome in outcomes] == ["first", "second"]

    def test_an_answer_has_its_own_events(self, ledger: Ledger) -> None:
        """Each answer has the events that its own call recorded."""
        calls = [call(CreateStudent("s-3")), call(Enroll("s-3", "c-1")), call(Enroll("s-3", "c-1", True))]
        types = [[one.type for one in outcome.events] for outcome in ledger.run(calls) if isinstance(outcome, Answer)]
        assert types == [["STUDENT_CREATED"], ["STUDENT_ENROLLED"], []]

    def test_an_empty_batch(self, ledger: Ledger) -> None:
        """An empty batch has no outcomes."""
        assert ledger.run([]) == []

    def test_the_stored_row_equals_the_response(self, ledger: Ledger, engine: Engine) -> None:
        """The stored row has the same values as the response."""
        (outcome,) = ledger.run([call(Enroll("s-1", "c-1", comment="„Zoë” \\ \"x\" {a,b} 'NULL'"))])
        with Session(engine) as session:
            row = session.scalars(select(models.Enrollment)).one()
            last = session.scalars(select(models.Event).order_by(models.Event.revision.desc())).first()
        assert last is not None
        answered = {name: fields(outcome)[name] for name in fields(outcome).keys() - {"waitlist_position", "promoted"}}
        assert {name: getattr(row, name) for name in answered} == answered
        assert (last.comment, last.enrollment_id) == ("„Zoë” \\ \"x\" {a,b} 'NULL'", row.enrollment_id)


LARGE_BATCH: list[Command] = [
    *(CreateStudent(f"p-{number}") for number in range(300)),
    CreateCourse("hall", {"capacity": 200}),
    *(Enroll(f"p-{number}", "hall") for number in range(300)),
    *(Unenroll(f"p-{number}", "hall") for number in range(100)),
]


class TestOneTransaction:
    """A batch of any size is one transaction."""

    def test_on_postgresql(self, postgresql_url: str) -> None:
        """One transaction writes all rows of a batch, and another one those of the next batch."""
        database = Database(postgresql_url)
        ledger = Ledger(database)
        ledger.run([call(command, f"r-{place}") for place, command in enumerate(LARGE_BATCH)])
        carry_out(ledger, CreateStudent("later"))
        tables = ("students", "courses", "enrollments", "request_ids", "events")
        writers = " UNION ".join(f"SELECT xmin::text FROM {table}" for table in tables)
        with database.autocommit.connect() as connection:
            assert len(connection.execute(text(writers)).all()) == 2
        database.close()

    def test_on_sqlite(self, sqlite_url: str) -> None:
        """One BEGIN IMMEDIATE, which excludes other writers from the start, and one COMMIT."""
        with sqlite_statements() as texts:
            database = Database(sqlite_url)
            Ledger(database).run([call(command) for command in LARGE_BATCH])
            database.close()
        boundaries = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT")
        assert [statement for statement in texts if statement.startswith(boundaries)] == ["BEGIN IMMEDIATE", "COMMIT"]

    def test_refusals_alone_write_nothing(self, ledger: Ledger, engine: Engine) -> None:
        """A batch in which every call is refused changes no row."""
        before = all_rows(engine)
        refused = ledger.run([call(Enroll("s-9", "c-1"), FIRST_ID), call(Unenroll("s-1", "c-1"))])
        assert reasons(refused) == [Reason.STUDENT_NOT_FOUND, Reason.NOT_ENROLLED]
        assert all_rows(engine) == before

    def test_writing_works_again_once_something_is_written(self, ledger: Ledger, database: Database) -> None:
        """A refusal writes nothing, so it does not tell. A response that is kept for its request id is written."""
        carry_out(ledger, Enroll("s-1", "c-1"))
        database.availability.failed("writing", OSError("disk full"))
        ledger.run([call(Unenroll("s-2", "c-1"))])
        assert database.availability.fails("writing")
        ledger.run([call(Enroll("s-1", "c-1", allow_existing=True), FIRST_ID)])
        assert not database.availability.fails("writing")


class sqlite_statements:
    """Records every statement of SQLite connections that are opened inside the ``with`` block."""

    def __enter__(self) -> Sequence[str]:
        self._texts: list[str] = []
        event.listen(Pool, "connect", self._trace)
        return self._texts

    def _trace(self, connection: sqlite3.Connection, _record: Any) -> None:
        connection.set_trace_callback(self._texts.append)

    def __exit__(self, *_exception: object) -> None:
        event.remove(Pool, "connect", self._trace)


class TestRequestId:
    """A call with a request id is carried out once, and its response is repeated afterwards."""

    def test_repeats_the_first_answer(self, ledger: Ledger, engine: Engine) -> None:
        """A repeated call returns the same response, whatever has happened since, and changes nothing."""
        enroll = call(Enroll("s-1", "c-1"), FIRST_ID)
        (first,) = ledger.run([enroll])
        carry_out(ledger, Unenroll("s-1", "c-1"))
        before = all_rows(engine)
        (second,) = ledger.run([enroll])
        assert (fields(second), fields(second)["state"]) == (fields(first), "ENROLLED")
        assert isinstance(second, Answer)
        assert second.events == ()
        assert all_rows(engine) == before

    def test_on_another_process(self, ledger: Ledger, database_url: str) -> None:
        """Another process on the same database repeats the response too."""
        enroll = call(Enroll("s-1", "c-1"), FIRST_ID)
        (first,) = ledger.run([enroll])
        other_database = Database(database_url)
        (second,) = Ledger(other_database).run([enroll])
        other_database.close()
        assert fields(second) == fields(first)

    def test_duplicates_in_one_batch(self, ledger: Ledger) -> None:
        """The first call is carried out, the others repeat its response."""
        outcomes = ledger.run([call(Enroll("s-1", "c-1"), FIRST_ID)] * 3)
        assert fields(outcomes[0]) == fields(outcomes[1]) == fields(outcomes[2])
        assert [len(outcome.events) for outcome in outcomes if isinstance(outcome, Answer)] == [1, 0, 0]

    @pytest.mark.parametrize("batches", [1, 2])
    def test_with_other_content(self, ledger: Ledger, batches: int) -> None:
        """A request id with other content is refused, in the same batch and in a later one."""
        calls = [call(Enroll("s-1", "c-1"), FIRST_ID, b"this"), call(Unenroll("s-1", "c-1"), FIRST_ID, b"that")]
        outcomes = ledger.run(calls) if batches == 1 else [*ledger.run(calls[:1]), *ledger.run(calls[1:])]
        refused = outcomes[1]
        assert isinstance(refused, Refusal)
        assert (refused.reason, refused.status) == (Reason.REQUEST_ID_REUSED, "INVALID_ARGUMENT")
        assert refused.message == f'request_id "{FIRST_ID}" was already used for another request; use a new one.'
        assert refused.metadata == {"request_id": FIRST_ID}

    def test_belongs_to_its_caller(self, ledger: Ledger) -> None:
        """Two callers can use the same request id."""
        calls = [
            call(Enroll("s-1", "c-1"), FIRST_ID, b"this", caller="ada"),
            call(Unenroll("s-1", "c-1"), FIRST_ID, b"that", caller="bob"),
        ]
        assert reasons(ledger.run(calls)) == [None, None]

    def test_a_refusal_is_not_stored(self, ledger: Ledger) -> None:
        """A retry of a refused call is decided again."""
        enroll = call(Enroll("s-2", "c-1"), FIRST_ID)
        carry_out(ledger, Enroll("s-1", "c-1"))
        assert reasons(ledger.run([enroll])) == [Reason.COURSE_FULL]
        carry_out(ledger, Unenroll("s-1", "c-1"))
        assert fields(ledger.run([enroll])[0])["student_id"] == "s-2"

    def test_a_refused_id_can_be_reused(self, ledger: Ledger) -> None:
        """A refused call does not reserve its request id."""
        refused = call(Enroll("s-1", "unknown"), FIRST_ID, b"this")
        assert reasons(ledger.run([refused])) == [Reason.COURSE_NOT_FOUND]
        assert reasons(ledger.run([call(Enroll("s-1", "c-1"), FIRST_ID, b"that")])) == [None]

    def test_an_answer_without_a_change_is_stored(self, ledger: Ledger) -> None:
        """The answer of a call that changed nothing is repeated, even if the call would change something later."""
        lenient = call(Unenroll("s-1", "c-1", allow_missing=True), FIRST_ID)
        assert fields(ledger.run([lenient])[0]) == {}
        carry_out(ledger, Enroll("s-1", "c-1"))
        assert fields(ledger.run([lenient])[0]) == {}

    def test_calls_without_a_request_id(self, ledger: Ledger) -> None:
        """Calls without a request id are each carried out."""
        assert reasons(ledger.run([call(Enroll("s-1", "c-1"))] * 2)) == [None, Reason.ALREADY_ENROLLED]


class TestPreview:
    """A preview returns the response that the call would get, and changes nothing."""

    @pytest.mark.parametrize(
        "command",
        [
            Enroll("s-1", "c-1"),
            Unenroll("s-2", "c-1"),
            Swap("s-2", "c-1", "c-2"),
            Complete("s-2", "c-1", "A"),
            UpdateCourse("c-1", {"capacity": 5}),
            DeleteCourse("c-1", force=True),
            DeleteStudent("s-2", force=True),
        ],
    )
    def test_leaves_no_trace(self, ledger: Ledger, engine: Engine, command: Command) -> None:
        """No row changes, and the response has no generated ids, versions or times."""
        waitlist = UpdateCourse("c-1", {"capacity": 2, "waitlist_capacity": 2})
        carry_out(ledger, waitlist, CreateCourse("c-2"), CreateStudent("s-3"), CreateStudent("s-4"))
        carry_out(ledger, *(Enroll(student_id, "c-1") for student_id in ("s-2", "s-3", "s-4")))
        before = all_rows(engine)
        preview = ledger.preview(call(command, FIRST_ID))
        assert isinstance(preview, Receipt)
        assert all_rows(engine) == before
        dropped = preview.fields.get("dropped", [])
        others = [*preview.fields.get("promoted", []), *(dropped if isinstance(dropped, list) else [dropped])]
        for record in (preview.fields, *others):
            assert (record["version"], record["update_time"]) == (0, 0)
            ends = (record.get("end_time"), record.get("delete_time"))
            assert ends in ((None, None), (0, None), (None, 0))

    @pytest.mark.parametrize(
        "command",
        [
            Unenroll("s-2", "c-1"),
            Swap("s-2", "c-1", "c-2"),
            UpdateCourse("c-1", {"capacity": 2}),
            DeleteStudent("s-2", force=True),
        ],
    )
    def test_shows_promotions(self, ledger: Ledger, command: Command) -> None:
        """The response contains the waiters who would be promoted, with their new state."""
        carry_out(ledger, UpdateCourse("c-1", {"waitlist_capacity": 1}), CreateCourse("c-2"))
        carry_out(ledger, Enroll("s-2", "c-1"), Enroll("s-1", "c-1"))
        preview = ledger.preview(call(command))
        assert isinstance(preview, Receipt)
        (promoted,) = preview.fields["promoted"]
        assert (promoted["student_id"], promoted["state"], promoted["waitlist_position"]) == ("s-1", "ENROLLED", 0)

    def test_shows_the_result(self, ledger: Ledger) -> None:
        """The response has every value except those that only a real change generates."""
        preview = ledger.preview(call(Enroll("s-1", "c-1")))
        assert isinstance(preview, Receipt)
        expected = {"state": "ENROLLED", "attempt": 1, "number": 1, "student_id": "s-1", "enrollment_id": ""}
        assert {name: preview.fields[name] for name in expected} == expected
        assert preview.fields["create_time"] == 0

    def test_shows_an_existing_record(self, ledger: Ledger) -> None:
        """A record that would not change is shown with all its values."""
        carry_out(ledger, Enroll("s-1", "c-1"))
        existing = call(Enroll("s-1", "c-1", allow_existing=True))
        preview = ledger.preview(existing)
        assert isinstance(preview, Receipt)
        assert preview.fields == fields(ledger.run([existing])[0])
        assert preview.fields["create_time"] > 0

    def test_refuses_as_the_call_would(self, ledger: Ledger) -> None:
        """A preview raises the refusal that the call would get."""
        carry_out(ledger, Enroll("s-1", "c-1"))
        with pytest.raises(Refusal) as refused:
            ledger.preview(call(Enroll("s-2", "c-1")))
        (expected,) = ledger.run([call(Enroll("s-2", "c-1"))])
        assert isinstance(expected, Refusal)
        assert (refused.value.message, refused.value.metadata) == (expected.message, expected.metadata)

    def test_ignores_request_ids(self, ledger: Ledger) -> None:
        """A preview neither repeats a stored response nor stores its own."""
        ledger.run([call(Enroll("s-1", "c-1"), FIRST_ID)])
        with pytest.raises(Refusal) as refused:
            ledger.preview(call(Enroll("s-1", "c-1"), FIRST_ID))
        assert refused.value.reason is Reason.ALREADY_ENROLLED

    def test_does_not_wait_for_locks(self, ledger: Ledger, database: Database) -> None:
        """A preview does not wait for a write transaction."""
        with database.transaction() as transaction:
            transaction.read({LOCK_COURSES: [("c-1",)]})
            preview = ledger.preview(call(Enroll("s-1", "c-1")))
        assert isinstance(preview, Receipt)
        assert preview.fields["state"] == "ENROLLED"


class TestClock:
    """The ledger reads the clock once per batch."""

    def test_is_read_once_after_the_locks(self, database_url: str) -> None:
        """A transaction that waited for locks gets the later time, and a whole batch has one time."""
        steps: list[str] = []
        times = itertools.count(NOW)

        def clock() -> int:
            steps.append("clock")
            return next(times)

        database = Database(database_url)
        outcomes = Ledger(database, before_step=steps.append, clock=clock).run(
            [call(CreateStudent("s-1")), call(CreateStudent("s-2"))]
        )
        database.close()
        assert steps == ["begin", "read", "clock", "commit"]
        assert {fields(outcome)["create_time"] for outcome in outcomes} == {NOW}

    def test_ids_get_the_time_of_the_batch(self, database: Database, engine: Engine) -> None:
        """The generator of ids gets the time of the batch."""
        ids = (f"{NOW}-{number}" for number in itertools.count())
        times: list[int] = []

        def new_id(now: int) -> str:
            times.append(now)
            return next(ids)

        carry_out(Ledger(database, clock=lambda: NOW, new_id=new_id), CreateStudent("s-1"), CreateCourse("c-1"))
        assert times == [NOW, NOW]
        assert [row.event_id for row in events(engine)] == [f"{NOW}-0", f"{NOW}-1"]


def events(engine: Engine) -> Sequence[models.Event]:
    with Session(engine) as session:
        return session.scalars(select(models.Event).order_by(models.Event.revision)).all()


class TestUpdateOrCreate:
    """Updates that create what is missing, among other commands of a batch and of other processes."""

    UPSERT = UpdateCourse("c-9", {"title": "Intro"}, creation={"title": "Intro", "prerequisite_course_ids": ("c-1",)})

    def test_between_other_commands(self, ledger: Ledger, engine: Engine) -> None:
        """An update after a creation is an update, one after a deletion is not found, and rules apply at once."""
        enroll, delete = Enroll("s-1", "c-9"), DeleteCourse("c-9")
        commands: list[Command] = [self.UPSERT, enroll, self.UPSERT, delete, self.UPSERT]
        outcomes = ledger.run([call(command) for command in commands])
        assert reasons(outcomes) == [None, Reason.PREREQUISITE_UNMET, None, None, Reason.COURSE_NOT_FOUND]
        types = [event.type for event in events(engine) if event.course_id == "c-9"]
        assert types == ["COURSE_CREATED", "COURSE_DELETED"]
        assert_consistent(engine)

    def test_created_by_another_process_meanwhile(self, database_url: str, engine: Engine) -> None:
        """If another process creates the course before the commit, the batch runs again and updates it."""
        # On SQLite no other process can write at that step, so the course is created before the transaction begins.
        step = "begin" if database_url.startswith("sqlite") else "commit"
        carry_out_on(database_url, CreateCourse("c-1"))
        other = OnceBefore(step, lambda: carry_out_on(database_url, CreateCourse("c-9")))
        with watched_ledger(database_url, other) as (ledger, _):
            (outcome,) = ledger.run([call(self.UPSERT)])
        assert fields(outcome)["title"] == "Intro"
        types = [event.type for event in events(engine) if event.course_id == "c-9"]
        assert types == ["COURSE_CREATED", "COURSE_UPDATED"]
        assert_consistent(engine)


class TestDeleteStudent:
    """A forced deletion of a student changes courses that the command does not name."""

    @pytest.mark.parametrize("others", [[], [CreateStudent("s-3")]])
    def test_a_course_that_appears_meanwhile(self, database_url: str, engine: Engine, others: list[Command]) -> None:
        """If the student enrolls in another course before the locks are taken, the batch restarts and locks it too."""
        other_database = Database(database_url)
        other = Ledger(other_database)
        carry_out(other, CreateStudent("s-1"), CreateCourse("c-1"), CreateCourse("c-2"), Enroll("s-1", "c-1"))

        # On SQLite no other process can write at that step, so the student enrolls before the transaction begins.
        step = "begin" if other_database.is_sqlite else "read"
        enrolling = OnceBefore(
            step, lambda: carry_out(other, Enroll("s-1", "c-2")), skip=0 if other_database.is_sqlite else 1
        )
        database = Database(database_url)
        commands = [*others, DeleteStudent("s-1", force=True)]
        ledger = Ledger(database, before_step=enrolling, pause=lambda _seconds: None)
        outcomes = ledger.run([call(command) for command in commands])
        assert reasons(outcomes) == [None] * len(commands)
        assert isinstance(outcomes[-1], Answer)
        assert [(one.type, one.course_id) for one in outcomes[-1].events] == [
            ("STUDENT_UNENROLLED", "c-1"),
            ("STUDENT_UNENROLLED", "c-2"),
            ("STUDENT_DELETED", ""),
        ]
        assert enrolling.steps.count("begin") == (1 if database.is_sqlite else 2)
        assert enrolling.steps.count("commit") == 1
        database.close()
        other_database.close()
        assert_consistent(engine)

    def test_and_back(self, ledger: Ledger) -> None:
        """A student can be deleted by force, restored and enrolled again in one batch."""
        carry_out(ledger, Enroll("s-1", "c-1"))
        commands: list[Command] = [DeleteStudent("s-1", force=True), UndeleteStudent("s-1"), Enroll("s-1", "c-1")]
        outcomes = ledger.run([call(command) for command in commands])
        assert fields(outcomes[-1])["attempt"] == 2

    def test_many_courses(self, ledger: Ledger, engine: Engine) -> None:
        """Each dropped enrollment has an event."""
        courses = [f"many-{number}" for number in range(20)]
        carry_out(ledger, *map(CreateCourse, courses), *(Enroll("s-1", course) for course in courses))
        carry_out(ledger, DeleteStudent("s-1", force=True))
        assert sorted(one.course_id for one in events(engine) if one.reason == "STUDENT_DELETED") == sorted(courses)
