"""What a kept override covers in the turn of a waiter, rule by rule: what it was given for, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.errors import Reason, Violation
from tests.support.states import MONDAY, NOW, decide_all, enrolled, enrollment, loaded_state
from tests.support.waitlists import UNPAID, event_summaries, state_with_waitlist, student_with_hold

EVERY_RULE = Override(
    frozenset(
        {
            "STUDENT_HOLD",
            "ENROLLMENT_CLOSED",
            "DUPLICATE_COURSE",
            "PREREQUISITE_UNMET",
            "SCHEDULE_CONFLICT",
            "CREDIT_LIMIT_EXCEEDED",
        }
    ),
    "by the dean",
)


LIBRARY = UNPAID._replace(code="LIBRARY")


def came_to_wait(student: Student, *records: Course | Enrollment, **fields: Any) -> State:
    """Return a state in which student b came to the waitlist of c-1 by an override of every rule."""
    course = Course("c-1", **{"capacity": 0, "waitlist_capacity": 9} | fields)
    state = loaded_state(student, course, *records)
    assert enrolled(state, Enroll("b", "c-1", override=EVERY_RULE)).state == "WAITLISTED"
    return state


def take_turn(state: State, *changes: Command) -> State:
    """Make changes, then give c-1 a seat, and return the state with the events of that alone."""
    decide_all(state, *changes)
    state.journal.events.clear()
    decide(state, UpdateCourse("c-1", {"capacity": 1}))
    return state


def seat_in(course_id: str, **fields: Any) -> tuple[Course, Enrollment]:
    """Return another course, and the seat of student b in it."""
    return Course(course_id, **fields), enrollment("b", "ENROLLED", course_id=course_id)


def assert_covered(state: State, rule: str) -> None:
    """Assert that b was promoted, by the rule that was set aside at the beginning."""
    assert event_summaries(state) == ["COURSE_UPDATED", "STUDENT_PROMOTED b"]
    event = state.journal.events[-1]
    assert (event.bypassed_rules, event.violations, event.reason) == ((rule,), (), "")


def assert_not_covered(state: State, rule: str, **values: str) -> None:
    """Assert that b was skipped for one violation of the rule, with these values among its own."""
    assert event_summaries(state) == ["COURSE_UPDATED", "PROMOTION_SKIPPED b"]
    (violation,) = state.journal.events[-1].violations
    assert (violation.reason, {**violation.values, **values}) == (rule, violation.values)


class TestKept:
    """An enrollment keeps the violations that were set aside for it."""

    def test_from_the_call(self) -> None:
        """The event and the enrollment have the violations with their values; rules without a violation are absent."""
        state = loaded_state(student_with_hold("b"), Course("c-1", capacity=0, waitlist_capacity=9))
        place = enrolled(state, Enroll("b", "c-1", override=EVERY_RULE))
        (violation,) = place.bypassed_violations
        assert (violation.reason, violation.values["code"]) == ("STUDENT_HOLD", "BURSAR")
        assert place.bypassed_rules == ("STUDENT_HOLD",)
        (event,) = state.journal.events
        assert event.violations == place.bypassed_violations

    def test_from_several_calls(self) -> None:
        """What a later call sets aside is added to what was kept before."""
        state = state_with_waitlist("a", "", student_with_hold("b"), waitlist_capacity=9)
        decide(state, Enroll("b", "c-1", override=EVERY_RULE))
        seat = enrolled(state, Enroll("b", "c-1", override=Override(frozenset({"COURSE_FULL"}), "athlete")))
        assert [one.reason for one in seat.bypassed_violations] == ["STUDENT_HOLD", "COURSE_FULL"]
        assert seat.bypassed_rules == ("STUDENT_HOLD", "COURSE_FULL")
        assert [one.reason for one in state.journal.events[-1].violations] == ["COURSE_FULL"]

    def test_not_from_a_promotion_that_they_cover(self) -> None:
        """A promotion by what was kept sets nothing aside that is new."""
        state = take_turn(came_to_wait(student_with_hold("b")))
        seat = state.live("b", "c-1")
        assert seat is not None
        assert [one.reason for one in seat.bypassed_violations] == ["STUDENT_HOLD"]

    def test_at_a_drop(self) -> None:
        """A drop after the deadline keeps what was set aside for it too."""
        state = state_with_waitlist("a", "", drop_deadline_time=NOW)
        ended = decide(state, Unenroll("a", "c-1", override=Override(frozenset({"DROP_DEADLINE_PASSED"}), "ill")))
        assert [one.reason for one in ended.enrollment.bypassed_violations] == ["DROP_DEADLINE_PASSED"]
        assert state.journal.events[0].violations == ended.enrollment.bypassed_violations


class TestHolds:
    """A kept override covers the holds that the student had."""

    @pytest.mark.parametrize(
        "changes",
        [
            [],
            [PlaceHold("b", "BURSAR", "Unpaid fees, again.")],
            [ReleaseHold("b", "BURSAR"), PlaceHold("b", "Bursar ", "Another year.")],
        ],
        ids=["same", "replaced", "replaced-by-the-same-key"],
    )
    def test_a_hold_of_the_same_code(self, changes: list[Command]) -> None:
        """The code decides, compared by key; the reason of the hold does not matter."""
        assert_covered(take_turn(came_to_wait(student_with_hold("b")), *changes), "STUDENT_HOLD")

    def test_another_hold(self) -> None:
        """The skip has only the hold that is new."""
        state = take_turn(came_to_wait(student_with_hold("b")), PlaceHold("b", "LIBRARY"))
        assert_not_covered(state, "STUDENT_HOLD", code="LIBRARY")

    def test_another_hold_instead(self) -> None:
        """A hold of another code is another hold, even if the old one is released."""
        state = came_to_wait(student_with_hold("b"))
        take_turn(state, ReleaseHold("b", "BURSAR"), PlaceHold("b", "LIBRARY"))
        assert_not_covered(state, "STUDENT_HOLD", code="LIBRARY")

    def test_the_first_hold(self) -> None:
        """An override that was not needed for a hold covers none."""
        assert_not_covered(
            take_turn(came_to_wait(Student("b")), PlaceHold("b", "BURSAR")), "STUDENT_HOLD", code="BURSAR"
        )

    def test_one_of_several(self) -> None:
        """Each hold that was set aside is covered, alone or with the others."""
        for released in ("BURSAR", "LIBRARY"):
            state = came_to_wait(Student("b", holds=(UNPAID, LIBRARY)))
            assert_covered(take_turn(state, ReleaseHold("b", released)), "STUDENT_HOLD")
        assert_covered(take_turn(came_to_wait(Student("b", holds=(UNPAID, LIBRARY)))), "STUDENT_HOLD")


class TestOtherCourses:
    """A kept override covers the conflicts and duplicates with the courses that the student had a seat in."""

    def conflicting(self) -> State:
        """Return a state in which b came to wait although math-a meets at the same time; math-b does not meet."""
        return came_to_wait(Student("b"), *seat_in("math-a", meetings=MONDAY), *seat_in("math-b"), meetings=MONDAY)

    def duplicate(self) -> State:
        """Return a state in which b came to wait although math-a is the same subject; math-b has no code."""
        subject: dict[str, Any] = {"code": "MATH 1", "term": "fall"}
        others = (*seat_in("math-a", **subject), *seat_in("math-b", term="fall"))
        return came_to_wait(Student("b"), *others, **subject)

    def test_the_same_conflict(self) -> None:
        """The course decides, not the hour at which the courses meet."""
        half_past_nine = (MONDAY[0]._replace(start=9 * 3600 + 1_800),)
        state = take_turn(self.conflicting(), UpdateCourse("math-a", {"meetings": half_past_nine}))
        assert_covered(state, "SCHEDULE_CONFLICT")

    def test_another_conflict(self) -> None:
        """The skip has only the course that is new."""
        state = take_turn(self.conflicting(), UpdateCourse("math-b", {"meetings": MONDAY}))
        assert_not_covered(state, "SCHEDULE_CONFLICT", conflicting_course_id="math-b")

    def test_another_conflict_instead(self) -> None:
        """The seat in the other course is given up, and a new one is in the way."""
        state = take_turn(self.conflicting(), Unenroll("b", "math-a"), UpdateCourse("math-b", {"meetings": MONDAY}))
        assert_not_covered(state, "SCHEDULE_CONFLICT", conflicting_course_id="math-b")

    def test_the_same_duplicate(self) -> None:
        """A new spelling of the code is no new duplicate."""
        state = take_turn(self.duplicate(), UpdateCourse("math-a", {"code": "math1"}))
        assert_covered(state, "DUPLICATE_COURSE")

    def test_another_duplicate(self) -> None:
        """The skip has only the course that is new."""
        state = take_turn(self.duplicate(), UpdateCourse("math-b", {"code": "MATH 1"}))
        assert_not_covered(state, "DUPLICATE_COURSE", duplicate_course_id="math-b")


class TestPrerequisites:
    """A kept override covers the prerequisites that were missing."""

    def lacking(self, *completions: Enrollment) -> State:
        """Return a state in which b came to wait without some of the prerequisites math-a and math-b."""
        courses = map(Course, ("math-a", "math-b", "math-c"))
        return came_to_wait(Student("b"), *courses, *completions, prerequisite_course_ids=("math-a", "math-b"))

    @pytest.mark.parametrize(
        "changes",
        [
            [],
            [RecordCompletion("b", "math-a")],
            [UpdateCourse("c-1", {"prerequisite_course_ids": ("math-b",)})],
        ],
        ids=["same", "one-passed", "one-removed"],
    )
    def test_not_more(self, changes: list[Command]) -> None:
        """Some of those that were missing are covered as well as all of them."""
        assert_covered(take_turn(self.lacking(), *changes), "PREREQUISITE_UNMET")

    def test_one_more(self) -> None:
        """One more that is missing is not covered; the skip names all that are missing."""
        prerequisites = ("math-a", "math-b", "math-c")
        state = take_turn(self.lacking(), UpdateCourse("c-1", {"prerequisite_course_ids": prerequisites}))
        assert_not_covered(state, "PREREQUISITE_UNMET", missing_course_ids="math-a, math-b, math-c")

    def test_a_completion_that_is_voided(self) -> None:
        """A prerequisite that was met at the beginning was not set aside."""
        passed = enrollment("b", "COMPLETED", course_id="math-a", passed=True)
        state = take_turn(self.lacking(passed), VoidCompletion("math-a/b"))
        assert_not_covered(state, "PREREQUISITE_UNMET", missing_course_ids="math-a, math-b")


class TestCredits:
    """A kept override covers the total of credits that it was given for."""

    def overloaded(self) -> State:
        """Return a state in which b came to wait for a total of 6.5 credits; 5 are allowed."""
        others = (*seat_in("math-a", credits=3_000), *seat_in("math-b", credits=1_000))
        return came_to_wait(Student("b", max_credits=5_000), *others, credits=2_500)

    @pytest.mark.parametrize(
        "changes",
        [
            [],
            [UpdateStudent("b", {"max_credits": 1_000})],
            [UpdateCourse("math-b", {"credits": 999})],
            [UpdateCourse("c-1", {"credits": 1_500})],
            [Unenroll("b", "math-b")],
            [UpdateCourse("math-b", {"credits": 500}), UpdateCourse("c-1", {"credits": 3_000})],
        ],
        ids=["same", "a-lower-limit", "less-elsewhere", "less-here", "one-course-less", "the-same-otherwise"],
    )
    def test_not_above_the_total(self, changes: list[Command]) -> None:
        """The total decides, not the limit that it exceeds, nor how the courses share it."""
        assert_covered(take_turn(self.overloaded(), *changes), "CREDIT_LIMIT_EXCEEDED")

    @pytest.mark.parametrize(
        "change", [UpdateCourse("math-b", {"credits": 1_001}), UpdateCourse("c-1", {"credits": 2_501})]
    )
    def test_above_the_total(self, change: Command) -> None:
        """The least credit more needs another override."""
        state = take_turn(self.overloaded(), change)
        assert_not_covered(state, "CREDIT_LIMIT_EXCEEDED", max_credits="5")


class TestWindow:
    """A kept override covers the window as a whole, where a call asks for a seat outside of it."""

    def test_another_closing_time(self) -> None:
        """A waiter who came after the window had closed needs no second override of it to be chosen."""
        state = came_to_wait(Student("b"), enroll_close_time=NOW)
        decide(state, UpdateCourse("c-1", {"enroll_close_time": NOW - 1}))
        seat = enrolled(state, Enroll("b", "c-1", override=Override(frozenset({"COURSE_FULL"}), "athlete")))
        assert seat.bypassed_rules == ("ENROLLMENT_CLOSED", "COURSE_FULL")

    def test_opens_no_window(self) -> None:
        """The course promotes nobody outside its window, whatever its waiters keep."""
        state = take_turn(came_to_wait(Student("b"), enroll_close_time=NOW))
        assert event_summaries(state) == ["COURSE_UPDATED"]


class TestFromBefore:
    """A kept override from before the violations were kept covers its rule as a whole."""

    @pytest.mark.parametrize(
        ("rule", "student", "fields"),
        [
            ("STUDENT_HOLD", Student("b", holds=(UNPAID, LIBRARY)), {}),
            ("PREREQUISITE_UNMET", Student("b"), {"prerequisite_course_ids": ("c-8", "c-9")}),
            ("CREDIT_LIMIT_EXCEEDED", Student("b", max_credits=0), {"credits": 99_000}),
        ],
    )
    def test_covers_its_rule(self, rule: str, student: Student, fields: dict[str, Any]) -> None:
        """Any violation of the rule is covered."""
        state = state_with_waitlist("a", "b", student, capacity=2, **fields)
        self.place(state).bypassed_rules = (rule,)
        decide(state, Settle("c-1"))
        assert event_summaries(state) == ["STUDENT_PROMOTED b"]
        assert state.journal.events[0].bypassed_rules == (rule,)

    def test_covers_no_other_rule(self) -> None:
        """Each rule is covered on its own: here one by its name, and one by what it was given for."""
        student = Student("b", holds=(LIBRARY,), max_credits=0)
        state = state_with_waitlist("a", "b", student, capacity=2, credits=1_000)
        place = self.place(state)
        place.bypassed_rules = ("STUDENT_HOLD", "CREDIT_LIMIT_EXCEEDED")
        values = {"enrolled_credits": "0", "course_credits": "0.5"}
        place.bypassed_violations = (Violation(Reason.CREDIT_LIMIT_EXCEEDED, "Too many.", values),)
        decide(state, Settle("c-1"))
        assert event_summaries(state) == ["PROMOTION_SKIPPED b"]
        assert [one.reason for one in state.journal.events[0].violations] == [Reason.CREDIT_LIMIT_EXCEEDED]

    def place(self, state: State) -> Enrollment:
        """Return the place of b on the waitlist."""
        place = state.live("b", "c-1")
        assert place is not None
        return place
