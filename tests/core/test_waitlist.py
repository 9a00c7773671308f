"""Waitlists, by example: when a course settles, and which waiters it promotes or skips."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Swap,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
)
from registrar_server.core.decide import decide
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.records import Course, Hold, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import StudentState
from registrar_server.errors import Reason, Violation
from tests.support.states import EARLIER, NOW, contents, enrolled, enrollment, loaded_state
from tests.support.waitlists import (
    UNPAID,
    counts,
    course_with_students,
    event_summaries,
    letters,
    state_with_waitlist,
    student_with_hold,
    students,
    waitlist,
)


class TestUnenroll:
    """A seat that is given up goes to the first waiter."""

    def test_promotes_the_first(self) -> None:
        """The first waiter leaves the waitlist and takes the seat in the same batch."""
        state = state_with_waitlist("a", "bcd")
        ended, (promoted,) = decide(state, Unenroll("a", "c-1", reason="moved", comment="by letter"))
        assert (ended.student_id, promoted.student_id) == ("a", "b")
        seat = enrollment("b", "ENROLLED", 2, version=2, update_time=NOW)
        assert promoted == seat
        assert state.journal.changed_enrollments == {"c-1/a": ended, "c-1/b": seat}
        assert (counts(state), waitlist(state)) == ((1, 2), "cd")

    def test_events(self) -> None:
        """Each change has an event with the counts after it; the caller's reason and comment are only in the first."""
        state = state_with_waitlist("a", "bc")
        decide(state, Unenroll("a", "c-1", reason="moved", comment="by letter"))
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]
        left, promoted = state.journal.events
        assert (left.enrolled_count, left.waitlisted_count, left.capacity) == (0, 2, 1)
        assert (promoted.enrolled_count, promoted.waitlisted_count, promoted.capacity) == (1, 1, 1)
        assert (promoted.previous_state, promoted.state, promoted.enrollment_version) == ("WAITLISTED", "ENROLLED", 2)
        assert (promoted.enrollment_id, promoted.reason, promoted.comment) == ("c-1/b", "", "")

    def test_one_after_the_other(self) -> None:
        """Each seat goes to the first waiter at that time, also if that waiter joined in the same batch."""
        state = state_with_waitlist("ab", "c")
        decide(state, Enroll("z", "c-1"))
        assert [letters(decide(state, Unenroll(letter, "c-1")).promoted) for letter in "abc"] == ["c", "z", ""]
        assert (counts(state), waitlist(state)) == ((1, 0), "")

    def test_an_empty_waitlist(self) -> None:
        """Without a waiter the seat is free."""
        state = state_with_waitlist("a", "")
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert state.courses["c-1"].seats_available == 1

    def test_order_is_that_of_numbers(self) -> None:
        """The order is that of the numbers, not that of ids or rows."""
        late, early = enrollment("b", "WAITLISTED", 7), enrollment("z", "WAITLISTED", 3)
        course = Course("c-1", capacity=1, enrolled_count=1, waitlisted_count=2, last_number=7)
        state = loaded_state(*students("abz"), course, late, early, enrollment("a", "ENROLLED"))
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "z"


class TestOtherSeats:
    """A course settles whenever a command frees or adds a seat; ``test_settling.py`` has the other changes."""

    def test_swap(self) -> None:
        """The seat that a swap gives up goes to the first waiter."""
        state = loaded_state(*students("ab"), *course_with_students("a", "b"), Course("c-2"))
        assert letters(decide(state, Swap("a", "c-1", "c-2")).promoted) == "b"
        assert event_summaries(state) == ["STUDENT_ENROLLED a", "STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]

    @pytest.mark.parametrize(("capacity", "promoted"), [(2, "b"), (3, "bc"), (4, "bcd"), (9, "bcd"), (None, "bcd")])
    def test_capacity_raised(self, capacity: int | None, promoted: str) -> None:
        """As many waiters are promoted, in order, as there are new seats."""
        state = state_with_waitlist("a", "bcd")
        updated = decide(state, UpdateCourse("c-1", {"capacity": capacity}))
        assert (updated.course, letters(updated.promoted)) == (state.courses["c-1"], promoted)
        assert event_summaries(state) == ["COURSE_UPDATED", *(f"STUDENT_PROMOTED {letter}" for letter in promoted)]
        taken = 1 + len(promoted)
        assert [event.enrolled_count for event in state.journal.events] == list(range(1, taken + 1))
        assert {event.capacity for event in state.journal.events} == {capacity}
        assert (counts(state), waitlist(state)) == ((taken, 3 - len(promoted)), "bcd"[len(promoted) :])

    def test_capacity_raised_under_the_count(self) -> None:
        """A raised capacity below the enrolled count promotes no waiter."""
        state = state_with_waitlist("abc", "d", capacity=1)
        decide(state, UpdateCourse("c-1", {"capacity": 3}))
        assert event_summaries(state) == ["COURSE_UPDATED"]

    def test_capacity_raised_with_the_window(self) -> None:
        """The course settles after all values of the update are set."""
        state = state_with_waitlist("a", "b", enroll_close_time=NOW - 1)
        decide(state, UpdateCourse("c-1", {"capacity": 2, "enroll_close_time": None}))
        assert event_summaries(state) == ["COURSE_UPDATED", "STUDENT_PROMOTED b"]

    def test_deletion_of_a_student(self) -> None:
        """A forced deletion frees the student's seats, and their courses settle after all enrollments are dropped."""
        third = course_with_students("c", "ab", "c-3", capacity=2)
        state = loaded_state(
            *students("abc"), *course_with_students("a", "b"), *course_with_students("ac", "b", "c-2"), *third
        )
        decide(state, DeleteStudent("a", force=True))
        assert event_summaries(state) == [
            *["STUDENT_UNENROLLED a"] * 3,
            "STUDENT_DELETED",
            "STUDENT_PROMOTED b",
            "STUDENT_PROMOTED b",
        ]
        assert [event.course_id for event in state.journal.events[-2:]] == ["c-1", "c-2"]
        assert waitlist(state, "c-3") == "b"

    def test_deletion_of_a_course(self) -> None:
        """A forced deletion drops the waiters too, and promotes none."""
        state = state_with_waitlist("a", "bc")
        decide(state, DeleteCourse("c-1", force=True))
        assert event_summaries(state) == [*(f"STUDENT_UNENROLLED {letter}" for letter in "abc"), "COURSE_DELETED"]


class TestNoSettlement:
    """Other commands promote no waiter, even if a seat is free: the next settlement finds it."""

    @pytest.mark.parametrize(
        ("command", "fields"),
        [
            (Complete("a", "c-1"), {"capacity": 1}),
            (Unenroll("b", "c-1"), {}),
            (ReleaseHold("b", "BURSAR"), {}),
            (UpdateStudent("b", {"state": "ACTIVE"}), {}),
            (UpdateStudent("b", {"max_credits": None}), {}),
            (UndeleteStudent("y"), {}),
            (UpdateCourse("c-1", {"waitlist_capacity": 100}), {}),
            (UpdateCourse("c-1", {"title": "Intro"}), {}),
            (UpdateCourse("c-1", {"capacity": 2, "title": "Intro"}), {}),
            (UpdateCourse("c-1", {"title": "Intro"}), {"capacity": None}),
        ],
    )
    def test_earlier_free_seats(self, command: Command, fields: dict[str, Any]) -> None:
        """Seats that were free before stay free until the course settles."""
        kept_out = Student("b", holds=(UNPAID,), state=StudentState.INACTIVE, max_credits=0)
        deleted = Student("y", delete_time=EARLIER)
        state = state_with_waitlist("a", "bc", kept_out, deleted, **{"capacity": 2} | fields)
        decide(state, command)
        assert len(state.journal.events) == 1
        decide(state, Enroll("z", "c-1"))
        assert "STUDENT_PROMOTED c" in event_summaries(state)

    @pytest.mark.parametrize("capacity", [0, 1])
    def test_capacity_lowered(self, capacity: int) -> None:
        """A lowered capacity drops and promotes no student."""
        state = state_with_waitlist("a", "b", capacity=2)
        decide(state, UpdateCourse("c-1", {"capacity": capacity}))
        assert (counts(state), waitlist(state)) == ((1, 1), "b")

    def test_capacity_under_the_count(self) -> None:
        """Seats that are given up go to no waiter while the enrolled count is at the capacity or above it."""
        state = state_with_waitlist("abc", "de", capacity=2)
        decide(state, UpdateCourse("c-1", {"capacity": 1}))
        promoted = [letters(decide(state, Unenroll(letter, "c-1")).promoted) for letter in "abc"]
        assert promoted == ["", "", "d"]


class TestClosed:
    """A course that is cancelled or outside its window promotes no waiter, whatever was bypassed."""

    @pytest.mark.parametrize(
        "fields",
        [
            {"enroll_close_time": NOW},
            {"enroll_close_time": NOW - 1},
            {"enroll_open_time": NOW + 1},
            {"state": "CANCELLED"},
        ],
    )
    @pytest.mark.parametrize("kept", [(), ("ENROLLMENT_NOT_OPEN", "ENROLLMENT_CLOSED", "COURSE_FULL")])
    def test_no_promotion(self, fields: dict[str, Any], kept: tuple[str, ...]) -> None:
        """The seat stays free, and no waiter is skipped."""
        state = state_with_waitlist("a", "b", **fields)
        for waiter in state.waiters("c-1"):
            waiter.bypassed_rules = kept
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a"]
        assert (counts(state), waitlist(state)) == ((0, 1), "b")

    @pytest.mark.parametrize(
        "fields", [{"enroll_close_time": NOW + 1}, {"enroll_open_time": NOW}, {"enroll_open_time": NOW - 1}]
    )
    def test_inside_the_window(self, fields: dict[str, Any]) -> None:
        """The opening time is inside the window, and so is the last moment before the closing time."""
        state = state_with_waitlist("a", "b", **fields)
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "b"

    def test_reopened(self) -> None:
        """Seats that stayed free while the course was closed are taken when it opens again."""
        state = state_with_waitlist("ab", "cde", enroll_close_time=NOW)
        decide(state, Unenroll("a", "c-1"))
        decide(state, Unenroll("b", "c-1"))
        assert letters(decide(state, UpdateCourse("c-1", {"enroll_close_time": None})).promoted) == "cd"


class TestKeptOverrides:
    """Rules that were set aside when a waiter came stay set aside."""

    def test_hold(self) -> None:
        """A hold that was set aside does not prevent the promotion, and the event still names it."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"))
        next(state.waiters("c-1")).bypassed_rules = ("STUDENT_HOLD",)
        (promoted,) = decide(state, Unenroll("a", "c-1")).promoted
        assert (promoted.student_id, promoted.bypassed_rules) == ("b", ("STUDENT_HOLD",))
        assert state.journal.events[-1].bypassed_rules == ("STUDENT_HOLD",)

    def test_another_rule(self) -> None:
        """Another violated rule still skips the waiter, and the event names only that rule."""
        state = state_with_waitlist("a", "bc", Student("b", holds=(UNPAID,), max_credits=0), credits=1_500)
        next(state.waiters("c-1")).bypassed_rules = ("STUDENT_HOLD",)
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "c"
        (skip,) = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert [reason for reason, *_ in skip.violations] == ["CREDIT_LIMIT_EXCEEDED"]


class TestSkips:
    """A waiter who violates a rule is skipped and keeps the position, and an event states the reason."""

    VIOLATION = Violation(
        Reason.STUDENT_HOLD,
        'There is a hold "BURSAR" on student "b": Unpaid fees.',
        {"code": "BURSAR", "reason": "Unpaid fees."},
    )

    def test_the_next_waiter_is_promoted(self) -> None:
        """Waiters are skipped and promoted in order, each with an event."""
        state = state_with_waitlist("a", "bcd", student_with_hold("b"))
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "c"
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b", "STUDENT_PROMOTED c"]
        assert (counts(state), waitlist(state)) == ((1, 2), "bd")

    def test_event(self) -> None:
        """The event lists the violations with their values; the enrollment keeps its version."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1", comment="by letter"))
        skip = state.journal.events[1]
        assert (skip.student_id, skip.enrollment_id, skip.reason, skip.comment) == ("b", "c-1/b", "", "")
        assert (skip.previous_state, skip.state, skip.enrollment_version) == ("WAITLISTED", "WAITLISTED", 1)
        assert (skip.enrolled_count, skip.waitlisted_count) == (0, 2)
        assert [list(one) for one in skip.violations] == [
            ["STUDENT_HOLD", self.VIOLATION.description, self.VIOLATION.values]
        ]
        skipped = enrollment("b", "WAITLISTED", 2, last_skip=(self.VIOLATION,), waitlist_position=1)
        assert state.journal.changed_enrollments["c-1/b"] == skipped

    def test_all_waiters_are_skipped(self) -> None:
        """The seat stays free, and every waiter has an event."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"))
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b", "PROMOTION_SKIPPED c"]
        assert state.courses["c-1"].seats_available == 1

    def test_only_waiters_before_the_last_promoted(self) -> None:
        """Waiters after the last promoted one are not skipped."""
        state = state_with_waitlist("a", "bcd", student_with_hold("d"))
        decide(state, Unenroll("a", "c-1"))
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]

    def test_an_equal_skip_is_not_recorded_again(self) -> None:
        """A skip for the same reasons as the last one has no event, in this batch and in later ones."""
        state = state_with_waitlist("ac", "bde", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, Unenroll("c", "c-1"))
        assert event_summaries(state).count("PROMOTION_SKIPPED b") == 1

        later = state_with_waitlist("a", "bd", student_with_hold("b"))
        next(later.waiters("c-1")).last_skip = (self.VIOLATION,)
        decide(later, Unenroll("a", "c-1"))
        assert event_summaries(later) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED d"]
        assert "c-1/b" not in later.journal.changed_enrollments

    def test_a_skip_in_other_words_is_not_recorded_again(self) -> None:
        """The sentence names the code of a missing prerequisite, but not the code decides the skip."""
        state = state_with_waitlist("ac", "bde", prerequisite_course_ids=("c-2",))
        state.load(courses=[Course("c-2", code="MATH 1")])
        decide(state, Unenroll("a", "c-1"))
        decide(state, UpdateCourse("c-2", {"code": "MATH 2"}))
        decide(state, Unenroll("c", "c-1"))
        assert event_summaries(state).count("PROMOTION_SKIPPED b") == 1

    @pytest.mark.parametrize(
        "change",
        [
            PlaceHold("b", "LIBRARY"),
            PlaceHold("b", "BURSAR", "Unpaid fees, again."),
            UpdateStudent("b", {"state": "INACTIVE"}),
        ],
        ids=["one-more", "another-value", "another-rule"],
    )
    def test_a_different_skip_is_recorded(self, change: Command) -> None:
        """A skip for other reasons, or with other values, has an event."""
        state = state_with_waitlist("acd", "befg", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, change)
        decide(state, Unenroll("c", "c-1"))
        decide(state, Unenroll("d", "c-1"))
        skips = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert len(skips) == 2
        assert skips[0].violations != skips[1].violations

    def test_only_the_last_skip_is_compared(self) -> None:
        """Reasons that differ from the last skip are recorded, even if an earlier skip had them."""
        state = state_with_waitlist("acd", "befg", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, PlaceHold("b", "LIBRARY"))
        decide(state, Unenroll("c", "c-1"))
        decide(state, ReleaseHold("b", "LIBRARY"))
        decide(state, Unenroll("d", "c-1"))
        skips = [event.violations for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert len(skips) == 3
        assert skips[0] == skips[2]

    def test_keeps_the_position(self) -> None:
        """When the rules allow it again, a skipped waiter gets the next seat before all who came later."""
        state = state_with_waitlist("ac", "bde", student_with_hold("b"))
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "d"
        decide(state, ReleaseHold("b", "BURSAR"))
        (promoted,) = decide(state, Unenroll("c", "c-1")).promoted
        assert (promoted.student_id, promoted.number, promoted.version) == ("b", 3, 2)
        assert waitlist(state) == "e"

    @pytest.mark.parametrize(
        ("student", "fields"),
        [
            (Student("b", state=StudentState.INACTIVE), {}),
            (Student("b", max_credits=1_000), {"credits": 1_001}),
            (Student("b"), {"prerequisite_course_ids": ("math-1",)}),
            (Student("b", holds=(UNPAID, Hold("LIBRARY", "", 2))), {}),
        ],
    )
    def test_every_rule_applies(self, student: Student, fields: dict[str, Any]) -> None:
        """Every rule that refuses a newcomer skips a waiter."""
        state = state_with_waitlist("a", "b", student, **fields)
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b"]

    def test_a_promotion_in_another_course_counts(self) -> None:
        """The credits of a promotion count for the waiter's next promotion in the same batch."""
        course: dict[str, Any] = {"credits": 3_000}
        state = loaded_state(
            *students("a"),
            Student("b", max_credits=3_000),
            *course_with_students("a", "b", **course),
            *course_with_students("a", "b", "c-2", **course),
        )
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "b"
        assert letters(decide(state, Unenroll("a", "c-2")).promoted) == ""
        decide(state, Unenroll("b", "c-1"))
        decide(state, UpdateCourse("c-2", {"capacity": 2}))
        assert event_summaries(state)[-1] == "STUDENT_PROMOTED b"


class TestLongQueue:
    """Only the first waiters of a long queue are loaded, and a decision that needs more of them raises an error."""

    def first_waiters(self, *students: Student) -> State:
        """Return a state in which five students wait and two of them are loaded."""
        return state_with_waitlist("a", "bc", *students, waitlisted_count=5, last_number=6)

    def test_the_first_waiters_are_enough(self) -> None:
        """Waiters behind the promoted one are not needed."""
        state = self.first_waiters()
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "b"

    def test_the_first_waiters_are_not_enough(self) -> None:
        """If no loaded waiter can have the seat, the error names the course."""
        with pytest.raises(OutOfWaiters) as missing:
            decide(self.first_waiters(student_with_hold("b"), student_with_hold("c")), Unenroll("a", "c-1"))
        assert missing.value.course_id == "c-1"

    def test_a_newcomer(self) -> None:
        """The position of a newcomer is computed from the count, and reading the queue raises an error."""
        state = loaded_state(
            *students("z"), Course("c-1", capacity=0, waitlist_capacity=9, waitlisted_count=5, last_number=7)
        )
        result = enrolled(state, Enroll("z", "c-1"))
        assert (result.number, result.waitlist_position) == (8, 6)
        before = contents(state)
        with pytest.raises(OutOfWaiters):
            list(state.waiters("c-1"))
        assert contents(state) == before
