"""The calls of CourseService."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any, Unpack
from uuid import UUID

from registrar.v1 import course_service_pb2 as pb
from registrar.v1.course_service_pb2_grpc import CourseServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, CallOptions, ListCall, Rpc
from registrar_client._enums import CourseState
from registrar_client._from_wire import read, reader
from registrar_client._results import DeletedCourse, Settled, UpdatedCourse
from registrar_client._types import UNSET, Course, Meeting, Unset

CREATE_COURSE = Rpc(CourseServiceStub, "CreateCourse")
GET_COURSE = Rpc(CourseServiceStub, "GetCourse")
SEARCH_COURSES = Rpc(CourseServiceStub, "SearchCourses")
UPDATE_COURSE = Rpc(CourseServiceStub, "UpdateCourse")
DELETE_COURSE = Rpc(CourseServiceStub, "DeleteCourse")
SETTLE_COURSE = Rpc(CourseServiceStub, "SettleCourse")
UNDELETE_COURSE = Rpc(CourseServiceStub, "UndeleteCourse")


def _read_course(response: Any) -> Course:
    return read(Course, response.course)


def create(
    *,
    course_id: str = "",
    code: str = "",
    title: str = "",
    description: str = "",
    term: str = "",
    component: str = "",
    credits: Decimal | int | str = 0,
    capacity: int | None = None,
    waitlist_capacity: int | None = None,
    enroll_open_time: dt.datetime | None = None,
    enroll_close_time: dt.datetime | None = None,
    drop_deadline_time: dt.datetime | None = None,
    meetings: Iterable[Meeting] = (),
    prerequisite_course_ids: Iterable[str] = (),
    state: CourseState | None = None,
    request_id: str | UUID | None = None,
    **options: Unpack[CallOptions],
) -> Call[Course]:
    """Create a course.

    Args:
        course_id: The id, which never changes. By default, the server makes one.
        code: The code of the subject, such as ``CS 101``.
        title: Title.
        description: Description.
        term: The term, as the campus names it.
        component: The part of the subject that this course teaches, such as ``LEC`` or ``LAB``.
        credits: The credits of the course, with up to 3 decimals.
        capacity: The number of seats. By default, the number is unlimited.
        waitlist_capacity: The number of places on the waitlist. By default, the course has no waitlist.
        enroll_open_time: The first instant of the enrollment window, with a timezone.
        enroll_close_time: The first instant after the enrollment window, with a timezone.
        drop_deadline_time: The first instant at which a seat can no longer be given up, with a timezone.
        meetings: When and where the course meets.
        prerequisite_course_ids: The courses that a student must have passed. Each must exist or have existed.
        state: Whether the course takes place. Defaults to OPEN.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        CourseExists: A course has this id already. It may be deleted.
        CourseNotFound: A prerequisite never existed.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    passed = to_wire.fields(Course, locals())
    request = to_wire.message(pb.CreateCourseRequest, course=passed, request_id=to_wire.request_id(request_id))
    return Call(CREATE_COURSE, request, _read_course, **options)


def get(*, course_id: str, show_deleted: bool = False, **options: Unpack[CallOptions]) -> Call[Course]:
    """Return one course.

    Args:
        course_id: The course.
        show_deleted: Also return a deleted course.

    Raises:
        CourseNotFound: No course has this id, or the course is deleted.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(pb.GetCourseRequest, course_id=course_id, show_deleted=show_deleted)
    return Call(GET_COURSE, request, _read_course, **options)


def search(
    *,
    query: str = "",
    term: str = "",
    code: str = "",
    component: str = "",
    open_only: bool = False,
    waitlisted_only: bool = False,
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    **options: Unpack[CallOptions],
) -> ListCall[Course]:
    """Search the courses and list them in the order of their ids. Without filters, list all courses.

    The first request is sent when the iteration starts, and errors are raised there.

    Args:
        query: Words that must all occur in the id, the code or the title. Case, accents and the blanks in codes do not
            matter.
        term: Only courses of this term. Case does not matter.
        code: Only courses with this code. Case and blanks do not matter: ``cs101`` finds ``CS 101``.
        component: Only courses of this component. Case does not matter.
        open_only: Only courses that take place and have a free seat.
        waitlisted_only: Only courses on whose waitlist students wait.
        show_deleted: Also find deleted courses.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.

    Raises:
        InvalidPageToken: The token is not from this search with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.SearchCoursesRequest,
        query=query,
        term=term,
        code=code,
        component=component,
        open_only=open_only,
        waitlisted_only=waitlisted_only,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(SEARCH_COURSES, request, reader(Course), attrgetter("courses"), **options)


def update(
    *,
    course_id: str,
    code: str | Unset | None = UNSET,
    title: str | Unset | None = UNSET,
    description: str | Unset | None = UNSET,
    term: str | Unset | None = UNSET,
    component: str | Unset | None = UNSET,
    credits: Decimal | int | str | Unset | None = UNSET,
    capacity: int | Unset | None = UNSET,
    waitlist_capacity: int | Unset | None = UNSET,
    enroll_open_time: dt.datetime | Unset | None = UNSET,
    enroll_close_time: dt.datetime | Unset | None = UNSET,
    drop_deadline_time: dt.datetime | Unset | None = UNSET,
    meetings: Iterable[Meeting] | Unset | None = UNSET,
    prerequisite_course_ids: Iterable[str] | Unset | None = UNSET,
    state: CourseState | Unset | None = UNSET,
    etag: str = "",
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    allow_missing: bool = False,
    **options: Unpack[CallOptions],
) -> Call[UpdatedCourse]:
    """Change the fields of a course that are passed. ``None`` clears a field.

    No change drops an enrollment. If a field changes that the rules of enrolling depend on, students on the waitlist
    get the free seats, except as many as ``completed_count``. ``promoted`` lists their enrollments.

    Args:
        course_id: The course.
        code: The code of the subject.
        title: Title.
        description: Description.
        term: The term, as the campus names it.
        component: The part of the subject that this course teaches.
        credits: The credits of the course. Cleared, they are 0.
        capacity: The number of seats. Cleared, the number is unlimited.
        waitlist_capacity: The number of places on the waitlist. Cleared, the course has no waitlist.
        enroll_open_time: The first instant of the enrollment window. Cleared, the window has no beginning.
        enroll_close_time: The first instant after the enrollment window. Cleared, the window has no end.
        drop_deadline_time: The first instant at which a seat can no longer be given up. Cleared, there is no deadline.
        meetings: When and where the course meets. They replace all meetings.
        prerequisite_course_ids: The courses that a student must have passed. They replace all prerequisites.
        state: Whether the course takes place. Cleared, it is OPEN.
        etag: Change only if the course still has this etag. By default, the etag is not checked.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        allow_missing: Create the course with the passed fields if no course has ever had this id.

    Raises:
        CourseNotFound: No course has this id, the course is deleted, or a new prerequisite never existed.
        EtagMismatch: The course has another etag. Read it again and decide whether to repeat the call. With
            ``allow_missing``, also if no course has this id.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    passed = to_wire.fields(Course, locals())
    request = to_wire.message(
        pb.UpdateCourseRequest,
        course=passed,
        update_mask=to_wire.update_mask(passed),
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
        allow_missing=allow_missing,
    )
    return Call(UPDATE_COURSE, request, reader(UpdatedCourse), **options)


def delete(
    *,
    course_id: str,
    etag: str = "",
    force: bool = False,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    **options: Unpack[CallOptions],
) -> Call[DeletedCourse]:
    """Delete a course. The record stays, and ``undelete`` restores it. ``dropped`` lists the enrollments that ended.

    Args:
        course_id: The course.
        etag: Delete only if the course still has this etag. By default, the etag is not checked.
        force: Delete even if there are live enrollments, and drop them.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.

    Raises:
        CourseNotFound: No course has this id, or the course is already deleted.
        EtagMismatch: The course has another etag. Read it again and decide whether to repeat the call.
        CourseHasEnrollments: There are live enrollments, and ``force`` is not set.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.DeleteCourseRequest,
        course_id=course_id,
        etag=etag,
        force=force,
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
    )
    return Call(DELETE_COURSE, request, reader(DeletedCourse), **options)


def settle(
    *, course_id: str, validate_only: bool = False, request_id: str | UUID | None = None, **options: Unpack[CallOptions]
) -> Call[Settled]:
    """Give the free seats of a course to the students on its waitlist who meet all rules, in order.

    The server does this by itself, after some changes only within a minute. This call does it at once. It also gives
    away the seats that ``completed_count`` counts. Outside the enrollment window, and while the course is cancelled, it
    promotes no student.

    Args:
        course_id: The course.
        validate_only: Return what the call would return, but change nothing.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        CourseNotFound: No course has this id, or the course is deleted.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.SettleCourseRequest,
        course_id=course_id,
        validate_only=validate_only,
        request_id=to_wire.request_id(request_id),
    )
    return Call(SETTLE_COURSE, request, reader(Settled), **options)


def undelete(*, course_id: str, request_id: str | UUID | None = None, **options: Unpack[CallOptions]) -> Call[Course]:
    """Restore a deleted course. Enrollments that the deletion dropped stay dropped.

    Args:
        course_id: The course. A course that is not deleted is returned unchanged.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        CourseNotFound: No course has ever had this id.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(pb.UndeleteCourseRequest, course_id=course_id, request_id=to_wire.request_id(request_id))
    return Call(UNDELETE_COURSE, request, _read_course, **options)
