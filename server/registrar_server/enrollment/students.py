"""Decisions about students: create, update, delete, undelete."""

from __future__ import annotations

from registrar_server.enrollment.changes import check_etag, set_fields
from registrar_server.enrollment.commands import (
    CreateStudent,
    DeleteStudent,
    UndeleteStudent,
    UpdateStudent,
)
from registrar_server.enrollment.records import Student
from registrar_server.enrollment.seats import drop
from registrar_server.enrollment.state import State
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
    set_fields(student, command.values)
    state.add_student(student)
    state.record("STUDENT_CREATED", student_id=student.student_id)
    return student


def update(state: State, command: UpdateStudent) -> Student:
    """Set the given fields; setting what is so already changes nothing and writes no event."""
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    if changes := set_fields(student, command.values):
        state.change_student(student)
        state.record("STUDENT_UPDATED", student_id=student.student_id, changes=changes)
    return student


def delete(state: State, command: DeleteStudent) -> Student:
    """Delete softly; live enrollments stand in the way unless ``force`` drops them."""
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    live = state.live_of_student(student.student_id)
    if live and not command.force:
        raise Refusal(
            Reason.STUDENT_HAS_ENROLLMENTS,
            f'Student "{student.student_id}" still has live enrollments ({len(live)}); end them first, or use force.',
            student_id=student.student_id,
        )
    for enrollment in live:
        drop(state, state.courses[enrollment.course_id], enrollment, reason="STUDENT_DELETED")
    student.delete_time = state.now
    state.change_student(student)
    state.record("STUDENT_DELETED", student_id=student.student_id)
    return student


def undelete(state: State, command: UndeleteStudent) -> Student:
    """Restore a deleted student; a live one is answered as it is."""
    student = state.students.get(command.student_id)
    if student is None:
        raise student_not_found(command.student_id)
    if student.delete_time is not None:
        student.delete_time = None
        state.change_student(student)
        state.record("STUDENT_UNDELETED", student_id=student.student_id)
    return student
