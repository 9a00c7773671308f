"""Records as messages. A field that was never set, or that a preview does not know, stays absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import Message

from registrar.v1 import course_pb2, enrollment_pb2, error_reason_pb2, event_pb2, student_pb2
from registrar_server.core.formats import format_etag
from registrar_server.core.records import Course, Enrollment, Event, Student
from registrar_server.errors import Violation
from registrar_server.reading.history import HistoryEntry
from registrar_server.rpc.settable_fields import write_fields
from registrar_server.rpc.validation import reason_number
from registrar_server.rpc.values import (
    ENROLLMENT_STATES,
    EVENT_TYPES,
    generated_time,
    set_generated_time,
)

MAX_LISTED = 100
"""The most enrollments that a response to a change lists. Otherwise it could grow past the limit of a message, and the
caller of a committed change would get an error."""

Record = TypeVar("Record")
Response = TypeVar("Response", bound=Message)


def answering(response: type[Response], name: str, pack: Callable[[Record], Message]) -> Callable[[Record], Response]:
    """Return a function that packs a record as the one resource of a response, under its name."""
    return lambda record: response(**{name: pack(record)})


def enrollment(record: Enrollment) -> enrollment_pb2.Enrollment:
    """Return the message of an enrollment."""
    message = enrollment_pb2.Enrollment()
    set_enrollment(message, record)
    return message


def listed(records: Sequence[Enrollment]) -> Iterator[enrollment_pb2.Enrollment]:
    """Return the messages of the enrollments that a response to a change lists: the first ones."""
    return map(enrollment, records[:MAX_LISTED])


def set_enrollment(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    """Fill in the message of an enrollment, in place within a response: lists are long, and copies are expensive."""
    _set_all_but_times(message, record)
    set_generated_time(message.create_time, record.create_time)
    set_generated_time(message.update_time, record.update_time)


def set_new_enrollment(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    """Fill in the message of an enrollment that was just made, often at the same time as many others."""
    _set_all_but_times(message, record)
    message.MergeFromString(_packed_times(record.create_time, record.update_time))


@lru_cache(maxsize=1)
def _packed_times(create_time: int, update_time: int) -> bytes:
    """Return the bytes of the times of an enrollment; those of one batch share them."""
    message = enrollment_pb2.Enrollment()
    set_generated_time(message.create_time, create_time)
    set_generated_time(message.update_time, update_time)
    return message.SerializeToString()


def _set_all_but_times(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    message.enrollment_id = record.enrollment_id
    message.student_id = record.student_id
    message.course_id = record.course_id
    message.state = ENROLLMENT_STATES[record.state]
    message.waitlist_position = record.waitlist_position
    message.attempt = record.attempt
    message.etag = format_etag(record.enrollment_id, record.version)
    if not record.live:
        _set_end(message, record)
    if record.bypassed_rules:
        message.bypassed_rules.extend(map(reason_number, record.bypassed_rules))


def _set_end(message: enrollment_pb2.Enrollment, record: Enrollment) -> None:
    message.reason = record.reason
    message.grade = record.grade
    if record.passed is not None:
        message.passed = record.passed
    set_generated_time(message.end_time, record.end_time)


def student(record: Student) -> student_pb2.Student:
    """Return the message of a student."""
    return student_pb2.Student(
        student_id=record.student_id,
        holds=[
            student_pb2.Hold(code=hold.code, reason=hold.reason, place_time=generated_time(hold.place_time))
            for hold in record.holds
        ],
        etag=format_etag(record.student_id, record.version),
        create_time=generated_time(record.create_time),
        update_time=generated_time(record.update_time),
        delete_time=generated_time(record.delete_time),
        **write_fields(record),
    )


def set_student(message: student_pb2.Student, record: Student) -> None:
    """Fill in the message of a student."""
    message.CopyFrom(student(record))


def course(record: Course) -> course_pb2.Course:
    """Return the message of a course."""
    message = course_pb2.Course()
    set_course(message, record)
    return message


def set_course(message: course_pb2.Course, record: Course) -> None:
    """Fill in the message of a course. For a small course it is cached without the counters, since lists repeat it."""
    is_small = len(record.description) + 100 * len(record.meetings) <= 1000
    build = _cached_without_counters if is_small else _without_counters
    message.CopyFrom(build(*_stable_values(record)))
    message.enrolled_count = record.enrolled_count
    message.waitlisted_count = record.waitlisted_count
    message.completed_count = record.completed_count
    if (seats := record.seats_available) is not None:
        message.seats_available = seats


_COUNTERS = frozenset({"enrolled_count", "waitlisted_count", "completed_count", "last_number"})
_STABLE = tuple(field.name for field in fields(Course) if field.name not in _COUNTERS)
_stable_values = attrgetter(*_STABLE)


def _without_counters(*values: Any) -> course_pb2.Course:
    record = Course(**dict(zip(_STABLE, values, strict=True)))
    return course_pb2.Course(
        course_id=record.course_id,
        etag=format_etag(record.course_id, record.version),
        create_time=generated_time(record.create_time),
        update_time=generated_time(record.update_time),
        delete_time=generated_time(record.delete_time),
        **write_fields(record),
    )


_cached_without_counters = lru_cache(maxsize=4096)(_without_counters)


def set_event(message: event_pb2.Event, record: HistoryEntry) -> None:
    """Fill in the message of an event."""
    event = record.event
    message.revision = record.revision
    message.event_id = event.event_id
    message.type = EVENT_TYPES[event.type]
    set_generated_time(message.time, event.time)
    message.actor = event.actor
    message.student_id = event.student_id
    message.course_id = event.course_id
    message.request_id = event.request_id
    if record.enrollment:
        set_enrollment(message.enrollment, record.enrollment)
        if event.bypassed_rules:
            message.bypassed_rules.extend(message.enrollment.bypassed_rules)
    if event.previous_state:
        message.previous_state = ENROLLMENT_STATES[event.previous_state]
    _set_remarks(message, event)


def _set_remarks(message: event_pb2.Event, event: Event) -> None:
    """Fill in what few events have. Every field takes time, also if it is empty, and histories are long."""
    if event.on_behalf_of:
        message.on_behalf_of = event.on_behalf_of
    if event.reason:
        message.reason = event.reason
    if event.comment:
        message.comment = event.comment
    if event.violations:
        message.violations.extend(map(violation, event.violations))
    if event.changes:
        message.changes.extend(event_pb2.FieldChange(**change._asdict()) for change in event.changes)


def violation(record: Violation) -> error_reason_pb2.RuleViolation:
    """Return the message of a violated rule."""
    return error_reason_pb2.RuleViolation(
        reason=reason_number(record.reason),
        description=record.description,
        values=record.values,
        overridable=record.overridable,
        override_rule=reason_number(record.override_rule),
    )
