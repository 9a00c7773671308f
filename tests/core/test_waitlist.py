"""Who waits for a seat, by example: when a course settles, whom it promotes, and whom it passes over."""

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
from tests.support.states import EARLIER, NOW, contents, enrollment, loaded_state
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
    """A seat that is given up goes to the first who waits."""

    def test_promotes_the_first(self) -> None:
        """Out of the queue into the seat, in the same transaction."""
        state = state_with_waitlist("a", "bcd")
        ended, (promoted,) = decide(state, Unenroll("a", "c-1", reason="moved", comment="by letter"))
        assert (ended.student_id, promoted.student_id) == ("a", "b")
        seat = enrollment("b", "ENROLLED", 2, version=2, update_time=NOW)
        assert promoted == seat
        assert state.journal.changed_enrollments == {"c-1/a": ended, "c-1/b": seat}
        assert (counts(state), waitlist(state)) == ((1, 2), "cd")

    def test_its_events(self) -> None:
        """Each change has its own, with the numbers in force after it; what the caller said is not about the others."""
        state = state_with_waitlist("a", "bc")
        decide(state, Unenroll("a", "c-1", reason="moved", comment="by letter"))
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]
        left, promoted = state.journal.events
        assert (left.enrolled_count, left.waitlisted_count, left.capacity) == (0, 2, 1)
        assert (promoted.enrolled_count, promoted.waitlisted_count, promoted.capacity) == (1, 1, 1)
        assert (promoted.previous_state, promoted.state, promoted.enrollment_version) == ("WAITLISTED", "ENROLLED", 2)
        assert (promoted.enrollment_id, promoted.reason, promoted.comment) == ("c-1/b", "", "")

    def test_one_after_the_other(self) -> None:
        """Each seat goes to whoever is first by then, also to one who joined in the same batch."""
        state = state_with_waitlist("ab", "c")
        decide(state, Enroll("z", "c-1"))
        assert [letters(decide(state, Unenroll(letter, "c-1")).promoted) for letter in "abc"] == ["c", "z", ""]
        assert (counts(state), waitlist(state)) == ((1, 0), "")

    def test_nobody_waits(self) -> None:
        """Then the seat is free."""
        state = state_with_waitlist("a", "")
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert state.courses["c-1"].seats_available == 1

    def test_order_is_that_of_numbers(self) -> None:
        """Neither ids nor the order in which rows were found decide who is first."""
        late, early = enrollment("b", "WAITLISTED", 7), enrollment("z", "WAITLISTED", 3)
        course = Course("c-1", capacity=1, enrolled_count=1, waitlisted_count=2, last_number=7)
        state = loaded_state(*students("abz"), course, late, early, enrollment("a", "ENROLLED"))
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "z"


class TestOtherSeats:
    """A course settles whenever a command frees or adds a seat."""

    def test_swap(self) -> None:
        """The seat that a swap gives up is one like any other."""
        state = loaded_state(*students("ab"), *course_with_students("a", "b"), Course("c-2"))
        assert letters(decide(state, Swap("a", "c-1", "c-2")).promoted) == "b"
        assert event_summaries(state) == ["STUDENT_ENROLLED a", "STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]

    @pytest.mark.parametrize(("capacity", "promoted"), [(2, "b"), (3, "bc"), (4, "bcd"), (9, "bcd"), (None, "bcd")])
    def test_capacity_raised(self, capacity: int | None, promoted: str) -> None:
        """As many as there are new seats, in order; unlimited is more than any number."""
        state = state_with_waitlist("a", "bcd")
        decide(state, UpdateCourse("c-1", {"capacity": capacity}))
        assert event_summaries(state) == ["COURSE_UPDATED", *(f"STUDENT_PROMOTED {letter}" for letter in promoted)]
        taken = 1 + len(promoted)
        assert [event.enrolled_count for event in state.journal.events] == list(range(1, taken + 1))
        assert {event.capacity for event in state.journal.events} == {capacity}
        assert (counts(state), waitlist(state)) == ((taken, 3 - len(promoted)), "bcd"[len(promoted) :])

    def test_capacity_raised_under_the_count(self) -> None:
        """More seats than before, but no free one."""
        state = state_with_waitlist("abc", "d", capacity=1)
        decide(state, UpdateCourse("c-1", {"capacity": 3}))
        assert event_summaries(state) == ["COURSE_UPDATED"]

    def test_capacity_raised_with_the_window(self) -> None:
        """Everything that one update sets is in force when the course settles."""
        state = state_with_waitlist("a", "b", enroll_close_time=NOW - 1)
        decide(state, UpdateCourse("c-1", {"capacity": 2, "enroll_close_time": None}))
        assert event_summaries(state) == ["COURSE_UPDATED", "STUDENT_PROMOTED b"]

    def test_deletion_of_a_student(self) -> None:
        """Forced, it frees a seat in each course where the student had one, after all is dropped; a place is none."""
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
        """Forced, it drops those who wait as well, and seats nobody."""
        state = state_with_waitlist("a", "bc")
        decide(state, DeleteCourse("c-1", force=True))
        assert event_summaries(state) == [*(f"STUDENT_UNENROLLED {letter}" for letter in "abc"), "COURSE_DELETED"]


class TestNothingSettles:
    """What frees no seat promotes nobody, even where a seat is free already."""

    @pytest.mark.parametrize(
        ("command", "fields"),
        [
            (Complete("a", "c-1"), {"capacity": 1}),
            (Unenroll("b", "c-1"), {}),
            (ReleaseHold("b", "BURSAR"), {}),
            (UpdateStudent("b", {"state": "ACTIVE"}), {}),
            (UpdateStudent("b", {"max_credits": None}), {}),
            (UndeleteStudent("y"), {}),
            (UpdateCourse("c-1", {"enroll_close_time": None}), {"enroll_close_time": NOW}),
            (UpdateCourse("c-1", {"enroll_open_time": NOW}), {"enroll_open_time": NOW + 1}),
            (UpdateCourse("c-1", {"state": "OPEN"}), {"state": "CANCELLED"}),
            (UpdateCourse("c-1", {"waitlist_capacity": 100}), {}),
            (UpdateCourse("c-1", {"title": "Intro"}), {}),
            (UpdateCourse("c-1", {"capacity": 2, "title": "Intro"}), {}),
            (UpdateCourse("c-1", {"capacity": 2}), {"capacity": 3}),
            (UpdateCourse("c-1", {"capacity": 9}), {"capacity": None}),
            (UpdateCourse("c-1", {"title": "Intro"}), {"capacity": None}),
        ],
    )
    def test_seats_that_were_free(self, command: Command, fields: dict[str, Any]) -> None:
        """They wait for whoever frees one more, or asks for one: only then is somebody promoted."""
        kept_out = Student("b", holds=(UNPAID,), state=StudentState.INACTIVE, max_credits=0)
        deleted = Student("y", delete_time=EARLIER)
        state = state_with_waitlist("a", "bc", kept_out, deleted, **{"capacity": 2} | fields)
        decide(state, command)
        assert len(state.journal.events) == 1
        decide(state, Enroll("z", "c-1"))
        assert "STUDENT_PROMOTED c" in event_summaries(state)

    @pytest.mark.parametrize("capacity", [0, 1])
    def test_capacity_lowered(self, capacity: int) -> None:
        """Nobody is evicted, nobody promoted."""
        state = state_with_waitlist("a", "b", capacity=2)
        decide(state, UpdateCourse("c-1", {"capacity": capacity}))
        assert (counts(state), waitlist(state)) == ((1, 1), "b")

    def test_capacity_under_the_count(self) -> None:
        """Seats that are given up go to nobody until the count is under the capacity again."""
        state = state_with_waitlist("abc", "de", capacity=2)
        decide(state, UpdateCourse("c-1", {"capacity": 1}))
        promoted = [letters(decide(state, Unenroll(letter, "c-1")).promoted) for letter in "abc"]
        assert promoted == ["", "", "d"]


class TestClosed:
    """Outside its window, or cancelled, a course promotes nobody, whatever was set aside."""

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
    def test_nobody_is_promoted(self, fields: dict[str, Any], kept: tuple[str, ...]) -> None:
        """The seat stays free; that is no skip either."""
        state = state_with_waitlist("a", "b", **fields)
        for waiter in state.waiters("c-1"):
            waiter.bypassed_rules = kept
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a"]
        assert (counts(state), waitlist(state)) == ((0, 1), "b")

    @pytest.mark.parametrize(
        "fields", [{"enroll_close_time": NOW + 1}, {"enroll_open_time": NOW}, {"enroll_open_time": NOW - 1}]
    )
    def test_inside(self, fields: dict[str, Any]) -> None:
        """Its first instant is inside, and so is the last before its end."""
        state = state_with_waitlist("a", "b", **fields)
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "b"

    def test_reopened(self) -> None:
        """What stayed free while it was closed is given once the course settles again."""
        state = state_with_waitlist("ab", "cde", enroll_close_time=NOW)
        decide(state, Unenroll("a", "c-1"))
        decide(state, UpdateCourse("c-1", {"enroll_close_time": None}))
        assert letters(decide(state, Unenroll("b", "c-1")).promoted) == "cd"


class TestKeptOverrides:
    """What was set aside when a waiter came stays set aside."""

    def test_holds_at_promotion(self) -> None:
        """The hold that would keep anyone else is no obstacle, and is still named."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"))
        next(state.waiters("c-1")).bypassed_rules = ("STUDENT_HOLD",)
        (promoted,) = decide(state, Unenroll("a", "c-1")).promoted
        assert (promoted.student_id, promoted.bypassed_rules) == ("b", ("STUDENT_HOLD",))
        assert state.journal.events[-1].bypassed_rules == ("STUDENT_HOLD",)

    def test_of_another_rule(self) -> None:
        """Anything else is an obstacle as ever, and only that is told."""
        state = state_with_waitlist("a", "bc", Student("b", holds=(UNPAID,), max_credits=0), credits=1_500)
        next(state.waiters("c-1")).bypassed_rules = ("STUDENT_HOLD",)
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "c"
        (skip,) = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert [reason for reason, *_ in skip.violations] == ["CREDIT_LIMIT_EXCEEDED"]


class TestSkips:
    """A waiter whom the rules keep from the seat is passed over, keeps the place, and the history says why."""

    VIOLATION = Violation(
        Reason.STUDENT_HOLD,
        'There is a hold "BURSAR" on student "b": Unpaid fees.',
        {"code": "BURSAR", "reason": "Unpaid fees."},
    )

    def test_the_next_is_promoted(self) -> None:
        """In the order of the queue, each with an event of its own."""
        state = state_with_waitlist("a", "bcd", student_with_hold("b"))
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "c"
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b", "STUDENT_PROMOTED c"]
        assert (counts(state), waitlist(state)) == ((1, 2), "bd")

    def test_its_event(self) -> None:
        """It says what stood in the way, with the values; the enrollment is as it was for all who read it."""
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

    def test_nobody_may_have_it(self) -> None:
        """The seat stays free, and each who waits was passed over."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"))
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b", "PROMOTION_SKIPPED c"]
        assert state.courses["c-1"].seats_available == 1

    def test_only_where_it_was_their_turn(self) -> None:
        """Whoever stands behind the last who was promoted was not passed over."""
        state = state_with_waitlist("a", "bcd", student_with_hold("d"))
        decide(state, Unenroll("a", "c-1"))
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED b"]

    def test_the_same_again_is_not_told(self) -> None:
        """While nothing changes for them, one event is enough, in this batch and in later ones."""
        state = state_with_waitlist("ac", "bde", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, Unenroll("c", "c-1"))
        assert event_summaries(state).count("PROMOTION_SKIPPED b") == 1

        later = state_with_waitlist("a", "bd", student_with_hold("b"))
        next(later.waiters("c-1")).last_skip = (self.VIOLATION,)
        decide(later, Unenroll("a", "c-1"))
        assert event_summaries(later) == ["STUDENT_UNENROLLED a", "STUDENT_PROMOTED d"]
        assert "c-1/b" not in later.journal.changed_enrollments

    @pytest.mark.parametrize(
        "change",
        [
            PlaceHold("b", "LIBRARY"),
            PlaceHold("b", "BURSAR", "Unpaid fees, again."),
            UpdateStudent("b", {"state": "INACTIVE"}),
        ],
        ids=["one-more", "another-value", "another-rule"],
    )
    def test_something_else_is_told(self, change: Command) -> None:
        """Other obstacles, or other values of them, are news, once."""
        state = state_with_waitlist("acd", "befg", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, change)
        decide(state, Unenroll("c", "c-1"))
        decide(state, Unenroll("d", "c-1"))
        skips = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert len(skips) == 2
        assert skips[0].violations != skips[1].violations

    def test_back_to_the_first(self) -> None:
        """It is the last skip that counts: what was told before that is told again."""
        state = state_with_waitlist("acd", "befg", student_with_hold("b"))
        decide(state, Unenroll("a", "c-1"))
        decide(state, PlaceHold("b", "LIBRARY"))
        decide(state, Unenroll("c", "c-1"))
        decide(state, ReleaseHold("b", "LIBRARY"))
        decide(state, Unenroll("d", "c-1"))
        skips = [event.violations for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert len(skips) == 3
        assert skips[0] == skips[2]

    def test_keeps_the_place(self) -> None:
        """Once nothing stands in the way any more, the next seat is theirs, before all who came later."""
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
    def test_every_rule_is_asked(self, student: Student, fields: dict[str, Any]) -> None:
        """Whatever would refuse a newcomer keeps a waiter from the seat."""
        state = state_with_waitlist("a", "b", student, **fields)
        assert decide(state, Unenroll("a", "c-1")).promoted == ()
        assert event_summaries(state) == ["STUDENT_UNENROLLED a", "PROMOTION_SKIPPED b"]

    def test_a_seat_taken_elsewhere_meanwhile(self) -> None:
        """Credits of courses count from the promotion on: the second of two queues may be one too many."""
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
    """Only the head of a queue may be loaded; what needs more says so before anything has changed."""

    def head(self, *students: Student) -> State:
        """Five wait, and the first two of them are known."""
        return state_with_waitlist("a", "bc", *students, waitlisted_count=5, last_number=6)

    def test_the_head_is_enough(self) -> None:
        """Nobody further behind is asked for."""
        state = self.head()
        assert letters(decide(state, Unenroll("a", "c-1")).promoted) == "b"

    def test_the_head_is_not_enough(self) -> None:
        """More must be loaded, of this course; the decision is not made on half of a queue."""
        with pytest.raises(OutOfWaiters) as missing:
            decide(self.head(student_with_hold("b"), student_with_hold("c")), Unenroll("a", "c-1"))
        assert missing.value.course_id == "c-1"

    def test_a_newcomer_behind_it(self) -> None:
        """The place of a newcomer is counted, not found."""
        state = loaded_state(
            *students("z"), Course("c-1", capacity=0, waitlist_capacity=9, waitlisted_count=5, last_number=7)
        )
        made = decide(state, Enroll("z", "c-1"))
        assert (made.number, made.waitlist_position) == (8, 6)
        before = contents(state)
        with pytest.raises(OutOfWaiters):
            list(state.waiters("c-1"))
        assert contents(state) == before
