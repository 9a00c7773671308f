"""The changes of EnrollmentService: enroll, unenroll, swap, and completions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_server.core.commands import (
    NO_OVERRIDE,
    Complete,
    CompleteById,
    Enroll,
    Override,
    RecordCompletion,
    Swap,
    Unenroll,
    VoidCompletion,
)
from registrar_server.core.records import Enrollment
from registrar_server.core.seats import Enrolled, Swapped, Unenrolled
from registrar_server.rpc import convert
from registrar_server.rpc.methods import Change
from registrar_server.rpc.validation import Fields

Overriding = pb.EnrollStudentRequest | pb.UnenrollRequest | pb.SwapEnrollmentRequest
"""A request that may set rules aside."""


def _enroll(fields: Fields, request: pb.EnrollStudentRequest) -> Enroll:
    return Enroll(
        fields.id("student_id", request.student_id),
        fields.id("course_id", request.course_id),
        request.allow_existing,
        request.no_waitlist,
        _override(fields, request),
        fields.long_text("comment", request.comment, 1000),
    )


def _unenroll(fields: Fields, request: pb.UnenrollRequest) -> Unenroll:
    return Unenroll(
        fields.id("student_id", request.student_id),
        fields.id("course_id", request.course_id),
        request.allow_missing,
        _override(fields, request),
        fields.text("reason", request.reason, 200),
        fields.long_text("comment", request.comment, 1000),
    )


def _swap(fields: Fields, request: pb.SwapEnrollmentRequest) -> Swap:
    command = Swap(
        student_id=fields.id("student_id", request.student_id),
        from_course_id=fields.id("from_course_id", request.from_course_id),
        to_course_id=fields.id("to_course_id", request.to_course_id),
        override=_override(fields, request),
        comment=fields.long_text("comment", request.comment, 1000),
    )
    if command.from_course_id == command.to_course_id:
        fields.wrong("to_course_id", "must be another course than from_course_id")
    return command


def _record_completion(fields: Fields, request: pb.RecordCompletionRequest) -> RecordCompletion:
    return RecordCompletion(
        student_id=fields.id("student_id", request.student_id),
        course_id=fields.id("course_id", request.course_id),
        grade=fields.grade(request.grade),
        passed=_passed(request),
        comment=fields.long_text("comment", request.comment, 1000),
        allow_existing=request.allow_existing,
    )


def _void_completion(fields: Fields, request: pb.VoidCompletionRequest) -> VoidCompletion:
    return VoidCompletion(
        enrollment_id=fields.id("enrollment_id", request.enrollment_id),
        reason=fields.text("reason", request.reason, 200),
        etag=request.etag,
    )


def _complete(fields: Fields, request: pb.CompleteEnrollmentRequest) -> Complete | CompleteById:
    """Return the command for the enrollment that the request names, by its id or by its student and course."""
    names_pair = bool(request.student_id or request.course_id)
    if names_pair and request.enrollment_id:
        fields.wrong("enrollment_id", "must be empty if student_id or course_id is set")
    elif not names_pair and not request.enrollment_id:
        fields.wrong("enrollment_id", "is required, unless student_id and course_id are set")
    by_pair = names_pair and not request.enrollment_id
    student_id = fields.id("student_id", request.student_id) if by_pair else ""
    course_id = fields.id("course_id", request.course_id) if by_pair else ""
    enrollment_id = fields.optional_id("enrollment_id", request.enrollment_id)
    grade, passed, etag = fields.grade(request.grade), _passed(request), request.etag
    if by_pair:
        return Complete(student_id, course_id, grade, passed, etag)
    return CompleteById(enrollment_id, grade, passed, etag)


def _override(fields: Fields, request: Overriding) -> Override:
    return fields.override(request.override) if request.HasField("override") else NO_OVERRIDE


def _passed(request: pb.CompleteEnrollmentRequest | pb.RecordCompletionRequest) -> bool:
    return request.passed if request.HasField("passed") else True


def _enrolled(result: Enrolled) -> pb.EnrollStudentResponse:
    response = pb.EnrollStudentResponse()
    convert.set_new_enrollment(response.enrollment, result.enrollment)
    _set_promoted(response, result.promoted)
    return response


def _swapped(result: Swapped) -> pb.SwapEnrollmentResponse:
    return pb.SwapEnrollmentResponse(
        enrollment=convert.enrollment(result.enrollment),
        dropped=convert.enrollment(result.dropped),
        promoted=convert.listed(result.promoted),
        promoted_count=len(result.promoted),
    )


def _unenrolled(result: Unenrolled) -> pb.UnenrollResponse:
    response = pb.UnenrollResponse()
    if result.enrollment:
        convert.set_enrollment(response.enrollment, result.enrollment)
    _set_promoted(response, result.promoted)
    return response


def _set_promoted(response: pb.EnrollStudentResponse | pb.UnenrollResponse, promoted: Sequence[Enrollment]) -> None:
    """Fill in the promoted enrollments, which most responses lack."""
    if promoted:
        response.promoted.extend(convert.listed(promoted))
        response.promoted_count = len(promoted)


_enrollment = partial(Change, refused_event="enrollment_refused")
_completed = convert.answering(pb.CompleteEnrollmentResponse, "enrollment", convert.enrollment)
_recorded = convert.answering(pb.RecordCompletionResponse, "enrollment", convert.enrollment)
_voided = convert.answering(pb.VoidCompletionResponse, "enrollment", convert.enrollment)

CHANGES = (
    _enrollment(pb.EnrollStudentRequest, pb.EnrollStudentResponse, _enroll, _enrolled),
    _enrollment(pb.UnenrollRequest, pb.UnenrollResponse, _unenroll, _unenrolled),
    _enrollment(pb.SwapEnrollmentRequest, pb.SwapEnrollmentResponse, _swap, _swapped),
    _enrollment(pb.CompleteEnrollmentRequest, pb.CompleteEnrollmentResponse, _complete, _completed),
    _enrollment(pb.RecordCompletionRequest, pb.RecordCompletionResponse, _record_completion, _recorded),
    _enrollment(pb.VoidCompletionRequest, pb.VoidCompletionResponse, _void_completion, _voided),
)
