"""The changes of CourseService: the catalogue of offerings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registrar.v1 import course_service_pb2 as pb
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
from registrar_server.rpc import convert
from registrar_server.rpc.methods import Change
from registrar_server.rpc.settable_fields import masked, read_fields
from registrar_server.rpc.validation import Fields


def _create(fields: Fields, request: pb.CreateCourseRequest) -> CreateCourse:
    course_id = fields.optional_id("course.course_id", request.course.course_id)
    values = read_fields(fields, Course, request.course)
    _check_prerequisites(fields, course_id, values)
    return CreateCourse(course_id or ids.new_id(microseconds_now()), values)


def _update(fields: Fields, request: pb.UpdateCourseRequest) -> UpdateCourse:
    course_id = fields.id("course.course_id", request.course.course_id)
    names = masked(fields, request.update_mask, request.course, Course)
    values = read_fields(fields, Course, request.course, names)
    creation = read_fields(fields, Course, request.course) if request.allow_missing else None
    for found in filter(None, (values, creation)):
        _check_prerequisites(fields, course_id, found)
    return UpdateCourse(course_id, values, request.course.etag, creation)


def _check_prerequisites(fields: Fields, course_id: str, values: Mapping[str, Any]) -> None:
    for place, prerequisite in enumerate(values.get("prerequisite_course_ids", ())):
        if prerequisite == course_id:
            fields.wrong(f"course.prerequisite_course_ids[{place}]", "must not be the course itself")


def _delete(fields: Fields, request: pb.DeleteCourseRequest) -> DeleteCourse:
    return DeleteCourse(fields.id("course_id", request.course_id), request.etag, request.force)


def _settle(fields: Fields, request: pb.SettleCourseRequest) -> Settle:
    return Settle(fields.id("course_id", request.course_id))


def _undelete(fields: Fields, request: pb.UndeleteCourseRequest) -> UndeleteCourse:
    return UndeleteCourse(fields.id("course_id", request.course_id))


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


_created = convert.answering(pb.CreateCourseResponse, "course", convert.course)
_undeleted = convert.answering(pb.UndeleteCourseResponse, "course", convert.course)

CHANGES = (
    Change(pb.CreateCourseRequest, pb.CreateCourseResponse, _create, _created),
    Change(pb.UpdateCourseRequest, pb.UpdateCourseResponse, _update, _updated),
    Change(pb.DeleteCourseRequest, pb.DeleteCourseResponse, _delete, _deleted),
    Change(pb.SettleCourseRequest, pb.SettleCourseResponse, _settle, _settled),
    Change(pb.UndeleteCourseRequest, pb.UndeleteCourseResponse, _undelete, _undeleted),
)
