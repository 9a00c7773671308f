"""One exception for each ``ErrorReason``, a subclass of the exception of its status."""

from __future__ import annotations

from registrar_client._docstrings import document_members, in_source
from registrar_client._enums import ErrorReason
from registrar_client.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    RegistrarError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class InvalidField(InvalidArgument):
    """Fields are missing, malformed, too long or out of range. ``field_violations`` lists all of them.

    The client raises it without a call to the server if values cannot be sent.
    """

    reason = ErrorReason.INVALID_FIELD


class InvalidPageToken(InvalidArgument):
    """The page token is not from this list with these filters."""

    reason = ErrorReason.INVALID_PAGE_TOKEN


class RequestIdReused(InvalidArgument):
    """The request id was used for another call or other content. Nothing was changed."""

    reason = ErrorReason.REQUEST_ID_REUSED


class StudentNotFound(NotFound):
    """No student has this id, or the student is deleted."""

    reason = ErrorReason.STUDENT_NOT_FOUND


class CourseNotFound(NotFound):
    """No course has this id, or the course is deleted. For a new prerequisite: it never existed."""

    reason = ErrorReason.COURSE_NOT_FOUND


class EnrollmentNotFound(NotFound):
    """No enrollment has this id."""

    reason = ErrorReason.ENROLLMENT_NOT_FOUND


class NotEnrolled(NotFound):
    """The student has no enrollment in the course that the call can change."""

    reason = ErrorReason.NOT_ENROLLED


class HoldNotFound(NotFound):
    """The student has no hold with this code."""

    reason = ErrorReason.HOLD_NOT_FOUND


class StudentExists(AlreadyExists):
    """A student has this id already. The student may be deleted."""

    reason = ErrorReason.STUDENT_EXISTS


class CourseExists(AlreadyExists):
    """A course has this id already. It may be deleted."""

    reason = ErrorReason.COURSE_EXISTS


class AlreadyEnrolled(AlreadyExists):
    """The student has a seat in the course, by the enrollment ``metadata["enrollment_id"]``."""

    reason = ErrorReason.ALREADY_ENROLLED


class AlreadyWaitlisted(AlreadyExists):
    """The student is on the course's waitlist and gets no seat. ``metadata["enrollment_id"]`` is the place."""

    reason = ErrorReason.ALREADY_WAITLISTED


class StudentInactive(FailedPrecondition):
    """The student is not active."""

    reason = ErrorReason.STUDENT_INACTIVE


class StudentHold(FailedPrecondition):
    """The student has holds. ``violations`` has one entry for each."""

    reason = ErrorReason.STUDENT_HOLD


class CourseCancelled(FailedPrecondition):
    """The course is cancelled."""

    reason = ErrorReason.COURSE_CANCELLED


class EnrollmentNotOpen(FailedPrecondition):
    """The enrollment window of the course has not begun."""

    reason = ErrorReason.ENROLLMENT_NOT_OPEN


class EnrollmentClosed(FailedPrecondition):
    """The enrollment window of the course is over."""

    reason = ErrorReason.ENROLLMENT_CLOSED


class DuplicateCourse(FailedPrecondition):
    """The student has a seat in other offerings of the subject in the same term, one violation for each."""

    reason = ErrorReason.DUPLICATE_COURSE


class PrerequisiteUnmet(FailedPrecondition):
    """The student has not passed all prerequisites of the course."""

    reason = ErrorReason.PREREQUISITE_UNMET


class ScheduleConflict(FailedPrecondition):
    """The course meets at the same time as courses in which the student has a seat, one violation for each."""

    reason = ErrorReason.SCHEDULE_CONFLICT


class CreditLimitExceeded(FailedPrecondition):
    """The student would exceed the maximum credits in the term."""

    reason = ErrorReason.CREDIT_LIMIT_EXCEEDED


class CourseFull(FailedPrecondition):
    """No seat is free for the student, and the student was not put on a waitlist."""

    reason = ErrorReason.COURSE_FULL


class WaitlistFull(FailedPrecondition):
    """No seat and no place on the waitlist is free for the student."""

    reason = ErrorReason.WAITLIST_FULL


class DropDeadlinePassed(FailedPrecondition):
    """The deadline for giving up the seat has passed."""

    reason = ErrorReason.DROP_DEADLINE_PASSED


class CourseHasEnrollments(FailedPrecondition):
    """The course to delete has live enrollments."""

    reason = ErrorReason.COURSE_HAS_ENROLLMENTS


class StudentHasEnrollments(FailedPrecondition):
    """The student to delete has live enrollments."""

    reason = ErrorReason.STUDENT_HAS_ENROLLMENTS


class NotCompleted(FailedPrecondition):
    """The enrollment is not a completion: its state, ``metadata["state"]``, does not allow the call."""

    reason = ErrorReason.NOT_COMPLETED


class EtagMismatch(Aborted):
    """The resource has another etag. Read it again and decide whether to repeat the call."""

    reason = ErrorReason.ETAG_MISMATCH


class Contention(Aborted):
    """The call waited too long for locks of other calls. Nothing was changed."""

    reason = ErrorReason.CONTENTION


class Overloaded(ResourceExhausted):
    """Too many calls are waiting, or too many watches are open. Nothing was changed."""

    reason = ErrorReason.OVERLOADED


class RateLimited(ResourceExhausted):
    """The caller made too many calls. Nothing was changed."""

    reason = ErrorReason.RATE_LIMITED


class DatabaseUnavailable(Unavailable):
    """The database is unreachable or failed during the call. The change may have been made."""

    reason = ErrorReason.DATABASE_UNAVAILABLE


class ShuttingDown(Unavailable):
    """The server process is stopping. Nothing was changed."""

    reason = ErrorReason.SHUTTING_DOWN


class CredentialsMissing(Unauthenticated):
    """The server identifies its callers, and the call has no credentials. Pass ``token=`` to the client."""

    reason = ErrorReason.CREDENTIALS_MISSING


class CredentialsInvalid(Unauthenticated):
    """The key, the token or the certificate is malformed, expired, revoked, or not for this server.

    The client does not retry the call. Only the log of the server says what is wrong.
    """

    reason = ErrorReason.CREDENTIALS_INVALID


class RoleRequired(PermissionDenied):
    """The caller lacks a role or permission that the call needs."""

    reason = ErrorReason.ROLE_REQUIRED

    @property
    def role(self) -> str:
        """The role that the call needs, or the permission ``override`` or ``on_behalf_of``.

        It is empty if the server names none, as for the later writes of an atomic batch.
        """
        return self.metadata.get("role", "")


class RevisionAhead(OutOfRange):
    """The history has not reached the revision: it is that of another database, or an older backup was restored."""

    reason = ErrorReason.REVISION_AHEAD

    @property
    def revision(self) -> int:
        """The revision of the newest event. 0 if the server did not send it."""
        return int(self.metadata.get("revision", 0))


def _docs_of_reasons() -> dict[str, str]:
    kinds = (kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, RegistrarError))
    return {**in_source(ErrorReason), **{kind.reason: kind.__doc__ or "" for kind in kinds if kind.reason}}


# A reason means what its exception says.
document_members(ErrorReason, _docs_of_reasons())
