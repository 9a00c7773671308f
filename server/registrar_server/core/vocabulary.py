"""The names of states, of event types and of drop reasons, defined once, as the database stores them.

Each is the name in the protos without its prefix. ``errors.Reason`` holds the names of the reasons in the same way.
"""

from __future__ import annotations

from enum import StrEnum


class StudentState(StrEnum):
    """Whether a student may enroll."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class CourseState(StrEnum):
    """Whether a course takes place."""

    OPEN = "OPEN"
    CANCELLED = "CANCELLED"


class EnrollmentState(StrEnum):
    """Whether an enrollment is a seat, a place on the waitlist, or the record of an ended one."""

    ENROLLED = "ENROLLED"
    WAITLISTED = "WAITLISTED"
    DROPPED = "DROPPED"
    COMPLETED = "COMPLETED"
    VOIDED = "VOIDED"


LIVE_STATES = (EnrollmentState.ENROLLED, EnrollmentState.WAITLISTED)
"""The states that hold a seat or a place on the waitlist."""


class DropReason(StrEnum):
    """Why the server dropped an enrollment; a caller of Unenroll may give any other reason."""

    SWAPPED = "SWAPPED"
    STUDENT_DELETED = "STUDENT_DELETED"
    COURSE_DELETED = "COURSE_DELETED"


class EventType(StrEnum):
    """What happened, as the history records it."""

    STUDENT_ENROLLED = "STUDENT_ENROLLED"
    STUDENT_WAITLISTED = "STUDENT_WAITLISTED"
    STUDENT_PROMOTED = "STUDENT_PROMOTED"
    PROMOTION_SKIPPED = "PROMOTION_SKIPPED"
    STUDENT_UNENROLLED = "STUDENT_UNENROLLED"
    ENROLLMENT_COMPLETED = "ENROLLMENT_COMPLETED"
    COMPLETION_RECORDED = "COMPLETION_RECORDED"
    HOLD_PLACED = "HOLD_PLACED"
    HOLD_RELEASED = "HOLD_RELEASED"
    STUDENT_CREATED = "STUDENT_CREATED"
    STUDENT_UPDATED = "STUDENT_UPDATED"
    STUDENT_DELETED = "STUDENT_DELETED"
    STUDENT_UNDELETED = "STUDENT_UNDELETED"
    COURSE_CREATED = "COURSE_CREATED"
    COURSE_UPDATED = "COURSE_UPDATED"
    COURSE_DELETED = "COURSE_DELETED"
    COURSE_UNDELETED = "COURSE_UNDELETED"
    COMPLETION_VOIDED = "COMPLETION_VOIDED"
