"""Decisions about completions: complete an enrollment, correct a completion, record one from elsewhere."""

from __future__ import annotations

from registrar_server.core.commands import Complete, RecordCompletion
from registrar_server.core.fields import check_etag, field_changes
from registrar_server.core.records import Change, Enrollment
from registrar_server.core.seats import not_enrolled
from registrar_server.core.state import State


def complete(state: State, command: Complete) -> Enrollment:
    """End a seat as COMPLETED, or correct the latest completion if the student has no seat.

    The course does not settle: a completed course promotes no waiters.
    """
    state.student(command.student_id)
    course = state.course(command.course_id)
    live = state.live(command.student_id, command.course_id)
    has_seat = live is not None and not live.waits
    enrollment = live if has_seat else state.completion(command.student_id, command.course_id)
    if enrollment is None:
        raise not_enrolled(command.student_id, command.course_id, "seat or completion")
    check_etag(enrollment, command.etag)
    if has_seat:
        state.complete(course, enrollment, command.grade, command.passed)
    elif changes := _corrections(enrollment, command):
        state.complete(course, enrollment, command.grade, command.passed, changes)
    return enrollment


def _corrections(enrollment: Enrollment, command: Complete) -> tuple[Change, ...]:
    before = {"grade": enrollment.grade, "passed": enrollment.passed}
    return field_changes(before, {"grade": command.grade, "passed": command.passed})


def record_completion(state: State, command: RecordCompletion) -> Enrollment:
    """Add a COMPLETED enrollment, regardless of the rules and of the student's other enrollments."""
    student, course = state.student(command.student_id), state.course(command.course_id)
    return state.add_completion(student, course, command.grade, command.passed, comment=command.comment)
