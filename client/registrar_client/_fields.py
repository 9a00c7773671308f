"""From the plain values that callers pass to the messages of the wire.

Only what could not be sent at all is refused here, with a TypeError or ValueError that names the argument. Whether a
value makes sense is the server's decision.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1 import course_pb2, enrollment_pb2
from registrar_client._convert import REASONS, WEEKDAYS, EnumTable
from registrar_client._types import UNSET, Meeting, Override

Sent = TypeVar("Sent", bound=Message)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def message(kind: type[Sent], /, **fields: Any) -> Sent:
    """Make a message; a value that does not fit raises a TypeError or ValueError that names the argument."""
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        # protobuf does not say which field it means, so they are tried one by one, at no cost to calls that are right.
        for name, value in fields.items():
            _try_field(kind, name, value)
        raise


def _try_field(kind: type[Message], name: str, value: Any) -> None:
    try:
        kind(**{name: value})
    except TypeError:
        raise _wrong_type(name, _expected(kind, name), value) from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _expected(kind: type[Message], name: str) -> str:
    field = kind.DESCRIPTOR.fields_by_name[name]
    kinds = {
        field.CPPTYPE_STRING: "a str",
        field.CPPTYPE_INT32: "an int",
        field.CPPTYPE_INT64: "an int",
        field.CPPTYPE_BOOL: "a bool",
    }
    return kinds.get(field.cpp_type, "of another type")


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def request_id(value: str | uuid.UUID | None, *, validate_only: bool = False) -> str:
    """Return the caller's request id, or a new one, which makes the retries of this call safe."""
    if not value:
        # A call that changes nothing has nothing to protect.
        return "" if validate_only else str(uuid.uuid4())
    if not isinstance(value, str | uuid.UUID):
        raise _wrong_type("request_id", "a str or UUID", value)
    return str(value)


def items(name: str, values: object) -> list[Any]:
    """Return the values as a list; a single string is a mistake, though it could be iterated over."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _wrong_type(name, "a sequence", values)
    return list(values)


def strings(name: str, values: Iterable[str]) -> list[str]:
    """Return a list of strings."""
    listed = items(name, values)
    for value in listed:
        if not isinstance(value, str):
            raise _wrong_type(name, "a sequence of str", value)
    return listed


def numbers(name: str, table: EnumTable[Any], members: Iterable[str]) -> list[int]:
    """Return the wire's numbers for members of an enum."""
    return [table.number(name, member) for member in items(name, members)]


def decimal(name: str, value: object) -> str:
    """Return a decimal string without an exponent; a float is refused, as it is seldom the number it looks like."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return format(Decimal(value), "f")
    raise _wrong_type(name, "a Decimal, int or str", value)


def timestamp(name: str, value: dt.datetime) -> Timestamp:
    """Return a timestamp, exact to the microsecond; a datetime without a timezone is refused."""
    if not isinstance(value, dt.datetime):
        raise _wrong_type(name, "a datetime", value)
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a timezone: which instant {value!r} means depends on it")
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def _time_of_day(name: str, value: dt.time | None, *, at_end: bool = False) -> TimeOfDay | None:
    if value is None:
        return None
    if not isinstance(value, dt.time):
        raise _wrong_type(name, "a time", value)
    if value.tzinfo is not None:
        raise ValueError(f"{name} must have no timezone: it is in the wall-clock time of the campus")
    hours = 24 if at_end and value == dt.time(0) else value.hour
    return TimeOfDay(hours=hours, minutes=value.minute, seconds=value.second, nanos=value.microsecond * 1000)


def _date(name: str, value: object) -> Date | None:
    if value is None:
        return None
    # A datetime is a date to isinstance, but its time would be lost without a word.
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise _wrong_type(name, "a date", value)
    return Date(year=value.year, month=value.month, day=value.day)


def _meeting(name: str, value: Meeting) -> course_pb2.Meeting:
    if not isinstance(value, Meeting):
        raise _wrong_type(name, "a sequence of Meeting", value)
    return message(
        course_pb2.Meeting,
        weekdays=numbers(f"{name}.weekdays", WEEKDAYS, value.weekdays),
        start_time=_time_of_day(f"{name}.start_time", value.start_time),
        end_time=_time_of_day(f"{name}.end_time", value.end_time, at_end=True),
        start_date=_date(f"{name}.start_date", value.start_date),
        end_date=_date(f"{name}.end_date", value.end_date),
        location=value.location,
    )


def meetings(name: str, values: Iterable[Meeting]) -> list[course_pb2.Meeting]:
    """Return a list of meetings."""
    return [_meeting(name, value) for value in items(name, values)]


def override(value: Override | None) -> enrollment_pb2.Override | None:
    """Return the override of a call."""
    if value is None:
        return None
    if not isinstance(value, Override):
        raise _wrong_type("override", "an Override", value)
    return message(enrollment_pb2.Override, rules=numbers("override.rules", REASONS, value.rules), reason=value.reason)


def changes(values: Mapping[str, Any], converters: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    """Return the fields that were passed, converted; their names are the update mask, and None clears."""
    passed = {name: value for name, value in values.items() if value is not UNSET}
    for name, convert in converters.items():
        if passed.get(name) is not None:
            passed[name] = convert(name, passed[name])
    return passed
