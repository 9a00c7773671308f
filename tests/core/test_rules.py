"""The rules of enrolling, each by example and at its limits, with the violations that they report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from registrar_server.core.commands import DeleteCourse, Enroll, Override, Swap, Unenroll, UpdateCourse
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Hold, Student, Subject
from registrar_server.core.rules import Case, violations
from registrar_server.core.schedule import Meeting
from registrar_server.core.state import State
from registrar_server.core.vocabulary import CourseState, StudentState
from registrar_server.errors import Reason, Violation
from tests.support.states import MONDAY, NOW, contents, enrolled, enrollment, loaded_state, refusal

NOW_TEXT = "2026-11-23T16:00:00.123456Z"
JUST_BEFORE = "2026-11-23T16:00:00.123455Z"
JUST_AFTER = "2026-11-23T16:00:00.123457Z"


def found(student: Student, course: Course, enrolled: Sequence[Course] = (), **others: Any) -> list[Violation]:
    """Return the violations if the student took a seat in the course in addition to those in ``enrolled``."""
    return violations(Case(student, course, NOW, enrolled, **others))


def test_defaults_violate_nothing() -> None:
    """A student and a course with default values violate no rule."""
    assert found(Student("ada"), Course("c-1"), [Course("c-2"), Course("c-3")]) == []


class TestStudentState:
    """Only active students take seats."""

    def test_inactive(self) -> None:
        """No override sets this rule aside."""
        message = 'Student "ada" is not active.'
        (violation,) = found(Student("ada", state=StudentState.INACTIVE), Course("c-1"))
        assert violation == Violation(Reason.STUDENT_INACTIVE, message, {"state": "INACTIVE"})
        assert (violation.overridable, violation.override_rule) == (False, "")


class TestHolds:
    """A hold keeps its student out of every course."""

    def test_each_is_a_violation(self) -> None:
        """Every hold is reported, in the order in which the student has them."""
        holds = (Hold("BURSAR", "Unpaid fees.", 1), Hold("LIBRARY", "", 2))
        assert found(Student("ada", holds=holds), Course("c-1")) == [
            Violation(
                Reason.STUDENT_HOLD,
                'There is a hold "BURSAR" on student "ada": Unpaid fees.',
                {"code": "BURSAR", "reason": "Unpaid fees."},
            ),
            Violation(
                Reason.STUDENT_HOLD, 'There is a hold "LIBRARY" on student "ada".', {"code": "LIBRARY", "reason": ""}
            ),
        ]

    @pytest.mark.parametrize(
        ("reason", "end"),
        [
            ("Unpaid fees", ": Unpaid fees."),
            ("Where is the book?", ": Where is the book?"),
            ("Pay!", ": Pay!"),
            ("", "."),
        ],
    )
    def test_description(self, reason: str, end: str) -> None:
        """The description ends with the reason, and with a full stop if the reason has no mark of its own."""
        (violation,) = found(Student("ada", holds=(Hold("X", reason, 1),)), Course("c-1"))
        assert violation.description == f'There is a hold "X" on student "ada"{end}'
        assert violation.override_rule == "STUDENT_HOLD"


class TestCourseState:
    """A cancelled course admits no student."""

    def test_cancelled(self) -> None:
        """No override sets this rule aside."""
        (violation,) = found(Student("ada"), Course("c-1", state=CourseState.CANCELLED))
        assert violation == Violation(Reason.COURSE_CANCELLED, '"c-1" is cancelled.', {"state": "CANCELLED"})
        assert (violation.overridable, violation.override_rule) == (False, "")


class TestWindow:
    """The enrollment window is half-open, to the microsecond."""

    @pytest.mark.parametrize(
        ("opens", "closes"),
        [(None, None), (NOW, None), (None, NOW + 1), (NOW, NOW + 1), (NOW - 1, NOW + 1)],
    )
    def test_inside(self, opens: int | None, closes: int | None) -> None:
        """The opening time is inside, the closing time is not; an absent end is no limit."""
        assert found(Student("ada"), Course("c-1", enroll_open_time=opens, enroll_close_time=closes)) == []

    def test_before(self) -> None:
        """One microsecond before the opening time is too early."""
        (violation,) = found(Student("ada"), Course("c-1", enroll_open_time=NOW + 1, enroll_close_time=NOW + 2))
        message = f'Enrollment in "c-1" opens at {JUST_AFTER}.'
        values = {"enroll_open_time": JUST_AFTER, "now": NOW_TEXT}
        assert violation == Violation(Reason.ENROLLMENT_NOT_OPEN, message, values)
        assert violation.override_rule == "ENROLLMENT_NOT_OPEN"

    @pytest.mark.parametrize(("closes", "in_message"), [(NOW, NOW_TEXT), (NOW - 1, JUST_BEFORE)])
    def test_after(self, closes: int, in_message: str) -> None:
        """The closing time itself is too late."""
        (violation,) = found(Student("ada"), Course("c-1", enroll_open_time=NOW - 5, enroll_close_time=closes))
        message = f'Enrollment in "c-1" closed at {in_message}.'
        values = {"enroll_close_time": in_message, "now": NOW_TEXT}
        assert violation == Violation(Reason.ENROLLMENT_CLOSED, message, values)
        assert violation.override_rule == "ENROLLMENT_CLOSED"


class TestDropDeadline:
    """A seat can be given up before the deadline, a place on the waitlist at any time."""

    def enrolled(self, state: str, deadline: int | None) -> list[Student | Course | Enrollment]:
        counts: dict[str, Any] = {"enrolled_count": 1} if state == "ENROLLED" else {"waitlisted_count": 1}
        course = Course("c-1", capacity=1, drop_deadline_time=deadline, last_number=1, **counts)
        return [Student("ada"), course, enrollment("ada", state)]

    @pytest.mark.parametrize(
        ("state", "deadline"),
        [("ENROLLED", None), ("ENROLLED", NOW + 1), ("WAITLISTED", NOW), ("WAITLISTED", NOW - 1)],
    )
    def test_in_time(self, state: str, deadline: int | None) -> None:
        """Dropping succeeds before the deadline, without a deadline, and from the waitlist."""
        assert (
            decide(loaded_state(*self.enrolled(state, deadline)), Unenroll("ada", "c-1")).enrollment.state == "DROPPED"
        )

    @pytest.mark.parametrize(("deadline", "in_message"), [(NOW, NOW_TEXT), (NOW - 1, JUST_BEFORE)])
    def test_too_late(self, deadline: int, in_message: str) -> None:
        """The deadline itself is too late."""
        state = loaded_state(*self.enrolled("ENROLLED", deadline))
        before = contents(state)
        refused = refusal(state, Unenroll("ada", "c-1", allow_missing=True))
        message = f'Seats in "c-1" could be given up until {in_message}.'
        values = {"drop_deadline_time": in_message, "now": NOW_TEXT}
        assert refused.violations == (Violation(Reason.DROP_DEADLINE_PASSED, message, values),)
        assert refused.violations[0].override_rule == "DROP_DEADLINE_PASSED"
        assert (refused.reason, refused.message) == (Reason.DROP_DEADLINE_PASSED, message)
        assert refused.metadata == {"student_id": "ada", "course_id": "c-1"}
        assert contents(state) == before

    def test_override(self) -> None:
        """The enrollment keeps the bypassed rule; the event has the override's reason, the row the caller's."""
        state = loaded_state(*self.enrolled("ENROLLED", NOW))
        override = Override(frozenset({"DROP_DEADLINE_PASSED"}), "illness")
        ended = decide(state, Unenroll("ada", "c-1", override=override, reason="too hard")).enrollment
        assert (ended.state, ended.reason, ended.bypassed_rules) == ("DROPPED", "too hard", ("DROP_DEADLINE_PASSED",))
        (event,) = state.journal.events
        assert (event.reason, event.bypassed_rules) == ("illness", ("DROP_DEADLINE_PASSED",))

    def test_an_unneeded_override(self) -> None:
        """Before the deadline an override bypasses nothing."""
        state = loaded_state(*self.enrolled("ENROLLED", NOW + 1))
        override = Override(frozenset({"DROP_DEADLINE_PASSED"}), "illness")
        ended = decide(state, Unenroll("ada", "c-1", override=override, reason="too hard")).enrollment
        assert ended.bypassed_rules == ()
        assert state.journal.events[0].reason == "too hard"


class TestDuplicates:
    """A student has one seat in the offerings of the same code, term and component."""

    LECTURE: ClassVar[dict[str, Any]] = {"code": "CS 101", "term": "fall", "component": "LEC"}

    def test_each_is_a_violation(self) -> None:
        """Every other offering in which the student has a seat is reported, in the order of ids."""
        others = [Course("c-3", **self.LECTURE), Course("c-2", **self.LECTURE)]
        one, two = found(Student("ada"), Course("c-1", **self.LECTURE), others)
        assert one == Violation(
            Reason.DUPLICATE_COURSE,
            '"c-1" is CS 101 (LEC) in the same term as "c-2", in which student "ada" has a seat.',
            {"duplicate_course_id": "c-2", **self.LECTURE},
        )
        assert (two.values["duplicate_course_id"], one.override_rule) == ("c-3", "DUPLICATE_COURSE")

    def test_without_a_component(self) -> None:
        """Courses without a component are of the same component."""
        (violation,) = found(Student("ada"), Course("c-1", code="CS"), [Course("c-2", code="CS")])
        assert violation.description == '"c-1" is CS in the same term as "c-2", in which student "ada" has a seat.'

    @pytest.mark.parametrize(
        "other", [{"code": "cs101"}, {"code": "\uff23\uff33101"}, {"term": " Fall "}, {"component": "lec"}]
    )
    def test_texts_are_compared_by_key(self, other: dict[str, Any]) -> None:
        """Case, width, and blanks around the texts do not matter; in codes, no blanks matter."""
        assert found(Student("ada"), Course("c-1", **self.LECTURE), [Course("c-2", **self.LECTURE | other)])

    @pytest.mark.parametrize(
        "other", [{"code": "CS 1011"}, {"term": "spring"}, {"term": ""}, {"component": "LAB"}, {"component": ""}]
    )
    def test_another_subject(self, other: dict[str, Any]) -> None:
        """Another code, term or component makes another course; a lecture and its lab may share a code."""
        assert found(Student("ada"), Course("c-1", **self.LECTURE), [Course("c-2", **self.LECTURE | other)]) == []

    def test_an_empty_code_matches_nothing(self) -> None:
        """Two courses without a code are not the same subject, whatever their terms and components are."""
        nameless = self.LECTURE | {"code": ""}
        assert found(Student("ada"), Course("c-1", **nameless), [Course("c-2", **nameless)]) == []

    def offerings(self, *, state: str = "ENROLLED", **other: Any) -> State:
        """Return a state in which Ada has an enrollment in c-2, another offering of c-1."""
        courses = Course("c-1", **self.LECTURE), Course("c-2", **self.LECTURE | other), Course("c-3")
        return loaded_state(Student("ada"), *courses, enrollment("ada", state, course_id="c-2", passed=True))

    @pytest.mark.parametrize("state", ["WAITLISTED", "DROPPED", "COMPLETED"])
    def test_only_seats_count(self, state: str) -> None:
        """A place on a waitlist, a dropped seat and a completion do not count."""
        assert enrolled(self.offerings(state=state), Enroll("ada", "c-1")).state == "ENROLLED"

    def test_cancelled_offerings_do_not_count(self) -> None:
        """A seat in a cancelled offering does not count."""
        state = loaded_state(
            Student("ada"),
            Course("c-1", **self.LECTURE),
            Course("c-2", state=CourseState.CANCELLED, **self.LECTURE),
            enrollment("ada", "ENROLLED", course_id="c-2"),
        )
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    def test_deleted_offerings_do_not_count(self) -> None:
        """The deletion of an offering ends the seat in it, in the same batch too."""
        state = self.offerings()
        state.courses["c-2"].enrolled_count = 1
        decide(state, DeleteCourse("c-2", force=True))
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    def test_a_swap_exempts_the_seat_that_it_gives_up(self) -> None:
        """A student may swap one offering for another, but no third course for it."""
        assert decide(self.offerings(), Swap("ada", "c-2", "c-1")).enrollment.state == "ENROLLED"
        state = self.offerings()
        decide(state, Enroll("ada", "c-3"))
        assert refusal(state, Swap("ada", "c-3", "c-1")).reason is Reason.DUPLICATE_COURSE

    def test_waiting_is_refused_too(self) -> None:
        """A student with a seat in another offering does not join the waitlist."""
        state = self.offerings()
        state.courses["c-1"].capacity, state.courses["c-1"].waitlist_capacity = 0, 5
        assert refusal(state, Enroll("ada", "c-1")).reason is Reason.DUPLICATE_COURSE

    def test_an_override(self) -> None:
        """An override sets the rule aside."""
        override = Override(frozenset({"DUPLICATE_COURSE"}), "repeats it as a guest")
        result = enrolled(self.offerings(), Enroll("ada", "c-1", override=override))
        assert result.bypassed_rules == ("DUPLICATE_COURSE",)

    def test_a_waiter_who_enrolled_elsewhere_later_is_skipped(self) -> None:
        """The waiter keeps the position, and the next waiter gets the seat."""
        course = Course("c-1", capacity=1, enrolled_count=1, waitlist_capacity=2, waitlisted_count=2, **self.LECTURE)
        state = loaded_state(
            *(Student(student_id) for student_id in ("ada", "bob", "eve")),
            *(course, Course("c-2", **self.LECTURE)),
            enrollment("eve", "ENROLLED", 1),
            enrollment("ada", "WAITLISTED", 2),
            enrollment("bob", "WAITLISTED", 3),
        )
        decide(state, Enroll("ada", "c-2"))
        (promoted,) = decide(state, Unenroll("eve", "c-1")).promoted
        assert promoted.student_id == "bob"
        (skipped,) = (event for event in state.journal.events if event.type == "PROMOTION_SKIPPED")
        assert [(skipped.student_id, one.reason) for one in skipped.violations] == [("ada", Reason.DUPLICATE_COURSE)]


class TestCancelledCourses:
    """A cancelled course keeps its students, but does not bind them."""

    def bound(self, state: CourseState) -> State:
        """Return a state in which Ada has a seat in c-2, which meets as c-1 does and takes all of her credits."""
        fields: dict[str, Any] = {"credits": 3_000, "meetings": MONDAY, "drop_deadline_time": NOW}
        courses = Course("c-1", **fields), Course("c-2", state=state, enrolled_count=1, **fields)
        return loaded_state(Student("ada", max_credits=3_000), *courses, enrollment("ada", "ENROLLED", course_id="c-2"))

    def test_meetings_and_credits_count_for_nothing(self) -> None:
        """The student can take another course at the same time and with the same credits."""
        refused = refusal(self.bound(CourseState.OPEN), Enroll("ada", "c-1"))
        assert [one.reason for one in refused.violations] == [Reason.SCHEDULE_CONFLICT, Reason.CREDIT_LIMIT_EXCEEDED]
        assert enrolled(self.bound(CourseState.CANCELLED), Enroll("ada", "c-1")).bypassed_rules == ()

    def test_the_drop_deadline_does_not_apply(self) -> None:
        """The seat can be dropped and swapped after the deadline."""
        for command in (Unenroll("ada", "c-2"), Swap("ada", "c-2", "c-1")):
            assert refusal(self.bound(CourseState.OPEN), command).reason is Reason.DROP_DEADLINE_PASSED
            decide(state := self.bound(CourseState.CANCELLED), command)
            (dropped,) = state.journal.changed_enrollments.values()
            assert (dropped.state, dropped.bypassed_rules) == ("DROPPED", ())

    def test_in_the_same_batch(self) -> None:
        """The batch may cancel and reopen the course: the rules see its present state."""
        state = self.bound(CourseState.OPEN)
        decide(state, UpdateCourse("c-2", {"state": CourseState.CANCELLED}))
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"
        decide(state, Unenroll("ada", "c-2"))
        reopened = self.bound(CourseState.CANCELLED)
        decide(reopened, UpdateCourse("c-2", {"state": CourseState.OPEN}))
        assert refusal(reopened, Enroll("ada", "c-1")).reason is Reason.SCHEDULE_CONFLICT


class TestTermsOfMeetings:
    """Meetings that have dates are compared by date; others conflict only within a term, or without one."""

    UNDATED, SPRING, FALL = ("", ""), ("2027-02-01", "2027-05-28"), ("2026-09-01", "2026-12-18")

    def conflicts(self, mine: tuple[str, tuple[str, str]], theirs: tuple[str, tuple[str, str]]) -> bool:
        """Return whether courses of these terms, with a meeting in these periods, conflict."""
        (one, other) = (
            Course(course_id, term=term, meetings=(Meeting((1,), 32_400, 36_000, *period, ""),))
            for course_id, (term, period) in (("c-1", mine), ("c-2", theirs))
        )
        both = [found(Student("ada"), one, [other]), found(Student("ada"), other, [one])]
        assert len({bool(violated) for violated in both}) == 1
        return bool(both[0])

    @pytest.mark.parametrize(
        ("mine", "theirs", "expected"),
        [
            ("fall", "fall", True),
            ("fall", " FALL", True),
            ("fall", "", True),
            ("", "", True),
            ("fall", "spring", False),
        ],
    )
    def test_undated_meetings(self, mine: str, theirs: str, expected: bool) -> None:
        """Undated meetings of different terms do not conflict; those of one term, or of the empty one, do."""
        assert self.conflicts((mine, self.UNDATED), (theirs, self.UNDATED)) is expected
        assert self.conflicts((mine, self.UNDATED), (theirs, self.FALL)) is expected

    def test_dated_meetings(self) -> None:
        """Meetings that have dates are compared by date, whatever the terms."""
        assert self.conflicts(("fall", self.FALL), ("autumn", self.FALL))
        assert not self.conflicts(("fall", self.FALL), ("fall", self.SPRING))

    @pytest.mark.parametrize("half", [("2027-01-01", ""), ("", "2026-08-31")])
    def test_the_one_bound_of_a_half_dated_meeting_excludes(self, half: tuple[str, str]) -> None:
        """A half-dated meeting has no dates, but its bound excludes meetings beyond it, in the same term too."""
        assert not self.conflicts(("fall", half), ("fall", self.FALL))
        assert self.conflicts(("fall", half), ("fall", self.UNDATED))
        assert not self.conflicts(("fall", half), ("spring", self.UNDATED))

    def test_a_half_dated_meeting_in_another_term(self) -> None:
        """Even if the bound does not exclude, a half-dated meeting conflicts with nothing in another term."""
        half = ("2026-09-15", "")
        assert not self.conflicts(("fall", half), ("autumn", self.FALL))
        assert self.conflicts(("fall", half), ("fall", self.FALL))
        assert self.conflicts(("fall", half), ("", self.FALL))


class TestPrerequisites:
    """A prerequisite is met by a pass in that course or in another course of the same code."""

    MATH = Subject("math-1", "MATH")
    LAB = Subject("lab", "")

    @pytest.mark.parametrize(
        "passed",
        [
            Subject("math-1", "MATH"),
            Subject("math-1", ""),
            Subject("math-9", "MATH"),
            Subject("math-9", "math"),
            Subject("math-9", "Ma Th"),
            Subject("math-9", "\uff2d\uff21\uff34\uff28"),
        ],
    )
    def test_met(self, passed: Subject) -> None:
        """The course itself counts whatever its code was, and so does another course of the same code, by key."""
        others = [Subject("art-1", "ART"), passed]
        assert found(Student("ada"), Course("c-1"), prerequisites=[self.MATH], passed=others) == []

    @pytest.mark.parametrize(
        "passed",
        [[], [Subject("art-1", "ART")], [Subject("maths", "MATHS")], [Subject("MATH", "")], [Subject("lab", "")]],
    )
    def test_unmet(self, passed: list[Subject]) -> None:
        """Codes are never compared with ids."""
        (violation,) = found(Student("ada"), Course("c-1"), prerequisites=[self.MATH], passed=passed)
        message = '"c-1" asks for courses to have been passed before: math-1 (MATH).'
        assert violation == Violation(Reason.PREREQUISITE_UNMET, message, {"missing_course_ids": "math-1"})
        assert violation.override_rule == "PREREQUISITE_UNMET"

    def test_an_empty_code_matches_nothing(self) -> None:
        """Two courses without a code do not have the same code."""
        (violation,) = found(Student("ada"), Course("c-1"), prerequisites=[self.LAB], passed=[Subject("other", "")])
        assert violation.description == '"c-1" asks for courses to have been passed before: lab.'

    def test_all_missing_courses(self) -> None:
        """One violation names every missing course in the order of the prerequisites, and no passed one."""
        asked = [self.LAB, Subject("art-1", "ART"), self.MATH]
        (violation,) = found(Student("ada"), Course("c-1"), prerequisites=asked, passed=[Subject("art-2", "ART")])
        assert violation.description == '"c-1" asks for courses to have been passed before: lab, math-1 (MATH).'
        assert violation.values == {"missing_course_ids": "lab, math-1"}


class TestPassed:
    """The enrollments that meet a prerequisite of c-1, which requires math-1."""

    def course(self) -> Course:
        return Course("c-1", prerequisite_course_ids=("math-1",))

    def attempt(
        self, state: str, number: int = 1, *, passed: bool | None = None, course_id: str = "math-1"
    ) -> Enrollment:
        fields = {"attempt": number, "enrollment_id": f"{course_id}/{number}", "passed": passed}
        return enrollment("ada", state, number, course_id, **fields)

    def test_a_passed_completion(self) -> None:
        """A passed completion meets it."""
        state = loaded_state(Student("ada"), self.course(), Course("math-1"), self.attempt("COMPLETED", passed=True))
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    @pytest.mark.parametrize("order", [(True, False), (False, True)])
    def test_one_pass_is_enough(self, order: tuple[bool, bool]) -> None:
        """A pass counts even if another attempt failed, before or after it."""
        attempts = [self.attempt("COMPLETED", number, passed=passed) for number, passed in enumerate(order, start=1)]
        state = loaded_state(Student("ada"), self.course(), Course("math-1"), *attempts)
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    @pytest.mark.parametrize("other_state", ["ENROLLED", "WAITLISTED", "DROPPED", "COMPLETED"])
    def test_nothing_else(self, other_state: str) -> None:
        """A failed completion, a seat, a place on the waitlist and a dropped enrollment do not meet it."""
        passed = False if other_state == "COMPLETED" else None
        state = loaded_state(Student("ada"), self.course(), Course("math-1"), self.attempt(other_state, passed=passed))
        assert refusal(state, Enroll("ada", "c-1")).reason is Reason.PREREQUISITE_UNMET

    def test_of_deleted_courses(self) -> None:
        """A pass and a code still count after their courses are deleted."""
        gone = [Course("math-1", code="MATH", delete_time=NOW), Course("math-2", code="MATH", delete_time=NOW)]
        state = loaded_state(
            Student("ada"), self.course(), *gone, self.attempt("COMPLETED", passed=True, course_id="math-2")
        )
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    def test_of_an_unknown_course(self) -> None:
        """A stored prerequisite that does not exist is met by nothing, but an override sets it aside."""
        state = loaded_state(
            Student("ada"), self.course(), Course("lab"), self.attempt("COMPLETED", passed=True, course_id="lab")
        )
        (violation,) = refusal(state, Enroll("ada", "c-1")).violations
        assert violation.values == {"missing_course_ids": "math-1"}
        override = Override(frozenset({"PREREQUISITE_UNMET"}), "exam taken")
        result = enrolled(state, Enroll("ada", "c-1", override=override))
        assert result.bypassed_rules == ("PREREQUISITE_UNMET",)

    def test_a_circle(self) -> None:
        """The prerequisites of a prerequisite are not checked, so a circle does no harm."""
        circle = Course("c-1", prerequisite_course_ids=("math-1",)), Course("math-1", prerequisite_course_ids=("c-1",))
        state = loaded_state(Student("ada"), *circle, self.attempt("COMPLETED", passed=True))
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"

    def test_a_course_that_requires_itself(self) -> None:
        """A stored course may require itself: only students who passed another course of its code can enroll."""
        course = Course("c-1", code="CS", prerequisite_course_ids=("c-1",))
        assert refusal(loaded_state(Student("ada"), course), Enroll("ada", "c-1")).reason is Reason.PREREQUISITE_UNMET
        done = self.attempt("COMPLETED", passed=True, course_id="older")
        state = loaded_state(Student("ada"), course, Course("older", code="CS"), done)
        assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"


class TestCredits:
    """The credits of a term may reach the student's limit but not exceed it."""

    def taken(self, *credits: int, term: str = "fall") -> list[Course]:
        return [Course(f"c-{number}", credits=each, term=term) for number, each in enumerate(credits, start=2)]

    @pytest.mark.parametrize(
        ("limit", "credits", "enrolled"),
        [
            (None, 1_000_000, (1_000_000,)),
            (15_000, 3_000, (6_000, 6_000)),
            (1_500, 1_500, ()),
            (4_125, 1_500, (2_500, 125)),
            (0, 0, ()),
        ],
    )
    def test_within(self, limit: int | None, credits: int, enrolled: tuple[int, ...]) -> None:
        """Exactly the limit is allowed, and without a limit everything is."""
        course = Course("c-1", credits=credits, term="fall")
        assert found(Student("ada", max_credits=limit), course, self.taken(*enrolled)) == []

    @pytest.mark.parametrize(
        ("limit", "credits", "enrolled", "in_message"),
        [
            (15_000, 3_001, (6_000, 6_000), ("12", "3.001", "15.001", "15")),
            (4_124, 1_500, (2_500, 125), ("2.625", "1.5", "4.125", "4.124")),
            (0, 1, (), ("0", "0.001", "0.001", "0")),
            (3_000, 0, (4_000,), ("4", "0", "4", "3")),
        ],
        ids=["one-thousandth", "decimals", "no-credits-at-all", "over-already"],
    )
    def test_beyond(
        self, limit: int, credits: int, enrolled: tuple[int, ...], in_message: tuple[str, str, str, str]
    ) -> None:
        """The violation states the credits of the seats, of the course, their sum and the limit."""
        course = Course("c-1", credits=credits, term="fall")
        (violation,) = found(Student("ada", max_credits=limit), course, self.taken(*enrolled))
        enrolled_credits, course_credits, total, limit_text = in_message
        assert violation == Violation(
            Reason.CREDIT_LIMIT_EXCEEDED,
            f'With the {course_credits} credits of "c-1", student "ada" would take {total} credits in the term;'
            f" the most allowed is {limit_text}.",
            {
                "term": "fall",
                "enrolled_credits": enrolled_credits,
                "course_credits": course_credits,
                "max_credits": limit_text,
            },
        )
        assert violation.override_rule == "CREDIT_LIMIT_EXCEEDED"

    @pytest.mark.parametrize(("mine", "theirs"), [("fall", "spring"), ("fall", ""), ("", "fall"), ("fall 1", "fall1")])
    def test_of_another_term(self, mine: str, theirs: str) -> None:
        """Each term has the whole limit, and the empty one is a term."""
        course = Course("c-1", credits=3_000, term=mine)
        assert found(Student("ada", max_credits=3_000), course, self.taken(3_000, term=theirs)) == []

    @pytest.mark.parametrize("theirs", ["Fall 1", "fall\xa01", " FALL  1 "])
    def test_of_the_same_term(self, theirs: str) -> None:
        """Terms are compared by key: without regard to case and to blanks around them."""
        course = Course("c-1", credits=3_000, term="fall 1")
        (violation,) = found(Student("ada", max_credits=3_000), course, self.taken(3_000, term=theirs))
        assert (violation.reason, violation.values["term"]) == (Reason.CREDIT_LIMIT_EXCEEDED, "fall 1")

    def test_of_the_empty_term(self) -> None:
        """Courses without a term count together."""
        (violation,) = found(Student("ada", max_credits=3_000), Course("c-1", credits=1), self.taken(3_000, term=""))
        assert violation.values["term"] == ""

    @pytest.mark.parametrize(("other_state", "fits"), [("ENROLLED", False), ("WAITLISTED", True), ("DROPPED", True)])
    def test_only_seats_count(self, other_state: str, fits: bool) -> None:
        """Credits of waitlisted and dropped enrollments do not count."""
        other = enrollment("ada", other_state, course_id="c-2")
        state = loaded_state(
            Student("ada", max_credits=3_000), Course("c-1", credits=1_000), Course("c-2", credits=3_000), other
        )
        if fits:
            assert enrolled(state, Enroll("ada", "c-1")).state == "ENROLLED"
        else:
            assert refusal(state, Enroll("ada", "c-1")).reason is Reason.CREDIT_LIMIT_EXCEEDED


class TestSeats:
    """Without a free seat a newcomer joins the waitlist if it has a place and the caller allows it."""

    def test_waits(self) -> None:
        """The newcomer gets the last position, and the event and the counter of the waitlist."""
        state = loaded_state(
            Student("ada"), Course("c-1", capacity=1, enrolled_count=1, waitlist_capacity=1, last_number=4)
        )
        result = enrolled(state, Enroll("ada", "c-1", comment="by phone"))
        assert (result.state, result.number, result.waitlist_position, result.bypassed_rules) == (
            "WAITLISTED",
            5,
            1,
            (),
        )
        course = state.courses["c-1"]
        assert (course.enrolled_count, course.waitlisted_count) == (1, 1)
        (event,) = state.journal.events
        assert (event.type, event.previous_state, event.state) == ("STUDENT_WAITLISTED", None, "WAITLISTED")
        assert (event.enrolled_count, event.waitlisted_count, event.comment) == (1, 1, "by phone")

    def test_waits_for_a_course_without_seats(self) -> None:
        """A course with capacity 0 has a waitlist too."""
        result = enrolled(
            loaded_state(Student("ada"), Course("c-1", capacity=0, waitlist_capacity=1)), Enroll("ada", "c-1")
        )
        assert result.state == "WAITLISTED"

    @pytest.mark.parametrize("places", [None, 0])
    def test_a_course_without_a_waitlist(self, places: int | None) -> None:
        """An absent waitlist_capacity means no waitlist, unlike an absent capacity."""
        course = Course("c-1", capacity=2, enrolled_count=2, waitlist_capacity=places)
        (violation,) = refusal(loaded_state(Student("ada"), course), Enroll("ada", "c-1")).violations
        message = 'All 2 seats are taken in "c-1".'
        assert violation == Violation(Reason.COURSE_FULL, message, {"capacity": "2", "enrolled_count": "2"})
        assert violation.override_rule == "COURSE_FULL"

    def full(self, waiting: int) -> Course:
        return Course("c-1", capacity=1, enrolled_count=1, waitlist_capacity=2, waitlisted_count=waiting, last_number=9)

    @pytest.mark.parametrize("waiting", [2, 3])
    def test_a_full_waitlist(self, waiting: int) -> None:
        """The waitlist is full when its count reaches its capacity or exceeds a lowered one."""
        (violation,) = refusal(loaded_state(Student("ada"), self.full(waiting)), Enroll("ada", "c-1")).violations
        message = 'The only seat is taken in "c-1", and its waitlist is full.'
        values = {"capacity": "1", "enrolled_count": "1", "waitlist_capacity": "2", "waitlisted_count": str(waiting)}
        assert violation == Violation(Reason.WAITLIST_FULL, message, values)
        assert (violation.overridable, violation.override_rule) == (True, "COURSE_FULL")

    @pytest.mark.parametrize("waiting", [0, 2])
    def test_no_waitlist(self, waiting: int) -> None:
        """With no_waitlist the reason is COURSE_FULL, whether the waitlist is full or not."""
        refused = refusal(loaded_state(Student("ada"), self.full(waiting)), Enroll("ada", "c-1", no_waitlist=True))
        assert (refused.reason, refused.message) == (Reason.COURSE_FULL, 'The only seat is taken in "c-1".')

    @pytest.mark.parametrize("waiting", [0, 2])
    def test_override(self, waiting: int) -> None:
        """An override of COURSE_FULL gives a seat over capacity, whether the waitlist is full or not."""
        state = loaded_state(Student("ada"), self.full(waiting))
        result = enrolled(state, Enroll("ada", "c-1", override=Override(frozenset({"COURSE_FULL"}), "athlete")))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("COURSE_FULL",))
        assert (state.courses["c-1"].enrolled_count, state.courses["c-1"].waitlisted_count) == (2, waiting)

    def test_rules_apply_to_the_waitlist(self) -> None:
        """A newcomer must satisfy the rules to join the waitlist."""
        state = loaded_state(Student("ada", state=StudentState.INACTIVE), self.full(0))
        assert refusal(state, Enroll("ada", "c-1")).reason is Reason.STUDENT_INACTIVE
