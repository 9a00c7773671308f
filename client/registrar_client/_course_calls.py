"""The calls of CourseService."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask

from registrar.v1 import course_pb2
from registrar.v1 import course_service_pb2 as pb
from registrar.v1.course_service_pb2_grpc import CourseServiceStub
from registrar_client import _convert as convert
from registrar_client import _fields as fields
from registrar_client._calls import Call, ListCall, Rpc
from registrar_client._convert import COURSE_STATES
from registrar_client._enums import CourseState
from registrar_client._types import UNSET, Course, Meeting, Unset

CREATE_COURSE = Rpc(CourseServiceStub, "CreateCourse")
GET_COURSE = Rpc(CourseServiceStub, "GetCourse")
SEARCH_COURSES = Rpc(CourseServiceStub, "SearchCourses")
UPDATE_COURSE = Rpc(CourseServiceStub, "UpdateCourse")
DELETE_COURSE = Rpc(CourseServiceStub, "DeleteCourse")
UNDELETE_COURSE = Rpc(CourseServiceStub, "UndeleteCourse")

_CONVERTERS: dict[str, Callable[[str, Any], Any]] = {
    "credits": fields.decimal,
    "enroll_open_time": fields.timestamp,
    "enroll_close_time": fields.timestamp,
    "drop_deadline_time": fields.timestamp,
    "meetings": fields.meetings,
    "prerequisite_course_ids": fields.strings,
    "state": COURSE_STATES.number,
}


def _read_course(response: Any) -> Course:
    return convert.course(response.course)


def create(
    *,
    course_id: str = "",
    code: str = "",
    title: str = "",
    description: str = "",
    term: str = "",
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
    timeout: float | None = None,
) -> Call[Course]:
    """Create a course.

    Args:
        course_id: The id, for ever; left out, the server makes one.
        code: What the catalogue calls the subject, such as ``CS 101``.
        title: Title.
        description: Description.
        term: The term, as the campus names it.
        credits: The credits earned with it, with up to 3 decimals.
        capacity: The number of seats; left out, unlimited.
        waitlist_capacity: The number of places on the waitlist; left out, there is none.
        enroll_open_time: The first instant of the enrollment window, with a timezone.
        enroll_close_time: The first instant after the enrollment window, with a timezone.
        drop_deadline_time: The first instant at which it is too late to give a seat back, with a timezone.
        meetings: When and where it meets.
        prerequisite_course_ids: The courses to have passed before.
        state: Whether it takes place; left out, OPEN.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        CourseExists: There is a course with this id, perhaps a deleted one.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    values = {
        "course_id": course_id,
        "code": code,
        "title": title,
        "description": description,
        "term": term,
        "credits": credits,
        "capacity": capacity,
        "waitlist_capacity": waitlist_capacity,
        "enroll_open_time": enroll_open_time,
        "enroll_close_time": enroll_close_time,
        "drop_deadline_time": drop_deadline_time,
        "meetings": meetings,
        "prerequisite_course_ids": prerequisite_course_ids,
        "state": state,
    }
    course = fields.message(course_pb2.Course, **fields.changes(values, _CONVERTERS))
    request = pb.CreateCourseRequest(course=course, request_id=fields.request_id(request_id))
    return Call(CREATE_COURSE, request, _read_course, timeout)


def get(*, course_id: str, show_deleted: bool = False, timeout: float | None = None) -> Call[Course]:
    """Return one course.

    Args:
        course_id: The course.
        show_deleted: Return a deleted course too.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        CourseNotFound: There is none with this id, or it is deleted.
        RegistrarError: Any other failure.
    """
    request = fields.message(pb.GetCourseRequest, course_id=course_id, show_deleted=show_deleted)
    return Call(GET_COURSE, request, _read_course, timeout)


def search(
    *,
    query: str = "",
    term: str = "",
    code: str = "",
    open_only: bool = False,
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[Course]:
    """Search the catalogue; without filters it lists all of it. Courses come in the order of their ids.

    Nothing is asked of the server before the iteration starts; errors are raised there.

    Args:
        query: Words, each of which has to occur in the code or the title, in upper or lower case.
        term: Only courses of exactly this term.
        code: Only courses of exactly this code.
        open_only: Only courses that take place and have a free seat.
        show_deleted: Find deleted courses too.
        page_size: The most items per page, up to 1000; left out, the server's 50.
        page_token: Where to start, from an earlier page's ``next_page_token``.
        timeout: Seconds for all attempts at one page; left out, the client's.

    Raises:
        InvalidPageToken: The token is not from this search.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.SearchCoursesRequest,
        query=query,
        term=term,
        code=code,
        open_only=open_only,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(SEARCH_COURSES, request, convert.course, attrgetter("courses"), timeout)


def update(
    *,
    course_id: str,
    code: str | Unset | None = UNSET,
    title: str | Unset | None = UNSET,
    description: str | Unset | None = UNSET,
    term: str | Unset | None = UNSET,
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
    timeout: float | None = None,
) -> Call[Course]:
    """Change a course: the fields that are passed, and no others; ``None`` clears a field.

    Nobody is dropped, whatever changes. A capacity that is raised promotes those who wait.

    Args:
        course_id: The course.
        code: What the catalogue calls the subject.
        title: Title.
        description: Description.
        term: The term, as the campus names it.
        credits: The credits earned with it; cleared, 0.
        capacity: The number of seats; cleared, unlimited.
        waitlist_capacity: The number of places on the waitlist; cleared, there is none.
        enroll_open_time: The first instant of the enrollment window; cleared, it has no beginning.
        enroll_close_time: The first instant after the enrollment window; cleared, it has no end.
        drop_deadline_time: The first instant at which it is too late to give a seat back; cleared, there is none.
        meetings: When and where it meets, all of it.
        prerequisite_course_ids: The courses to have passed before, all of them.
        state: Whether it takes place; cleared, OPEN.
        etag: Change only if this is still the course's etag; left out, in any case.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        CourseNotFound: There is none with this id, or it is deleted.
        EtagMismatch: Somebody else was faster; read the course again, and decide anew.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    values = {
        "code": code,
        "title": title,
        "description": description,
        "term": term,
        "credits": credits,
        "capacity": capacity,
        "waitlist_capacity": waitlist_capacity,
        "enroll_open_time": enroll_open_time,
        "enroll_close_time": enroll_close_time,
        "drop_deadline_time": drop_deadline_time,
        "meetings": meetings,
        "prerequisite_course_ids": prerequisite_course_ids,
        "state": state,
    }
    passed = fields.changes(values, _CONVERTERS)
    course = fields.message(course_pb2.Course, course_id=course_id, etag=etag, **passed)
    request = fields.message(
        pb.UpdateCourseRequest,
        course=course,
        update_mask=FieldMask(paths=passed),
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
    )
    return Call(UPDATE_COURSE, request, _read_course, timeout)


def delete(
    *,
    course_id: str,
    etag: str = "",
    force: bool = False,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    timeout: float | None = None,
) -> Call[Course]:
    """Delete a course, softly: the record stays, and ``undelete`` brings it back.

    Args:
        course_id: The course.
        etag: Delete only if this is still the course's etag; left out, in any case.
        force: Delete in spite of live enrollments, and drop them.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        CourseNotFound: There is none with this id, or it is deleted already.
        EtagMismatch: Somebody else was faster; read the course again, and decide anew.
        CourseHasEnrollments: There are live enrollments, and ``force`` is not set.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.DeleteCourseRequest,
        course_id=course_id,
        etag=etag,
        force=force,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
    )
    return Call(DELETE_COURSE, request, _read_course, timeout)


def undelete(*, course_id: str, request_id: str | UUID | None = None, timeout: float | None = None) -> Call[Course]:
    """Bring a deleted course back; enrollments that the deletion dropped stay dropped.

    Args:
        course_id: The course; one that is not deleted is returned as it is.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        CourseNotFound: There never was a course with this id.
        RegistrarError: Any other failure.
    """
    request = fields.message(pb.UndeleteCourseRequest, course_id=course_id, request_id=fields.request_id(request_id))
    return Call(UNDELETE_COURSE, request, _read_course, timeout)
