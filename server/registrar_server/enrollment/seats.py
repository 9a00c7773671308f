"""Decisions about seats: enrolling and unenrolling."""

from __future__ import annotations

from typing import NamedTuple

from registrar_server.enrollment.commands import Enroll, Unenroll
from registrar_server.enrollment.records import Course, Enrollment
from registrar_server.enrollment.rules import violations
from registrar_server.enrollment.state import State
from registrar_server.errors import Reason, Refusal, rules_violated


class Unenrolled(NamedTuple):
    """What an unenrolling did: the ended enrollment, if there was one, and who left the waitlist for it."""

    enrollment: Enrollment | None
    promoted: tuple[Enrollment, ...]


def enroll(state: State, command: Enroll) -> Enrollment:
    """Give the student a seat, or answer with the existing enrollment where the caller allows it."""
    student = state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.latest_attempt(command.student_id, command.course_id)
    if current is not None and current.live:
        if command.allow_existing:
            return current
        raise _already_live(current)
    broken = violations(student, course, state.now)
    if any(violation.reason not in command.override.rules for violation in broken):
        raise rules_violated(
            (violation for violation in broken if violation.reason not in command.override.rules),
            student_id=command.student_id,
            course_id=command.course_id,
        )
    bypassed = tuple(violation.reason.value for violation in broken)
    enrollment = state.open_enrollment(student, course, "ENROLLED", bypassed)
    state.record(
        "STUDENT_ENROLLED",
        course=course,
        student_id=command.student_id,
        enrollment=enrollment,
        reason=command.override.reason if bypassed else "",
        comment=command.comment,
    )
    return enrollment


def _already_live(current: Enrollment) -> Refusal:
    enrolled = current.state == "ENROLLED"
    reason = Reason.ALREADY_ENROLLED if enrolled else Reason.ALREADY_WAITLISTED
    standing = "enrolled in" if enrolled else "on the waitlist of"
    return Refusal(
        reason,
        f'Student "{current.student_id}" is already {standing} "{current.course_id}".',
        student_id=current.student_id,
        course_id=current.course_id,
        enrollment_id=current.enrollment_id,
    )


def unenroll(state: State, command: Unenroll) -> Unenrolled:
    """End the live enrollment, or do nothing where there is none and the caller allows it."""
    state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.latest_attempt(command.student_id, command.course_id)
    if current is None or not current.live:
        if command.allow_missing:
            return Unenrolled(None, ())
        raise _not_enrolled(command)
    drop(state, course, current, reason=command.reason, comment=command.comment)
    return Unenrolled(current, ())


def _not_enrolled(command: Unenroll) -> Refusal:
    return Refusal(
        Reason.NOT_ENROLLED,
        f'Student "{command.student_id}" has no live enrollment in "{command.course_id}".',
        student_id=command.student_id,
        course_id=command.course_id,
    )


def drop(state: State, course: Course, enrollment: Enrollment, *, reason: str, comment: str = "") -> None:
    """End a live enrollment as DROPPED, with its event."""
    previous = enrollment.state
    state.end_enrollment(enrollment, "DROPPED", reason)
    state.record(
        "STUDENT_UNENROLLED",
        course=course,
        student_id=enrollment.student_id,
        enrollment=enrollment,
        previous_state=previous,
        reason=reason,
        comment=comment,
    )
