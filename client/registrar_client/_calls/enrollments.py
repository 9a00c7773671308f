"""The calls of EnrollmentService that change enrollments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, Rpc
from registrar_client._from_wire import read, reader
from registrar_client._types import Enrollment, Override, Swapped, Unenrolled

ENROLL_STUDENT = Rpc(EnrollmentServiceStub, "EnrollStudent")
UNENROLL = Rpc(EnrollmentServiceStub, "Unenroll")
SWAP_ENROLLMENT = Rpc(EnrollmentServiceStub, "SwapEnrollment")
COMPLETE_ENROLLMENT = Rpc(EnrollmentServiceStub, "CompleteEnrollment")
RECORD_COMPLETION = Rpc(EnrollmentServiceStub, "RecordCompletion")


def _read_enrollment(response: Any) -> Enrollment:
    return read(Enrollment, response.enrollment)


def enroll(
    *,
    student_id: str,
    course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    allow_existing: bool = False,
    no_waitlist: bool = False,
    override: Override | None = None,
    comment: str = "",
    timeout: float | None = None,
) -> Call[Enrollment]:
    """Enroll a student in a course. The enrollment's ``state`` is ENROLLED or WAITLISTED.

    Students on the waitlist get free seats first, if the rules allow it. For a student on the waitlist, an override of
    ``COURSE_FULL`` takes a seat out of turn, if all other rules allow it.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        allow_existing: Return an existing live enrollment instead of raising.
        no_waitlist: Raise CourseFull instead of putting the student on the waitlist.
        override: The rules to set aside, and the reason.
        comment: A remark for the records.
        timeout: Seconds for all attempts together. Defaults to the client's timeout.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        AlreadyEnrolled, AlreadyWaitlisted: The student has a live enrollment, ``metadata["enrollment_id"]``.
        FailedPrecondition: Rules refuse the call. ``violations`` lists all of them. The class of the error is that of
            the first: StudentInactive, StudentHold, CourseCancelled, EnrollmentNotOpen, EnrollmentClosed,
            PrerequisiteUnmet, ScheduleConflict, CreditLimitExceeded, CourseFull or WaitlistFull.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.EnrollStudentRequest,
        student_id=student_id,
        course_id=course_id,
        request_id=to_wire.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        allow_existing=allow_existing,
        no_waitlist=no_waitlist,
        override=override,
        comment=comment,
    )
    return Call(ENROLL_STUDENT, request, _read_enrollment, timeout)


def unenroll(
    *,
    student_id: str,
    course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    allow_missing: bool = False,
    override: Override | None = None,
    reason: str = "",
    comment: str = "",
    timeout: float | None = None,
) -> Call[Unenrolled]:
    """Give up a student's seat in a course, or the place on its waitlist.

    The first student on the waitlist who meets all rules gets the seat. ``promoted`` lists the enrollment.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        allow_missing: Return no enrollment instead of raising NotEnrolled.
        override: The rules to set aside, and the reason.
        reason: Why the student leaves. The enrollment keeps it as its ``reason``.
        comment: A remark for the records.
        timeout: Seconds for all attempts together. Defaults to the client's timeout.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        NotEnrolled: The student has no live enrollment in the course. A completed one is not live.
        DropDeadlinePassed: The deadline for giving up a seat has passed. A place on the waitlist has no deadline.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.UnenrollRequest,
        student_id=student_id,
        course_id=course_id,
        request_id=to_wire.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        allow_missing=allow_missing,
        override=override,
        reason=reason,
        comment=comment,
    )
    return Call(UNENROLL, request, reader(Unenrolled), timeout)


def swap(
    *,
    student_id: str,
    from_course_id: str,
    to_course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    override: Override | None = None,
    comment: str = "",
    timeout: float | None = None,
) -> Call[Swapped]:
    """Give up a student's seat in one course for a seat in another, in one transaction.

    The rules of the other course apply as if the student had already given up the seat. A swap never puts the student
    on a waitlist.

    Args:
        student_id: The student.
        from_course_id: The course in which the student gives up the seat.
        to_course_id: The course in which the student gets a seat.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        override: The rules to set aside, and the reason.
        comment: A remark for the records.
        timeout: Seconds for all attempts together. Defaults to the client's timeout.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        NotEnrolled: The student has no seat in ``from_course_id``. A place on its waitlist is not a seat.
        AlreadyEnrolled, AlreadyWaitlisted: The student has a live enrollment in ``to_course_id``,
            ``metadata["enrollment_id"]``.
        FailedPrecondition: Rules refuse the call. ``violations`` lists all of them. The class of the error is that of
            the first: one that ``enroll`` raises, for ``to_course_id``, or DropDeadlinePassed, for ``from_course_id``.
        InvalidField: The two courses are the same, or the server refuses other values.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.SwapEnrollmentRequest,
        student_id=student_id,
        from_course_id=from_course_id,
        to_course_id=to_course_id,
        request_id=to_wire.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        override=override,
        comment=comment,
    )
    return Call(SWAP_ENROLLMENT, request, reader(Swapped), timeout)


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
    """Record that a student finished a course, passed or not. No student is promoted to the seat.

    If the student has no seat but completed the course before, correct the latest completion: replace its ``grade``
    and ``passed``.

    Args:
        student_id: The student.
        course_id: The course.
        grade: The grade, as the campus writes it, up to 64 characters.
        passed: Whether the student passed. By default, yes.
        etag: Complete only if the enrollment still has this etag. By default, the etag is not checked.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        timeout: Seconds for all attempts together. Defaults to the client's timeout.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        NotEnrolled: The student has neither a seat in the course nor a completion of it.
        EtagMismatch: The enrollment has another etag. Read it again and decide whether to repeat the call.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.CompleteEnrollmentRequest,
        student_id=student_id,
        course_id=course_id,
        grade=grade,
        passed=passed,
        etag=etag,
        request_id=to_wire.request_id(request_id, validate_only=validate_only),
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
    """Record a completion from elsewhere, such as transfer credit, as a new enrollment.

    No rule applies and no seat is taken. A live enrollment in the course does not change.

    Args:
        student_id: The student.
        course_id: The course.
        grade: The grade, as the campus writes it, up to 64 characters.
        passed: Whether the student passed. By default, yes.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        comment: A remark for the records.
        timeout: Seconds for all attempts together. Defaults to the client's timeout.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
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
    )
    return Call(RECORD_COMPLETION, request, _read_enrollment, timeout)
