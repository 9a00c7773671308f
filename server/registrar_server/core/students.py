"""Decisions about students: create, update, delete, undelete, and their holds."""

from __future__ import annotations

from registrar_server.core.commands import (
    CreateStudent,
    DeleteStudent,
    PlaceHold,
    ReleaseHold,
    UndeleteStudent,
    UpdateStudent,
)
from registrar_server.core.fields import check_etag, set_fields
from registrar_server.core.records import Change, Hold, Student
from registrar_server.core.seats import drop
from registrar_server.core.state import State
from registrar_server.core.waitlist import settle
from registrar_server.errors import Reason, Refusal, student_not_found


def create(state: State, command: CreateStudent) -> Student:
    """Add a student; a deleted one still holds its id."""
    if command.student_id in state.students:
        raise Refusal(
            Reason.STUDENT_EXISTS,
            f'There is already a student "{command.student_id}", or was one: deleted ids are not given again.',
            student_id=command.student_id,
        )
    student = Student(command.student_id, create_time=state.now, update_time=state.now)
    changes = set_fields(student, command.values)
    state.add_student(student)
    state.journal.record("STUDENT_CREATED", student_id=student.student_id, changes=changes)
    return student


def update(state: State, command: UpdateStudent) -> Student:
    """Set the given fields; setting what is so already changes nothing and writes no event."""
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    if changes := set_fields(student, command.values):
        state.journal.change_student(student)
        state.journal.record("STUDENT_UPDATED", student_id=student.student_id, changes=changes)
    return student


def delete(state: State, command: DeleteStudent) -> Student:
    """Delete softly; live enrollments stand in the way unless ``force`` drops them, and their courses settle then."""
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    live = state.live_of_student(student.student_id)
    if live and not command.force:
        raise Refusal(
            Reason.STUDENT_HAS_ENROLLMENTS,
            f'Student "{student.student_id}" still has live enrollments ({len(live)}); end them first, or use force.',
            student_id=student.student_id,
        )
    left = [state.courses[enrollment.course_id] for enrollment in live if not enrollment.waits]
    for enrollment in live:
        drop(state, state.courses[enrollment.course_id], enrollment, reason="STUDENT_DELETED")
    student.delete_time = state.now
    state.journal.change_student(student)
    state.journal.record("STUDENT_DELETED", student_id=student.student_id)
    for course in left:
        settle(state, course)
    return student


def undelete(state: State, command: UndeleteStudent) -> Student:
    """Restore a deleted student; a live one is answered as it is."""
    student = state.students.get(command.student_id)
    if student is None:
        raise student_not_found(command.student_id)
    if student.delete_time is not None:
        student.delete_time = None
        state.journal.change_student(student)
        state.journal.record("STUDENT_UNDELETED", student_id=student.student_id)
    return student


def place_hold(state: State, command: PlaceHold) -> Student:
    """Place a hold; one of the same code is replaced."""
    student = state.student(command.student_id)
    before = _hold(student, command.code)
    placed = Hold(command.code, command.reason, state.now)
    _replace_hold(state, student, before, placed)
    changes = _changes(before, placed)
    state.journal.record("HOLD_PLACED", student_id=student.student_id, reason=placed.reason, changes=changes)
    return student


def release_hold(state: State, command: ReleaseHold) -> Student:
    """Release a hold. Nobody is promoted by it: it frees no seat."""
    student = state.student(command.student_id)
    released = _hold(student, command.code)
    if released is None:
        raise Refusal(
            Reason.HOLD_NOT_FOUND,
            f'There is no hold "{command.code}" on student "{student.student_id}".',
            student_id=student.student_id,
            code=command.code,
        )
    _replace_hold(state, student, released, None)
    changes = _changes(released, None)
    state.journal.record("HOLD_RELEASED", student_id=student.student_id, reason=released.reason, changes=changes)
    return student


def _hold(student: Student, code: str) -> Hold | None:
    return next((hold for hold in student.holds if hold.code == code), None)


def _replace_hold(state: State, student: Student, before: Hold | None, after: Hold | None) -> None:
    others = [hold for hold in student.holds if hold is not before]
    student.holds = tuple(sorted([*others, after] if after else others))
    state.journal.change_student(student)


def _changes(before: Hold | None, after: Hold | None) -> tuple[Change, ...]:
    """Return what changed; the code says which hold it is, also where it stays."""
    code = Change("code", before and before.code, after and after.code)
    reason = Change("reason", (before and before.reason) or None, (after and after.reason) or None)
    return (code, reason) if reason.before != reason.after else (code,)
