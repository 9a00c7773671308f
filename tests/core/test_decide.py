"""Decisions about seats, by example: the result of each command, and the event that it records."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from registrar_server.core.commands import Command, Enroll, Override, Unenroll
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import EnrollmentState
from registrar_server.errors import Reason, Violation
from tests.support.states import EARLIER, NOW, contents, enrolled, enrollment, event_types, loaded_state, refusal


def course(capacity: int | None = 2, taken: int = 0, **fields: Any) -> Course:
    """Return the course c-1 with this many enrollments, numbered from 1."""
    return Course("c-1", capacity=capacity, enrolled_count=taken, **{"last_number": taken, **fields})


def event_details(state: State) -> list[tuple[Any, ...]]:
    """Return of each event the type, the student, both states, the enrolled count and the capacity."""
    return [
        (event.type, event.student_id, event.previous_state, event.state, event.enrolled_count, event.capacity)
        for event in state.journal.events
    ]


class TestEnroll:
    """Enrolling takes a seat or is refused."""

    def test_takes_a_seat(self) -> None:
        """A first enrollment has attempt 1, the course's next number, and the present time."""
        state = loaded_state(Student("ada"), course(taken=1))
        assert enrolled(state, Enroll("ada", "c-1")) == Enrollment(
            "c-1", "id-1", "ada", number=2, attempt=1, state=EnrollmentState.ENROLLED, create_time=NOW, update_time=NOW
        )
        assert state.courses["c-1"].enrolled_count == 2

    def test_records_one_event(self) -> None:
        """The event has the counts and the capacity after the change, the caller, the request id and the comment."""
        state = loaded_state(Student("ada"), course(taken=1))
        state.journal.actor, state.journal.request_id = "caller", "r-1"
        decide(state, Enroll("ada", "c-1", comment="by phone"))
        assert event_details(state) == [("STUDENT_ENROLLED", "ada", None, "ENROLLED", 2, 2)]
        (event,) = state.journal.events
        assert (event.course_id, event.enrollment_id, event.event_id, event.time) == ("c-1", "id-1", "id-2", NOW)
        assert (event.actor, event.request_id, event.comment, event.reason) == ("caller", "r-1", "by phone", "")
        assert (event.waitlisted_count, event.enrollment_version, event.grade, event.passed) == (0, 1, "", None)

    def test_the_last_seat_is_taken_once(self) -> None:
        """If two commands of a batch ask for the last seat, the first gets it."""
        state = loaded_state(Student("ada"), Student("bob"), course(taken=1))
        decide(state, Enroll("ada", "c-1"))
        assert refusal(state, Enroll("bob", "c-1")).reason is Reason.COURSE_FULL
        assert len(state.journal.events) == 1

    def test_a_freed_seat_is_available_in_the_same_batch(self) -> None:
        """Later commands see what earlier commands decided."""
        state = loaded_state(Student("ada"), Student("bob"), course(capacity=1, taken=1), enrollment("ada", "ENROLLED"))
        decide(state, Unenroll("ada", "c-1"))
        decide(state, Enroll("bob", "c-1"))
        assert event_details(state) == [
            ("STUDENT_UNENROLLED", "ada", "ENROLLED", "DROPPED", 0, 1),
            ("STUDENT_ENROLLED", "bob", None, "ENROLLED", 1, 1),
        ]

    @pytest.mark.parametrize(
        ("capacity", "message"),
        [
            (0, 'There are no seats in "c-1".'),
            (1, 'The only seat is taken in "c-1".'),
            (25, 'All 25 seats are taken in "c-1".'),
        ],
    )
    def test_a_full_course(self, capacity: int, message: str) -> None:
        """COURSE_FULL states the capacity and the enrolled count; a course with capacity 0 is always full."""
        refused = refusal(loaded_state(Student("ada"), course(capacity, taken=capacity)), Enroll("ada", "c-1"))
        assert (refused.reason, refused.status, refused.message) == (Reason.COURSE_FULL, "FAILED_PRECONDITION", message)
        assert refused.metadata == {"student_id": "ada", "course_id": "c-1"}
        values = {"capacity": str(capacity), "enrolled_count": str(capacity)}
        assert refused.violations == (Violation(Reason.COURSE_FULL, message, values),)
        assert refused.violations[0].overridable

    def test_a_capacity_below_the_count_is_full(self) -> None:
        """A capacity below the enrolled count drops no student and admits none."""
        refused = refusal(loaded_state(Student("ada"), course(capacity=2, taken=5)), Enroll("ada", "c-1"))
        assert refused.violations[0].values == {"capacity": "2", "enrolled_count": "5"}

    def test_without_a_capacity_seats_are_unlimited(self) -> None:
        """A course without a capacity always has a seat, and its events have no capacity either."""
        state = loaded_state(Student("ada"), course(capacity=None, taken=100_000))
        decide(state, Enroll("ada", "c-1"))
        assert event_details(state) == [("STUDENT_ENROLLED", "ada", None, "ENROLLED", 100_001, None)]

    @pytest.mark.parametrize(
        ("live", "reason", "message"),
        [
            ("ENROLLED", Reason.ALREADY_ENROLLED, 'Student "ada" is already enrolled in "c-1".'),
            (
                "WAITLISTED",
                Reason.ALREADY_WAITLISTED,
                'Student "ada" is already on the waitlist of "c-1". The only seat is taken in "c-1".',
            ),
        ],
    )
    def test_already_live(self, live: str, reason: Reason, message: str) -> None:
        """A second live enrollment is refused with the id of the first, even if the course is full."""
        refused = refusal(
            loaded_state(Student("ada"), course(capacity=1, taken=1), enrollment("ada", live)), Enroll("ada", "c-1")
        )
        assert (refused.reason, refused.status, refused.message) == (reason, "ALREADY_EXISTS", message)
        assert refused.metadata == {"student_id": "ada", "course_id": "c-1", "enrollment_id": "c-1/ada"}
        assert refused.violations == ()

    @pytest.mark.parametrize("live", ["ENROLLED", "WAITLISTED"])
    def test_allow_existing(self, live: str) -> None:
        """With allow_existing the result is the existing enrollment, and no event is recorded."""
        existing = enrollment("ada", live)
        state = loaded_state(Student("ada"), course(capacity=1, taken=1, waitlisted_count=1), existing)
        assert enrolled(state, Enroll("ada", "c-1", allow_existing=True)) is existing
        assert (state.journal.events, state.journal.added_enrollments, state.journal.counted_courses) == ([], {}, {})

    def test_allow_existing_enrolls_if_none_exists(self) -> None:
        """With allow_existing a student without an enrollment is enrolled as usual."""
        result = enrolled(loaded_state(Student("ada"), course()), Enroll("ada", "c-1", allow_existing=True))
        assert result.state == "ENROLLED"

    @pytest.mark.parametrize("ended", ["DROPPED", "COMPLETED"])
    def test_again_after_the_end(self, ended: str) -> None:
        """Enrolling again adds a row with the next attempt and number, and leaves the old row unchanged."""
        before = enrollment("ada", ended)
        state = loaded_state(Student("ada"), course(last_number=7), before)
        result = enrolled(state, Enroll("ada", "c-1"))
        assert before == enrollment("ada", ended)
        assert (result.attempt, result.number, result.enrollment_id) == (2, 8, "id-1")
        assert state.journal.changed_enrollments == {}
        assert event_details(state) == [("STUDENT_ENROLLED", "ada", None, "ENROLLED", 1, 2)]

    def test_the_latest_attempt_counts(self) -> None:
        """The next attempt follows the highest, in whatever order the attempts were loaded."""
        first, third = enrollment("ada", "DROPPED"), enrollment("ada", "DROPPED", 5, attempt=3, enrollment_id="e-3")
        result = enrolled(loaded_state(Student("ada"), course(), third, first), Enroll("ada", "c-1"))
        assert result.attempt == 4

    def test_no_waitlist_takes_a_free_seat(self) -> None:
        """With no_waitlist a student still gets a free seat."""
        assert (
            enrolled(loaded_state(Student("ada"), course()), Enroll("ada", "c-1", no_waitlist=True)).state == "ENROLLED"
        )


class TestOverride:
    """An override sets aside the rules that it names, and the enrollment keeps those that it needed."""

    def test_takes_a_seat_over_capacity(self) -> None:
        """An override of COURSE_FULL gives a seat over capacity; the enrollment and the event name the rule."""
        state = loaded_state(Student("ada"), course(capacity=1, taken=1))
        override = Override(frozenset({"COURSE_FULL"}), "athlete")
        result = enrolled(state, Enroll("ada", "c-1", override=override))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("COURSE_FULL",))
        assert event_details(state) == [("STUDENT_ENROLLED", "ada", None, "ENROLLED", 2, 1)]
        (event,) = state.journal.events
        assert (event.reason, event.bypassed_rules) == ("athlete", ("COURSE_FULL",))

    def test_an_unneeded_override_is_not_recorded(self) -> None:
        """If no rule is violated, neither the enrollment nor the event names a bypassed rule."""
        state = loaded_state(Student("ada"), course())
        result = enrolled(state, Enroll("ada", "c-1", override=Override(frozenset({"COURSE_FULL"}), "athlete")))
        assert result.bypassed_rules == ()
        (event,) = state.journal.events
        assert (event.reason, event.bypassed_rules) == ("", ())

    def test_of_another_rule(self) -> None:
        """An override does not set aside rules that it does not name."""
        override = Override(frozenset({"STUDENT_HOLD"}), "settled")
        state = loaded_state(Student("ada"), course(capacity=0))
        assert refusal(state, Enroll("ada", "c-1", override=override)).reason is Reason.COURSE_FULL


class TestUnenroll:
    """Unenrolling ends the live enrollment."""

    def test_drops(self) -> None:
        """The enrollment ends as DROPPED with the caller's reason, and its seat is free."""
        state = loaded_state(Student("ada"), course(taken=1), enrollment("ada", "ENROLLED"))
        ended, promoted = decide(state, Unenroll("ada", "c-1", reason="moved", comment="by letter"))
        assert (ended.state, ended.reason, ended.end_time, ended.update_time) == ("DROPPED", "moved", NOW, NOW)
        assert (ended.version, promoted) == (2, ())
        assert state.courses["c-1"].enrolled_count == 0
        assert event_details(state) == [("STUDENT_UNENROLLED", "ada", "ENROLLED", "DROPPED", 0, 2)]
        (event,) = state.journal.events
        assert (event.enrollment_id, event.reason, event.comment) == ("c-1/ada", "moved", "by letter")
        assert (event.waitlisted_count, event.enrollment_version) == (0, 2)

    def test_leaves_the_waitlist(self) -> None:
        """Unenrolling a waiter shortens the waitlist."""
        state = loaded_state(
            Student("ada"), course(capacity=1, taken=1, waitlisted_count=1), enrollment("ada", "WAITLISTED")
        )
        decide(state, Unenroll("ada", "c-1"))
        assert (state.courses["c-1"].enrolled_count, state.courses["c-1"].waitlisted_count) == (1, 0)
        assert event_details(state) == [("STUDENT_UNENROLLED", "ada", "WAITLISTED", "DROPPED", 1, 1)]

    @pytest.mark.parametrize("ended", [None, "DROPPED", "COMPLETED"])
    def test_not_enrolled(self, ended: str | None) -> None:
        """A student who never enrolled, dropped or completed the course has no live enrollment to end."""
        state = loaded_state(Student("ada"), course(), *([enrollment("ada", ended)] if ended else []))
        refused = refusal(state, Unenroll("ada", "c-1"))
        assert (refused.reason, refused.status) == (Reason.NOT_ENROLLED, "NOT_FOUND")
        assert refused.message == 'Student "ada" has no live enrollment in "c-1".'
        assert refused.metadata == {"student_id": "ada", "course_id": "c-1"}

    @pytest.mark.parametrize("ended", [None, "DROPPED", "COMPLETED"])
    def test_allow_missing(self, ended: str | None) -> None:
        """With allow_missing a student without a live enrollment is no error, and nothing changes."""
        state = loaded_state(Student("ada"), course(), *([enrollment("ada", ended)] if ended else []))
        assert decide(state, Unenroll("ada", "c-1", allow_missing=True)) == (None, ())
        assert state.journal.events == []

    def test_enrolled_and_dropped_in_one_batch(self) -> None:
        """A row that a batch adds and ends is written once, as ended, with one event for each change."""
        state = loaded_state(Student("ada"), course())
        result = enrolled(state, Enroll("ada", "c-1"))
        decide(state, Unenroll("ada", "c-1"))
        assert state.journal.added_enrollments == {"id-1": result}
        assert state.journal.changed_enrollments == {}
        assert (result.state, result.version) == ("DROPPED", 2)
        assert event_types(state) == ["STUDENT_ENROLLED", "STUDENT_UNENROLLED"]


@pytest.mark.parametrize("command", [Enroll("ada", "c-1"), Unenroll("ada", "c-1")])
class TestUnknown:
    """Student and course must exist and not be deleted; the student is checked first."""

    @pytest.mark.parametrize("students", [[], [Student("ada", delete_time=EARLIER)]])
    def test_student(self, command: Command, students: list[Student]) -> None:
        """An unknown or deleted student is refused, whatever the course."""
        refused = refusal(loaded_state(*students), command)
        assert (refused.reason, refused.status) == (Reason.STUDENT_NOT_FOUND, "NOT_FOUND")
        assert (refused.message, refused.metadata) == ('There is no student "ada".', {"student_id": "ada"})

    @pytest.mark.parametrize("courses", [[], [Course("c-1", delete_time=EARLIER)]])
    def test_course(self, command: Command, courses: list[Course]) -> None:
        """An unknown or deleted course is refused."""
        refused = refusal(loaded_state(Student("ada"), *courses), command)
        assert (refused.reason, refused.status) == (Reason.COURSE_NOT_FOUND, "NOT_FOUND")
        assert (refused.message, refused.metadata) == ('There is no course "c-1".', {"course_id": "c-1"})


@pytest.mark.parametrize(
    "command", [Enroll("ada", "c-1", allow_existing=True), Unenroll("ada", "c-1", allow_missing=True)]
)
def test_only_enrollments_may_be_missing(command: Command) -> None:
    """Neither allow_existing nor allow_missing permits an unknown student."""
    assert refusal(loaded_state(course()), command).reason is Reason.STUDENT_NOT_FOUND


@pytest.mark.parametrize(
    ("command", "records"),
    [
        (Enroll("ada", "c-1"), [course()]),
        (Enroll("ada", "c-1"), [Student("ada")]),
        (Enroll("ada", "c-1"), [Student("ada"), course(capacity=1, taken=1)]),
        (Enroll("ada", "c-1"), [Student("ada"), course(taken=1), enrollment("ada", "ENROLLED")]),
        (Unenroll("ada", "c-1"), [Student("ada"), course()]),
        (Unenroll("ada", "c-1"), [Student("ada"), course(), enrollment("ada", "DROPPED")]),
    ],
)
def test_a_refused_command_changes_nothing(command: Command, records: list[Any]) -> None:
    """After a refusal the state and its journal are as before."""
    state = loaded_state(*copy.deepcopy(records))
    before = contents(state)
    refusal(state, command)
    assert contents(state) == before
