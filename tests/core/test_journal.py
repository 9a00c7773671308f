"""The journal of a batch: what it notes of each change."""

from __future__ import annotations

from registrar_server.core.journal import Journal
from registrar_server.core.records import Change, Course, Event
from registrar_server.core.vocabulary import EnrollmentState, EventType
from registrar_server.errors import Reason, Violation
from tests.support.states import NOW, enrollment


def test_event_of_an_enrollment() -> None:
    """Each value of the call, the course, the enrollment and its change is in the field of the event with its name."""
    journal = Journal(NOW, lambda now: f"id-{now}", actor="caller", request_id="r-1", on_behalf_of="dean")
    course = Course("c-1", capacity=7, enrolled_count=5, waitlisted_count=3)
    ended = enrollment("ada", "COMPLETED", version=9, grade="A", passed=True, bypassed_rules=("COURSE_FULL",))
    changes = (Change("grade", "B", "A"),)
    violations = (Violation(Reason.COURSE_FULL, "All 7 seats are taken.", {}),)
    journal.record_enrollment(
        EventType.ENROLLMENT_COMPLETED,
        course,
        ended,
        previous_state=EnrollmentState.ENROLLED,
        reason="corrected",
        comment="by phone",
        changes=changes,
        violations=violations,
    )
    assert journal.events == [
        Event(
            event_id=f"id-{NOW}",
            type=EventType.ENROLLMENT_COMPLETED,
            time=NOW,
            actor="caller",
            request_id="r-1",
            course_id="c-1",
            student_id="ada",
            enrollment_id="c-1/ada",
            state=EnrollmentState.COMPLETED,
            previous_state=EnrollmentState.ENROLLED,
            capacity=7,
            enrolled_count=5,
            waitlisted_count=3,
            enrollment_version=9,
            grade="A",
            passed=True,
            reason="corrected",
            comment="by phone",
            bypassed_rules=("COURSE_FULL",),
            changes=changes,
            violations=violations,
            on_behalf_of="dean",
        )
    ]
