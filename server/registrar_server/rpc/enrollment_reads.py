"""The reads of EnrollmentService: the courses of a student, rosters, and lists of enrollments."""

from __future__ import annotations

from collections.abc import Sequence

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_server.core.records import Enrollment
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState
from registrar_server.reading.enrollment_lists import EnrollmentSearch
from registrar_server.reading.lists import RosterEntry, RosterFilter, StudentCourseFilter
from registrar_server.reading.lookups import CoursesOfStudent, EnrollmentById, StudentCourse
from registrar_server.rpc import convert
from registrar_server.rpc.filters import members, time_after
from registrar_server.rpc.methods import LookupPlan, QueryPlan, Read
from registrar_server.rpc.paging import DEFAULT_PAGE_SIZE, Page, SortName
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import ENROLLMENT_STATES

_LIVE = StudentCourseFilter()
_LIVE_NUMBERS = [ENROLLMENT_STATES[state] for state in LIVE_STATES]


def _list_courses(fields: Fields, request: pb.ListCoursesRequest) -> LookupPlan | QueryPlan:
    """Plan a page of a student's courses.

    The first page of live enrollments in default size, without other filters, is the most frequent read. A lookup
    returns all live enrollments.
    """
    student_id = fields.id("student_id", request.student_id)
    states, term = _states(fields, request), fields.selector("term", request.term, 64)
    wanted = StudentCourseFilter(states, term, request.show_deleted)
    page = Page(fields, request)
    after = page.after(str, int)

    def pack(rows: Sequence[StudentCourse], max_bytes: int) -> pb.ListCoursesResponse:
        response = pb.ListCoursesResponse()
        page.fill(response, response.courses, rows, _student_course, _courses_key, max_bytes)
        return response

    if after is None and page.size == DEFAULT_PAGE_SIZE and wanted == _LIVE:
        return LookupPlan(CoursesOfStudent(student_id), pack)
    return QueryPlan(lambda reader: reader.list_courses(student_id, wanted, after, page.size + 1), pack)


def _list_roster(fields: Fields, request: pb.ListRosterRequest) -> QueryPlan:
    course_id = fields.id("course_id", request.course_id)
    if request.order_by not in ("", "family_name"):
        fields.wrong("order_by", "must be family_name or empty")
    wanted = RosterFilter(_states(fields, request), bool(request.order_by), request.show_deleted)
    page = Page(fields, request)
    after = page.after(SortName, int) if wanted.by_name else page.after(int)

    def pack(rows: Sequence[RosterEntry], max_bytes: int) -> pb.ListRosterResponse:
        response = pb.ListRosterResponse()
        key = _name_key if wanted.by_name else _roster_key
        page.fill(response, response.entries, rows, _roster_entry, key, max_bytes)
        return response

    return QueryPlan(lambda reader: reader.list_roster(course_id, wanted, after, page.size + 1), pack)


def _list_enrollments(fields: Fields, request: pb.ListEnrollmentsRequest) -> QueryPlan:
    search = EnrollmentSearch(
        student_id=fields.optional_id("student_id", request.student_id),
        course_id=fields.optional_id("course_id", request.course_id),
        term=fields.selector("term", request.term, 64),
        code=fields.selector("code", request.code, 64),
        states=members(fields, "states", request.states, ENROLLMENT_STATES),
        updated_after=time_after(fields, request, "update_time_after"),
        show_deleted=request.show_deleted,
    )
    page = Page(fields, request)
    after = page.after(str, int)

    def pack(rows: Sequence[Enrollment], max_bytes: int) -> pb.ListEnrollmentsResponse:
        response = pb.ListEnrollmentsResponse()
        page.fill(response, response.enrollments, rows, convert.set_enrollment, _enrollments_key, max_bytes)
        return response

    return QueryPlan(lambda reader: reader.list_enrollments(search, after, page.size + 1), pack)


def _get_enrollment(fields: Fields, request: pb.GetEnrollmentRequest) -> LookupPlan:
    return LookupPlan(EnrollmentById(fields.id("enrollment_id", request.enrollment_id)), _found)


def _found(enrollment: Enrollment, _max_bytes: int) -> pb.GetEnrollmentResponse:
    response = pb.GetEnrollmentResponse()
    convert.set_enrollment(response.enrollment, enrollment)
    return response


def _states(fields: Fields, request: pb.ListCoursesRequest | pb.ListRosterRequest) -> tuple[EnrollmentState, ...]:
    """Return the states that the request asks for, by default the live ones, which the request gets too."""
    if not request.states:
        request.states.extend(_LIVE_NUMBERS)
        return LIVE_STATES
    return members(fields, "states", request.states, ENROLLMENT_STATES)


def _courses_key(entry: StudentCourse) -> tuple[str, int]:
    return entry.enrollment.course_id, entry.enrollment.attempt


def _student_course(message: pb.StudentCourse, entry: StudentCourse) -> None:
    convert.set_course(message.course, entry.course)
    convert.set_enrollment(message.enrollment, entry.enrollment)


def _roster_key(entry: RosterEntry) -> tuple[int]:
    return (entry.enrollment.number,)


def _name_key(entry: RosterEntry) -> tuple[str, int]:
    return entry.sort_name, entry.enrollment.number


def _enrollments_key(enrollment: Enrollment) -> tuple[str, int]:
    return enrollment.course_id, enrollment.number


def _roster_entry(message: pb.RosterEntry, entry: RosterEntry) -> None:
    convert.set_student(message.student, entry.student)
    convert.set_enrollment(message.enrollment, entry.enrollment)


READS = (
    Read(pb.ListCoursesRequest, pb.ListCoursesResponse, _list_courses),
    Read(pb.ListRosterRequest, pb.ListRosterResponse, _list_roster),
    Read(pb.ListEnrollmentsRequest, pb.ListEnrollmentsResponse, _list_enrollments),
    Read(pb.GetEnrollmentRequest, pb.GetEnrollmentResponse, _get_enrollment),
)
