"""What a round of the sweep settles: which courses it finds, what it remembers of them, and what makes it forget.

Here a round is one of a real sweep on a real ledger; a remembered course is one that the round does not settle.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, Select, insert, text
from sqlalchemy.orm import Session

from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    Enroll,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Swap,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.ledger.unsettled import (
    MAX_ROUNDS,
    changed_courses,
    changes_of_courses,
    courses_to_settle,
    find_courses,
)
from registrar_server.storage import models
from registrar_server.storage.database import Database
from tests.support.comparison import enrollment_ids
from tests.support.ledgers import Ledger, carry_out
from tests.support.rounds import Rounds
from tests.support.states import MONDAY

NOW = 1_000


class TestFinding:
    """A course is found if it promotes now, students wait, and a seat is free that nobody has completed."""

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"capacity": None, "enrolled_count": 900},
            {"enroll_open_time": NOW, "enroll_close_time": NOW + 1},
            {"completed_count": 1, "enrolled_count": 1},
            {"capacity": None, "completed_count": 9},
        ],
        ids=["free-seat", "unlimited", "in-window", "one-completed-one-free", "unlimited-and-completed"],
    )
    def test_found(self, database: Database, engine: Engine, fields: dict[str, Any]) -> None:
        add_courses(engine, course("c-1", **fields))
        assert find_courses(database, NOW) == ["c-1"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"enrolled_count": 3},
            {"enrolled_count": 5},
            {"completed_count": 3},
            {"completed_count": 2, "enrolled_count": 1},
            {"waitlisted_count": 0, "has_waiters": False},
            {"state": "CANCELLED"},
            {"delete_time": NOW},
            {"enroll_open_time": NOW + 1},
            {"enroll_close_time": NOW},
        ],
        ids=[
            "full",
            "over-capacity",
            "all-completed",
            "completed-and-full",
            "nobody-waits",
            "cancelled",
            "deleted",
            "before-the-window",
            "after-the-window",
        ],
    )
    def test_not_found(self, database: Database, engine: Engine, fields: dict[str, Any]) -> None:
        add_courses(engine, course("c-1", **fields))
        assert find_courses(database, NOW) == []

    def test_in_order(self, database: Database, engine: Engine) -> None:
        """The courses are in the order of their ids."""
        add_courses(engine, *(course(course_id) for course_id in ("c-2", "c-1", "C-3")))
        assert find_courses(database, NOW) == ["C-3", "c-1", "c-2"]

    def test_the_index_of_courses_with_waiters_is_used(self, engine: Engine) -> None:
        """Of 10,000 courses, only those with waiters are read, and nothing is sorted."""
        add_courses(engine, *(course(f"c-{n}", enrolled_count=3, has_waiters=n % 100 == 0) for n in range(1, 10_001)))
        steps = plan(engine, courses_to_settle(NOW))
        assert "ix_courses_has_waiters" in steps
        assert "sort" not in steps.lower()
        assert "b-tree" not in steps.lower()


def course(course_id: str, **fields: Any) -> models.Course:
    """Return a course with three seats, all free, and a waiter."""
    times = {"create_time": 1, "update_time": 1}
    counts = {"capacity": 3, "waitlisted_count": 1, "has_waiters": True}
    return models.Course(course_id=course_id, **times, **{**counts, **fields})


def add_courses(engine: Engine, *courses: models.Course) -> None:
    with Session(engine) as session, session.begin():
        session.add_all(courses)
    analyze(engine)


def analyze(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def plan(engine: Engine, query: Select[Any]) -> str:
    """Return the steps of a query's plan."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    statement = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        return "\n".join(str(row[-1]) for row in connection.execute(text(f"{explain} {statement}")))


#: s-1 has a seat in c-1, and s-2 waits for it. c-2 meets at the same time.
CAMPUS: tuple[Command, ...] = (
    *(CreateStudent(f"s-{number}", {"max_credits": 6000}) for number in range(1, 6)),
    CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 9, "credits": 3000, "meetings": MONDAY}),
    CreateCourse("c-2", {"meetings": MONDAY, "credits": 3000}),
    CreateCourse("c-3", {"credits": 3000}),
    *(Enroll(f"s-{number}", "c-1") for number in (1, 2)),
)
ONE_MORE_SEAT = UpdateCourse("c-1", {"capacity": 2})


class Waking(NamedTuple):
    """What keeps s-2 from the free seat in c-1, and the change that removes it."""

    name: str
    obstacles: Sequence[Command]
    change: Command


WAKING = (
    Waking("hold-released", [PlaceHold("s-2", "BURSAR")], ReleaseHold("s-2", "BURSAR")),
    Waking("student-active", [UpdateStudent("s-2", {"state": "INACTIVE"})], UpdateStudent("s-2", {"state": "ACTIVE"})),
    Waking("more-credits", [UpdateStudent("s-2", {"max_credits": 0})], UpdateStudent("s-2", {"max_credits": 3000})),
    Waking("seat-dropped-elsewhere", [Enroll("s-2", "c-2")], Unenroll("s-2", "c-2")),
    Waking("seat-swapped-elsewhere", [Enroll("s-2", "c-2")], Swap("s-2", "c-2", "c-3")),
    Waking("seat-completed-elsewhere", [Enroll("s-2", "c-2")], Complete("s-2", "c-2", "A", passed=True)),
    Waking("other-course-cancelled", [Enroll("s-2", "c-2")], UpdateCourse("c-2", {"state": "CANCELLED"})),
    Waking("other-course-moved", [Enroll("s-2", "c-2")], UpdateCourse("c-2", {"meetings": ()})),
    Waking("other-course-deleted", [Enroll("s-2", "c-2")], DeleteCourse("c-2", force=True)),
    Waking(
        "completion-recorded",
        [UpdateCourse("c-1", {"prerequisite_course_ids": ("c-3",)})],
        RecordCompletion("s-2", "c-3", "T", passed=True),
    ),
    Waking(
        "completion-corrected",
        [
            UpdateCourse("c-1", {"prerequisite_course_ids": ("c-3",)}),
            Enroll("s-2", "c-3"),
            Complete("s-2", "c-3", "F", passed=False),
        ],
        Complete("s-2", "c-3", "A", passed=True),
    ),
    Waking(
        "prerequisite-gets-the-code-of-a-passed-course",
        [
            UpdateCourse("c-1", {"prerequisite_course_ids": ("c-3",)}),
            UpdateCourse("c-2", {"code": "MATH 1"}),
            RecordCompletion("s-2", "c-2", "T", passed=True),
        ],
        UpdateCourse("c-3", {"code": "math1"}),
    ),
)


@pytest.fixture
async def rounds(database: Database) -> AsyncIterator[Rounds]:
    """Rounds on a campus with a student who waits for c-1."""
    rounds = Rounds(database)
    rounds.do(*CAMPUS)
    yield rounds
    await rounds.close()


@pytest.fixture
async def quiet(rounds: Rounds) -> Rounds:
    """Rounds of a sweep that remembers c-1: the hold of s-2 keeps the only waiter from a free seat."""
    rounds.do(PlaceHold("s-2", "BURSAR"), ONE_MORE_SEAT)
    assert await rounds.run() == ["c-1"]
    return rounds


class TestRemembering:
    """A course whose waiters were all judged is not settled again until something of theirs changes."""

    async def test_remembered(self, quiet: Rounds) -> None:
        """Rounds without any change settle nothing."""
        assert [await quiet.run() for _ in range(3)] == [[], [], []]

    @pytest.mark.parametrize("waking", WAKING, ids=lambda waking: waking.name)
    async def test_a_change_for_a_waiter_wakes(self, rounds: Rounds, engine: Engine, waking: Waking) -> None:
        """The next round settles the course and promotes the waiter."""
        rounds.do(*waking.obstacles, ONE_MORE_SEAT)
        assert [await rounds.run(), await rounds.run()] == [["c-1"], []]
        rounds.do(waking.change)
        assert await rounds.run() == ["c-1"]
        assert seated(engine, "c-1") == ["s-1", "s-2"]

    async def test_other_students_do_not_wake(self, quiet: Rounds) -> None:
        """A change of a student who does not wait for the course leaves it remembered."""
        quiet.do(CreateStudent("s-9"), PlaceHold("s-1", "BURSAR"), Enroll("s-4", "c-3"), Enroll("s-5", "c-2"))
        assert await quiet.run() == []

    async def test_a_waiter_who_joins_wakes(self, quiet: Rounds, engine: Engine) -> None:
        """A waiter who came after the course was remembered is judged, and found when the obstacle ends."""
        quiet.do(Enroll("s-3", "c-1"), Enroll("s-4", "c-1"), PlaceHold("s-4", "BURSAR"), Unenroll("s-3", "c-1"))
        assert [await quiet.run(), await quiet.run()] == [["c-1"], []]
        quiet.do(ReleaseHold("s-4", "BURSAR"))
        assert await quiet.run() == ["c-1"]
        assert seated(engine, "c-1") == ["s-1", "s-4"]

    async def test_seats_of_the_course_wake(self, quiet: Rounds) -> None:
        """Any change of the seats of the course wakes it too."""
        quiet.do(UpdateCourse("c-1", {"capacity": 4}))
        assert [await quiet.run(), await quiet.run()] == [["c-1"], []]
        quiet.do(Enroll("s-3", "c-1"))
        assert [await quiet.run(), await quiet.run()] == [["c-1"], []]

    async def test_a_seat_that_a_completion_reserved(self, rounds: Rounds, engine: Engine) -> None:
        """A settlement ends with the last seat, and so without a judgement of the next waiter.

        Then a void completion frees a seat, and its event is about another student.
        """
        rounds.do(Enroll("s-3", "c-1"), *(PlaceHold(student_id, "BURSAR") for student_id in ("s-2", "s-3")))
        rounds.do(Complete("s-1", "c-1", "A", passed=True), ONE_MORE_SEAT)
        assert [await rounds.run(), await rounds.run()] == [["c-1"], []]
        rounds.do(*(ReleaseHold(student_id, "BURSAR") for student_id in ("s-2", "s-3")))
        assert await rounds.run() == ["c-1"]
        assert seated(engine, "c-1") == ["s-2"]
        rounds.do(VoidCompletion(enrollment_ids(engine)["c-1#1"]))
        assert await rounds.run() == ["c-1"]
        assert seated(engine, "c-1") == ["s-2", "s-3"]

    async def test_what_a_round_changes_wakes(self, rounds: Rounds) -> None:
        """A round that skips or promotes has events itself, so the next one settles the course once more."""
        rounds.do(PlaceHold("s-2", "BURSAR"), ONE_MORE_SEAT, PlaceHold("s-2", "LIBRARY"))
        assert [await rounds.run(), await rounds.run(), await rounds.run()] == [["c-1"], ["c-1"], []]

    async def test_a_change_during_a_round(self, quiet: Rounds, engine: Engine) -> None:
        """A change that comes after the search wakes the course in the next round."""
        quiet.meanwhile = lambda: quiet.do(ReleaseHold("s-2", "BURSAR"))
        assert await quiet.run() == []
        quiet.meanwhile = lambda: None
        assert await quiet.run() == ["c-1"]
        assert seated(engine, "c-1") == ["s-1", "s-2"]

    async def test_an_error_is_not_remembered(self, rounds: Rounds) -> None:
        """A course that could not be settled is tried again in each round."""
        rounds.do(PlaceHold("s-2", "BURSAR"), ONE_MORE_SEAT)
        rounds.failing = {"c-1"}
        assert [await rounds.run(), await rounds.run()] == [["c-1"], ["c-1"]]
        rounds.failing = set()
        assert [await rounds.run(), await rounds.run()] == [["c-1"], []]

    async def test_a_window_that_opens_again(self, quiet: Rounds) -> None:
        """Outside of its window a course is forgotten, so that it is settled when the window opens."""
        now = quiet.now
        quiet.do(UpdateCourse("c-1", {"enroll_close_time": now + 10}))
        assert [await quiet.run(), await quiet.run()] == [["c-1"], []]
        quiet.now = now + 10
        assert await quiet.run() == []
        quiet.now = now
        assert await quiet.run() == ["c-1"]

    async def test_only_what_changed_is_settled(self, quiet: Rounds) -> None:
        """Of two remembered courses, only the one with a change is settled."""
        quiet.do(
            CreateCourse("c-4", {"capacity": 0, "waitlist_capacity": 9}),
            *(Enroll(student_id, "c-4") for student_id in ("s-3", "s-4")),
            *(PlaceHold(student_id, "BURSAR") for student_id in ("s-3", "s-4")),
            UpdateCourse("c-4", {"capacity": 3}),
        )
        assert [await quiet.run(), await quiet.run()] == [["c-1", "c-4"], []]
        quiet.do(PlaceHold("s-4", "LIBRARY"))
        assert await quiet.run() == ["c-4"]

    async def test_everything_is_forgotten_at_last(self, quiet: Rounds) -> None:
        """After 100 rounds the course is settled once more, whatever changed without an event."""
        assert [await quiet.run() for _ in range(MAX_ROUNDS + 2)] == [*[[]] * MAX_ROUNDS, ["c-1"], []]

    async def test_another_process(self, quiet: Rounds, database: Database) -> None:
        """Each sweep has a memory of its own, and sees what the others changed."""
        other = Rounds(database)
        assert [await other.run(), await other.run()] == [["c-1"], []]
        quiet.do(ReleaseHold("s-2", "BURSAR"))
        assert [await other.run(), await quiet.run()] == [["c-1"], []]
        await other.close()


def seated(engine: Engine, course_id: str) -> list[str]:
    """Return the students with a seat in a course."""
    query = text("SELECT student_id FROM enrollments WHERE state = 'ENROLLED' AND course_id = :course_id ORDER BY 1")
    with engine.connect() as connection:
        return list(connection.execute(query, {"course_id": course_id}).scalars())


class TestSearchingTheHistory:
    """What has changed is found by the newest events alone, however long the history and the waitlists are."""

    @pytest.fixture
    def revision(self, database: Database, engine: Engine) -> int:
        """The revision before the last ten events of a long history, beside a long waitlist."""
        waiters, last = 2_000, 20_000
        students = [CreateStudent(f"w-{number}") for number in range(waiters)]
        waitlisted = [Enroll(student.student_id, "c-1") for student in students]
        course = CreateCourse("c-1", {"capacity": 0, "waitlist_capacity": waiters})
        carry_out(Ledger(database), course, *students, *waitlisted)
        with Session(engine) as session, session.begin():
            session.execute(insert(models.Event), [event(number) for number in range(2 * waiters + 2, last + 1)])
        analyze(engine)
        return last - 10

    @pytest.mark.parametrize("query", [changed_courses, changes_of_courses])
    def test_the_indexes_are_used(self, engine: Engine, revision: int, query: Callable[[int], Select[Any]]) -> None:
        """Events are found by revision, and waiters by the students of these events."""
        steps = plan(engine, query(revision))
        assert re.search(r"ix_events_(type_)?revision", steps)
        assert not re.search(r"(SCAN|Seq Scan on) (events|enrollments)", steps)
        assert ("uq_enrollments_live" in steps) == (query is changed_courses)


def event(revision: int) -> dict[str, Any]:
    """Return the row of an event of a student who does not wait."""
    names = {"course_id": f"c-{revision % 99}", "student_id": f"s-{revision % 999}", "event_id": f"e-{revision}"}
    return {"revision": revision, "type": "STUDENT_ENROLLED", "time": NOW, **names}
