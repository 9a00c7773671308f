"""StudentService: students and their holds."""

from __future__ import annotations

from registrar.v1 import student_service_pb2 as pb
from registrar.v1.student_service_pb2_grpc import StudentServiceServicer
from registrar_server import ids
from registrar_server.core.commands import (
    CreateStudent,
    DeleteStudent,
    PlaceHold,
    ReleaseHold,
    UndeleteStudent,
    UpdateStudent,
)
from registrar_server.core.records import Student
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.reading.lists import StudentSearch
from registrar_server.reading.lookups import StudentById
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.filters import member
from registrar_server.rpc.paging import Page
from registrar_server.rpc.settable_fields import masked, read_fields
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import STUDENT_STATES

_created = convert.answering(pb.CreateStudentResponse, "student", convert.student)
_updated = convert.answering(pb.UpdateStudentResponse, "student", convert.student)
_deleted = convert.answering(pb.DeleteStudentResponse, "student", convert.student)
_undeleted = convert.answering(pb.UndeleteStudentResponse, "student", convert.student)
_held = convert.answering(pb.PlaceHoldResponse, "student", convert.student)
_released = convert.answering(pb.ReleaseHoldResponse, "student", convert.student)


class StudentService(StudentServiceServicer):
    """Implements ``protos/registrar/v1/student_service.proto``, which documents each RPC."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    @endpoint
    async def CreateStudent(self, request: pb.CreateStudentRequest, context: Context) -> pb.CreateStudentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        student_id = fields.optional_id("student.student_id", request.student.student_id)
        values = read_fields(fields, Student, request.student)
        fields.check()
        command = CreateStudent(student_id or ids.new_id(microseconds_now()), values)
        return await self._dispatcher.change(context, request, command, pb.CreateStudentResponse, _created)

    @endpoint
    async def GetStudent(self, request: pb.GetStudentRequest, context: Context) -> pb.GetStudentResponse:
        fields = Fields()
        student_id = fields.id("student_id", request.student_id)
        fields.check()
        found = await self._dispatcher.reads.look_up(
            StudentById(student_id, request.show_deleted), timeout=context.time_remaining()
        )
        return pb.GetStudentResponse(student=convert.student(found))

    @endpoint
    async def ListStudents(self, request: pb.ListStudentsRequest, context: Context) -> pb.ListStudentsResponse:
        fields = Fields()
        search = StudentSearch(
            query=fields.selector("query", request.query, 200),
            hold_code=fields.selector("hold_code", request.hold_code, 64),
            state=member(fields, "state", request.state, STUDENT_STATES),
            show_deleted=request.show_deleted,
        )
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        after = page.after(str)
        rows = await self._dispatcher.reads.list(lambda reader: reader.list_students(search, after, page.size + 1))
        response = pb.ListStudentsResponse()
        page.fill(response, response.students, rows, convert.set_student, lambda student: (student.student_id,))
        return response

    @endpoint
    async def UpdateStudent(self, request: pb.UpdateStudentRequest, context: Context) -> pb.UpdateStudentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        student_id = fields.id("student.student_id", request.student.student_id)
        names = masked(fields, request.update_mask, request.student, Student)
        values = read_fields(fields, Student, request.student, names)
        fields.check()
        command = UpdateStudent(student_id, values, request.student.etag)
        return await self._dispatcher.change(context, request, command, pb.UpdateStudentResponse, _updated)

    @endpoint
    async def DeleteStudent(self, request: pb.DeleteStudentRequest, context: Context) -> pb.DeleteStudentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        student_id = fields.id("student_id", request.student_id)
        fields.check()
        command = DeleteStudent(student_id, request.etag, request.force)
        return await self._dispatcher.change(context, request, command, pb.DeleteStudentResponse, _deleted)

    @endpoint
    async def UndeleteStudent(self, request: pb.UndeleteStudentRequest, context: Context) -> pb.UndeleteStudentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        student_id = fields.id("student_id", request.student_id)
        fields.check()
        command = UndeleteStudent(student_id)
        return await self._dispatcher.change(context, request, command, pb.UndeleteStudentResponse, _undeleted)

    @endpoint
    async def PlaceHold(self, request: pb.PlaceHoldRequest, context: Context) -> pb.PlaceHoldResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = PlaceHold(
            student_id=fields.id("student_id", request.student_id),
            code=fields.label("code", request.code, 64, required=True),
            reason=fields.text("reason", request.reason, 1000),
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.PlaceHoldResponse, _held)

    @endpoint
    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Context) -> pb.ReleaseHoldResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = ReleaseHold(
            student_id=fields.id("student_id", request.student_id),
            code=fields.selector("code", request.code, 64, required=True),
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.ReleaseHoldResponse, _released)
