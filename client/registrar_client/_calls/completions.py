"""The calls of EnrollmentService about completions."""

from __future__ import annotations

from typing import Any, Unpack
from uuid import UUID

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, CallOptions, Rpc
from registrar_client._from_wire import read
from registrar_client._types import Enrollment

COMPLETE_ENROLLMENT = Rpc(EnrollmentServiceStub, "CompleteEnrollment")
RECORD_COMPLETION = Rpc(EnrollmentServiceStub, "RecordCompletion")
VOID_COMPLETION = Rpc(EnrollmentServiceStub, "VoidCompletion")


def _read_enrollment(response: Any) -> Enrollment:
    return read(Enrollment, response.enrollment)


def complete(
    *,
    student_id: str = "",
    course_id: str = "",
    enrollment_id: str = "",
    grade: str = "",
    passed: bool | None = None,
    etag: str = "",
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    **options: Unpack[CallOptions],
) -> Call[Enrollment]:
    """Record that a student finished a course, passed or not. The call promotes no student to the seat.

    Pass ``student_id`` and ``course_id``, or ``enrollment_id``:

    - The student's seat in the course is completed. If the student has no seat but completed the course before, the
      latest completion that is not void is corrected: its ``grade`` and ``passed`` are replaced.
    - The enrollment with this id is completed if it is ENROLLED, and corrected if it is COMPLETED. Its student and its
      course may be deleted.

    Args:
        student_id: The student.
        course_id: The course. It may be deleted.
        enrollment_id: The enrollment, instead of the student and the course.
        grade: The grade, as the campus writes it, up to 64 characters.
        passed: Whether the student passed. By default, yes.
        etag: Complete only if the enrollment still has this etag. By default, the etag is not checked.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        CourseNotFound: No course has this id.
        NotEnrolled: The student has neither a seat in the course nor a completion of it.
        EnrollmentNotFound: No enrollment has this id.
        NotCompleted: The enrollment with this id is WAITLISTED, DROPPED or VOIDED.
        EtagMismatch: The enrollment has another etag. Read it again and decide whether to repeat the call.
        InvalidField: The enrollment is named in both ways or in neither, or the server refuses other values.
            ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.CompleteEnrollmentRequest,
        student_id=student_id,
        course_id=course_id,
        enrollment_id=enrollment_id,
        grade=grade,
        passed=passed,
        etag=etag,
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
    )
    return Call(COMPLETE_ENROLLMENT, request, _read_enrollment, **options)


def record_completion(
    *,
    student_id: str,
    course_id: str,
    grade: str = "",
    passed: bool | None = None,
    request_id: str | UUID | None = None,
    comment: str = "",
    allow_existing: bool = False,
    **options: Unpack[CallOptions],
) -> Call[Enrollment]:
    """Record a completion from elsewhere, such as transfer credit, as a new enrollment.

    No rule applies and no seat is taken. A live enrollment in the course does not change.

    Args:
        student_id: The student.
        course_id: The course. It may be deleted.
        grade: The grade, as the campus writes it, up to 64 characters.
        passed: Whether the student passed. By default, yes.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        comment: A remark for the records.
        allow_existing: Return the latest completion of the course with the same ``grade`` and ``passed`` instead, if
            the student has one. It can be VOIDED. This makes it safe to send the same completions again.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        CourseNotFound: No course has this id.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.RecordCompletionRequest,
        student_id=student_id,
        course_id=course_id,
        grade=grade,
        passed=passed,
        request_id=to_wire.request_id(request_id),
        comment=comment,
        allow_existing=allow_existing,
    )
    return Call(RECORD_COMPLETION, request, _read_enrollment, **options)


def void_completion(
    *,
    enrollment_id: str,
    reason: str = "",
    etag: str = "",
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    **options: Unpack[CallOptions],
) -> Call[Enrollment]:
    """Declare a completion void. The enrollment becomes VOIDED and never counts.

    VOIDED is final. Voiding again changes nothing, not even the reason.

    Args:
        enrollment_id: The enrollment. Its student and its course may be deleted.
        reason: Why the completion is void, up to 200 characters. The enrollment keeps it as its ``reason``.
        etag: Void only if the enrollment still has this etag. By default, the etag is not checked.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.

    Raises:
        EnrollmentNotFound: No enrollment has this id.
        NotCompleted: The enrollment is ENROLLED, WAITLISTED or DROPPED.
        EtagMismatch: The enrollment has another etag. Read it again and decide whether to repeat the call.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.VoidCompletionRequest,
        enrollment_id=enrollment_id,
        reason=reason,
        etag=etag,
        validate_only=validate_only,
        request_id=to_wire.request_id(request_id),
    )
    return Call(VOID_COMPLETION, request, _read_enrollment, **options)
