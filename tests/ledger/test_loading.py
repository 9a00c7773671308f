"""What a batch loads: only what its commands need, and as many waiters as necessary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Swap,
    Unenroll,
    UpdateCourse,
)
from registrar_server.core.records import Course
from registrar_server.core.scope import SPARE_WAITERS
from registrar_server.ledger.calls import Answer
from registrar_server.ledger.loading import MAX_EXPECTED, ExpectedWaiters
from registrar_server.storage.database import Database
from tests.support.ledgers import Ledger, Receipt, call, carry_out, carry_out_on, promoted
from tests.support.states import enrollment, loaded_state

pytestmark = pytest.mark.usefixtures("each_store")

RunBatch = Callable[[Sequence[Command]], tuple[list[str], list[Answer]]]

STUDENTS = [f"s-{number:02}" for number in range(50)]


@pytest.fixture
def run_batch(database_url: str) -> Iterator[RunBatch]:
    """Carries out one batch that must succeed; returns its steps and its answers."""
    steps: list[str] = []
    database = Database(database_url)

    def run(commands: Sequence[Command]) -> tuple[list[str], list[Answer]]:
        steps.clear()
        answers = []
        for outcome in Ledger(database, before_step=steps.append).run([call(one) for one in commands]):
            assert isinstance(outcome, Answer), outcome
            answers.append(outcome)
        return list(steps), answers

    yield run
    database.close()


@pytest.fixture
def campus(database_url: str) -> str:
    """A course with two seats and a long waitlist, and fifty students; the first two have the seats."""
    carry_out_on(
        database_url,
        CreateCourse("c-1", {"capacity": 2, "waitlist_capacity": 100}),
        CreateCourse("c-2", {"prerequisite_course_ids": ("c-1",)}),
        CreateCourse("c-3", {"capacity": 10}),
        *map(CreateStudent, STUDENTS),
        *(Enroll(student_id, "c-1") for student_id in STUDENTS[:2]),
    )
    return database_url


ONE_ROUND_TRIP = ["begin", "read", "commit"]
TWO_ROUND_TRIPS = ["begin", "read", "read", "commit"]


@pytest.mark.usefixtures("campus")
class TestRoundTrips:
    """A batch reads once, and a second time only for waiters who may be promoted and for prerequisites."""

    @pytest.mark.parametrize(
        "batch",
        [
            [Enroll("s-10", "c-3"), Enroll("s-11", "c-3")],
            [Enroll("s-10", "c-1"), Enroll("s-11", "c-1")],
            [Unenroll("s-00", "c-1")],
            [Swap("s-00", "c-1", "c-3")],
        ],
    )
    def test_without_waiters_and_prerequisites(self, run_batch: RunBatch, batch: list[Command]) -> None:
        """Without waiters and prerequisites there is one read."""
        assert run_batch(batch)[0] == ONE_ROUND_TRIP

    def test_newcomers_to_a_waitlist(self, run_batch: RunBatch) -> None:
        """If all seats are taken and none becomes free, no waiters are read."""
        run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[2:20]])
        assert run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[20:30]])[0] == ONE_ROUND_TRIP

    def test_a_seat_for_a_waiter(self, run_batch: RunBatch) -> None:
        """What the rules need to know about waiters takes a second read."""
        run_batch([Enroll("s-10", "c-1")])
        assert run_batch([Unenroll("s-00", "c-1")])[0] == TWO_ROUND_TRIPS

    def test_prerequisites(self, run_batch: RunBatch) -> None:
        """What students have passed is read if a course has prerequisites."""
        run_batch([RecordCompletion("s-10", "c-1")])
        assert run_batch([Enroll("s-10", "c-2")])[0] == TWO_ROUND_TRIPS

    def test_prerequisites_set_in_the_same_batch(self, run_batch: RunBatch) -> None:
        """Prerequisites can come from a course that the batch changes or creates."""
        run_batch([RecordCompletion("s-10", "c-1")])
        steps, _ = run_batch([UpdateCourse("c-3", {"prerequisite_course_ids": ("c-1",)}), Enroll("s-10", "c-3")])
        assert steps == TWO_ROUND_TRIPS
        created = CreateCourse("c-4", {"prerequisite_course_ids": ("c-1",)})
        assert run_batch([created, Enroll("s-10", "c-4")])[0] == TWO_ROUND_TRIPS


@pytest.mark.usefixtures("campus")
class TestLongQueues:
    """The first waiter that the rules allow is found, however many are skipped."""

    def test_the_last_of_forty_is_promoted(self, run_batch: RunBatch) -> None:
        """The batch restarts with several times as many waiters until there are enough, and commits once."""
        run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[2:42]])
        run_batch([PlaceHold(student_id, "BURSAR") for student_id in STUDENTS[2:41]])
        steps, (answer,) = run_batch([Unenroll("s-00", "c-1")])
        assert steps.count("begin") > 1
        assert steps[-1] == "commit"
        assert steps.count("commit") == 1
        assert promoted(answer) == ["s-41"]
        types = [event.type for event in answer.events]
        assert types == ["STUDENT_UNENROLLED", *["PROMOTION_SKIPPED"] * 39, "STUDENT_PROMOTED"]

    def test_a_preview_finds_it_too(self, run_batch: RunBatch, database_url: str) -> None:
        """A preview promotes the same waiter."""
        run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[2:42]])
        run_batch([PlaceHold(student_id, "BURSAR") for student_id in STUDENTS[2:41]])
        database = Database(database_url)
        preview = Ledger(database).preview(call(Unenroll("s-00", "c-1")))
        database.close()
        assert isinstance(preview, Receipt)
        assert [one["student_id"] for one in preview.fields["promoted"]] == ["s-41"]

    def test_as_many_as_seats_become_free(self, run_batch: RunBatch) -> None:
        """Two drops in one batch promote the first two waiters in order."""
        run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[2:42]])
        _, answers = run_batch([Unenroll("s-00", "c-1"), Unenroll("s-01", "c-1")])
        assert [student_id for answer in answers for student_id in promoted(answer)] == ["s-02", "s-03"]

    def test_unlimited_seats(self, run_batch: RunBatch) -> None:
        """If the capacity is removed, all waiters are promoted."""
        run_batch([Enroll(student_id, "c-1") for student_id in STUDENTS[2:42]])
        _, (answer,) = run_batch([UpdateCourse("c-1", {"capacity": None})])
        students = [event.student_id for event in answer.events if event.type == "STUDENT_PROMOTED"]
        assert students == STUDENTS[2:42]


class TestExpectedWaiters:
    """A ledger remembers how many waiters a course needed, so that the next batch loads as many at once."""

    WAITERS = STUDENTS[2:42]
    BLOCKED = WAITERS[:-1]

    @pytest.fixture
    def steps(self) -> list[str]:
        """The steps of the database."""
        return []

    @pytest.fixture
    def ledger(self, campus: str, steps: list[str]) -> Iterator[Ledger]:
        """A ledger where forty students wait for c-1, of whom all but the last have a hold."""
        database = Database(campus)
        ledger = Ledger(database, before_step=steps.append)
        carry_out(ledger, *(Enroll(student_id, "c-1") for student_id in self.WAITERS))
        carry_out(ledger, *(PlaceHold(student_id, "BURSAR") for student_id in self.BLOCKED))
        yield ledger
        database.close()

    def runs(self, ledger: Ledger, steps: list[str], *commands: Command) -> int:
        """Carry out a batch that must succeed, and return how often it ran."""
        steps.clear()
        carry_out(ledger, *commands)
        return steps.count("begin")

    def test_the_next_batch_runs_once(self, ledger: Ledger, steps: list[str]) -> None:
        """The first batch runs again with more waiters, and later ones load enough of them."""
        assert self.runs(ledger, steps, UpdateCourse("c-1", {"capacity": 4})) > 1
        assert self.runs(ledger, steps, Enroll("s-43", "c-1")) == 1

    def test_a_preview_expects_them_too(self, ledger: Ledger, steps: list[str]) -> None:
        """A preview reads as many waiters as the last batch needed, and a batch as many as the last preview."""
        ledger.preview(call(Unenroll("s-00", "c-1")))
        first = steps.count("look")
        assert self.runs(ledger, steps, Unenroll("s-00", "c-1")) == 1
        steps.clear()
        ledger.preview(call(Unenroll("s-01", "c-1")))
        assert steps.count("look") < first

    def test_the_first_eligible_waiter_comes_first(self, ledger: Ledger) -> None:
        """What a course needed before decides nothing: those who lost their holds are promoted in order."""
        carry_out(ledger, Unenroll("s-00", "c-1"))
        carry_out(ledger, ReleaseHold("s-30", "BURSAR"), ReleaseHold("s-20", "BURSAR"))
        assert promoted(ledger.run([call(Unenroll("s-01", "c-1"))])[0]) == ["s-20"]
        assert promoted(ledger.run([call(Unenroll("s-20", "c-1"))])[0]) == ["s-30"]

    def test_memory_is_bounded(self) -> None:
        """Only so many courses are remembered."""
        expected, ids = ExpectedWaiters(), [f"c-{number}" for number in range(MAX_EXPECTED + 1)]
        for course_id in ids:
            waiters = [enrollment(f"s-{number}", number=number, course_id=course_id) for number in range(1, 20)]
            state = loaded_state(Course(course_id), *waiters)
            assert len(list(state.waiters(course_id))) == len(waiters)
            expected.learn(state, [course_id])
            assert expected.of([course_id]) == {course_id: len(waiters) + SPARE_WAITERS}
        assert len(expected.of(ids)) <= MAX_EXPECTED
