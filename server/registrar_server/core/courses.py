"""Decisions about courses: create, update, delete, undelete."""

from __future__ import annotations

from registrar_server.core.commands import CreateCourse, DeleteCourse, UndeleteCourse, UpdateCourse
from registrar_server.core.fields import check_etag, set_fields
from registrar_server.core.records import Course
from registrar_server.core.seats import drop
from registrar_server.core.state import State
from registrar_server.core.waitlist import settle
from registrar_server.errors import FieldViolation, Reason, Refusal, course_not_found, invalid_fields


def create(state: State, command: CreateCourse) -> Course:
    """Add a course; a deleted one still holds its id."""
    if command.course_id in state.courses:
        raise Refusal(
            Reason.COURSE_EXISTS,
            f'There is already a course "{command.course_id}", or was one: deleted ids are not given again.',
            course_id=command.course_id,
        )
    _check_window(command.values.get("enroll_open_time"), command.values.get("enroll_close_time"))
    course = Course(command.course_id, create_time=state.now, update_time=state.now)
    changes = set_fields(course, command.values)
    state.add_course(course)
    state.journal.record("COURSE_CREATED", course=course, changes=changes)
    return course


def update(state: State, command: UpdateCourse) -> Course:
    """Set the given fields; setting what is so already changes nothing and writes no event.

    A capacity below the count is accepted and evicts nobody. One that is raised adds seats, and the course settles.
    """
    course = state.course(command.course_id)
    check_etag(course, command.etag)
    # One end of the window may be set alone, so only here is it known whether the two still fit.
    _check_window(
        command.values.get("enroll_open_time", course.enroll_open_time),
        command.values.get("enroll_close_time", course.enroll_close_time),
    )
    seats = course.capacity
    if changes := set_fields(course, command.values):
        state.journal.change_course(course)
        state.journal.record("COURSE_UPDATED", course=course, changes=changes)
    if seats is not None and (course.capacity is None or course.capacity > seats):
        settle(state, course)
    return course


def _check_window(opens: int | None, closes: int | None) -> None:
    if opens is not None and closes is not None and opens >= closes:
        raise invalid_fields([FieldViolation("course.enroll_close_time", "must be after enroll_open_time")])


def delete(state: State, command: DeleteCourse) -> Course:
    """Delete softly; live enrollments stand in the way unless ``force`` drops them."""
    course = state.course(command.course_id)
    check_etag(course, command.etag)
    count = course.enrolled_count + course.waitlisted_count
    if count and not command.force:
        raise Refusal(
            Reason.COURSE_HAS_ENROLLMENTS,
            f'Course "{course.course_id}" still has live enrollments ({count}); end them first, or use force.',
            course_id=course.course_id,
        )
    for enrollment in state.live_of_course(course.course_id):
        drop(state, course, enrollment, reason="COURSE_DELETED")
    course.delete_time = state.now
    state.journal.change_course(course)
    state.journal.record("COURSE_DELETED", course=course)
    return course


def undelete(state: State, command: UndeleteCourse) -> Course:
    """Restore a deleted course; a live one is answered as it is."""
    course = state.courses.get(command.course_id)
    if course is None:
        raise course_not_found(command.course_id)
    if course.delete_time is not None:
        course.delete_time = None
        state.journal.change_course(course)
        state.journal.record("COURSE_UNDELETED", course=course)
    return course
