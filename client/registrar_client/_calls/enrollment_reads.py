"""The calls of EnrollmentService that read enrollments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from operator import attrgetter
from typing import Unpack

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, CallOptions, ListCall, Rpc
from registrar_client._enums import EnrollmentState
from registrar_client._from_wire import read, reader
from registrar_client._types import Enrollment, RosterEntry, StudentCourse

GET_ENROLLMENT = Rpc(EnrollmentServiceStub, "GetEnrollment")
LIST_COURSES = Rpc(EnrollmentServiceStub, "ListCourses")
LIST_ROSTER = Rpc(EnrollmentServiceStub, "ListRoster")
LIST_ENROLLMENTS = Rpc(EnrollmentServiceStub, "ListEnrollments")


def _read_enrollment(response: pb.GetEnrollmentResponse) -> Enrollment:
    return read(Enrollment, response.enrollment)


def get_enrollment(*, enrollment_id: str, **options: Unpack[CallOptions]) -> Call[Enrollment]:
    """Return one enrollment, live or not.

    Args:
        enrollment_id: The enrollment.

    Raises:
        EnrollmentNotFound: No enrollment has this id.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(pb.GetEnrollmentRequest, enrollment_id=enrollment_id)
    return Call(GET_ENROLLMENT, request, _read_enrollment, **options)


def list_courses(
    *,
    student_id: str,
    states: Iterable[EnrollmentState] = (),
    term: str = "",
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    **options: Unpack[CallOptions],
) -> ListCall[StudentCourse]:
    """List the courses of a student with their enrollments, in the order of the course ids.

    The first request is sent when the iteration starts, and errors are raised there.

    Args:
        student_id: The student.
        states: Only enrollments in one of these states. Defaults to ENROLLED and WAITLISTED.
        term: Only courses of this term.
        show_deleted: Also list the courses of a deleted student. Deleted courses are always listed.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        InvalidPageToken: The token is not from this list with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ListCoursesRequest,
        student_id=student_id,
        states=states,
        term=term,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_COURSES, request, reader(StudentCourse), attrgetter("courses"), **options)


def list_roster(
    *,
    course_id: str,
    states: Iterable[EnrollmentState] = (),
    order_by: str = "",
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    **options: Unpack[CallOptions],
) -> ListCall[RosterEntry]:
    """List the students of a course with their enrollments.

    By default, the order is that in which the enrollments were made, so students on the waitlist are in the order of
    their positions. The first request is sent when the iteration starts, and errors are raised there.

    Args:
        course_id: The course.
        states: Only enrollments in one of these states. Defaults to ENROLLED and WAITLISTED.
        order_by: ``family_name`` for the order of family names, then of given names, without case and accents.
        show_deleted: Also list the roster of a deleted course. Deleted students are always listed.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.

    Raises:
        CourseNotFound: No course has this id, or the course is deleted.
        InvalidField: The server refuses values, such as an unknown ``order_by``.
        InvalidPageToken: The token is not from this list with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ListRosterRequest,
        course_id=course_id,
        states=states,
        order_by=order_by,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_ROSTER, request, reader(RosterEntry), attrgetter("entries"), **options)


def list_enrollments(
    *,
    student_id: str = "",
    course_id: str = "",
    term: str = "",
    code: str = "",
    states: Iterable[EnrollmentState] = (),
    update_time_after: dt.datetime | None = None,
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    **options: Unpack[CallOptions],
) -> ListCall[Enrollment]:
    """List enrollments of all students in all courses, in the order of the course ids and of their creation.

    The first request is sent when the iteration starts, and errors are raised there.

    Args:
        student_id: Only enrollments of this student.
        course_id: Only enrollments in this course.
        term: Only enrollments in courses of this term.
        code: Only enrollments in courses of this code.
        states: Only enrollments in one of these states. Defaults to all states.
        update_time_after: Only enrollments that changed after this time. To miss no change, follow the history instead.
        show_deleted: Also list the enrollments of deleted students and in deleted courses.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        CourseNotFound: No course has this id, or the course is deleted.
        InvalidPageToken: The token is not from this list with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ListEnrollmentsRequest,
        student_id=student_id,
        course_id=course_id,
        term=term,
        code=code,
        states=states,
        update_time_after=update_time_after,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_ENROLLMENTS, request, reader(Enrollment), attrgetter("enrollments"), **options)
