"""The enums of the API, as strings without the prefixes of the protos."""

from __future__ import annotations

from enum import StrEnum

from registrar_client._docstrings import documented


@documented
class EnrollmentState(StrEnum):
    """The state of an enrollment. ``ENROLLED`` and ``WAITLISTED`` are live."""

    ENROLLED = "ENROLLED"
    """The student has a seat."""
    WAITLISTED = "WAITLISTED"
    """The student waits for a seat and has a position on the waitlist."""
    DROPPED = "DROPPED"
    """The student gave up the seat or the place on the waitlist, or a forced deletion dropped the enrollment."""
    COMPLETED = "COMPLETED"
    """The student finished the course, passed or not."""
    VOIDED = "VOIDED"
    """A completion that was declared void. It never counts."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server added."""


@documented
class EventType(StrEnum):
    """The kind of change that an event records."""

    STUDENT_ENROLLED = "STUDENT_ENROLLED"
    """A student got a seat in a course."""
    STUDENT_WAITLISTED = "STUDENT_WAITLISTED"
    """A student got a place on the waitlist of a course."""
    STUDENT_PROMOTED = "STUDENT_PROMOTED"
    """A student on the waitlist got a seat, in turn or by an override."""
    PROMOTION_SKIPPED = "PROMOTION_SKIPPED"
    """A seat was free, but rules refused to promote the student, who keeps the place on the waitlist."""
    STUDENT_UNENROLLED = "STUDENT_UNENROLLED"
    """A student gave up a seat or a place on the waitlist, or a forced deletion dropped the enrollment."""
    ENROLLMENT_COMPLETED = "ENROLLMENT_COMPLETED"
    """A student finished a course. If the previous state is COMPLETED, the completion was corrected."""
    COMPLETION_RECORDED = "COMPLETION_RECORDED"
    """A completion from elsewhere was recorded."""
    HOLD_PLACED = "HOLD_PLACED"
    """A hold on a student was placed or replaced."""
    HOLD_RELEASED = "HOLD_RELEASED"
    """A hold on a student was released."""
    STUDENT_CREATED = "STUDENT_CREATED"
    """A student was created."""
    STUDENT_UPDATED = "STUDENT_UPDATED"
    """A student was changed."""
    STUDENT_DELETED = "STUDENT_DELETED"
    """A student was deleted."""
    STUDENT_UNDELETED = "STUDENT_UNDELETED"
    """A deleted student was restored."""
    COURSE_CREATED = "COURSE_CREATED"
    """A course was created."""
    COURSE_UPDATED = "COURSE_UPDATED"
    """A course was changed."""
    COURSE_DELETED = "COURSE_DELETED"
    """A course was deleted."""
    COURSE_UNDELETED = "COURSE_UNDELETED"
    """A deleted course was restored."""
    COMPLETION_VOIDED = "COMPLETION_VOIDED"
    """A completion was declared void."""
    UNKNOWN = "UNKNOWN"
    """A type that a newer server added."""


@documented
class StudentState(StrEnum):
    """Whether a student studies here at present."""

    ACTIVE = "ACTIVE"
    """The student studies here."""
    INACTIVE = "INACTIVE"
    """The student is on leave, has graduated or has withdrawn."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server added."""


@documented
class CourseState(StrEnum):
    """Whether a course takes place."""

    OPEN = "OPEN"
    """The course takes place. It need not have a free seat."""
    CANCELLED = "CANCELLED"
    """The course does not take place. Cancelling it drops no enrollment."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server added."""


@documented
class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "MONDAY"
    """Monday."""
    TUESDAY = "TUESDAY"
    """Tuesday."""
    WEDNESDAY = "WEDNESDAY"
    """Wednesday."""
    THURSDAY = "THURSDAY"
    """Thursday."""
    FRIDAY = "FRIDAY"
    """Friday."""
    SATURDAY = "SATURDAY"
    """Saturday."""
    SUNDAY = "SUNDAY"
    """Sunday."""
    UNKNOWN = "UNKNOWN"
    """A day that this client does not know."""


class ErrorReason(StrEnum):
    """Why a call failed. Each reason except ``UNKNOWN`` has an exception in ``registrar_client.reasons``."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STUDENT_NOT_FOUND = "STUDENT_NOT_FOUND"
    COURSE_NOT_FOUND = "COURSE_NOT_FOUND"
    ENROLLMENT_NOT_FOUND = "ENROLLMENT_NOT_FOUND"
    NOT_ENROLLED = "NOT_ENROLLED"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    STUDENT_EXISTS = "STUDENT_EXISTS"
    COURSE_EXISTS = "COURSE_EXISTS"
    ALREADY_ENROLLED = "ALREADY_ENROLLED"
    ALREADY_WAITLISTED = "ALREADY_WAITLISTED"
    STUDENT_INACTIVE = "STUDENT_INACTIVE"
    STUDENT_HOLD = "STUDENT_HOLD"
    COURSE_CANCELLED = "COURSE_CANCELLED"
    ENROLLMENT_NOT_OPEN = "ENROLLMENT_NOT_OPEN"
    ENROLLMENT_CLOSED = "ENROLLMENT_CLOSED"
    DUPLICATE_COURSE = "DUPLICATE_COURSE"
    PREREQUISITE_UNMET = "PREREQUISITE_UNMET"
    SCHEDULE_CONFLICT = "SCHEDULE_CONFLICT"
    CREDIT_LIMIT_EXCEEDED = "CREDIT_LIMIT_EXCEEDED"
    COURSE_FULL = "COURSE_FULL"
    WAITLIST_FULL = "WAITLIST_FULL"
    DROP_DEADLINE_PASSED = "DROP_DEADLINE_PASSED"
    COURSE_HAS_ENROLLMENTS = "COURSE_HAS_ENROLLMENTS"
    STUDENT_HAS_ENROLLMENTS = "STUDENT_HAS_ENROLLMENTS"
    NOT_COMPLETED = "NOT_COMPLETED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    CONTENTION = "CONTENTION"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_INVALID = "CREDENTIALS_INVALID"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    REVISION_AHEAD = "REVISION_AHEAD"
    UNKNOWN = "UNKNOWN"
    """A reason that a newer server added."""
