"""Decisions about courses: create, update, settle, delete, undelete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from registrar_server.core import waitlist
from registrar_server.core.commands import (
    SETTLING,
    CreateCourse,
    DeleteCourse,
    Settle,
    UndeleteCourse,
    UpdateCourse,
)
from registrar_server.core.fields import check_etag, refuse_etag_of_missing, set_fields
from registrar_server.core.records import Course, Enrollment
from registrar_server.core.seats import drop
from registrar_server.core.state import State
from registrar_server.core.vocabulary import DropReason, EventType
from registrar_server.errors import (
    FieldViolation,
    Reason,
    Refusal,
    course_not_found,
    invalid_fields,
    prerequisites_not_found,
)


class UpdatedCourse(NamedTuple):
    """The result of an update: the course, and the waiters promoted for it."""

    course: Course
    promoted: tuple[Enrollment, ...]


class DeletedCourse(NamedTuple):
    """The result of a deletion: the course, the dropped enrollments, and the promoted ones."""

    course: Course
    dropped: tuple[Enrollment, ...]
    promoted: tuple[Enrollment, ...]


def create(state: State, command: CreateCourse) -> Course:
    """Add a course. A deleted course keeps its id."""
    if command.course_id in state.courses:
        raise Refusal(
            Reason.COURSE_EXISTS,
            f'There is already a course "{command.course_id}", or was one: deleted ids are not given again.',
            course_id=command.course_id,
        )
    _check_window(command.values.get("enroll_open_time"), command.values.get("enroll_close_time"))
    _check_prerequisites(state, command.values, ())
    course = Course(command.course_id, create_time=state.now, update_time=state.now)
    state.add_course(course, set_fields(course, command.values))
    return course


def update(state: State, command: UpdateCourse) -> UpdatedCourse:
    """Set the given fields. If no value differs, nothing changes and there is no event.

    A capacity below the number of seats taken is accepted and drops no student. A change that the rules depend on
    settles the course. With ``creation``, a missing course is created.
    """
    if command.creation is not None and command.course_id not in state.courses:
        refuse_etag_of_missing("course", command.course_id, command.etag)
        return UpdatedCourse(create(state, CreateCourse(command.course_id, command.creation)), ())
    course = state.course(command.course_id)
    check_etag(course, command.etag)
    # A command may set one end of the window alone, so the check needs the stored other end.
    _check_window(
        command.values.get("enroll_open_time", course.enroll_open_time),
        command.values.get("enroll_close_time", course.enroll_close_time),
    )
    _check_prerequisites(state, command.values, course.prerequisite_course_ids)
    if changes := set_fields(course, command.values):
        state.change_course(EventType.COURSE_UPDATED, course, changes)
    if SETTLING.isdisjoint(change.field for change in changes):
        return UpdatedCourse(course, ())
    return UpdatedCourse(course, waitlist.settle(state, course, reserved=course.completed_count))


def settle(state: State, command: Settle) -> tuple[Enrollment, ...]:
    """Give the free seats of a course to its waiters, and return the promoted enrollments."""
    course = state.course(command.course_id)
    reserved = course.completed_count if command.reserve_completed else 0
    return waitlist.settle(state, course, reserved=reserved)


def _check_window(opens: int | None, closes: int | None) -> None:
    if opens is not None and closes is not None and opens >= closes:
        raise invalid_fields([FieldViolation("course.enroll_close_time", "must be after enroll_open_time")])


def _check_prerequisites(state: State, values: Mapping[str, Any], present: tuple[str, ...]) -> None:
    """Refuse a new prerequisite that no course ever had as its id; those that are ``present`` stay as they are."""
    named = values.get("prerequisite_course_ids", ())
    if unknown := [one for one in named if one not in present and not state.knows_course(one)]:
        raise prerequisites_not_found(unknown)


def delete(state: State, command: DeleteCourse) -> DeletedCourse:
    """Delete a course softly. Live enrollments prevent it, unless ``force`` drops them; no course settles."""
    course = state.course(command.course_id)
    check_etag(course, command.etag)
    count = course.enrolled_count + course.waitlisted_count
    if count and not command.force:
        raise Refusal(
            Reason.COURSE_HAS_ENROLLMENTS,
            f'Course "{course.course_id}" still has live enrollments ({count}); end them first, or use force.',
            course_id=course.course_id,
        )
    dropped = tuple(state.live_of_course(course.course_id))
    for enrollment in dropped:
        drop(state, course, enrollment, reason=DropReason.COURSE_DELETED)
    course.delete_time = state.journal.time_of(course)
    state.change_course(EventType.COURSE_DELETED, course)
    return DeletedCourse(course, dropped, ())


def undelete(state: State, command: UndeleteCourse) -> Course:
    """Restore a deleted course. A course that is not deleted does not change."""
    course = state.courses.get(command.course_id)
    if course is None:
        raise course_not_found(command.course_id)
    if course.delete_time is not None:
        course.delete_time = None
        state.change_course(EventType.COURSE_UNDELETED, course)
    return course
