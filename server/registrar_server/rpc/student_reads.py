"""The reads of StudentService."""

from __future__ import annotations

from collections.abc import Sequence

from registrar.v1 import student_service_pb2 as pb
from registrar_server.core.records import Student
from registrar_server.reading.lists import StudentSearch
from registrar_server.reading.lookups import StudentById
from registrar_server.rpc import convert
from registrar_server.rpc.filters import member
from registrar_server.rpc.methods import LookupPlan, QueryPlan, Read
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import STUDENT_STATES


def _get(fields: Fields, request: pb.GetStudentRequest) -> LookupPlan:
    return LookupPlan(StudentById(fields.id("student_id", request.student_id), request.show_deleted), _found)


def _found(student: Student, _max_bytes: int) -> pb.GetStudentResponse:
    return pb.GetStudentResponse(student=convert.student(student))


def _list(fields: Fields, request: pb.ListStudentsRequest) -> QueryPlan:
    search = StudentSearch(
        query=fields.selector("query", request.query, 200),
        hold_code=fields.selector("hold_code", request.hold_code, 64),
        state=member(fields, "state", request.state, STUDENT_STATES),
        show_deleted=request.show_deleted,
    )
    page = Page(fields, request)
    after = page.after(str)

    def pack(rows: Sequence[Student], max_bytes: int) -> pb.ListStudentsResponse:
        response = pb.ListStudentsResponse()
        page.fill(response, response.students, rows, convert.set_student, _key, max_bytes)
        return response

    return QueryPlan(lambda reader: reader.list_students(search, after, page.size + 1), pack)


def _key(student: Student) -> tuple[str]:
    return (student.student_id,)


READS = (
    Read(pb.GetStudentRequest, pb.GetStudentResponse, _get),
    Read(pb.ListStudentsRequest, pb.ListStudentsResponse, _list),
)
