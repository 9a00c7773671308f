"""Single values of records as values of messages: times, meetings, and the members of enums."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.dayofweek_pb2 import DayOfWeek
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1 import course_pb2, enrollment_pb2, event_pb2, student_pb2
from registrar_server.core.schedule import Meeting
from registrar_server.core.vocabulary import CourseState, EnrollmentState, EventType, StudentState

Member = TypeVar("Member", bound=StrEnum)
Number = TypeVar("Number", bound=int, covariant=True)


class _Enum(Protocol[Number]):
    """The generated wrapper of a protobuf enum."""

    def Value(self, name: str) -> Number: ...


def _numbers(prefix: str, members: type[Member], enum: _Enum[Number]) -> Mapping[Member, Number]:
    return MappingProxyType({member: enum.Value(prefix + member) for member in members})


STUDENT_STATES = _numbers("STUDENT_STATE_", StudentState, student_pb2.StudentState)
COURSE_STATES = _numbers("COURSE_STATE_", CourseState, course_pb2.CourseState)
ENROLLMENT_STATES = _numbers("ENROLLMENT_STATE_", EnrollmentState, enrollment_pb2.EnrollmentState)
EVENT_TYPES = _numbers("EVENT_TYPE_", EventType, event_pb2.EventType)


def timestamp(microseconds: int | None) -> Timestamp | None:
    """Return a time, or None for None."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def generated_time(microseconds: int | None) -> Timestamp | None:
    """Return a time that the server generated; a preview has none."""
    return timestamp(microseconds) if microseconds else None


def set_generated_time(message: Timestamp, microseconds: int | None) -> None:
    """Fill in a time that the server generated; a preview has none."""
    if microseconds:
        message.seconds, rest = divmod(microseconds, 1_000_000)
        message.nanos = rest * 1000


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
