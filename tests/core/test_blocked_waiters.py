"""Blocked waiters, by example: a batch judges a waiter again only after a change that the judgement depends on.

A batch remembers whom the rules have refused, so that a free seat with thousands of such waiters costs little.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import StudentState
from registrar_server.errors import Refusal
from tests.support.states import MONDAY, decide_all, enrolled, enrollment, loaded_state
from tests.support.waitlists import (
    course_with_students,
    event_summaries,
    letters,
    state_with_waitlist,
    student_with_hold,
    students,
    waitlist,
)

Record = Student | Course | Enrollment

PAID = Override(frozenset({"STUDENT_HOLD"}), "paid")
SEAT_AND_PAID = Override(frozenset({"COURSE_FULL", "STUDENT_HOLD"}), "athlete, paid")
BLOCK: list[Command] = [Settle("c-1"), Settle("c-1")]
"""The first command skips the waiters whom the rules refuse; the second one finds them skipped, and blocks them."""


def judged_again(state: State, course_id: str = "c-1") -> str:
    """Return the waiters whom the next settlement will judge, in order."""
    return letters(state.waiters(course_id))


def outcome(state: State, command: Command) -> str:
    """Decide a command, and return its result or its refusal as a text."""
    try:
        return str(decide(state, command))
    except Refusal as refused:
        return f"{refused.reason}: {refused.violations}"


class TestBlocked:
    """A waiter is blocked when the rules refuse the seat and the history says so already."""

    def test_after_the_skip(self) -> None:
        """The settlement that skips the waiter writes the event, and the next one needs no event: it blocks."""
        state = state_with_waitlist("a", "bcd", student_with_hold("b"), student_with_hold("c"), capacity=2)
        decide(state, Enroll("b", "c-1", allow_existing=True))
        assert judged_again(state) == "bc"
        decide(state, Settle("c-1"))
        assert judged_again(state) == "bc"

    def test_while_a_seat_is_free(self) -> None:
        """Thousands of waiters are judged twice in a batch, not once for each command."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"), capacity=9)
        for command, judged in zip([*BLOCK, Enroll("z", "c-1")], ["bc", "", ""], strict=True):
            decide(state, command)
            assert judged_again(state) == judged
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "PROMOTION_SKIPPED c", "STUDENT_ENROLLED z"]

    def test_is_still_on_the_waitlist(self) -> None:
        """A blocked waiter keeps the position, and moves up when others leave."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"), capacity=2)
        decide_all(state, *BLOCK, Unenroll("b", "c-1"))
        assert waitlist(state) == "c"
        assert enrolled(state, Enroll("c", "c-1", allow_existing=True)).waitlist_position == 1

    def test_by_a_refused_command(self) -> None:
        """A judgement is remembered even if its command is refused, since it would be the same again."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), student_with_hold("z"), capacity=2)
        decide(state, Settle("c-1"))
        assert outcome(state, Enroll("z", "c-1")).startswith("STUDENT_HOLD")
        assert judged_again(state) == ""

    def test_never_the_caller(self) -> None:
        """The terms of a call say nothing about the waiter's next turn."""
        state = state_with_waitlist("a", "b", student_with_hold("b", max_credits=0), credits=1, capacity=2)
        for _ in range(2):
            decide(state, Enroll("b", "c-1", allow_existing=True, override=PAID))
            assert judged_again(state) == "b"


def conflicting(target: dict[str, Any], elsewhere: dict[str, Any]) -> list[Record]:
    """Return records with b waiting for a free seat of c-1, whom the seat in c-2 keeps from it; z is a newcomer."""
    return [
        *students("az"),
        Student("b", max_credits=3_000),
        *course_with_students("a", "b", capacity=2, **target),
        *course_with_students("b", "", "c-2", capacity=9, **elsewhere),
        Course("c-3"),
    ]


HELD = [*students("az"), student_with_hold("b"), *course_with_students("a", "b", capacity=2)]
INACTIVE = [*students("az"), Student("b", state=StudentState.INACTIVE), *course_with_students("a", "b", capacity=2)]
LIMITED = conflicting({"credits": 1_000, "term": "fall"}, {"credits": 3_000, "term": "fall"})
CONFLICT = conflicting({"meetings": MONDAY}, {"meetings": MONDAY})
DUPLICATE = conflicting({"code": "MATH 1"}, {"code": "MATH 1"})
PREREQUISITE = [
    *conflicting({"prerequisite_course_ids": ("c-3",)}, {}),
    enrollment("z", "COMPLETED", course_id="c-3", passed=True),
]
FAILED = [*PREREQUISITE, enrollment("b", "COMPLETED", course_id="c-3", passed=False)]
RENAMED = [*PREREQUISITE, Course("c-4", code="MATH 2"), enrollment("b", "COMPLETED", course_id="c-4", passed=True)]


class TestUnblocked:
    """Each change that may turn the judgement lets the next settlement judge the waiter again."""

    @pytest.mark.parametrize(
        ("records", "change"),
        [
            (HELD, ReleaseHold("b", "BURSAR")),
            (INACTIVE, UpdateStudent("b", {"state": "ACTIVE"})),
            (LIMITED, UpdateStudent("b", {"max_credits": None})),
            (LIMITED, UpdateCourse("c-2", {"credits": 2_000})),
            (LIMITED, UpdateCourse("c-2", {"term": "spring"})),
            (CONFLICT, Unenroll("b", "c-2")),
            (CONFLICT, Swap("b", "c-2", "c-3")),
            (CONFLICT, Complete("b", "c-2")),
            (CONFLICT, UpdateCourse("c-2", {"meetings": ()})),
            (CONFLICT, UpdateCourse("c-2", {"state": "CANCELLED"})),
            (CONFLICT, DeleteCourse("c-2", force=True)),
            (DUPLICATE, UpdateCourse("c-2", {"code": "MATH 2"})),
            (DUPLICATE, UpdateCourse("c-2", {"component": "LAB"})),
            (PREREQUISITE, RecordCompletion("b", "c-3")),
            (FAILED, Complete("b", "c-3", passed=True)),
            (RENAMED, UpdateCourse("c-3", {"code": "math2"})),
        ],
    )
    def test_a_newcomer_does_not_pass(self, records: list[Record], change: Command) -> None:
        """The change promotes nobody in c-1 by itself; the newcomer after it makes the course settle first."""
        state = loaded_state(*copy.deepcopy(records))
        decide_all(state, *BLOCK)
        assert judged_again(state) == ""
        decide(state, change)
        assert judged_again(state) == "b"
        result = decide(state, Enroll("z", "c-1"))
        assert (result.enrollment.state, letters(result.promoted)) == ("WAITLISTED", "b")

    @pytest.mark.parametrize("records", [HELD, INACTIVE, LIMITED, CONFLICT, DUPLICATE, PREREQUISITE])
    @pytest.mark.parametrize(
        "change", [UpdateStudent("a", {"max_credits": 1_000}), RecordCompletion("a", "c-1"), Unenroll("a", "c-1")]
    )
    def test_not_by_changes_of_others(self, records: list[Record], change: Command) -> None:
        """What happens to another student does not matter to the judgement of this one."""
        state = loaded_state(*copy.deepcopy(records))
        decide_all(state, *BLOCK, change)
        assert judged_again(state) == ""
        assert enrolled(state, Enroll("z", "c-1")).state == "ENROLLED"

    def test_everywhere(self) -> None:
        """A hold blocks on every waitlist, and its release unblocks on every waitlist."""
        courses = [*course_with_students("a", "b", capacity=2), *course_with_students("a", "b", "c-2", capacity=2)]
        state = loaded_state(*students("a"), student_with_hold("b"), *courses)
        decide_all(state, *BLOCK, Settle("c-2"), Settle("c-2"))
        assert (judged_again(state, "c-1"), judged_again(state, "c-2")) == ("", "")
        decide(state, ReleaseHold("b", "BURSAR"))
        assert [letters(decide(state, Settle(course_id))) for course_id in ("c-1", "c-2")] == ["b", "b"]

    def test_in_the_order_of_the_queue(self) -> None:
        """A waiter who was blocked comes before those who are judged for the first time, and those who came since."""
        state = state_with_waitlist("a", "bcd", *map(student_with_hold, "bcd"), capacity=2)
        decide_all(state, *BLOCK, *(ReleaseHold(letter, "BURSAR") for letter in "dbc"))
        assert judged_again(state) == "bcd"
        assert letters(decide(state, Enroll("z", "c-1")).promoted) == "b"
        assert waitlist(state) == "cdz"

    def test_by_an_own_call(self) -> None:
        """The terms of a call may give a blocked waiter the seat, ahead of a waiter who can have it since now."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"), capacity=2)
        decide_all(state, *BLOCK, ReleaseHold("c", "BURSAR"))
        result = decide(state, Enroll("b", "c-1", override=PAID))
        assert (result.enrollment.state, result.promoted, waitlist(state)) == ("ENROLLED", (), "c")

    def test_by_a_swap(self) -> None:
        """The seat that a swap gives up is not in the way of the caller's turn."""
        state = loaded_state(*copy.deepcopy(CONFLICT), enrollment("c", number=3), *students("c"))
        state.courses["c-1"].waitlisted_count += 1
        decide_all(state, PlaceHold("c", "BURSAR"), *BLOCK, ReleaseHold("c", "BURSAR"))
        result = decide(state, Swap("b", "c-2", "c-1"))
        assert (result.enrollment.state, result.promoted, waitlist(state)) == ("ENROLLED", (), "c")

    def test_for_a_skip_with_other_values(self) -> None:
        """A waiter who remains refused is judged again too, since the history has to have the new reasons."""
        state = loaded_state(
            *copy.deepcopy(HELD), Course("c-2"), enrollment("b", "COMPLETED", course_id="c-2", passed=True)
        )
        decide(state, UpdateCourse("c-1", {"prerequisite_course_ids": ("c-2",)}))
        decide_all(state, *BLOCK, VoidCompletion("c-2/b"), Settle("c-1"))
        skips = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert [[one.reason for one in skip.violations] for skip in skips] == [
            ["STUDENT_HOLD"],
            ["STUDENT_HOLD", "PREREQUISITE_UNMET"],
        ]

    def test_by_a_new_course(self) -> None:
        """A course that is created may have the code of a prerequisite."""
        state = loaded_state(*copy.deepcopy(HELD))
        decide_all(state, *BLOCK, CreateCourse("c-9"))
        assert judged_again(state) == "b"


class TestGone:
    """A blocked waiter who leaves the waitlist does not come back by being unblocked."""

    @pytest.mark.parametrize(
        "change",
        [
            [Unenroll("b", "c-1")],
            [DeleteStudent("b", force=True), UndeleteStudent("b")],
            [Enroll("b", "c-1", override=SEAT_AND_PAID)],
            [Enroll("b", "c-1", override=PAID)],
        ],
        ids=["left", "deleted", "chosen", "own-turn"],
    )
    def test_stays_away(self, change: list[Command]) -> None:
        """The release of the hold finds no place to judge."""
        state = loaded_state(*copy.deepcopy(HELD))
        decide_all(state, *BLOCK, *change, ReleaseHold("b", "BURSAR"))
        assert (judged_again(state), waitlist(state)) == ("", "")

    def test_comes_again(self) -> None:
        """The new place is behind all others; the hold still refuses it, until it is released."""
        state = state_with_waitlist("ac", "bd", student_with_hold("b"), student_with_hold("d"), capacity=3)
        decide_all(state, *BLOCK, Unenroll("b", "c-1"), UpdateCourse("c-1", {"capacity": 2}))
        assert enrolled(state, Enroll("b", "c-1", override=PAID)).waitlist_position == 2
        decide(state, PlaceHold("b", "LIBRARY"))
        decide_all(state, Unenroll("a", "c-1"), *BLOCK)
        assert (judged_again(state), waitlist(state)) == ("", "db")
        decide(state, ReleaseHold("b", "LIBRARY"))
        assert letters(decide(state, Settle("c-1"))) == "b"
