"""Records to messages. What was never set, or is left out of a preview, stays absent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.dayofweek_pb2 import DayOfWeek
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1 import course_pb2, enrollment_pb2, error_reason_pb2, event_pb2, student_pb2
from registrar_server.core.fields import format_credits
from registrar_server.core.records import COURSE_COLUMNS, Course, Enrollment, Meeting, Student
from registrar_server.errors import Violation
from registrar_server.reading.history import HistoryEntry
from registrar_server.rpc.validation import reason_number

Record = TypeVar("Record")
Response = TypeVar("Response", bound=Message)

STUDENT_STATES = {
    "ACTIVE": student_pb2.STUDENT_STATE_ACTIVE,
    "INACTIVE": student_pb2.STUDENT_STATE_INACTIVE,
}
COURSE_STATES = {
    "OPEN": course_pb2.COURSE_STATE_OPEN,
    "CANCELLED": course_pb2.COURSE_STATE_CANCELLED,
}
ENROLLMENT_STATES = {
    "ENROLLED": enrollment_pb2.ENROLLMENT_STATE_ENROLLED,
    "WAITLISTED": enrollment_pb2.ENROLLMENT_STATE_WAITLISTED,
    "DROPPED": enrollment_pb2.ENROLLMENT_STATE_DROPPED,
    "COMPLETED": enrollment_pb2.ENROLLMENT_STATE_COMPLETED,
}
EVENT_TYPES = {name.removeprefix("EVENT_TYPE_"): number for name, number in event_pb2.EventType.items()}


def answering(response: type[Response], name: str, pack: Callable[[Record], Message]) -> Callable[[Record], Response]:
    """Return what packs a record as the one resource of a response, under its name."""
    return lambda record: response(**{name: pack(record)})


def timestamp(microseconds: int | None) -> Timestamp | None:
    """Return the time, or None for none."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def made(microseconds: int | None) -> Timestamp | None:
    """Return a time that the server made; a preview has none."""
    return timestamp(microseconds) if microseconds else None


def set_time(message: Timestamp, microseconds: int | None) -> None:
    """Fill in a time that the server made; a preview has none."""
    if microseconds:
        message.seconds, rest = divmod(microseconds, 1_000_000)
        message.nanos = rest * 1000


def etag(version: int) -> str:
    """Return the etag of a version; a preview has none."""
    return str(version) if version else ""


def enrollment(record: Enrollment) -> enrollment_pb2.Enrollment:
    """Return the resource of an enrollment."""
    message = enrollment_pb2.Enrollment()
    set_enrollment(message, record)
    return message


def set_enrollment(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    """Fill in the resource of an enrollment, where it lies in a response: lists are long, and copies cost."""
    message.enrollment_id = record.enrollment_id
    message.student_id = record.student_id
    message.course_id = record.course_id
    message.state = ENROLLMENT_STATES[record.state]
    message.waitlist_position = record.waitlist_position
    message.attempt = record.attempt
    message.etag = etag(record.version)
    set_time(message.create_time, record.create_time)
    set_time(message.update_time, record.update_time)
    if not record.live:
        _set_end(message, record)
    if record.bypassed_rules:
        message.bypassed_rules.extend(map(reason_number, record.bypassed_rules))


def _set_end(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    message.reason = record.reason
    message.grade = record.grade
    if record.passed is not None:
        message.passed = record.passed
    set_time(message.end_time, record.end_time)


def set_student(message: student_pb2.Student, record: Student) -> None:
    """Fill in the resource of a student."""
    message.CopyFrom(student(record))


def student(record: Student) -> student_pb2.Student:
    """Return the resource of a student."""
    return student_pb2.Student(
        student_id=record.student_id,
        given_name=record.given_name,
        family_name=record.family_name,
        email=record.email,
        state=STUDENT_STATES[record.state],
        max_credits=None if record.max_credits is None else format_credits(record.max_credits),
        holds=[
            student_pb2.Hold(code=hold.code, reason=hold.reason, place_time=timestamp(hold.place_time))
            for hold in record.holds
        ],
        etag=etag(record.version),
        create_time=made(record.create_time),
        update_time=made(record.update_time),
        delete_time=made(record.delete_time),
    )


def course(record: Course) -> course_pb2.Course:
    """Return the resource of a course."""
    message = course_pb2.Course()
    set_course(message, record)
    return message


def set_course(message: course_pb2.Course, record: Course) -> None:
    """Fill in the resource of a course. All but its counters seldom changes and is kept ready: lists repeat it."""
    small = len(record.description) + 100 * len(record.meetings) <= 1000
    keep = _course_without_counters if small else _course_without_counters.__wrapped__
    message.CopyFrom(keep(*_what_callers_set(record)))
    message.enrolled_count = record.enrolled_count
    message.waitlisted_count = record.waitlisted_count
    if (seats := record.seats_available) is not None:
        message.seats_available = seats


_COUNTERS = frozenset({"enrolled_count", "waitlisted_count", "last_number"})
_what_callers_set = attrgetter(*(column for column in COURSE_COLUMNS if column not in _COUNTERS))


@lru_cache(maxsize=4096)
def _course_without_counters(*values: Any) -> course_pb2.Course:
    record = Course(*values)
    return course_pb2.Course(
        course_id=record.course_id,
        code=record.code,
        title=record.title,
        description=record.description,
        term=record.term,
        credits=format_credits(record.credits),
        capacity=record.capacity,
        waitlist_capacity=record.waitlist_capacity,
        enroll_open_time=timestamp(record.enroll_open_time),
        enroll_close_time=timestamp(record.enroll_close_time),
        drop_deadline_time=timestamp(record.drop_deadline_time),
        meetings=[meeting(one) for one in record.meetings],
        prerequisite_course_ids=record.prerequisite_course_ids,
        state=COURSE_STATES[record.state],
        etag=etag(record.version),
        create_time=made(record.create_time),
        update_time=made(record.update_time),
        delete_time=made(record.delete_time),
    )


def meeting(record: Meeting) -> course_pb2.Meeting:
    """Return the message of a meeting."""
    return course_pb2.Meeting(
        weekdays=[DayOfWeek.ValueType(weekday) for weekday in record.weekdays],
        start_time=_time_of_day(record.start),
        end_time=_time_of_day(record.end),
        start_date=_date(record.start_date),
        end_date=_date(record.end_date),
        location=record.location,
    )


def _time_of_day(seconds: int | None) -> TimeOfDay | None:
    if seconds is None:
        return None
    return TimeOfDay(hours=seconds // 3600, minutes=seconds // 60 % 60, seconds=seconds % 60)


def _date(iso: str) -> Date | None:
    if not iso:
        return None
    year, month, day = map(int, iso.split("-"))
    return Date(year=year, month=month, day=day)


def set_event(message: event_pb2.Event, record: HistoryEntry) -> None:
    """Fill in an event of the history."""
    event = record.event
    message.revision = record.revision
    message.event_id = event.event_id
    message.type = EVENT_TYPES[event.type]
    set_time(message.time, event.time)
    message.actor = event.actor
    message.student_id = event.student_id
    message.course_id = event.course_id
    message.reason = event.reason
    message.comment = event.comment
    message.request_id = event.request_id
    if record.enrollment:
        set_enrollment(message.enrollment, record.enrollment)
        message.bypassed_rules.extend(message.enrollment.bypassed_rules)
    if event.previous_state:
        message.previous_state = ENROLLMENT_STATES[event.previous_state]
    message.violations.extend(map(violation, record.violations))
    message.changes.extend(event_pb2.FieldChange(**change._asdict()) for change in record.changes)


def violation(record: Violation) -> error_reason_pb2.RuleViolation:
    """Return the message of a violated rule."""
    return error_reason_pb2.RuleViolation(
        reason=reason_number(record.reason),
        description=record.description,
        values=record.values,
        overridable=record.overridable,
        override_rule=reason_number(record.override_rule),
    )
