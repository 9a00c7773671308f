"""The ledger with long waitlists: it loads the waiters who may be promoted, and what the rules need of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Engine, create_engine, text

from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
)
from registrar_server.core.scope import SPARE_WAITERS
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer
from registrar_server.storage.database import Database
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Ledger, Receipt, call, carry_out, carry_out_on, fields, promoted, reasons
from tests.support.states import MONDAY
from tests.support.watched_stores import OnceBefore

pytestmark = pytest.mark.usefixtures("each_store")

#: Commands that keep s-2 but not s-3 from a seat in c-1.
OBSTACLES: dict[str, Sequence[Command]] = {
    "inactive": [UpdateStudent("s-2", {"state": "INACTIVE"})],
    "hold": [PlaceHold("s-2", "BURSAR")],
    "schedule": [CreateCourse("c-2", {"meetings": MONDAY}), Enroll("s-2", "c-2")],
    "duplicate": [
        UpdateCourse("c-1", {"code": "CS 1"}),
        CreateCourse("c-2", {"code": "cs1"}),
        Enroll("s-2", "c-2"),
    ],
    "credits": [
        CreateCourse("c-2", {"credits": 8}),
        Enroll("s-2", "c-2"),
        UpdateStudent("s-2", {"max_credits": 10}),
    ],
    "prerequisite": [
        CreateCourse("math", {"code": "MATH"}),
        CreateCourse("older", {"code": "MATH"}),
        UpdateCourse("c-1", {"prerequisite_course_ids": ("math",)}),
        RecordCompletion("s-3", "older"),
    ],
}
MANY_STUDENTS = [f"p-{number:02}" for number in range(3 * SPARE_WAITERS)]


@pytest.fixture
def ledger(database_url: str, engine: Engine) -> Iterator[Ledger]:
    """A ledger where s-1 has the only seat in c-1, and s-2 and s-3 wait for it; it never pauses."""
    database = Database(database_url)
    ledger = Ledger(database, pause=lambda _seconds: pytest.fail("the ledger paused"))
    carry_out(ledger, *(CreateStudent(f"s-{number}") for number in range(1, 5)))
    carry_out(ledger, CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 100, "meetings": MONDAY, "credits": 3}))
    carry_out(ledger, *(Enroll(f"s-{number}", "c-1") for number in range(1, 4)))
    yield ledger
    database.close()
    assert_consistent(engine)


def promoted_by(ledger: Ledger, command: Command) -> list[str]:
    """Return the students that a command promotes, which its preview must show too."""
    preview = ledger.preview(call(command))
    (outcome,) = ledger.run([call(command)])
    assert isinstance(preview, Receipt)
    assert [one["student_id"] for one in preview.fields["promoted"]] == promoted(outcome)
    return promoted(outcome)


class TestRules:
    """Everything that the rules need is loaded for waiters too, although no command names them."""

    @pytest.mark.parametrize("obstacle", OBSTACLES)
    def test_the_next_waiter_is_promoted(self, ledger: Ledger, obstacle: str) -> None:
        """The rules skip the first waiter, so the second gets the seat."""
        carry_out(ledger, *OBSTACLES[obstacle])
        assert promoted_by(ledger, Unenroll("s-1", "c-1")) == ["s-3"]

    @pytest.mark.parametrize("obstacle", OBSTACLES)
    def test_in_the_same_batch(self, ledger: Ledger, obstacle: str) -> None:
        """The obstacle can be created in the same batch."""
        commands = [*OBSTACLES[obstacle], Unenroll("s-1", "c-1")]
        *_, last = ledger.run([call(command) for command in commands])
        assert promoted(last) == ["s-3"]

    def test_a_prerequisite_of_a_new_course(self, ledger: Ledger) -> None:
        """The prerequisites of a course that the batch creates apply too."""
        carry_out(ledger, CreateCourse("math", {"code": "MATH"}), CreateCourse("older", {"code": "MATH"}))
        carry_out(ledger, RecordCompletion("s-1", "older"))
        created = CreateCourse("c-2", {"prerequisite_course_ids": ("math",)})
        outcomes = ledger.run([call(command) for command in (created, Enroll("s-1", "c-2"), Enroll("s-4", "c-2"))])
        assert reasons(outcomes) == [None, None, Reason.PREREQUISITE_UNMET]


class TestCancelledCourses:
    """The rules see whether a student's other courses are cancelled, loaded by the batch or not."""

    @pytest.fixture(autouse=True)
    def seat(self, ledger: Ledger) -> None:
        """The student s-4 has a seat in c-2, which meets as c-3 does and is another offering of it."""
        fields = {"code": "CS", "meetings": MONDAY}
        carry_out(ledger, CreateCourse("c-2", fields), CreateCourse("c-3", fields), Enroll("s-4", "c-2"))

    def test_in_another_batch(self, ledger: Ledger) -> None:
        """A course that the batch does not load counts while it is open, and not while it is cancelled."""
        enroll = call(Enroll("s-4", "c-3"))
        (refused,) = ledger.run([enroll])
        assert isinstance(refused, Refusal)
        assert [one.reason for one in refused.violations] == [Reason.DUPLICATE_COURSE, Reason.SCHEDULE_CONFLICT]
        carry_out(ledger, UpdateCourse("c-2", {"state": "CANCELLED"}))
        ledger.preview(enroll)
        assert reasons(ledger.run([enroll])) == [None]

    def test_in_the_same_batch(self, ledger: Ledger) -> None:
        """The batch may cancel and reopen the course before the student asks for a seat."""
        cancel, reopen = (UpdateCourse("c-2", {"state": state}) for state in ("CANCELLED", "OPEN"))
        outcomes = ledger.run([call(one) for one in (cancel, reopen, Enroll("s-4", "c-3"), cancel)])
        assert reasons(outcomes) == [None, None, Reason.DUPLICATE_COURSE, None]
        outcomes = ledger.run([call(one) for one in (reopen, cancel, Enroll("s-4", "c-3"))])
        assert reasons(outcomes) == [None, None, None]


class TestPrerequisites:
    """A new prerequisite must be a course that exists or existed."""

    def test_deleted_courses_are_known(self, ledger: Ledger) -> None:
        """A deleted course can become a prerequisite, and an unknown one cannot; a preview says the same."""
        carry_out(ledger, CreateCourse("math"), DeleteCourse("math"))
        unknown = call(CreateCourse("c-2", {"prerequisite_course_ids": ("math", "art")}))
        with pytest.raises(Refusal, match='never existed: "art"'):
            ledger.preview(unknown)
        assert reasons(ledger.run([unknown])) == [Reason.COURSE_NOT_FOUND]
        carry_out(ledger, CreateCourse("c-2", {"prerequisite_course_ids": ("math",)}))

    def test_of_the_same_batch(self, ledger: Ledger) -> None:
        """A course is known to the commands after the one that creates it, and not to those before it."""
        early, late = (UpdateCourse(course_id, {"prerequisite_course_ids": ("math",)}) for course_id in ("c-1", "c-2"))
        batch = [CreateCourse("c-2"), early, CreateCourse("math"), late]
        assert reasons(ledger.run([call(command) for command in batch])) == [None, Reason.COURSE_NOT_FOUND, None, None]


class TestLongQueue:
    """Only the first waiters of a long waitlist are loaded, and more of them only if needed."""

    @pytest.fixture(autouse=True)
    def many_waiters(self, ledger: Ledger) -> None:
        """Many more students wait after s-2 and s-3."""
        carry_out(
            ledger, *map(CreateStudent, MANY_STUDENTS), *(Enroll(student_id, "c-1") for student_id in MANY_STUDENTS)
        )

    @pytest.mark.parametrize("with_hold", [SPARE_WAITERS, SPARE_WAITERS + 1, len(MANY_STUDENTS) + 1])
    def test_the_first_eligible_waiter(self, ledger: Ledger, with_hold: int) -> None:
        """The first waiter that the rules allow is found, wherever in the waitlist."""
        waitlist = ["s-2", "s-3", *MANY_STUDENTS]
        carry_out(ledger, *(PlaceHold(student_id, "BURSAR") for student_id in waitlist[:with_hold]))
        assert promoted_by(ledger, Unenroll("s-1", "c-1")) == [waitlist[with_hold]]

    def test_no_eligible_waiter(self, ledger: Ledger) -> None:
        """If the rules skip every waiter, the seat stays free, and each skip has one event."""
        waitlist = ["s-2", "s-3", *MANY_STUDENTS]
        carry_out(ledger, *(PlaceHold(student_id, "BURSAR") for student_id in waitlist))
        (outcome,) = ledger.run([call(Unenroll("s-1", "c-1"))])
        assert isinstance(outcome, Answer)
        events = [(event.type, event.student_id) for event in outcome.events]
        assert events == [
            ("STUDENT_UNENROLLED", "s-1"),
            *(("PROMOTION_SKIPPED", student_id) for student_id in waitlist),
        ]

    @pytest.mark.parametrize("capacity", [31, None])
    def test_many_seats_at_once(self, ledger: Ledger, capacity: int | None) -> None:
        """A raised capacity promotes as many waiters as there are seats, in order."""
        (outcome,) = ledger.run([call(UpdateCourse("c-1", {"capacity": capacity}))])
        assert isinstance(outcome, Answer)
        events = [event.student_id for event in outcome.events if event.type == "STUDENT_PROMOTED"]
        assert events == ["s-2", "s-3", *MANY_STUDENTS][: capacity and capacity - 1]

    def test_many_leave_in_one_batch(self, ledger: Ledger) -> None:
        """Each freed seat goes to the next waiter, who may give it up in the same batch."""
        leaving = ["s-1", "s-2", "s-3", *MANY_STUDENTS[:20]]
        outcomes = ledger.run([call(Unenroll(student_id, "c-1")) for student_id in leaving])
        assert [promoted(outcome) for outcome in outcomes] == [
            [student_id] for student_id in (*leaving[1:], MANY_STUDENTS[20])
        ]

    def test_positions(self, ledger: Ledger) -> None:
        """Positions are correct after others left in the same batch, and for newcomers."""
        position = 2 + 1 + MANY_STUDENTS.index("p-30")
        again = call(Enroll("p-30", "c-1", allow_existing=True))
        leave = [call(Unenroll("s-3", "c-1")), call(Unenroll("p-29", "c-1"))]
        last = [call(Enroll("s-4", "c-1")), call(Enroll("s-4", "c-1", allow_existing=True))]
        outcomes = ledger.run([again, *leave, again, call(Unenroll("p-31", "c-1")), again, *last])
        positions = [fields(outcomes[index])["waitlist_position"] for index in (0, 3, 5)]
        assert positions == [position, position - 2, position - 2]
        assert {fields(outcome)["waitlist_position"] for outcome in outcomes[-2:]} == {2 + len(MANY_STUDENTS) - 3 + 1}

    def test_a_newcomer_after_waiters_that_are_not_loaded(self, ledger: Ledger) -> None:
        """A newcomer gets a seat in turn, in the same batch."""
        commands: list[Command] = [
            Enroll("s-4", "c-1"),
            *(Unenroll(student_id, "c-1") for student_id in ("s-1", "s-2", "s-3", *MANY_STUDENTS)),
        ]
        outcomes = ledger.run([call(command) for command in commands])
        assert promoted(outcomes[-1]) == ["s-4"]


class TestDeletedStudent:
    """A forced deletion of a student frees seats in courses that no command names."""

    def test_others_are_promoted(self, ledger: Ledger) -> None:
        """In each course where the student had a seat, the first waiter is promoted."""
        course = {"capacity": 1, "waitlist_capacity": 5}
        carry_out(ledger, CreateCourse("c-0", course), CreateCourse("c-2", course))
        carry_out(ledger, Enroll("s-1", "c-0"), Enroll("s-4", "c-0"), Enroll("s-4", "c-2"), Enroll("s-1", "c-2"))
        (outcome,) = ledger.run([call(DeleteStudent("s-1", force=True))])
        assert isinstance(outcome, Answer)
        events = [(event.type, event.student_id, event.course_id) for event in outcome.events]
        assert events == [
            ("STUDENT_UNENROLLED", "s-1", "c-0"),
            ("STUDENT_UNENROLLED", "s-1", "c-1"),
            ("STUDENT_UNENROLLED", "s-1", "c-2"),
            ("STUDENT_DELETED", "s-1", ""),
            ("STUDENT_PROMOTED", "s-4", "c-0"),
            ("STUDENT_PROMOTED", "s-2", "c-1"),
        ]


class TestLocks:
    """On PostgreSQL a batch locks the students that it names and the waiters who may be promoted, and no others."""

    @pytest.fixture
    def url(self, postgresql_url: str) -> str:
        """A database where s-1 has the only seat in c-1; many students wait for it, in descending order of id."""
        carry_out_on(postgresql_url, *map(CreateStudent, (*MANY_STUDENTS, "s-1", "s-2")))
        carry_out_on(postgresql_url, CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 100}))
        carry_out_on(postgresql_url, *(Enroll(student_id, "c-1") for student_id in ("s-1", *reversed(MANY_STUDENTS))))
        return postgresql_url

    def locked(self, url: str, *commands: Command, after: Sequence[Command] = ()) -> list[str]:
        """Return the students that are locked just before the commit of a batch, ``after`` batches of one command."""
        engine = create_engine(url)
        unlocked: list[str] = []

        def look() -> None:
            with engine.connect() as connection:
                unlocked.extend(connection.scalars(text("SELECT student_id FROM students FOR UPDATE SKIP LOCKED")))

        database = Database(url)
        ledger = Ledger(database, before_step=OnceBefore("commit", look, skip=len(after)))
        for command in after:
            carry_out(ledger, command)
        carry_out(ledger, *commands)
        database.close()
        engine.dispose()
        return sorted({*MANY_STUDENTS, "s-1", "s-2"} - {*unlocked})

    def test_a_seat_becomes_free(self, url: str) -> None:
        """As many waiters are locked as there may be seats, and some more, since the rules may skip some."""
        assert self.locked(url, Unenroll("s-1", "c-1")) == [*MANY_STUDENTS[-SPARE_WAITERS - 1 :], "s-1"]

    def test_two_seats_become_free(self, url: str) -> None:
        """A batch that may free more seats locks more waiters."""
        carry_out_on(url, UpdateCourse("c-1", {"capacity": 2}))
        leave = (Unenroll(MANY_STUDENTS[-1], "c-1"), Unenroll("s-1", "c-1"))
        assert self.locked(url, *leave) == [*MANY_STUDENTS[-SPARE_WAITERS - 3 :], "s-1"]

    def test_no_seat_is_free(self, url: str) -> None:
        """A newcomer to a full course locks no waiter."""
        assert self.locked(url, Enroll("s-2", "c-1")) == ["s-2"]

    def test_many_were_needed(self, url: str) -> None:
        """If the last batch needed many waiters, the next one locks as many at once."""
        *others, last = reversed(MANY_STUDENTS)
        after: list[Command] = [*(PlaceHold(student_id, "BURSAR") for student_id in others), Unenroll("s-1", "c-1")]
        assert self.locked(url, Unenroll(last, "c-1"), after=after) == MANY_STUDENTS

    def test_many_were_needed_and_no_seat_is_free(self, url: str) -> None:
        """While no seat is free, no waiter is locked, however many were needed before."""
        *others, _ = reversed(MANY_STUDENTS)
        after: list[Command] = [*(PlaceHold(student_id, "BURSAR") for student_id in others), Unenroll("s-1", "c-1")]
        assert self.locked(url, Enroll("s-2", "c-1"), after=after) == ["s-2"]

    def test_few_are_needed_again(self, url: str) -> None:
        """If the last batch needed few waiters, the next one locks as few as usual."""
        first, *others, last = reversed(MANY_STUDENTS)
        held = [first, *others]
        after: list[Command] = [
            *(PlaceHold(student_id, "BURSAR") for student_id in held),
            Unenroll("s-1", "c-1"),
            *(ReleaseHold(student_id, "BURSAR") for student_id in held),
            Unenroll(last, "c-1"),
        ]
        assert self.locked(url, Unenroll(first, "c-1"), after=after) == sorted([first, *others[: SPARE_WAITERS + 1]])
