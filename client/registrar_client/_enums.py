"""The enums of the API, as strings without the prefix that protobuf asks for."""

from __future__ import annotations

from enum import StrEnum


class EnrollmentState(StrEnum):
    """Where an enrollment stands. ``ENROLLED`` and ``WAITLISTED`` are live, the others are history."""

    ENROLLED = "ENROLLED"
    """The student has a seat."""
    WAITLISTED = "WAITLISTED"
    """The student waits for a seat and has a place in the course's queue."""
    DROPPED = "DROPPED"
    """The student gave up the seat or the place in the queue, or lost it when student or course was deleted."""
    COMPLETED = "COMPLETED"
    """The student finished the course, passed or not."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server knows and this client does not."""


class EventType(StrEnum):
    """What happened."""

    STUDENT_ENROLLED = "STUDENT_ENROLLED"
    """A student got a seat in a course."""
    STUDENT_WAITLISTED = "STUDENT_WAITLISTED"
    """A student got a place on the waitlist of a course."""
    STUDENT_PROMOTED = "STUDENT_PROMOTED"
    """A student on the waitlist got a seat: in turn, or chosen by an override."""
    PROMOTION_SKIPPED = "PROMOTION_SKIPPED"
    """A seat was free, but rules kept the student on the waitlist from it; the place in the queue is kept."""
    STUDENT_UNENROLLED = "STUDENT_UNENROLLED"
    """A student gave up a seat or a place in the queue, or lost it when student or course was deleted."""
    ENROLLMENT_COMPLETED = "ENROLLMENT_COMPLETED"
    """A student finished a course; or the record of that was corrected, where the state was COMPLETED before."""
    COMPLETION_RECORDED = "COMPLETION_RECORDED"
    """A completion from elsewhere was recorded."""
    HOLD_PLACED = "HOLD_PLACED"
    """A hold was placed on a student, or replaced."""
    HOLD_RELEASED = "HOLD_RELEASED"
    """A hold on a student was released."""
    STUDENT_CREATED = "STUDENT_CREATED"
    """A student was created."""
    STUDENT_UPDATED = "STUDENT_UPDATED"
    """A student was changed."""
    STUDENT_DELETED = "STUDENT_DELETED"
    """A student was deleted."""
    STUDENT_UNDELETED = "STUDENT_UNDELETED"
    """A deleted student was brought back."""
    COURSE_CREATED = "COURSE_CREATED"
    """A course was created."""
    COURSE_UPDATED = "COURSE_UPDATED"
    """A course was changed."""
    COURSE_DELETED = "COURSE_DELETED"
    """A course was deleted."""
    COURSE_UNDELETED = "COURSE_UNDELETED"
    """A deleted course was brought back."""
    UNKNOWN = "UNKNOWN"
    """Something that a newer server knows and this client does not."""


class StudentState(StrEnum):
    """Whether a student studies here at present."""

    ACTIVE = "ACTIVE"
    """Studies here."""
    INACTIVE = "INACTIVE"
    """On leave, graduated or withdrawn."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server knows and this client does not."""


class CourseState(StrEnum):
    """Whether a course takes place."""

    OPEN = "OPEN"
    """It takes place; whether a seat is free is another matter."""
    CANCELLED = "CANCELLED"
    """It does not take place; cancelling drops nobody."""
    UNKNOWN = "UNKNOWN"
    """A state that a newer server knows and this client does not."""


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"
    UNKNOWN = "UNKNOWN"
    """Not a day that this client knows."""


class ErrorReason(StrEnum):
    """Why a call failed. Each reason but ``UNKNOWN`` has its exception in ``registrar_client.reasons``."""

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
    PREREQUISITE_UNMET = "PREREQUISITE_UNMET"
    SCHEDULE_CONFLICT = "SCHEDULE_CONFLICT"
    CREDIT_LIMIT_EXCEEDED = "CREDIT_LIMIT_EXCEEDED"
    COURSE_FULL = "COURSE_FULL"
    WAITLIST_FULL = "WAITLIST_FULL"
    DROP_DEADLINE_PASSED = "DROP_DEADLINE_PASSED"
    COURSE_HAS_ENROLLMENTS = "COURSE_HAS_ENROLLMENTS"
    STUDENT_HAS_ENROLLMENTS = "STUDENT_HAS_ENROLLMENTS"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    CONTENTION = "CONTENTION"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_INVALID = "CREDENTIALS_INVALID"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    UNKNOWN = "UNKNOWN"
    """A reason that a newer server knows and this client does not."""
