"""Within a batch a blocked waiter is not judged again, until something changes that the rules depend on."""

from __future__ import annotations

from collections import Counter

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Settle,
    Unenroll,
    UpdateCourse,
)
from registrar_server.core.decide import decide
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.records import Course, Hold, Student
from registrar_server.core.rules import Case
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from tests.support.states import NOW, enrollment, event_types, numbered_ids

HELD = (Hold("BURSAR", "", NOW),)
WAITERS = ("w-1", "w-2", "w-3")
NEWCOMERS = ("n-1", "n-2")


class CountingState(State):
    """A state that counts how often each student is judged."""

    def __init__(self) -> None:
        super().__init__(NOW, numbered_ids())
        self.judged: Counter[str] = Counter()

    def case(self, student: Student, course: Course, *, without: str = "") -> Case:
        """Count the student, and return the input of the rules."""
        self.judged[student.student_id] += 1
        return super().case(student, course, without=without)


@pytest.fixture
def state() -> CountingState:
    """A course with ten free seats, where three students with holds wait; the newcomers have holds too."""
    state = CountingState()
    students = (Student(student_id, holds=HELD) for student_id in (*WAITERS, *NEWCOMERS))
    course = Course("c-1", capacity=10, waitlist_capacity=10, waitlisted_count=len(WAITERS), last_number=len(WAITERS))
    waiters = [enrollment(student_id, number=number) for number, student_id in enumerate(WAITERS, start=1)]
    state.load([*students, Student("s-1")], [course], waiters)
    state.load_queue(course, waiters)
    return state


def refused(state: State, *commands: Command) -> None:
    """Decide commands that are refused."""
    for command in commands:
        with pytest.raises(Refusal):
            decide(state, command)


def judged(state: CountingState) -> list[int]:
    """Return how often each waiter was judged."""
    return [state.judged[student_id] for student_id in WAITERS]


def test_newcomers(state: CountingState) -> None:
    """Blocked waiters are judged once for all newcomers of a batch, also for those who are refused."""
    decide(state, Settle("c-1"))
    decide(state, Enroll("s-1", "c-1"))
    before = judged(state)
    refused(state, *(Enroll(student_id, "c-1") for student_id in NEWCOMERS))
    assert judged(state) == before


def test_after_a_recorded_skip(state: CountingState) -> None:
    """The second judgement finds that the history says so already, and there is no third one."""
    for _ in range(4):
        decide(state, Settle("c-1"))
    assert event_types(state) == ["PROMOTION_SKIPPED"] * 3
    assert judged(state) == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (ReleaseHold("w-2", "BURSAR"), ["w-2"]),
        (PlaceHold("w-2", "LIBRARY"), ["w-2"]),
        (UpdateCourse("c-1", {"title": "New"}), list(WAITERS)),
        (Unenroll("w-2", "c-1"), []),
    ],
)
def test_after_a_change(state: CountingState, change: Command, again: list[str]) -> None:
    """A change of a student's facts judges this student again, and a change of a course judges all of them again."""
    for _ in range(2):
        decide(state, Settle("c-1"))
    decide(state, change)
    before = state.judged.copy()
    refused(state, Enroll("n-1", "c-1"))
    assert [student_id for student_id in WAITERS if state.judged[student_id] > before[student_id]] == again


def test_a_waiter_who_leaves_and_comes_again(state: CountingState) -> None:
    """The new place on the waitlist has a turn of its own."""
    decide(state, UpdateCourse("c-1", {"capacity": 1}))
    decide(state, ReleaseHold("w-1", "BURSAR"))
    refused(state, Enroll("n-1", "c-1"))
    decide(state, Unenroll("w-1", "c-1"))
    decide(state, Enroll("s-1", "c-1"))
    place = decide(state, Enroll("w-1", "c-1")).enrollment
    decide(state, Complete("s-1", "c-1"))
    assert decide(state, Settle("c-1")) == (place,)


def test_more_waiters_than_are_loaded() -> None:
    """If the rules refuse all loaded waiters and more wait, the batch needs more of them."""
    state = CountingState()
    course = Course("c-1", capacity=10, waitlist_capacity=10, waitlisted_count=2, last_number=2)
    waiter = enrollment("w-1", number=1)
    state.load([Student("w-1", holds=HELD), Student("s-1")], [course], [waiter])
    state.load_queue(course, [waiter])
    for _ in range(2):
        with pytest.raises(OutOfWaiters):
            decide(state, Enroll("s-1", "c-1"))
    assert state.waiters_needed("c-1") == 1
