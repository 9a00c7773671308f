"""The completions that a course counts, by example, and the seats that they keep back from sweeps and updates."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    Enroll,
    RecordCompletion,
    Settle,
    Swap,
    Unenroll,
    UpdateCourse,
    VoidCompletion,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course
from registrar_server.core.state import State
from tests.support.states import enrollment, loaded_state
from tests.support.waitlists import (
    counts,
    course_with_students,
    event_summaries,
    letters,
    state_with_waitlist,
    student_with_hold,
    students,
    waitlist,
)


def finished_course(completed: int, **fields: Any) -> State:
    """Return a state in which a has a seat in c-1, b and c wait, and this many students have completed the course."""
    return state_with_waitlist("a", "bc", **{"capacity": 3, "completed_count": completed} | fields)


class TestReserve:
    """A finished course promotes nobody: a sweep and an update leave the seats free that were completed."""

    @pytest.mark.parametrize(("completed", "promoted"), [(0, "bc"), (1, "b"), (2, ""), (5, "")])
    def test_a_sweep(self, completed: int, promoted: str) -> None:
        """A sweep gives the capacity less the seats and the completions."""
        assert letters(decide(finished_course(completed), Settle("c-1", reserve_completed=True))) == promoted

    @pytest.mark.parametrize(("completed", "promoted"), [(0, "bc"), (1, "bc"), (2, "b"), (3, "")])
    def test_an_update(self, completed: int, promoted: str) -> None:
        """An update gives the new capacity less the seats and the completions."""
        updated = decide(finished_course(completed), UpdateCourse("c-1", {"capacity": 4}))
        assert letters(updated.promoted) == promoted

    @pytest.mark.parametrize("command", [Settle("c-1", reserve_completed=True), UpdateCourse("c-1", {"credits": 1})])
    def test_unlimited_seats(self, command: Command) -> None:
        """Completions keep no seat back where seats are unlimited."""
        state = finished_course(9, capacity=None)
        decide(state, command)
        assert waitlist(state) == ""

    @pytest.mark.parametrize(
        ("command", "left"),
        [
            (Settle("c-1"), ""),
            (Enroll("z", "c-1"), "z"),
            (Enroll("b", "c-1"), ""),
            (Enroll("c", "c-1"), ""),
            (Unenroll("a", "c-1"), ""),
        ],
        ids=["on-demand", "newcomer", "first-waiter", "second-waiter", "seat-given-up"],
    )
    def test_other_settlements(self, command: Command, left: str) -> None:
        """On demand, for a student who asks and for a seat that is given up, all free seats count."""
        state = finished_course(2)
        decide(state, command)
        assert waitlist(state) == left

    def test_a_skip(self) -> None:
        """Waiters are skipped only for a seat that the sweep may give."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2, completed_count=1)
        decide(state, Settle("c-1", reserve_completed=True))
        assert event_summaries(state) == []


class TestCompletedCount:
    """``completed_count`` has the seats that ended as completions."""

    @pytest.mark.parametrize("command", [Complete("a", "c-1", "A"), CompleteById("c-1/a", "A", passed=False)])
    def test_a_seat_that_ends_counts(self, command: Command) -> None:
        """Passed or not, by student and course or by id, the seat moves from one counter to the other."""
        state = state_with_waitlist("ab", "c")
        assert decide(state, command).counted is True
        course = state.courses["c-1"]
        assert (course.enrolled_count, course.completed_count) == (1, 1)
        assert state.journal.counted_courses == {"c-1": course}

    def test_completing_promotes_nobody(self) -> None:
        """Not at the completion, and not in the sweep after it; the free seat goes out on demand."""
        state = state_with_waitlist("a", "b")
        decide(state, Complete("a", "c-1"))
        assert decide(state, Settle("c-1", reserve_completed=True)) == ()
        assert letters(decide(state, Settle("c-1"))) == "b"

    @pytest.mark.parametrize("command", [Complete("a", "c-1", "B"), CompleteById("c-1/a", passed=False)])
    def test_a_correction_does_not_count_again(self, command: Command) -> None:
        """The corrected completion has been counted before."""
        state = state_with_waitlist("a", "")
        decide(state, Complete("a", "c-1", "A"))
        assert decide(state, command).counted is True
        assert state.courses["c-1"].completed_count == 1

    @pytest.mark.parametrize("counted", [None, False])
    def test_a_correction_does_not_count_at_all(self, counted: bool | None) -> None:
        """A completion that is not counted stays so when it is corrected."""
        state = loaded_state(*students("a"), Course("c-1"), enrollment("a", "COMPLETED", counted=counted))
        assert decide(state, Complete("a", "c-1", "B")).counted is counted
        assert state.courses["c-1"].completed_count == 0

    def test_a_recorded_completion_does_not_count(self) -> None:
        """RecordCompletion ends no seat, not even the one that the student has."""
        state = state_with_waitlist("a", "")
        assert decide(state, RecordCompletion("a", "c-1")).counted is False
        assert decide(state, RecordCompletion("z", "c-1")).counted is False
        assert (counts(state), state.courses["c-1"].completed_count) == ((1, 0), 0)

    @pytest.mark.parametrize("command", [Unenroll("a", "c-1"), Swap("a", "c-1", "c-2")])
    def test_a_seat_that_is_given_up_does_not_count(self, command: Command) -> None:
        """A dropped seat is free for everybody."""
        state = loaded_state(*students("a"), *course_with_students("a"), Course("c-2"))
        decide(state, command)
        assert state.courses["c-1"].completed_count == 0

    def test_voiding_lowers_the_count(self) -> None:
        """The counter loses a counted completion once, however often it is voided."""
        state = state_with_waitlist("a", "b")
        decide(state, Complete("a", "c-1"))
        for _ in range(2):
            assert decide(state, VoidCompletion("c-1/a")).counted is False
            assert state.courses["c-1"].completed_count == 0

    def test_voiding_settles_nothing_by_itself(self) -> None:
        """The sweep after it gives the seat."""
        state = state_with_waitlist("a", "b", capacity=1)
        decide(state, Complete("a", "c-1"))
        decide(state, VoidCompletion("c-1/a"))
        assert (counts(state), waitlist(state)) == ((0, 1), "b")
        assert letters(decide(state, Settle("c-1", reserve_completed=True))) == "b"

    def test_voiding_is_written(self) -> None:
        """The course is among those whose counters the batch writes, if the completion was counted."""
        state = loaded_state(
            *students("a"), Course("c-1", completed_count=3), enrollment("a", "COMPLETED", counted=True)
        )
        decide(state, VoidCompletion("c-1/a"))
        assert state.journal.counted_courses == {"c-1": state.courses["c-1"]}
        assert state.courses["c-1"].completed_count == 2

    @pytest.mark.parametrize("counted", [None, False])
    def test_voiding_what_is_not_counted(self, counted: bool | None) -> None:
        """A recorded completion, or one of a server that did not count, leaves the counter as it is."""
        completion = enrollment("a", "COMPLETED", counted=counted)
        state = loaded_state(*students("a"), Course("c-1", completed_count=3), completion)
        assert decide(state, VoidCompletion("c-1/a")).counted is False
        assert (state.courses["c-1"].completed_count, state.journal.counted_courses) == (3, {})
