"""One exception for each ``ErrorReason``, under the class of the status that it comes with."""

from __future__ import annotations

from registrar_client._enums import ErrorReason
from registrar_client.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class InvalidField(InvalidArgument):
    """Fields are missing, malformed, too long or out of range; ``field_violations`` has all of them."""

    reason = ErrorReason.INVALID_FIELD


class InvalidPageToken(InvalidArgument):
    """The page token is not from this list with these filters."""

    reason = ErrorReason.INVALID_PAGE_TOKEN


class RequestIdReused(InvalidArgument):
    """The request id was used for another call, or for the same with other content. Nothing was changed."""

    reason = ErrorReason.REQUEST_ID_REUSED


class StudentNotFound(NotFound):
    """There is no student with this id, or the student is deleted."""

    reason = ErrorReason.STUDENT_NOT_FOUND


class CourseNotFound(NotFound):
    """There is no course with this id, or it is deleted."""

    reason = ErrorReason.COURSE_NOT_FOUND


class EnrollmentNotFound(NotFound):
    """There is no enrollment with this id."""

    reason = ErrorReason.ENROLLMENT_NOT_FOUND


class NotEnrolled(NotFound):
    """The student has no enrollment in the course that the call could act on."""

    reason = ErrorReason.NOT_ENROLLED


class HoldNotFound(NotFound):
    """The student has no hold of this code."""

    reason = ErrorReason.HOLD_NOT_FOUND


class StudentExists(AlreadyExists):
    """There is a student with this id, perhaps a deleted one."""

    reason = ErrorReason.STUDENT_EXISTS


class CourseExists(AlreadyExists):
    """There is a course with this id, perhaps a deleted one."""

    reason = ErrorReason.COURSE_EXISTS


class AlreadyEnrolled(AlreadyExists):
    """The student has a seat in the course; ``metadata["enrollment_id"]`` says by which enrollment."""

    reason = ErrorReason.ALREADY_ENROLLED


class AlreadyWaitlisted(AlreadyExists):
    """The student is on the course's waitlist; ``metadata["enrollment_id"]`` says by which enrollment."""

    reason = ErrorReason.ALREADY_WAITLISTED


class StudentInactive(FailedPrecondition):
    """The student does not study here at present."""

    reason = ErrorReason.STUDENT_INACTIVE


class StudentHold(FailedPrecondition):
    """There is a hold on the student; ``violations`` has one entry for each."""

    reason = ErrorReason.STUDENT_HOLD


class CourseCancelled(FailedPrecondition):
    """The course does not take place."""

    reason = ErrorReason.COURSE_CANCELLED


class EnrollmentNotOpen(FailedPrecondition):
    """The enrollment window of the course has not begun."""

    reason = ErrorReason.ENROLLMENT_NOT_OPEN


class EnrollmentClosed(FailedPrecondition):
    """The enrollment window of the course is over."""

    reason = ErrorReason.ENROLLMENT_CLOSED


class PrerequisiteUnmet(FailedPrecondition):
    """The student has not passed a course that this one builds on."""

    reason = ErrorReason.PREREQUISITE_UNMET


class ScheduleConflict(FailedPrecondition):
    """The course meets at the same time as others in which the student has a seat, with one violation for each."""

    reason = ErrorReason.SCHEDULE_CONFLICT


class CreditLimitExceeded(FailedPrecondition):
    """The student would take more credits in the term than allowed."""

    reason = ErrorReason.CREDIT_LIMIT_EXCEEDED


class CourseFull(FailedPrecondition):
    """No seat is free, or those who wait have it first, and the student was not put on a waitlist."""

    reason = ErrorReason.COURSE_FULL


class WaitlistFull(FailedPrecondition):
    """Neither a seat is free nor a place on the waitlist."""

    reason = ErrorReason.WAITLIST_FULL


class DropDeadlinePassed(FailedPrecondition):
    """It is too late to give the seat back."""

    reason = ErrorReason.DROP_DEADLINE_PASSED


class CourseHasEnrollments(FailedPrecondition):
    """The course to be deleted has live enrollments."""

    reason = ErrorReason.COURSE_HAS_ENROLLMENTS


class StudentHasEnrollments(FailedPrecondition):
    """The student to be deleted has live enrollments."""

    reason = ErrorReason.STUDENT_HAS_ENROLLMENTS


class EtagMismatch(Aborted):
    """The resource was changed since its etag was read. Read it again, and decide anew."""

    reason = ErrorReason.ETAG_MISMATCH


class Contention(Aborted):
    """Others held what the call needed for too long. Nothing was changed."""

    reason = ErrorReason.CONTENTION


class Overloaded(ResourceExhausted):
    """Too many calls wait already. Nothing was changed."""

    reason = ErrorReason.OVERLOADED


class RateLimited(ResourceExhausted):
    """This caller has made too many calls. Nothing was changed."""

    reason = ErrorReason.RATE_LIMITED


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or was lost during the call. The change may have been made."""

    reason = ErrorReason.DATABASE_UNAVAILABLE


class ShuttingDown(Unavailable):
    """The server process is about to stop. Nothing was changed."""

    reason = ErrorReason.SHUTTING_DOWN


class CredentialsMissing(Unauthenticated):
    """The server asks for credentials, and the call had none."""

    reason = ErrorReason.CREDENTIALS_MISSING


class CredentialsInvalid(Unauthenticated):
    """The credentials are malformed, expired, revoked, or not made for this service."""

    reason = ErrorReason.CREDENTIALS_INVALID


class RoleRequired(PermissionDenied):
    """The caller lacks the role or the permission that the call needs."""

    reason = ErrorReason.ROLE_REQUIRED
