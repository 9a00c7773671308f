"""Decisions about completions: finishing a course, correcting what was recorded of it, and credit from elsewhere."""

from __future__ import annotations

from registrar_server.core.commands import Complete, RecordCompletion
from registrar_server.core.fields import check_etag, field_changes
from registrar_server.core.records import Enrollment
from registrar_server.core.seats import not_enrolled
from registrar_server.core.state import State


def complete(state: State, command: Complete) -> Enrollment:
    """End a seat as COMPLETED, or correct the latest completion where the student has no seat.

    The course does not settle: a finished course promotes nobody.
    """
    state.student(command.student_id)
    course = state.course(command.course_id)
    live = state.live(command.student_id, command.course_id)
    has_seat = live is not None and not live.waits
    enrollment = live if has_seat else state.completion(command.student_id, command.course_id)
    if enrollment is None:
        raise not_enrolled(command.student_id, command.course_id, "seat or completion")
    check_etag(enrollment, command.etag)
    before = {"grade": enrollment.grade or None, "passed": enrollment.passed}
    changes = field_changes(before, {"grade": command.grade or None, "passed": command.passed})
    if not has_seat and not changes:
        return enrollment
    previous = enrollment.state
    state.complete(course, enrollment, command.grade, command.passed)
    state.journal.record(
        "ENROLLMENT_COMPLETED",
        course=course,
        enrollment=enrollment,
        previous_state=previous,
        changes=() if has_seat else changes,
    )
    return enrollment


def record_completion(state: State, command: RecordCompletion) -> Enrollment:
    """Add a COMPLETED enrollment from nothing, whatever the rules and the student's other enrollments."""
    student, course = state.student(command.student_id), state.course(command.course_id)
    enrollment = state.add_completion(student, course, command.grade, command.passed)
    state.journal.record("COMPLETION_RECORDED", course=course, enrollment=enrollment, comment=command.comment)
    return enrollment
