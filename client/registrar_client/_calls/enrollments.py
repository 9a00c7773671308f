"""The calls of EnrollmentService that give and take seats."""

from __future__ import annotations

from typing import Unpack
from uuid import UUID

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, CallOptions, Rpc
from registrar_client._from_wire import reader
from registrar_client._results import Enrolled, Swapped, Unenrolled
from registrar_client._types import Override

ENROLL_STUDENT = Rpc(EnrollmentServiceStub, "EnrollStudent")
UNENROLL = Rpc(EnrollmentServiceStub, "Unenroll")
SWAP_ENROLLMENT = Rpc(EnrollmentServiceStub, "SwapEnrollment")

_read_enrolled = reader(Enrolled, inherited="enrollment")


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
    **options: Unpack[CallOptions],
) -> Call[Enrolled]:
    """Enroll a student in a course. The ``state`` of the returned enrollment is ENROLLED or WAITLISTED.

    Students on the waitlist get the free seats first, if the rules allow it. ``promoted`` lists their enrollments.

    For a student who is on the waitlist already, ``override`` and ``comment`` apply to the student's own turn. If the
    turn gives a seat, the enrollment is returned, now ENROLLED. An override of ``COURSE_FULL`` takes a seat over
    capacity if the turn did not come and all other rules allow it.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        allow_existing: Return an existing live enrollment instead of raising. A student on the waitlist can get a seat
            by the call, and other students keep the seats that the call gave them.
        no_waitlist: Raise CourseFull instead of putting the student on the waitlist.
        override: The rules to set aside, and the reason.
        comment: A remark for the records.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        AlreadyEnrolled: The student has a seat, ``metadata["enrollment_id"]``.
        AlreadyWaitlisted: The student is on the waitlist, ``metadata["enrollment_id"]``, and the call gives no seat.
        FailedPrecondition: Rules refuse the call. ``violations`` lists all of them. The class of the error is that of
            the first: StudentInactive, StudentHold, CourseCancelled, EnrollmentNotOpen, EnrollmentClosed,
            DuplicateCourse, PrerequisiteUnmet, ScheduleConflict, CreditLimitExceeded, CourseFull or WaitlistFull.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.EnrollStudentRequest,
        student_id=student_id,
        course_id=course_id,
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
        allow_existing=allow_existing,
        no_waitlist=no_waitlist,
        override=override,
        comment=comment,
    )
    return Call(ENROLL_STUDENT, request, _read_enrolled, **options)


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
    **options: Unpack[CallOptions],
) -> Call[Unenrolled]:
    """Give up a student's seat in a course, or the place on its waitlist.

    If a seat becomes free, students on the waitlist who meet all rules get the free seats. ``promoted`` lists their
    enrollments.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        allow_missing: Return no enrollment instead of raising NotEnrolled.
        override: The rules to set aside, and the reason.
        reason: Why the student leaves. The enrollment keeps it as its ``reason``.
        comment: A remark for the records.

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
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
        allow_missing=allow_missing,
        override=override,
        reason=reason,
        comment=comment,
    )
    return Call(UNENROLL, request, reader(Unenrolled), **options)


def swap(
    *,
    student_id: str,
    from_course_id: str,
    to_course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    override: Override | None = None,
    comment: str = "",
    **options: Unpack[CallOptions],
) -> Call[Swapped]:
    """Give up a student's seat in one course for a seat in another, in one transaction.

    The rules of the other course apply as if the student had already given up the seat. A swap never puts the student
    on a waitlist. A student who is on the waitlist of the other course keeps the enrollment, and gets a seat if one is
    left for the student's turn, or over capacity by an override of ``COURSE_FULL``.

    Args:
        student_id: The student.
        from_course_id: The course in which the student gives up the seat.
        to_course_id: The course in which the student gets a seat.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.
        override: The rules to set aside, and the reason.
        comment: A remark for the records.

    Raises:
        StudentNotFound, CourseNotFound: No student or course has this id, or it is deleted.
        NotEnrolled: The student has no seat in ``from_course_id``. A place on its waitlist is not a seat.
        AlreadyEnrolled: The student has a seat in ``to_course_id``, ``metadata["enrollment_id"]``.
        AlreadyWaitlisted: The student is on the waitlist of ``to_course_id``, ``metadata["enrollment_id"]``, and the
            call gives no seat.
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
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
        override=override,
        comment=comment,
    )
    return Call(SWAP_ENROLLMENT, request, reader(Swapped), **options)
