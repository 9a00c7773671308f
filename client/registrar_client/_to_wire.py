"""Converts the plain values that callers pass to protobuf messages.

The functions refuse only values that cannot be sent, with a TypeError or ValueError that names the argument. The server
decides whether a value makes sense.
"""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_origin

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1 import course_pb2, enrollment_pb2
from registrar_client._enums import ErrorReason, Weekday
from registrar_client._field_types import field_types, is_enum
from registrar_client._types import UNSET, Meeting, Override
from registrar_client._wire_enums import enum_table

Sent = TypeVar("Sent", bound=Message)
Convert = Callable[[str, Any], Any]
"""Converts the value of the named argument."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# These fields say which version of which resource an update changes.
_IDENTIFYING = ("student_id", "course_id", "etag")


def message(kind: type[Sent], /, **values: Any) -> Sent:
    """Return a message; raise a TypeError or ValueError that names the argument if a value does not fit."""
    try:
        return kind(**values)
    except (TypeError, ValueError):
        # protobuf does not name the field, so try each field alone. Correct calls do not pay for this.
        for name, value in values.items():
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


def fields(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a resource that a call passes, converted for the message.

    Args:
        kind: The dataclass of the resource. The annotations of its fields choose the converters.
        arguments: All arguments of the call by name: its ``locals()``. Names that are not fields of the resource and
            values that are ``UNSET`` are left out. ``None`` stays ``None``, which clears a field.
    """
    types = field_types(kind)
    passed = {name: value for name, value in arguments.items() if name in types and value is not UNSET}
    return {
        name: None if value is None else _converter(types[name].annotation)(name, value)
        for name, value in passed.items()
    }


def update_mask(passed: Iterable[str]) -> FieldMask:
    """Return the mask of an update: the passed fields without the resource's id and etag."""
    return FieldMask(paths=[name for name in passed if name not in _IDENTIFYING])


@functools.cache
def _converter(annotation: Any) -> Convert:
    if get_origin(annotation) in (tuple, Sequence):
        convert = _item_converter(get_args(annotation)[0])
        return lambda name, values: [convert(name, value) for value in _items(name, values)]
    if is_enum(annotation):
        return enum_table(annotation).number
    return _CONVERTERS.get(annotation, _unchanged)


def _item_converter(annotation: Any) -> Convert:
    return enum_table(annotation).number if is_enum(annotation) else _ITEM_CONVERTERS[annotation]


def _unchanged(_name: str, value: Any) -> Any:
    return value


def request_id(value: str | uuid.UUID | None, *, validate_only: bool = False) -> str:
    """Return the caller's request id, or a new one, which makes it safe to retry the call."""
    if not value:
        # A call that changes nothing needs no protection.
        return "" if validate_only else str(uuid.uuid4())
    if not isinstance(value, str | uuid.UUID):
        raise _wrong_type("request_id", "a str or UUID", value)
    return str(value)


def numbers(name: str, kind: type[StrEnum], members: Iterable[str]) -> list[int]:
    """Return the numbers of the members of an enum."""
    return [enum_table(kind).number(name, member) for member in _items(name, members)]


def number(name: str, kind: type[StrEnum], member: str) -> int:
    """Return the number of a member of an enum."""
    return enum_table(kind).number(name, member)


def override(value: Override | None) -> enrollment_pb2.Override | None:
    """Return the override of a call as a message."""
    if value is None:
        return None
    if not isinstance(value, Override):
        raise _wrong_type("override", "an Override", value)
    rules = numbers("override.rules", ErrorReason, value.rules)
    return message(enrollment_pb2.Override, rules=rules, reason=value.reason)


def decimal(name: str, value: object) -> str:
    """Return a decimal string without an exponent; refuse a float, which is rarely exact."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return format(Decimal(value), "f")
    raise _wrong_type(name, "a Decimal, int or str", value)


def timestamp(name: str, value: dt.datetime) -> Timestamp:
    """Return a timestamp, exact to the microsecond; refuse a datetime without a timezone."""
    if not isinstance(value, dt.datetime):
        raise _wrong_type(name, "a datetime", value)
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a timezone: which instant {value!r} means depends on it")
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def optional_timestamp(name: str, value: dt.datetime | None) -> Timestamp | None:
    """Return a timestamp, or None for None."""
    return None if value is None else timestamp(name, value)


def _items(name: str, values: object) -> list[Any]:
    # A single string is a mistake, although it is iterable.
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _wrong_type(name, "a sequence", values)
    return list(values)


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a sequence of str", value)
    return value


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
    # A datetime is also a date, but the message would silently lose its time.
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise _wrong_type(name, "a date", value)
    return Date(year=value.year, month=value.month, day=value.day)


def _meeting(name: str, value: Meeting) -> course_pb2.Meeting:
    if not isinstance(value, Meeting):
        raise _wrong_type(name, "a sequence of Meeting", value)
    return message(
        course_pb2.Meeting,
        weekdays=numbers(f"{name}.weekdays", Weekday, value.weekdays),
        start_time=_time_of_day(f"{name}.start_time", value.start_time),
        end_time=_time_of_day(f"{name}.end_time", value.end_time, at_end=True),
        start_date=_date(f"{name}.start_date", value.start_date),
        end_date=_date(f"{name}.end_date", value.end_date),
        location=value.location,
    )


_CONVERTERS: Mapping[Any, Convert] = {
    Decimal: decimal,
    dt.datetime: timestamp,
    dt.date: _date,
    dt.time: _time_of_day,
}
_ITEM_CONVERTERS: Mapping[Any, Convert] = {str: _string, Meeting: _meeting}
