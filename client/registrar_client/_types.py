"""The dataclasses that calls take and return. They are frozen and use plain Python types.

Returned times are ``datetime`` in UTC, exact to the microsecond. Returned sequences are tuples. Results of calls with
``validate_only`` have no times, no etags and no ids that the server makes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from registrar_client._docstrings import documented
from registrar_client._enums import CourseState, EnrollmentState, ErrorReason, EventType, StudentState, Weekday
from registrar_client.errors import Violation


class Unset(Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value


UNSET: Final = Unset.UNSET
"""The default of the arguments of an update: do not change the field. ``None`` clears it."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reason why a student cannot enroll, such as an unpaid fee."""

    code: str
    """The kind of hold, such as ``BURSAR``. A student has at most one hold with each code."""
    reason: str = ""
    """The reason, for people. The server shows it when the hold refuses an enrollment."""
    place_time: dt.datetime | None = None
    """When the hold was placed."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A person who can be enrolled in courses."""

    student_id: str
    """Identifies the student. The id never changes."""
    given_name: str = ""
    """The given name."""
    family_name: str = ""
    """The family name."""
    email: str = ""
    """The e-mail address. It need not be unique."""
    state: StudentState = StudentState.ACTIVE
    """Whether the student studies here at present."""
    max_credits: Decimal | None = None
    """The maximum credits in one term. ``None`` means unlimited."""
    holds: tuple[Hold, ...] = ()
    """The student's holds, ordered by code."""
    etag: str = ""
    """The version of the fields that callers set. Send it with an update or a deletion to detect concurrent changes."""
    create_time: dt.datetime | None = None
    """When the student was created."""
    update_time: dt.datetime | None = None
    """When the fields that callers set last changed."""
    delete_time: dt.datetime | None = None
    """``None`` while the student is not deleted."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A weekly meeting, in the wall-clock time of the campus. Without weekdays or times, it is to be announced."""

    weekdays: Sequence[Weekday] = ()
    """The days of the week."""
    start_time: dt.time | None = None
    """The time at which the meeting begins."""
    end_time: dt.time | None = None
    """The time at which the meeting ends, exclusive. ``time(0)`` means midnight at the end of the day."""
    start_date: dt.date | None = None
    """The first day of the period. ``None`` means that it has no beginning."""
    end_date: dt.date | None = None
    """The last day of the period. ``None`` means that it has no end."""
    location: str = ""
    """Where the meeting takes place."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One offering of a course in one term."""

    course_id: str
    """Identifies the course. The id never changes."""
    code: str = ""
    """The code of the subject, such as ``CS 101``. All offerings of a subject share its code."""
    title: str = ""
    """The title."""
    description: str = ""
    """The description."""
    term: str = ""
    """The term in which the course takes place, as the campus names it."""
    component: str = ""
    """The part of the subject that this course teaches, such as ``LEC`` or ``LAB``."""
    credits: Decimal = Decimal(0)
    """The credits that a student earns with the course."""
    capacity: int | None = None
    """The number of seats. ``None`` means unlimited."""
    waitlist_capacity: int = 0
    """The number of places on the waitlist. ``0`` means no waitlist."""
    enroll_open_time: dt.datetime | None = None
    """The first instant of the enrollment window. ``None`` means that it has no beginning."""
    enroll_close_time: dt.datetime | None = None
    """The first instant after the enrollment window. ``None`` means that it has no end."""
    drop_deadline_time: dt.datetime | None = None
    """The first instant at which a seat can no longer be given up. ``None`` means no deadline."""
    meetings: tuple[Meeting, ...] = ()
    """When and where the course meets."""
    prerequisite_course_ids: tuple[str, ...] = ()
    """The courses that a student must have passed."""
    state: CourseState = CourseState.OPEN
    """Whether the course takes place."""
    enrolled_count: int = 0
    """The number of seats that are taken."""
    waitlisted_count: int = 0
    """The number of students on the waitlist."""
    completed_count: int = 0
    """The number of seats that ``complete`` has ended, without voided completions. ``courses.update`` and the server's
    own settling leave as many seats free."""
    seats_available: int | None = None
    """The number of free seats. ``None`` if the capacity is unlimited."""
    etag: str = ""
    """The version of the fields that callers set. Send it with an update or a deletion to detect concurrent changes."""
    create_time: dt.datetime | None = None
    """When the course was created."""
    update_time: dt.datetime | None = None
    """When the fields that callers set last changed. The counts do not affect it."""
    delete_time: dt.datetime | None = None
    """``None`` while the course is not deleted."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """A student's seat in a course, a place on its waitlist, or the record of either."""

    enrollment_id: str
    """Identifies the enrollment."""
    student_id: str
    """The student."""
    course_id: str
    """The course."""
    state: EnrollmentState
    """Whether the student has a seat, waits for one, or neither."""
    waitlist_position: int = 0
    """The position on the waitlist when the server responded, from 1. ``0`` if not waitlisted. It decreases when
    students ahead leave, without a change of ``etag`` or ``update_time``."""
    attempt: int = 1
    """The number of this enrollment among the student's enrollments in this course, from 1."""
    grade: str = ""
    """The grade, as the campus writes it, of a completion, also of a voided one."""
    passed: bool | None = None
    """Whether the student passed, for a completion, also for a voided one."""
    bypassed_rules: tuple[ErrorReason, ...] = ()
    """The rules that overrides set aside for this enrollment. For a promotion, they stay set aside for what the
    overrides were given for, such as the same holds or conflicts."""
    reason: str = ""
    """Why the enrollment was dropped or voided: the ``reason`` given to ``unenroll`` or ``void_completion``,
    ``SWAPPED`` after ``swap``, ``STUDENT_DELETED`` or ``COURSE_DELETED`` after a forced deletion."""
    create_time: dt.datetime | None = None
    """When the enrollment was created."""
    update_time: dt.datetime | None = None
    """When the enrollment last changed."""
    end_time: dt.datetime | None = None
    """When the enrollment ended. ``None`` while it is live."""
    etag: str = ""
    """The version of the enrollment."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCourse:
    """A course of a student, with the enrollment."""

    course: Course
    """The course."""
    enrollment: Enrollment
    """The student's enrollment in it."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """A student of a course, with the enrollment."""

    student: Student
    """The student."""
    enrollment: Enrollment
    """The student's enrollment in the course."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """The value of a field before and after a change, as text. Times are in RFC 3339, lists in JSON."""

    field: str
    """The name of the field in the resource."""
    before: str | None = None
    """``None`` if the field had no value."""
    after: str | None = None
    """``None`` if the field has no value."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of a student, a course, a hold or an enrollment. Events are never changed or removed."""

    revision: int
    """The position in the history, from 1 and without gaps. New events always have higher revisions than the events
    that a caller has read."""
    event_id: str
    """Identifies the event."""
    type: EventType
    """The kind of change."""
    time: dt.datetime
    """When the server made the change. Clocks of servers differ, so only revisions give the order of events."""
    actor: str = ""
    """The caller: ``key:`` and the name of an API key, ``jwt:`` and the subject of a token, ``cert:`` and the name in a
    certificate, or ``system:sweep`` if the server settled the course by itself. Empty if the server did not identify
    callers, and for students."""
    student_id: str = ""
    """Empty for events of courses."""
    course_id: str = ""
    """Empty for events of students and holds."""
    enrollment: Enrollment | None = None
    """The enrollment after the change. ``None`` for events of students, courses and holds. Only STUDENT_WAITLISTED sets
    its ``waitlist_position``."""
    previous_state: EnrollmentState | None = None
    """The state of the enrollment before the change. ``None`` if the event has no enrollment or a new one."""
    reason: str = ""
    """The reason of the override if it set rules aside for this change, of the hold, or else of the drop or the
    voiding."""
    comment: str = ""
    """The comment of the call. Empty for PROMOTION_SKIPPED and for promotions of students that the call does not
    name."""
    bypassed_rules: tuple[ErrorReason, ...] = ()
    """The rules that this call or earlier calls set aside for the enrollment."""
    violations: tuple[Violation, ...] = ()
    """For PROMOTION_SKIPPED, the violations that refused the promotion. For other events of an enrollment, the
    violations that the override of the call set aside for this change."""
    changes: tuple[FieldChange, ...] = ()
    """The changed fields, for events of students, courses and holds and for corrections of a completion."""
    request_id: str = ""
    """The ``request_id`` of the call that made the change."""
    on_behalf_of: str = ""
    """The caller made the change on behalf of this person. Empty if the caller named nobody, and for students."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """The rules that one call sets aside, and the reason."""

    rules: Sequence[ErrorReason]
    """The rules to set aside, named by the ``override_rule`` of their violations. ``COURSE_FULL`` takes a seat over
    capacity. If the student has to wait, a later promotion sets aside only violations with the same facts."""
    reason: str
    """Why, for the records. It must not be empty."""
