"""Decisions about students: create, update, delete, undelete, and their holds."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

from registrar_server.core.commands import (
    CreateStudent,
    DeleteStudent,
    PlaceHold,
    ReleaseHold,
    UndeleteStudent,
    UpdateStudent,
)
from registrar_server.core.fields import check_etag, refuse_etag_of_missing, set_fields
from registrar_server.core.keys import text_key
from registrar_server.core.records import Change, Enrollment, Hold, Student
from registrar_server.core.seats import drop
from registrar_server.core.state import State
from registrar_server.core.vocabulary import DropReason, EventType
from registrar_server.core.waitlist import settle
from registrar_server.errors import FieldViolation, Reason, Refusal, invalid_fields, student_not_found

MAX_HOLDS = 32
"""Every response with a student contains all holds, and must fit into the smallest message that the settings allow."""


class DeletedStudent(NamedTuple):
    """The result of a deletion: the student, the dropped enrollments, and the waiters promoted for them."""

    student: Student
    dropped: tuple[Enrollment, ...]
    promoted: tuple[Enrollment, ...]


def create(state: State, command: CreateStudent) -> Student:
    """Add a student. A deleted student keeps its id."""
    if command.student_id in state.students:
        raise Refusal(
            Reason.STUDENT_EXISTS,
            f'There is already a student "{command.student_id}", or was one: deleted ids are not given again.',
            student_id=command.student_id,
        )
    student = Student(command.student_id, create_time=state.now, update_time=state.now)
    state.add_student(student, set_fields(student, command.values))
    return student


def update(state: State, command: UpdateStudent) -> Student:
    """Set the given fields. If no value differs, nothing changes and there is no event.

    With ``creation``, a missing student is created.
    """
    if command.creation is not None and command.student_id not in state.students:
        refuse_etag_of_missing("student", command.student_id, command.etag)
        return create(state, CreateStudent(command.student_id, command.creation))
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    if changes := set_fields(student, command.values):
        state.change_student(EventType.STUDENT_UPDATED, student, changes=changes)
    return student


def delete(state: State, command: DeleteStudent) -> DeletedStudent:
    """Delete a student softly. Live enrollments prevent it, unless ``force`` drops them; then their courses settle."""
    student = state.student(command.student_id)
    check_etag(student, command.etag)
    live = tuple(state.live_of_student(student.student_id))
    if live and not command.force:
        raise Refusal(
            Reason.STUDENT_HAS_ENROLLMENTS,
            f'Student "{student.student_id}" still has live enrollments ({len(live)}); end them first, or use force.',
            student_id=student.student_id,
        )
    left = [state.courses[enrollment.course_id] for enrollment in live if not enrollment.waits]
    for enrollment in live:
        drop(state, state.courses[enrollment.course_id], enrollment, reason=DropReason.STUDENT_DELETED)
    student.delete_time = state.journal.time_of(student)
    state.change_student(EventType.STUDENT_DELETED, student)
    promoted = [settle(state, course) for course in left]
    return DeletedStudent(student, live, tuple(chain.from_iterable(promoted)))


def undelete(state: State, command: UndeleteStudent) -> Student:
    """Restore a deleted student. A student that is not deleted does not change."""
    student = state.students.get(command.student_id)
    if student is None:
        raise student_not_found(command.student_id)
    if student.delete_time is not None:
        student.delete_time = None
        state.change_student(EventType.STUDENT_UNDELETED, student)
    return student


def place_hold(state: State, command: PlaceHold) -> Student:
    """Place a hold. It replaces a hold of the same code."""
    student = state.student(command.student_id)
    before = _hold(student, command.code)
    if before is None and len(student.holds) >= MAX_HOLDS:
        problem = f"must be the code of one of the student's holds: a student has at most {MAX_HOLDS} holds"
        raise invalid_fields([FieldViolation("code", problem)])
    placed = Hold(command.code, command.reason, state.journal.time_of(student))
    _replace_hold(student, before, placed)
    changes = _changes(before, placed)
    state.change_student(EventType.HOLD_PLACED, student, reason=placed.reason, changes=changes)
    return student


def release_hold(state: State, command: ReleaseHold) -> Student:
    """Release a hold. No course settles; the next sweep promotes the student if a seat is free."""
    student = state.student(command.student_id)
    released = _hold(student, command.code)
    if released is None:
        raise Refusal(
            Reason.HOLD_NOT_FOUND,
            f'There is no hold "{command.code}" on student "{student.student_id}".',
            student_id=student.student_id,
            code=command.code,
        )
    _replace_hold(student, released, None)
    changes = _changes(released, None)
    state.change_student(EventType.HOLD_RELEASED, student, reason=released.reason, changes=changes)
    return student


def _hold(student: Student, code: str) -> Hold | None:
    """Return the student's hold of a code, or else of a code with the same key.

    Rows that are older than the keys may have several holds of one key. Each is found by its own code.
    """
    key = text_key(code)
    same = [hold for hold in student.holds if text_key(hold.code) == key]
    return next((hold for hold in same if hold.code == code), same[0] if same else None)


def _replace_hold(student: Student, before: Hold | None, after: Hold | None) -> None:
    others = [hold for hold in student.holds if hold is not before]
    student.holds = tuple(sorted([*others, after] if after else others))


def _changes(before: Hold | None, after: Hold | None) -> tuple[Change, ...]:
    """Return the changes of a hold. The code is always among them, since it identifies the hold."""
    code = Change("code", before and before.code, after and after.code)
    reason = Change("reason", (before and before.reason) or None, (after and after.reason) or None)
    return (code, reason) if reason.before != reason.after else (code,)
