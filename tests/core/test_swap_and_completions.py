"""Decisions about swaps and completions, by example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    Enroll,
    Override,
    RecordCompletion,
    Swap,
    Unenroll,
    VoidCompletion,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import CourseState, EnrollmentState, StudentState
from registrar_server.errors import Reason
from tests.support.states import EARLIER, MONDAY, NOW, contents, enrolled, enrollment, loaded_state, refusal
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

SWAP = Swap("a", "c-1", "c-2")


def two_courses(
    origin: tuple[str, str],
    target: tuple[str, str],
    *known: Student,
    origin_fields: Any = None,
    target_fields: Any = None,
) -> State:
    """Return a state with c-1 (``origin``) and c-2 (``target``), each given by its seated and waiting students."""
    known_ids = {student.student_id for student in known}
    others = students("".join(sorted({*"".join((*origin, *target))} - known_ids)))
    return loaded_state(
        *known,
        *others,
        *course_with_students(*origin, **(origin_fields or {})),
        *course_with_students(*target, "c-2", **(target_fields or {})),
    )


class TestSwap:
    """A swap takes a seat in one course and gives up the seat in another, or changes nothing."""

    def test_takes_one_seat_and_gives_up_the_other(self) -> None:
        """The new enrollment is ENROLLED; the old one is DROPPED with the reason SWAPPED."""
        state = two_courses(("a", ""), ("b", ""), target_fields={"capacity": 2})
        result, dropped, promoted = decide(state, SWAP)
        assert result == Enrollment(
            "c-2", "id-1", "a", 2, 1, EnrollmentState.ENROLLED, create_time=NOW, update_time=NOW
        )
        assert dropped == enrollment("a", "DROPPED", version=2, update_time=NOW, end_time=NOW, reason="SWAPPED")
        assert promoted == ()
        assert (counts(state, "c-1"), counts(state, "c-2")) == ((0, 0), (2, 0))

    def test_events(self) -> None:
        """The event of the new seat comes first, and both events have the caller's comment."""
        state = two_courses(("a", ""), ("b", ""), target_fields={"capacity": 2})
        decide(state, Swap("a", "c-1", "c-2", comment="by phone"))
        assert event_summaries(state) == ["STUDENT_ENROLLED a", "STUDENT_UNENROLLED a"]
        taken, left = state.journal.events
        assert (taken.course_id, taken.enrolled_count, taken.capacity, taken.reason) == ("c-2", 2, 2, "")
        assert (left.course_id, left.enrolled_count, left.capacity, left.reason) == ("c-1", 0, 1, "SWAPPED")
        assert (taken.comment, left.comment) == ("by phone", "by phone")

    def test_and_back(self) -> None:
        """A swap back creates the next attempt."""
        state = two_courses(("a", ""), ("", ""), target_fields={"capacity": 1})
        decide(state, SWAP)
        result, dropped, _ = decide(state, Swap("a", "c-2", "c-1"))
        assert (result.course_id, result.attempt, dropped.course_id, dropped.attempt) == ("c-1", 2, "c-2", 1)

    def test_the_old_course_settles(self) -> None:
        """The first waiter of the old course gets the seat."""
        state = two_courses(("a", "xy"), ("", ""), target_fields={"capacity": 1})
        assert letters(decide(state, SWAP).promoted) == "x"
        assert event_summaries(state) == ["STUDENT_ENROLLED a", "STUDENT_UNENROLLED a", "STUDENT_PROMOTED x"]

    def test_the_new_course_settles_first(self) -> None:
        """Free seats of the new course go to its waiters first, and its promotions are reported first."""
        state = two_courses(("a", "xy"), ("b", "yx"), target_fields={"capacity": 4})
        result, _, promoted = decide(state, SWAP)
        assert [(one.course_id, one.student_id) for one in promoted] == [("c-2", "y"), ("c-2", "x"), ("c-1", "x")]
        assert event_summaries(state) == [
            "STUDENT_PROMOTED y",
            "STUDENT_PROMOTED x",
            "STUDENT_ENROLLED a",
            "STUDENT_UNENROLLED a",
            "STUDENT_PROMOTED x",
        ]
        assert (result.number, counts(state, "c-2")) == (4, (4, 0))

    def test_promotions_in_the_new_course_count_in_the_old_one(self) -> None:
        """A seat from the first settlement counts in the second."""
        limited = Student("x", max_credits=3_000)
        credits: dict[str, Any] = {"credits": 3_000}
        state = two_courses(
            ("a", "x"), ("b", "x"), limited, origin_fields=credits, target_fields=credits | {"capacity": 3}
        )
        assert [one.course_id for one in decide(state, SWAP).promoted] == ["c-2"]
        assert event_summaries(state)[-1] == "PROMOTION_SKIPPED x"

    def test_meetings_and_credits_of_the_old_seat_do_not_count(self) -> None:
        """The rules of the new course apply as if the old seat were given up already."""
        content: dict[str, Any] = {"credits": 3_000, "meetings": MONDAY}
        target_fields = content | {"capacity": 1}
        state = two_courses(
            ("a", ""), ("", ""), Student("a", max_credits=3_000), origin_fields=content, target_fields=target_fields
        )
        assert [one.reason for one in refusal(state, Enroll("a", "c-2")).violations] == [
            Reason.SCHEDULE_CONFLICT,
            Reason.CREDIT_LIMIT_EXCEEDED,
        ]
        assert decide(state, SWAP).enrollment.state == "ENROLLED"

    def test_afterwards_only_the_new_seat_counts(self) -> None:
        """Later commands of the batch do not see the meetings of the old course."""
        state = loaded_state(
            *students("a"), *course_with_students("a", meetings=MONDAY), Course("c-2"), Course("c-3", meetings=MONDAY)
        )
        decide(state, SWAP)
        assert enrolled(state, Enroll("a", "c-3")).state == "ENROLLED"

    def test_out_of_turn(self) -> None:
        """An override of COURSE_FULL promotes a waiter of the new course out of turn."""
        state = two_courses(("a", ""), ("b", "xa"))
        override = Override(frozenset({"COURSE_FULL"}), "athlete")
        result, dropped, promoted = decide(state, Swap("a", "c-1", "c-2", override=override))
        assert (result.enrollment_id, result.state, result.bypassed_rules) == ("c-2/a", "ENROLLED", ("COURSE_FULL",))
        assert (dropped.reason, promoted) == ("SWAPPED", ())
        assert event_summaries(state) == ["STUDENT_PROMOTED a", "STUDENT_UNENROLLED a"]
        assert [event.reason for event in state.journal.events] == ["athlete", "SWAPPED"]

    def test_out_of_turn_at_the_students_turn(self) -> None:
        """If it is the waiter's turn anyway, nothing is bypassed; the promoted are other students."""
        state = two_courses(("a", ""), ("b", "a"), target_fields={"capacity": 2})
        override = Override(frozenset({"COURSE_FULL"}), "athlete")
        result, _, promoted = decide(state, Swap("a", "c-1", "c-2", override=override))
        assert (result.enrollment_id, result.state, result.bypassed_rules) == ("c-2/a", "ENROLLED", ())
        assert promoted == ()
        assert event_summaries(state) == ["STUDENT_PROMOTED a", "STUDENT_UNENROLLED a"]

    def test_over_capacity_and_past_the_deadline(self) -> None:
        """Each enrollment keeps the rule that was bypassed for it, and each event the reason."""
        state = two_courses(("a", ""), ("b", ""), origin_fields={"drop_deadline_time": NOW})
        override = Override(frozenset({"COURSE_FULL", "DROP_DEADLINE_PASSED"}), "our mistake")
        result, dropped, _ = decide(state, Swap("a", "c-1", "c-2", override=override))
        assert (result.bypassed_rules, dropped.bypassed_rules) == (("COURSE_FULL",), ("DROP_DEADLINE_PASSED",))
        assert [event.reason for event in state.journal.events] == ["our mistake", "our mistake"]
        assert dropped.reason == "SWAPPED"


class TestSwapRefused:
    """If either half is refused, nothing changes."""

    @pytest.mark.parametrize(
        ("origin", "target"), [(("", ""), ("", "")), (("b", "a"), ("", "")), (("b", ""), ("a", ""))]
    )
    def test_no_seat_to_give_up(self, origin: tuple[str, str], target: tuple[str, str]) -> None:
        """A place on the waitlist, or a seat in the new course, is no seat to give up; this is checked first."""
        state = two_courses(origin, target, *students("a"), target_fields={"capacity": 5})
        refused = refusal(state, SWAP)
        assert (refused.reason, refused.status) == (Reason.NOT_ENROLLED, "NOT_FOUND")
        assert refused.message == 'Student "a" has no seat in "c-1".'
        assert refused.metadata == {"student_id": "a", "course_id": "c-1"}

    @pytest.mark.parametrize(
        ("target", "reason"), [(("a", ""), Reason.ALREADY_ENROLLED), (("b", "a"), Reason.ALREADY_WAITLISTED)]
    )
    def test_already_in_the_new_course(self, target: tuple[str, str], reason: Reason) -> None:
        """A live enrollment in the new course is refused with its id."""
        refused = refusal(two_courses(("a", ""), target), SWAP)
        assert (refused.reason, refused.status) == (reason, "ALREADY_EXISTS")
        assert refused.metadata == {"student_id": "a", "course_id": "c-2", "enrollment_id": "c-2/a"}

    @pytest.mark.parametrize("waiting", ["", "xy"])
    def test_never_waits(self, waiting: str) -> None:
        """Without a free seat the reason is COURSE_FULL, even if the waitlist has room."""
        state = two_courses(("a", "z"), ("b", waiting))
        before = contents(state)
        refused = refusal(state, SWAP)
        assert (refused.reason, refused.message) == (Reason.COURSE_FULL, 'The only seat is taken in "c-2".')
        assert refused.metadata == {"student_id": "a", "course_id": "c-2", "from_course_id": "c-1"}
        assert contents(state) == before

    def test_free_seats_belong_to_waiters(self) -> None:
        """A free seat that a waiter can have is not available, and a refused swap does not promote the waiter."""
        state = two_courses(("a", ""), ("b", "x"), target_fields={"capacity": 2})
        before = contents(state)
        refused = refusal(state, SWAP)
        assert refused.message == 'The free seats in "c-2" go to the students on its waitlist, in order.'
        assert contents(state) == before

    def test_past_the_deadline(self) -> None:
        """The drop deadline of the old course applies, not that of the new one."""
        late = {"drop_deadline_time": NOW}
        state = two_courses(("a", "x"), ("", ""), origin_fields=late, target_fields={"capacity": 1})
        before = contents(state)
        refused = refusal(state, SWAP)
        assert [one.reason for one in refused.violations] == [Reason.DROP_DEADLINE_PASSED]
        assert contents(state) == before
        state = two_courses(("a", ""), ("", ""), target_fields=late | {"capacity": 1})
        assert decide(state, SWAP).dropped.state == "DROPPED"

    def test_all_rules_at_once(self) -> None:
        """The rules of the new course come first, then its seats, then the deadline; the old window does not matter."""
        origin_fields, target_fields = (
            {"drop_deadline_time": NOW, "enroll_close_time": NOW},
            {"enroll_open_time": NOW + 1},
        )
        refused = refusal(
            two_courses(
                ("a", ""), ("b", ""), student_with_hold("a"), origin_fields=origin_fields, target_fields=target_fields
            ),
            SWAP,
        )
        assert [one.reason for one in refused.violations] == [
            Reason.STUDENT_HOLD,
            Reason.ENROLLMENT_NOT_OPEN,
            Reason.COURSE_FULL,
            Reason.DROP_DEADLINE_PASSED,
        ]
        assert refused.reason is Reason.STUDENT_HOLD

    @pytest.mark.parametrize(
        ("missing", "reason", "metadata"),
        [
            ("a", Reason.STUDENT_NOT_FOUND, {"student_id": "a"}),
            ("c-1", Reason.COURSE_NOT_FOUND, {"course_id": "c-1"}),
            ("c-2", Reason.COURSE_NOT_FOUND, {"course_id": "c-2"}),
        ],
    )
    def test_not_found(self, missing: str, reason: Reason, metadata: dict[str, str]) -> None:
        """The student, the old and the new course must exist and not be deleted."""
        state = two_courses(("a", ""), ("", ""))
        gone = state.students if missing == "a" else state.courses
        gone[missing].delete_time = EARLIER
        refused = refusal(state, SWAP)
        assert (refused.reason, refused.metadata) == (reason, metadata)


def second_attempt(state: str, **fields: Any) -> Enrollment:
    """Return the second enrollment of student a in c-1."""
    return enrollment("a", state, 3, enrollment_id="c-1/a2", attempt=2, **fields)


class TestComplete:
    """A seat becomes a completion, and a completion can be corrected."""

    def test_ends_a_seat(self) -> None:
        """The enrollment is COMPLETED with its grade and no longer counted, and no waiter is promoted."""
        state = state_with_waitlist("a", "b")
        done = decide(state, Complete("a", "c-1", "A", passed=True))
        graded: dict[str, Any] = {"grade": "A", "passed": True, "counted": True}
        assert done == enrollment("a", "COMPLETED", version=2, update_time=NOW, end_time=NOW, **graded)
        assert (counts(state), waitlist(state)) == ((0, 1), "b")
        (event,) = state.journal.events
        assert (event.type, event.previous_state, event.state) == ("ENROLLMENT_COMPLETED", "ENROLLED", "COMPLETED")
        assert (event.grade, event.passed, event.enrollment_version) == ("A", True, 2)
        assert (event.enrolled_count, event.capacity, event.changes, event.reason) == (0, 1, (), "")

    def test_failed(self) -> None:
        """A failed completion is a completion too, and the grade may be empty."""
        done = decide(state_with_waitlist("a", ""), Complete("a", "c-1", passed=False))
        assert (done.state, done.grade, done.passed) == ("COMPLETED", "", False)

    def test_ignores_the_rules(self) -> None:
        """Deadlines, holds and cancelled courses do not prevent a completion."""
        state = state_with_waitlist(
            "a", "", student_with_hold("a"), drop_deadline_time=NOW, state="CANCELLED", enroll_close_time=NOW
        )
        assert decide(state, Complete("a", "c-1")).state == "COMPLETED"

    def completed(self, *more: Enrollment) -> State:
        """Return a state in which student a completed c-1 with a B."""
        fields: dict[str, Any] = {"grade": "B", "passed": True, "version": 2}
        course = Course("c-1", enrolled_count=2, waitlisted_count=2, last_number=9)
        return loaded_state(*students("a"), course, enrollment("a", "COMPLETED", **fields), *more)

    def test_corrects(self) -> None:
        """A correction changes the same row and keeps its end time, and the event lists the changes."""
        state = self.completed()
        done = decide(state, Complete("a", "c-1", "F", passed=False))
        assert (done.grade, done.passed, done.version, done.update_time, done.end_time) == ("F", False, 3, NOW, EARLIER)
        assert state.journal.changed_enrollments == {"c-1/a": done}
        (event,) = state.journal.events
        assert (event.type, event.previous_state, event.state) == ("ENROLLMENT_COMPLETED", "COMPLETED", "COMPLETED")
        assert [list(one) for one in event.changes] == [["grade", "B", "F"], ["passed", "true", "false"]]
        assert (event.grade, event.passed, event.enrolled_count) == ("F", False, 2)

    @pytest.mark.parametrize(
        ("command", "changes"),
        [
            (Complete("a", "c-1", "A"), [["grade", "B", "A"]]),
            (Complete("a", "c-1", ""), [["grade", "B", None]]),
            (Complete("a", "c-1", "B", passed=False), [["passed", "true", "false"]]),
        ],
    )
    def test_only_differences_are_recorded(self, command: Complete, changes: list[Any]) -> None:
        """The event lists only what differs; a grade can be removed."""
        state = self.completed()
        decide(state, command)
        assert [list(one) for one in state.journal.events[0].changes] == changes

    def test_equal_values(self) -> None:
        """A correction without a difference changes nothing."""
        state = self.completed()
        before = contents(state)
        assert decide(state, Complete("a", "c-1", "B", passed=True)).version == 2
        assert contents(state) == before

    def test_corrects_the_latest(self) -> None:
        """Of several completions the last attempt is corrected."""
        state = self.completed(second_attempt("COMPLETED", passed=False))
        done = decide(state, Complete("a", "c-1", "A"))
        assert (done.attempt, done.grade) == (2, "A")
        assert [list(one) for one in state.journal.events[0].changes] == [
            ["grade", None, "A"],
            ["passed", "false", "true"],
        ]

    @pytest.mark.parametrize("live", ["ENROLLED", "WAITLISTED"])
    def test_a_seat_before_a_completion(self, live: str) -> None:
        """A seat is completed before an earlier completion is corrected; a place on the waitlist is not."""
        again = second_attempt(live)
        state = self.completed(again)
        done = decide(state, Complete("a", "c-1", "A"))
        assert (done.attempt, done.state) == (2 if live == "ENROLLED" else 1, "COMPLETED")
        assert counts(state) == (1 if live == "ENROLLED" else 2, 2)

    @pytest.mark.parametrize("is_given", [False, True])
    def test_with_its_etag(self, is_given: bool) -> None:
        """The etag is that of the enrollment to complete or correct; an empty one is accepted."""
        etag = "c-1/a/2" if is_given else ""
        assert decide(self.completed(), Complete("a", "c-1", "A", etag=etag)).grade == "A"
        again = second_attempt("ENROLLED", version=7)
        etag = f"{again.enrollment_id}/7" if is_given else ""
        assert decide(self.completed(again), Complete("a", "c-1", "A", etag=etag)).attempt == 2

    def test_with_the_etag_of_an_earlier_attempt(self) -> None:
        """The etag of an earlier attempt does not complete a later seat, even if both have the same version."""
        again = second_attempt("ENROLLED", version=2)
        state = self.completed(again)
        assert refusal(state, Complete("a", "c-1", "A", etag="c-1/a/2")).reason is Reason.ETAG_MISMATCH
        assert again.live

    @pytest.mark.parametrize("grade", ["A", "B"])
    def test_with_a_stale_etag(self, grade: str) -> None:
        """An etag of another version is refused, even if nothing would change."""
        state = self.completed()
        before = contents(state)
        refused = refusal(state, Complete("a", "c-1", grade, etag="c-1/a/1"))
        assert (refused.reason, refused.status) == (Reason.ETAG_MISMATCH, "ABORTED")
        assert refused.message == (
            'The enrollment "c-1/a" has changed since it was read: its etag is now "c-1/a/2". Read it again.'
        )
        assert refused.metadata == {"enrollment_id": "c-1/a"}
        assert contents(state) == before

    @pytest.mark.parametrize("other_state", [None, "WAITLISTED", "DROPPED"])
    def test_nothing_to_complete(self, other_state: str | None) -> None:
        """A place on the waitlist or a dropped seat cannot be completed."""
        records = [enrollment("a", other_state)] if other_state else []
        state = loaded_state(*students("a"), Course("c-1", waitlisted_count=1), *records)
        before = contents(state)
        refused = refusal(state, Complete("a", "c-1"))
        assert (refused.reason, refused.status) == (Reason.NOT_ENROLLED, "NOT_FOUND")
        assert refused.message == 'Student "a" has no seat or completion in "c-1".'
        assert contents(state) == before


class TestRecordCompletion:
    """Credit from elsewhere is recorded as a completion."""

    def test_adds_a_completion(self) -> None:
        """It has the course's next number, the student's next attempt and the present time, and takes no seat."""
        state = loaded_state(*students("a"), Course("c-1", capacity=0, last_number=4))
        result = decide(state, RecordCompletion("a", "c-1", "T", comment="from Uppsala"))
        times: dict[str, Any] = {"create_time": NOW, "update_time": NOW, "end_time": NOW}
        assert result == Enrollment(
            "c-1", "id-1", "a", 5, 1, EnrollmentState.COMPLETED, grade="T", passed=True, counted=False, **times
        )
        assert counts(state) == (0, 0)
        assert state.journal.added_enrollments == {"id-1": result}
        (event,) = state.journal.events
        assert (event.type, event.previous_state, event.state) == ("COMPLETION_RECORDED", None, "COMPLETED")
        assert (event.grade, event.passed, event.comment, event.enrollment_version) == ("T", True, "from Uppsala", 1)
        assert (event.enrolled_count, event.waitlisted_count, event.capacity) == (0, 0, 0)

    def test_ignores_the_rules(self) -> None:
        """No rule that refuses a seat prevents it."""
        course = Course(
            "c-1", state=CourseState.CANCELLED, enroll_close_time=NOW, prerequisite_course_ids=("c-9",), capacity=0
        )
        state = loaded_state(student_with_hold("a", state=StudentState.INACTIVE), course)
        assert decide(state, RecordCompletion("a", "c-1", passed=False)).passed is False

    @pytest.mark.parametrize(("seated", "waiting"), [("a", ""), ("b", "a")])
    def test_beside_a_live_enrollment(self, seated: str, waiting: str) -> None:
        """A seat or a place on the waitlist stays as it is, and stays the live enrollment."""
        state = state_with_waitlist(seated, waiting)
        live = state.live("a", "c-1")
        before = (counts(state), waitlist(state))
        result = decide(state, RecordCompletion("a", "c-1"))
        assert (result.attempt, result.state) == (2, "COMPLETED")
        assert state.live("a", "c-1") is live
        assert (counts(state), waitlist(state)) == before

    def test_twice(self) -> None:
        """Each completion is an attempt of its own."""
        state = loaded_state(*students("a"), Course("c-1"))
        result = [decide(state, RecordCompletion("a", "c-1")) for _ in range(2)]
        assert [(one.number, one.attempt) for one in result] == [(1, 1), (2, 2)]

    @pytest.mark.parametrize("last", ["COMPLETED", "VOIDED"])
    def test_equal_ones_exist(self, last: str) -> None:
        """If the caller allows it, the latest equal completion is returned, even a voided one, and nothing changes."""
        graded: dict[str, Any] = {"grade": "A", "passed": True}
        state = loaded_state(
            *students("a"),
            Course("c-1", last_number=4),
            enrollment("a", "COMPLETED", **graded),
            second_attempt(last, **graded),
            enrollment("a", "COMPLETED", 4, enrollment_id="c-1/a3", attempt=3, grade="A", passed=False),
        )
        before = contents(state)
        again = decide(state, RecordCompletion("a", "c-1", "A", allow_existing=True))
        assert (again.enrollment_id, again.state) == ("c-1/a2", last)
        assert contents(state) == before

    @pytest.mark.parametrize("stored", ["A +", " A +", "A\u00a0+", "A  +\n"])
    def test_an_equal_grade_may_be_stored_in_another_form(self, stored: str) -> None:
        """Stored grades are not rewritten, so the canonical form of a grade equals any form of it."""
        known = enrollment("a", "COMPLETED", grade=stored, passed=True)
        state = loaded_state(*students("a"), Course("c-1", last_number=1), known)
        assert decide(state, RecordCompletion("a", "c-1", "A +", allow_existing=True)) is known
        assert known.grade == stored

    @pytest.mark.parametrize("other", ["ENROLLED", "WAITLISTED", "DROPPED"])
    def test_only_completions_are_equal(self, other: str) -> None:
        """An enrollment that was never completed is not equal to a completion."""
        state = loaded_state(*students("a"), Course("c-1", last_number=1), enrollment("a", other))
        assert decide(state, RecordCompletion("a", "c-1", allow_existing=True)).attempt == 2


class TestById:
    """CompleteEnrollment by the id of an enrollment, and VoidCompletion."""

    def two_completions(self, *more: Student | Course) -> State:
        """Return a state in which student a completed c-1 twice, with a B and a C."""
        return loaded_state(
            *(more or (*students("a"), Course("c-1", last_number=3))),
            enrollment("a", "COMPLETED", grade="B", passed=True),
            second_attempt("COMPLETED", grade="C", passed=True),
        )

    def test_corrects_an_earlier_attempt(self) -> None:
        """The enrollment with the id is corrected, not the latest one."""
        state = self.two_completions()
        done = decide(state, CompleteById("c-1/a", "A"))
        assert (done.enrollment_id, done.grade, done.version) == ("c-1/a", "A", 2)
        assert state.journal.changed_enrollments == {"c-1/a": done}

    def test_voids(self) -> None:
        """The row keeps its grade and its end, and gets the reason; so does its event."""
        state = self.two_completions()
        voided = decide(state, VoidCompletion("c-1/a", "wrong student"))
        graded: dict[str, Any] = {"grade": "B", "passed": True, "reason": "wrong student", "counted": False}
        assert voided == enrollment("a", "VOIDED", version=2, update_time=NOW, **graded)
        (event,) = state.journal.events
        assert (event.type, event.previous_state, event.state) == ("COMPLETION_VOIDED", "COMPLETED", "VOIDED")
        assert (event.grade, event.passed, event.reason, event.enrollment_version) == ("B", True, "wrong student", 2)

    def test_the_latest_completion_passes_over_voided(self) -> None:
        """By student and course, voided completions are not corrected."""
        state = self.two_completions()
        decide(state, VoidCompletion("c-1/a2"))
        assert decide(state, Complete("a", "c-1", "A")).enrollment_id == "c-1/a"
        decide(state, VoidCompletion("c-1/a"))
        assert refusal(state, Complete("a", "c-1", "A")).reason is Reason.NOT_ENROLLED

    def test_voiding_again(self) -> None:
        """A voided completion stays as it is."""
        state = self.two_completions()
        voided = decide(state, VoidCompletion("c-1/a", "first"))
        before = contents(state)
        assert decide(state, VoidCompletion("c-1/a", "second")) is voided
        assert contents(state) == before

    def test_of_the_deleted(self) -> None:
        """A deleted student or course is no obstacle."""
        gone = (Student("a", delete_time=EARLIER), Course("c-1", delete_time=EARLIER))
        state = self.two_completions(*gone)
        assert decide(state, CompleteById("c-1/a", "A")).grade == "A"
        assert decide(state, VoidCompletion("c-1/a")).state == "VOIDED"

    @pytest.mark.parametrize(
        ("command", "state_name"),
        [
            *((CompleteById("c-1/a"), state) for state in ("WAITLISTED", "DROPPED", "VOIDED")),
            *((VoidCompletion("c-1/a"), state) for state in ("ENROLLED", "WAITLISTED", "DROPPED")),
        ],
    )
    def test_not_completed(self, command: Command, state_name: str) -> None:
        """The refusal names the state, before the etag is checked, and nothing changes."""
        state = loaded_state(*students("a"), Course("c-1", waitlisted_count=1), enrollment("a", state_name))
        before = contents(state)
        refused = refusal(state, replace(command, etag="9"))  # type: ignore[type-var]
        assert (refused.reason, refused.status) == (Reason.NOT_COMPLETED, "FAILED_PRECONDITION")
        assert refused.message.startswith(f'Enrollment "c-1/a" is {state_name}: only ')
        assert refused.metadata == {"enrollment_id": "c-1/a", "state": state_name}
        assert contents(state) == before

    @pytest.mark.parametrize("command", [CompleteById("c-1/b"), VoidCompletion("c-1/b")])
    def test_unknown(self, command: Command) -> None:
        """No enrollment has the id."""
        assert refusal(self.two_completions(), command).reason is Reason.ENROLLMENT_NOT_FOUND

    @pytest.mark.parametrize("command", [CompleteById("c-1/a", "B", etag="9"), VoidCompletion("c-1/a", etag="9")])
    def test_a_stale_etag(self, command: Command) -> None:
        """An etag of another version is refused, even if nothing would change."""
        state = self.two_completions()
        assert refusal(state, command).reason is Reason.ETAG_MISMATCH
        decide(state, VoidCompletion("c-1/a"))
        assert refusal(state, VoidCompletion("c-1/a", etag="9")).reason is Reason.ETAG_MISMATCH


class TestPrerequisitesAfterwards:
    """A completion counts for later commands of its batch."""

    @pytest.mark.parametrize(
        ("commands", "met"),
        [
            ([Complete("a", "c-1")], True),
            ([Complete("a", "c-1", passed=False)], False),
            ([Complete("a", "c-1", passed=False), Complete("a", "c-1")], True),
            ([Complete("a", "c-1"), Complete("a", "c-1", passed=False)], False),
            ([RecordCompletion("a", "c-1")], True),
            ([RecordCompletion("a", "c-1", passed=False)], False),
            ([RecordCompletion("a", "c-1"), Complete("a", "c-1", passed=False)], True),
            ([Complete("a", "c-1"), RecordCompletion("a", "c-1", allow_existing=True)], True),
            ([CompleteById("c-1/a")], True),
            ([CompleteById("c-1/a", passed=False), CompleteById("c-1/a")], True),
            ([Complete("a", "c-1"), RecordCompletion("a", "c-1"), CompleteById("c-1/a", passed=False)], True),
            ([Complete("a", "c-1"), VoidCompletion("c-1/a")], False),
            ([Complete("a", "c-1", passed=False), VoidCompletion("c-1/a")], False),
            ([Complete("a", "c-1"), RecordCompletion("a", "c-1"), VoidCompletion("c-1/a")], True),
            ([Complete("a", "c-1"), VoidCompletion("c-1/a"), RecordCompletion("a", "c-1")], True),
            ([Complete("a", "c-1"), VoidCompletion("c-1/a"), RecordCompletion("a", "c-1", allow_existing=True)], False),
            ([Unenroll("a", "c-1")], False),
        ],
    )
    def test_counts(self, commands: list[Command], met: bool) -> None:
        """A pass meets the prerequisite; a failed or voided completion, or a correction to failed, does not."""
        state = loaded_state(
            *students("a"), *course_with_students("a"), Course("c-2", prerequisite_course_ids=("c-1",))
        )
        for command in commands:
            decide(state, command)
        if met:
            assert enrolled(state, Enroll("a", "c-2")).state == "ENROLLED"
        else:
            assert refusal(state, Enroll("a", "c-2")).reason is Reason.PREREQUISITE_UNMET


@pytest.mark.parametrize("command", [Complete("a", "c-1"), RecordCompletion("a", "c-1")])
class TestUnknown:
    """Student and course must exist, and the student must not be deleted; the student is checked first."""

    @pytest.mark.parametrize("students", [[], [Student("a", delete_time=EARLIER)]])
    def test_student(self, command: Command, students: list[Student]) -> None:
        """An unknown or deleted student is refused, whatever the course."""
        assert refusal(loaded_state(*students), command).reason is Reason.STUDENT_NOT_FOUND

    def test_course(self, command: Command) -> None:
        """An unknown course is refused."""
        assert refusal(loaded_state(*students("a")), command).reason is Reason.COURSE_NOT_FOUND

    def test_deleted_course(self, command: Command) -> None:
        """A deleted course is known."""
        state = loaded_state(
            *students("a"), Course("c-1", delete_time=EARLIER), enrollment("a", "COMPLETED", grade="B", passed=True)
        )
        assert decide(state, command).passed
