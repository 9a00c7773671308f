"""CourseService: the catalogue of offerings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registrar.v1 import course_service_pb2 as pb
from registrar.v1.course_service_pb2_grpc import CourseServiceServicer
from registrar_server import ids
from registrar_server.core.commands import (
    CreateCourse,
    DeleteCourse,
    Settle,
    UndeleteCourse,
    UpdateCourse,
)
from registrar_server.core.courses import DeletedCourse, UpdatedCourse
from registrar_server.core.records import Course, Enrollment
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.reading.lists import CourseSearch
from registrar_server.reading.lookups import CourseById
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.paging import Page
from registrar_server.rpc.settable_fields import masked, read_fields
from registrar_server.rpc.validation import Fields

_created = convert.answering(pb.CreateCourseResponse, "course", convert.course)
_undeleted = convert.answering(pb.UndeleteCourseResponse, "course", convert.course)


def _check_prerequisites(fields: Fields, course_id: str, values: Mapping[str, Any]) -> None:
    for place, prerequisite in enumerate(values.get("prerequisite_course_ids", ())):
        if prerequisite == course_id:
            fields.wrong(f"course.prerequisite_course_ids[{place}]", "must not be the course itself")


class CourseService(CourseServiceServicer):
    """Implements ``protos/registrar/v1/course_service.proto``, which documents each RPC."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.slow_call = dispatcher.slow_call

    @endpoint
    async def CreateCourse(self, request: pb.CreateCourseRequest, context: Context) -> pb.CreateCourseResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        course_id = fields.optional_id("course.course_id", request.course.course_id)
        values = read_fields(fields, Course, request.course)
        _check_prerequisites(fields, course_id, values)
        fields.check()
        command = CreateCourse(course_id or ids.new_id(microseconds_now()), values)
        return await self._dispatcher.change(context, request, command, pb.CreateCourseResponse, _created)

    @endpoint
    async def GetCourse(self, request: pb.GetCourseRequest, context: Context) -> pb.GetCourseResponse:
        fields = Fields()
        course_id = fields.id("course_id", request.course_id)
        fields.check()
        found = await self._dispatcher.reads.look_up(
            CourseById(course_id, request.show_deleted), timeout=context.time_remaining()
        )
        return pb.GetCourseResponse(course=convert.course(found))

    @endpoint
    async def SearchCourses(self, request: pb.SearchCoursesRequest, context: Context) -> pb.SearchCoursesResponse:
        fields = Fields()
        search = CourseSearch(
            query=fields.selector("query", request.query, 200),
            term=fields.selector("term", request.term, 64),
            code=fields.selector("code", request.code, 64),
            component=fields.selector("component", request.component, 64),
            waitlisted_only=request.waitlisted_only,
            open_only=request.open_only,
            show_deleted=request.show_deleted,
        )
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        after = page.after(str)
        rows = await self._dispatcher.reads.list(lambda reader: reader.search_courses(search, after, page.size + 1))
        response = pb.SearchCoursesResponse()
        page.fill(response, response.courses, rows, convert.set_course, lambda course: (course.course_id,))
        return response

    @endpoint
    async def UpdateCourse(self, request: pb.UpdateCourseRequest, context: Context) -> pb.UpdateCourseResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        course_id = fields.id("course.course_id", request.course.course_id)
        names = masked(fields, request.update_mask, request.course, Course)
        values = read_fields(fields, Course, request.course, names)
        creation = read_fields(fields, Course, request.course) if request.allow_missing else None
        for found in filter(None, (values, creation)):
            _check_prerequisites(fields, course_id, found)
        fields.check()
        command = UpdateCourse(course_id, values, request.course.etag, creation)
        return await self._dispatcher.change(context, request, command, pb.UpdateCourseResponse, _updated)

    @endpoint
    async def DeleteCourse(self, request: pb.DeleteCourseRequest, context: Context) -> pb.DeleteCourseResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        course_id = fields.id("course_id", request.course_id)
        fields.check()
        command = DeleteCourse(course_id, request.etag, request.force)
        return await self._dispatcher.change(context, request, command, pb.DeleteCourseResponse, _deleted)

    @endpoint
    async def SettleCourse(self, request: pb.SettleCourseRequest, context: Context) -> pb.SettleCourseResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        course_id = fields.id("course_id", request.course_id)
        fields.check()
        command = Settle(course_id)
        return await self._dispatcher.change(context, request, command, pb.SettleCourseResponse, _settled)

    @endpoint
    async def UndeleteCourse(self, request: pb.UndeleteCourseRequest, context: Context) -> pb.UndeleteCourseResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        course_id = fields.id("course_id", request.course_id)
        fields.check()
        command = UndeleteCourse(course_id)
        return await self._dispatcher.change(context, request, command, pb.UndeleteCourseResponse, _undeleted)


def _updated(result: UpdatedCourse) -> pb.UpdateCourseResponse:
    return pb.UpdateCourseResponse(
        course=convert.course(result.course),
        promoted=convert.listed(result.promoted),
        promoted_count=len(result.promoted),
    )


def _settled(promoted: tuple[Enrollment, ...]) -> pb.SettleCourseResponse:
    return pb.SettleCourseResponse(promoted=convert.listed(promoted), promoted_count=len(promoted))


def _deleted(result: DeletedCourse) -> pb.DeleteCourseResponse:
    return pb.DeleteCourseResponse(
        course=convert.course(result.course),
        dropped=convert.listed(result.dropped),
        dropped_count=len(result.dropped),
        promoted=convert.listed(result.promoted),
        promoted_count=len(result.promoted),
    )
