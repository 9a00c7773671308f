"""From the messages of the wire to the values that callers get."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2, dayofweek_pb2, timeofday_pb2

from registrar.v1 import course_pb2, enrollment_pb2, enrollment_service_pb2, error_reason_pb2, event_pb2, student_pb2
from registrar_client._enums import CourseState, EnrollmentState, ErrorReason, EventType, StudentState, Weekday
from registrar_client._types import (
    Course,
    Enrollment,
    Event,
    FieldChange,
    Hold,
    Meeting,
    RosterEntry,
    Student,
    StudentCourse,
    Swapped,
    Unenrolled,
)
from registrar_client.errors import Violation

Member = TypeVar("Member", bound=StrEnum)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Names(Protocol):
    def items(self) -> Iterable[tuple[str, int]]: ...


class EnumTable(Generic[Member]):
    """Pairs the values of a protobuf enum with the members of ours, in both directions."""

    def __init__(self, kind: type[Member], names: _Names, prefix: str = "") -> None:
        self._unknown = kind("UNKNOWN")
        known = {str(member): member for member in kind}
        pairs = [(known.get(name.removeprefix(prefix)), number) for name, number in names.items()]
        self._members = {number: member for member, number in pairs if member is not None}
        self._numbers: dict[str, int] = {member: number for number, member in self._members.items()}

    def member(self, number: int) -> Member:
        """Return our member for a number of the wire, ``UNKNOWN`` for one that is new to this client."""
        return self._members.get(number, self._unknown)

    def member_if_any(self, number: int) -> Member | None:
        """Return our member for a number of the wire, None for that of "unspecified"."""
        return self.member(number) if number else None

    def number(self, argument: str, member: str) -> int:
        """Return the wire's number for a member or its name; ValueError names the argument and what is allowed."""
        try:
            return self._numbers[member]
        except (KeyError, TypeError):
            raise ValueError(f"{argument} must be one of {', '.join(self._numbers)}, not {member!r}") from None


ENROLLMENT_STATES = EnumTable(EnrollmentState, enrollment_pb2.EnrollmentState, "ENROLLMENT_STATE_")
EVENT_TYPES = EnumTable(EventType, event_pb2.EventType, "EVENT_TYPE_")
STUDENT_STATES = EnumTable(StudentState, student_pb2.StudentState, "STUDENT_STATE_")
COURSE_STATES = EnumTable(CourseState, course_pb2.CourseState, "COURSE_STATE_")
WEEKDAYS = EnumTable(Weekday, dayofweek_pb2.DayOfWeek)
REASONS = EnumTable(ErrorReason, error_reason_pb2.ErrorReason, "ERROR_REASON_")


def _instant(stamp: Timestamp) -> dt.datetime:
    # Adding to the epoch is exact, where a float of seconds would round microseconds away.
    return _EPOCH + dt.timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)


def _moment(owner: Message, field: str) -> dt.datetime | None:
    return _instant(getattr(owner, field)) if owner.HasField(field) else None


def _time(owner: Message, field: str) -> dt.time | None:
    if not owner.HasField(field):
        return None
    clock: timeofday_pb2.TimeOfDay = getattr(owner, field)
    return dt.time(clock.hours % 24, clock.minutes, clock.seconds, clock.nanos // 1000)


def _date(owner: Message, field: str) -> dt.date | None:
    if not owner.HasField(field):
        return None
    day: date_pb2.Date = getattr(owner, field)
    return dt.date(day.year, day.month, day.day)


def _hold(message: student_pb2.Hold) -> Hold:
    return Hold(code=message.code, reason=message.reason, place_time=_moment(message, "place_time"))


def student(message: student_pb2.Student) -> Student:
    """Convert a student."""
    return Student(
        student_id=message.student_id,
        given_name=message.given_name,
        family_name=message.family_name,
        email=message.email,
        state=STUDENT_STATES.member(message.state),
        max_credits=Decimal(message.max_credits) if message.HasField("max_credits") else None,
        holds=tuple(map(_hold, message.holds)),
        etag=message.etag,
        create_time=_moment(message, "create_time"),
        update_time=_moment(message, "update_time"),
        delete_time=_moment(message, "delete_time"),
    )


def _meeting(message: course_pb2.Meeting) -> Meeting:
    return Meeting(
        weekdays=tuple(map(WEEKDAYS.member, message.weekdays)),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        start_date=_date(message, "start_date"),
        end_date=_date(message, "end_date"),
        location=message.location,
    )


def course(message: course_pb2.Course) -> Course:
    """Convert a course."""
    return Course(
        course_id=message.course_id,
        code=message.code,
        title=message.title,
        description=message.description,
        term=message.term,
        credits=Decimal(message.credits or 0),
        capacity=message.capacity if message.HasField("capacity") else None,
        waitlist_capacity=message.waitlist_capacity,
        enroll_open_time=_moment(message, "enroll_open_time"),
        enroll_close_time=_moment(message, "enroll_close_time"),
        drop_deadline_time=_moment(message, "drop_deadline_time"),
        meetings=tuple(map(_meeting, message.meetings)),
        prerequisite_course_ids=tuple(message.prerequisite_course_ids),
        state=COURSE_STATES.member(message.state),
        enrolled_count=message.enrolled_count,
        waitlisted_count=message.waitlisted_count,
        seats_available=message.seats_available if message.HasField("seats_available") else None,
        etag=message.etag,
        create_time=_moment(message, "create_time"),
        update_time=_moment(message, "update_time"),
        delete_time=_moment(message, "delete_time"),
    )


def enrollment(message: enrollment_pb2.Enrollment) -> Enrollment:
    """Convert an enrollment."""
    return Enrollment(
        enrollment_id=message.enrollment_id,
        student_id=message.student_id,
        course_id=message.course_id,
        state=ENROLLMENT_STATES.member(message.state),
        waitlist_position=message.waitlist_position,
        attempt=message.attempt,
        grade=message.grade,
        passed=message.passed if message.HasField("passed") else None,
        bypassed_rules=tuple(map(REASONS.member, message.bypassed_rules)),
        reason=message.reason,
        create_time=_moment(message, "create_time"),
        update_time=_moment(message, "update_time"),
        end_time=_moment(message, "end_time"),
        etag=message.etag,
    )


def student_course(message: enrollment_service_pb2.StudentCourse) -> StudentCourse:
    """Convert a course of a student."""
    return StudentCourse(course=course(message.course), enrollment=enrollment(message.enrollment))


def roster_entry(message: enrollment_service_pb2.RosterEntry) -> RosterEntry:
    """Convert a student of a course."""
    return RosterEntry(student=student(message.student), enrollment=enrollment(message.enrollment))


def unenrolled(message: enrollment_service_pb2.UnenrollResponse) -> Unenrolled:
    """Convert what an unenrollment did."""
    return Unenrolled(
        enrollment=enrollment(message.enrollment) if message.HasField("enrollment") else None,
        promoted=tuple(map(enrollment, message.promoted)),
    )


def swapped(message: enrollment_service_pb2.SwapEnrollmentResponse) -> Swapped:
    """Convert what a swap did."""
    return Swapped(
        enrollment=enrollment(message.enrollment),
        dropped=enrollment(message.dropped),
        promoted=tuple(map(enrollment, message.promoted)),
    )


def violation(message: error_reason_pb2.RuleViolation) -> Violation:
    """Convert a rule that refused, its values in the order of their names."""
    return Violation(
        reason=REASONS.member(message.reason),
        description=message.description,
        values=dict(sorted(message.values.items())),
        overridable=message.overridable,
        override_rule=REASONS.member_if_any(message.override_rule),
    )


def _field_change(message: event_pb2.FieldChange) -> FieldChange:
    return FieldChange(
        field=message.field,
        before=message.before if message.HasField("before") else None,
        after=message.after if message.HasField("after") else None,
    )


def event(message: event_pb2.Event) -> Event:
    """Convert an event."""
    return Event(
        revision=message.revision,
        event_id=message.event_id,
        type=EVENT_TYPES.member(message.type),
        time=_instant(message.time),
        actor=message.actor,
        student_id=message.student_id,
        course_id=message.course_id,
        enrollment=enrollment(message.enrollment) if message.HasField("enrollment") else None,
        previous_state=ENROLLMENT_STATES.member_if_any(message.previous_state),
        reason=message.reason,
        comment=message.comment,
        bypassed_rules=tuple(map(REASONS.member, message.bypassed_rules)),
        violations=tuple(map(violation, message.violations)),
        changes=tuple(map(_field_change, message.changes)),
        request_id=message.request_id,
    )
