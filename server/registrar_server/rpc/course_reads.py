"""The reads of CourseService."""

from __future__ import annotations

from collections.abc import Sequence

from registrar.v1 import course_service_pb2 as pb
from registrar_server.core.records import Course
from registrar_server.reading.lists import CourseSearch
from registrar_server.reading.lookups import CourseById
from registrar_server.rpc import convert
from registrar_server.rpc.methods import LookupPlan, QueryPlan, Read
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields


def _get(fields: Fields, request: pb.GetCourseRequest) -> LookupPlan:
    return LookupPlan(CourseById(fields.id("course_id", request.course_id), request.show_deleted), _found)


def _found(course: Course, _max_bytes: int) -> pb.GetCourseResponse:
    return pb.GetCourseResponse(course=convert.course(course))


def _search(fields: Fields, request: pb.SearchCoursesRequest) -> QueryPlan:
    search = CourseSearch(
        query=fields.selector("query", request.query, 200),
        term=fields.selector("term", request.term, 64),
        code=fields.selector("code", request.code, 64),
        component=fields.selector("component", request.component, 64),
        waitlisted_only=request.waitlisted_only,
        open_only=request.open_only,
        show_deleted=request.show_deleted,
    )
    page = Page(fields, request)
    after = page.after(str)

    def pack(rows: Sequence[Course], max_bytes: int) -> pb.SearchCoursesResponse:
        response = pb.SearchCoursesResponse()
        page.fill(response, response.courses, rows, convert.set_course, _key, max_bytes)
        return response

    return QueryPlan(lambda reader: reader.search_courses(search, after, page.size + 1), pack)


def _key(course: Course) -> tuple[str]:
    return (course.course_id,)


READS = (
    Read(pb.GetCourseRequest, pb.GetCourseResponse, _get),
    Read(pb.SearchCoursesRequest, pb.SearchCoursesResponse, _search),
)
