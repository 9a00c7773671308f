"""Decisions about completions: complete an enrollment, correct, void or record a completion."""

from __future__ import annotations

from registrar_server.core import texts
from registrar_server.core.commands import Complete, CompleteById, RecordCompletion, VoidCompletion
from registrar_server.core.fields import check_etag, field_changes
from registrar_server.core.records import Change, Course, Enrollment
from registrar_server.core.seats import not_enrolled
from registrar_server.core.state import State
from registrar_server.core.vocabulary import EnrollmentState
from registrar_server.errors import Reason, Refusal, course_not_found, enrollment_not_found

_COMPLETED, _VOIDED = EnrollmentState.COMPLETED, EnrollmentState.VOIDED


def complete(state: State, command: Complete) -> Enrollment:
    """End a seat as COMPLETED, or correct the latest completion if the student has no seat.

    The course may be deleted.
    """
    state.student(command.student_id)
    _known_course(state, command.course_id)
    live = state.live(command.student_id, command.course_id)
    has_seat = live is not None and not live.waits
    enrollment = live if has_seat else _latest_completion(state, command)
    if enrollment is None:
        raise not_enrolled(command.student_id, command.course_id, "seat or completion")
    return _complete(state, enrollment, command)


def complete_by_id(state: State, command: CompleteById) -> Enrollment:
    """End this seat as COMPLETED, or correct this completion. The student and the course may be deleted."""
    enrollment = _named(state, command.enrollment_id)
    if enrollment.state not in (EnrollmentState.ENROLLED, _COMPLETED):
        raise _not_completed(enrollment, "an ENROLLED or COMPLETED enrollment can be completed")
    return _complete(state, enrollment, command)


def void(state: State, command: VoidCompletion) -> Enrollment:
    """Declare this completion void. One that is void already does not change.

    The student and the course may be deleted.
    """
    enrollment = _named(state, command.enrollment_id)
    if enrollment.state not in (_COMPLETED, _VOIDED):
        raise _not_completed(enrollment, "a COMPLETED enrollment can be voided")
    check_etag(enrollment, command.etag)
    if enrollment.state == _COMPLETED:
        state.void(state.courses[enrollment.course_id], enrollment, command.reason)
    return enrollment


def record_completion(state: State, command: RecordCompletion) -> Enrollment:
    """Add a COMPLETED enrollment, regardless of the rules and of the student's other enrollments.

    If the caller allows it, return the latest equal completion instead, even a voided one. The course may be deleted.
    """
    student, course = state.student(command.student_id), _known_course(state, command.course_id)
    if command.allow_existing:
        for known in state.completions(command.student_id, command.course_id):
            # The stored grade may be older than the canonical form of texts.
            if (texts.line(known.grade), known.passed) == (command.grade, command.passed):
                return known
    return state.add_completion(student, course, command.grade, command.passed, comment=command.comment)


def _complete(state: State, enrollment: Enrollment, command: Complete | CompleteById) -> Enrollment:
    """Complete or correct an enrollment. The course does not settle: a completed course promotes no waiters."""
    check_etag(enrollment, command.etag)
    course = state.courses[enrollment.course_id]
    if enrollment.live:
        state.complete(course, enrollment, command.grade, command.passed)
    elif changes := _corrections(enrollment, command):
        state.complete(course, enrollment, command.grade, command.passed, changes)
    return enrollment


def _corrections(enrollment: Enrollment, command: Complete | CompleteById) -> tuple[Change, ...]:
    before = {"grade": enrollment.grade, "passed": enrollment.passed}
    return field_changes(before, {"grade": command.grade, "passed": command.passed})


def _latest_completion(state: State, command: Complete) -> Enrollment | None:
    known = state.completions(command.student_id, command.course_id)
    return next((completion for completion in known if completion.state == _COMPLETED), None)


def _known_course(state: State, course_id: str) -> Course:
    """Return a course, deleted or not, or refuse with COURSE_NOT_FOUND."""
    course = state.courses.get(course_id)
    if course is None:
        raise course_not_found(course_id)
    return course


def _named(state: State, enrollment_id: str) -> Enrollment:
    enrollment = state.enrollments.get(enrollment_id)
    if enrollment is None:
        raise enrollment_not_found(enrollment_id)
    return enrollment


def _not_completed(enrollment: Enrollment, allowed: str) -> Refusal:
    """Return the refusal of a command that names an enrollment in another state; ``allowed`` says what is possible."""
    return Refusal(
        Reason.NOT_COMPLETED,
        f'Enrollment "{enrollment.enrollment_id}" is {enrollment.state}: only {allowed}.',
        enrollment_id=enrollment.enrollment_id,
        state=enrollment.state.value,
    )
