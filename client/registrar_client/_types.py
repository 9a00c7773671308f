"""What calls take and answer: frozen values in plain Python types.

Times are ``datetime`` in UTC, exact to the microsecond. Sequences in answers are tuples. Answers to ``validate_only``
have no times, no etags and no ids that the server makes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from registrar_client._enums import CourseState, EnrollmentState, ErrorReason, EventType, StudentState, Weekday
from registrar_client.errors import Violation


class Unset(Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value


UNSET: Final = Unset.UNSET
"""The default of what an update may change: leave the field as it is, where ``None`` would clear it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something to be settled before the student enrolls again."""

    code: str
    """Which kind of hold it is, such as ``BURSAR``; a student has at most one of each."""
    reason: str = ""
    """What it is about, for people; shown to those whom it keeps from enrolling."""
    place_time: dt.datetime | None = None
    """When it was placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A person who can be enrolled in courses."""

    student_id: str
    """Identifies the student, for ever."""
    given_name: str = ""
    family_name: str = ""
    email: str = ""
    """Need not be unique."""
    state: StudentState = StudentState.ACTIVE
    max_credits: Decimal | None = None
    """The most credits in one term; ``None`` is unlimited."""
    holds: tuple[Hold, ...] = ()
    """Ordered by code."""
    etag: str = ""
    """The version of what callers set; send it with an update or a deletion to notice who was faster."""
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    """When what callers set last changed."""
    delete_time: dt.datetime | None = None
    """``None`` while the student is not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A weekly meeting, in the wall-clock time of the campus; without weekdays or times it is to be announced."""

    weekdays: Sequence[Weekday] = ()
    start_time: dt.time | None = None
    end_time: dt.time | None = None
    """Exclusive. ``time(0)`` is the midnight that ends the day: no meeting could end at the one that begins it."""
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    """Inclusive."""
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One offering of a course in one term."""

    course_id: str
    """Identifies the course, for ever."""
    code: str = ""
    """What the catalogue calls the subject, such as ``CS 101``; shared by all offerings of it."""
    title: str = ""
    description: str = ""
    term: str = ""
    credits: Decimal = Decimal(0)
    capacity: int | None = None
    """The number of seats; ``None`` is unlimited, ``0`` is none."""
    waitlist_capacity: int = 0
    """The number of places on the waitlist; ``0`` is no waitlist."""
    enroll_open_time: dt.datetime | None = None
    """The first instant of the enrollment window; ``None``: it has no beginning."""
    enroll_close_time: dt.datetime | None = None
    """The first instant after the enrollment window; ``None``: it has no end."""
    drop_deadline_time: dt.datetime | None = None
    """The first instant at which it is too late to give a seat back; ``None``: there is none."""
    meetings: tuple[Meeting, ...] = ()
    prerequisite_course_ids: tuple[str, ...] = ()
    state: CourseState = CourseState.OPEN
    enrolled_count: int = 0
    """Seats taken."""
    waitlisted_count: int = 0
    seats_available: int | None = None
    """Seats not taken; ``None`` when the capacity is unlimited."""
    etag: str = ""
    """The version of what callers set; send it with an update or a deletion to notice who was faster."""
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    """When what callers set last changed; the counts do not move it."""
    delete_time: dt.datetime | None = None
    """``None`` while the course is not deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """What ties a student to a course: a seat, a place on the waitlist, or the record of having had one."""

    enrollment_id: str
    student_id: str
    course_id: str
    state: EnrollmentState
    waitlist_position: int = 0
    """The place in the queue at the time of the answer, from 1; ``0`` when not waitlisted. It moves up as those ahead
    leave, without a change of ``etag`` or ``update_time``."""
    attempt: int = 1
    """Which of the student's enrollments in this course it is, from 1."""
    grade: str = ""
    """As the campus writes it, when completed."""
    passed: bool | None = None
    """Whether the student passed, when completed."""
    bypassed_rules: tuple[ErrorReason, ...] = ()
    """The rules that overrides set aside for this enrollment, also for its promotion from the waitlist."""
    reason: str = ""
    """Why it was dropped: what ``unenroll`` was told, ``SWAPPED`` after ``swap``, ``STUDENT_DELETED`` or
    ``COURSE_DELETED`` after a forced deletion."""
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    """When it ceased to be live; ``None`` while it is."""
    etag: str = ""
    """The version of the enrollment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCourse:
    """A course of a student."""

    course: Course
    enrollment: Enrollment


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """A student of a course."""

    student: Student
    enrollment: Enrollment


@dataclass(frozen=True, slots=True, kw_only=True)
class Unenrolled:
    """What an unenrollment did."""

    enrollment: Enrollment | None
    """The enrollment, now dropped; ``None`` if there was none and the call said ``allow_missing``."""
    promoted: tuple[Enrollment, ...] = ()
    """Enrollments that left the waitlist for a seat in the same transaction, in that order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What a swap did."""

    enrollment: Enrollment
    """The enrollment in the course whose seat was taken."""
    dropped: Enrollment
    """The enrollment in the course whose seat was given up, now dropped."""
    promoted: tuple[Enrollment, ...] = ()
    """Enrollments that left a waitlist for a seat in the same transaction, in that order: first in the course whose
    seat was taken, then in the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field's value before and after a change, as people read it: times as in RFC 3339, lists as JSON."""

    field: str
    """The name of the field, as in the resource."""
    before: str | None = None
    """``None`` where there was no value."""
    after: str | None = None
    """``None`` where there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of a student, a course, a hold or an enrollment; never changed or removed itself."""

    revision: int
    """The place in the history, from 1 and without gaps. Whoever has seen an event never later finds a new one at or
    under its revision."""
    event_id: str
    type: EventType
    time: dt.datetime
    """When it was decided. The order of events is that of revisions: clocks of several servers differ."""
    actor: str = ""
    """Who asked for it; empty until callers have an identity."""
    student_id: str = ""
    """Empty for events of courses."""
    course_id: str = ""
    """Empty for events of students and holds."""
    enrollment: Enrollment | None = None
    """The enrollment as the change left it, its ``waitlist_position`` only where it was waitlisted just then; ``None``
    for events of students, courses and holds."""
    previous_state: EnrollmentState | None = None
    """The state of the enrollment before; ``None`` where it was new, and for events without one."""
    reason: str = ""
    """Why: the reason of the override where rules were set aside, or of the hold, or else of the drop."""
    comment: str = ""
    """The remark of the call."""
    bypassed_rules: tuple[ErrorReason, ...] = ()
    """The rules that have been set aside for the enrollment, now or before."""
    violations: tuple[Violation, ...] = ()
    """The rules that kept the student from being promoted, for PROMOTION_SKIPPED."""
    changes: tuple[FieldChange, ...] = ()
    """The fields that changed, for events of students, courses and holds and for corrections of a completion."""
    request_id: str = ""
    """What the call that asked for it was sent with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A wish to have rules set aside for one call, on somebody's responsibility; it needs its own permission."""

    rules: Sequence[ErrorReason]
    """The rules to set aside, each named as the ``override_rule`` of its violation. ``COURSE_FULL`` takes a seat over
    capacity."""
    reason: str
    """Why, for those who read the records later; must not be empty."""
