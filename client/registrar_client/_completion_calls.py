"""The calls of EnrollmentService about finished courses."""

from __future__ import annotations

from uuid import UUID

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _convert as convert
from registrar_client import _fields as fields
from registrar_client._calls import Call, Rpc
from registrar_client._types import Enrollment

COMPLETE_ENROLLMENT = Rpc(EnrollmentServiceStub, "CompleteEnrollment")
RECORD_COMPLETION = Rpc(EnrollmentServiceStub, "RecordCompletion")


def _read_enrollment(response: pb.CompleteEnrollmentResponse | pb.RecordCompletionResponse) -> Enrollment:
    return convert.enrollment(response.enrollment)


def complete(
    *,
    student_id: str,
    course_id: str,
    grade: str = "",
    passed: bool | None = None,
    etag: str = "",
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    timeout: float | None = None,
) -> Call[Enrollment]:
    """Record that a student finished a course, passed or not. Nobody is promoted to the seat.

    Where the student has no seat but completed the course before, the latest completion is corrected: it gets this
    ``grade`` and ``passed``, both of them.

    Args:
        student_id: The student.
        course_id: The course.
        grade: The grade, as the campus writes it, up to 16 characters; left out, none.
        passed: Whether the student passed; left out, yes.
        etag: Complete only if this is still the enrollment's etag; left out, in any case.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound, CourseNotFound: There is none with this id, or it is deleted.
        NotEnrolled: The student has neither a seat in the course nor a completion of it.
        EtagMismatch: Somebody else was faster; read the enrollment again, and decide anew.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.CompleteEnrollmentRequest,
        student_id=student_id,
        course_id=course_id,
        grade=grade,
        passed=passed,
        etag=etag,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
    )
    return Call(COMPLETE_ENROLLMENT, request, _read_enrollment, timeout)


def record_completion(
    *,
    student_id: str,
    course_id: str,
    grade: str = "",
    passed: bool | None = None,
    request_id: str | UUID | None = None,
    comment: str = "",
    timeout: float | None = None,
) -> Call[Enrollment]:
    """Record a completion from elsewhere, such as transfer credit, as an enrollment of its own.

    No rule is asked and no seat is taken; a live enrollment in the course stays as it is.

    Args:
        student_id: The student.
        course_id: The course.
        grade: The grade, as the campus writes it, up to 16 characters; left out, none.
        passed: Whether the student passed; left out, yes.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        comment: A remark for the records.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound, CourseNotFound: There is none with this id, or it is deleted.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.RecordCompletionRequest,
        student_id=student_id,
        course_id=course_id,
        grade=grade,
        passed=passed,
        request_id=fields.request_id(request_id),
        comment=comment,
    )
    return Call(RECORD_COMPLETION, request, _read_enrollment, timeout)
