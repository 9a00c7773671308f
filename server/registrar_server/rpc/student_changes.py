"""The changes of StudentService: students and their holds."""

from __future__ import annotations

from registrar.v1 import student_service_pb2 as pb
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
from registrar_server.core.students import DeletedStudent
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.rpc import convert
from registrar_server.rpc.methods import Change
from registrar_server.rpc.settable_fields import masked, read_fields
from registrar_server.rpc.validation import Fields


def _create(fields: Fields, request: pb.CreateStudentRequest) -> CreateStudent:
    student_id = fields.optional_id("student.student_id", request.student.student_id)
    values = read_fields(fields, Student, request.student)
    return CreateStudent(student_id or ids.new_id(microseconds_now()), values)


def _update(fields: Fields, request: pb.UpdateStudentRequest) -> UpdateStudent:
    student_id = fields.id("student.student_id", request.student.student_id)
    names = masked(fields, request.update_mask, request.student, Student)
    values = read_fields(fields, Student, request.student, names)
    creation = read_fields(fields, Student, request.student) if request.allow_missing else None
    return UpdateStudent(student_id, values, request.student.etag, creation)


def _delete(fields: Fields, request: pb.DeleteStudentRequest) -> DeleteStudent:
    return DeleteStudent(fields.id("student_id", request.student_id), request.etag, request.force)


def _undelete(fields: Fields, request: pb.UndeleteStudentRequest) -> UndeleteStudent:
    return UndeleteStudent(fields.id("student_id", request.student_id))


def _place_hold(fields: Fields, request: pb.PlaceHoldRequest) -> PlaceHold:
    return PlaceHold(
        student_id=fields.id("student_id", request.student_id),
        code=fields.label("code", request.code, 64, required=True),
        reason=fields.text("reason", request.reason, 1000),
    )


def _release_hold(fields: Fields, request: pb.ReleaseHoldRequest) -> ReleaseHold:
    return ReleaseHold(
        student_id=fields.id("student_id", request.student_id),
        code=fields.selector("code", request.code, 64, required=True),
    )


def _deleted(result: DeletedStudent) -> pb.DeleteStudentResponse:
    return pb.DeleteStudentResponse(
        student=convert.student(result.student),
        dropped=convert.listed(result.dropped),
        dropped_count=len(result.dropped),
        promoted=convert.listed(result.promoted),
        promoted_count=len(result.promoted),
    )


_created = convert.answering(pb.CreateStudentResponse, "student", convert.student)
_updated = convert.answering(pb.UpdateStudentResponse, "student", convert.student)
_undeleted = convert.answering(pb.UndeleteStudentResponse, "student", convert.student)
_held = convert.answering(pb.PlaceHoldResponse, "student", convert.student)
_released = convert.answering(pb.ReleaseHoldResponse, "student", convert.student)

CHANGES = (
    Change(pb.CreateStudentRequest, pb.CreateStudentResponse, _create, _created),
    Change(pb.UpdateStudentRequest, pb.UpdateStudentResponse, _update, _updated),
    Change(pb.DeleteStudentRequest, pb.DeleteStudentResponse, _delete, _deleted),
    Change(pb.UndeleteStudentRequest, pb.UndeleteStudentResponse, _undelete, _undeleted),
    Change(pb.PlaceHoldRequest, pb.PlaceHoldResponse, _place_hold, _held),
    Change(pb.ReleaseHoldRequest, pb.ReleaseHoldResponse, _release_hold, _released),
)
