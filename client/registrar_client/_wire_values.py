"""Checks single values that callers pass, and converts them to values of protobuf fields."""

from __future__ import annotations

import datetime as dt
import operator
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from reprlib import repr as short
from typing import Any, NoReturn

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from registrar_client._wire_enums import enum_table
from registrar_client.errors import FieldViolation

Convert = Callable[[str, Any], Any]
"""Converts a value for the field at a path; raises Unfit if it cannot be sent."""

_CREDITS = "must be a decimal from 0 to 1000 with up to 3 decimals, such as 3 or 1.5"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST, _LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
INTEGERS = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}
# The server's ranges, if they are narrower than those of the wire.
_LARGEST = {"capacity": 1_000_000, "waitlist_capacity": 1_000_000, "page_size": 2**31 - 1, "after_revision": 2**63 - 1}
# The server reduces a larger page to this size.
_LARGEST_PAGE = 1000
_PLAIN_DECIMAL = re.compile(r"(?=\.?[0-9])[0-9]*\.?[0-9]*")
# The server takes no longer text. Without a limit, Decimal("1e999999999") would need a gigabyte.
_MOST_DIGITS = 64


class Unfit(Exception):
    """Values that cannot be sent."""

    def __init__(self, violations: list[FieldViolation]) -> None:
        super().__init__(violations)
        self.violations = violations


def unfit(path: str, description: str) -> NoReturn:
    """Raise Unfit for one field."""
    raise Unfit([FieldViolation(field=path, description=description)])


def wrong_type(path: str, expected: str, value: object) -> NoReturn:
    """Raise Unfit for a value of another type than the expected one."""
    unfit(path, f"must be {expected}, not {'None' if value is None else type(value).__name__}")


def text(path: str, value: Any) -> str:
    """Return text; refuse bytes, and halves of surrogate pairs, which UTF-8 cannot encode."""
    if not isinstance(value, str):
        wrong_type(path, "a str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            unfit(path, f"must be Unicode text, but character {error.start} is half of a surrogate pair")
    return value


def uuid_text(path: str, value: Any) -> str:
    """Return a UUID as text."""
    if not isinstance(value, str | uuid.UUID):
        wrong_type(path, "a str or UUID", value)
    return text(path, str(value))


def boolean(path: str, value: Any) -> bool:
    """Return a bool; refuse a number."""
    if not isinstance(value, bool):
        wrong_type(path, "a bool", value)
    return value


def integer(field: FieldDescriptor) -> Convert:
    """Return the converter of integers for a field."""
    limit = 1 << INTEGERS[field.cpp_type] - 1
    low, high = (0, _LARGEST[field.name]) if field.name in _LARGEST else (-limit, limit - 1)
    allowed = f"from {low} to {_LARGEST_PAGE if field.name == 'page_size' else high}"

    def convert(path: str, value: Any) -> int:
        try:
            # Integers of other libraries are integers too.
            number = operator.index(value)
        except TypeError:
            wrong_type(path, "an int", value)
        if isinstance(value, bool):
            wrong_type(path, "an int", value)
        if not low <= number <= high:
            unfit(path, f"must be {allowed}")
        return number

    return convert


def member(kind: type[StrEnum]) -> Convert:
    """Return the converter of members of an enum, and of their names."""
    table = enum_table(kind)

    def convert(path: str, value: Any) -> int:
        number = table.number(value)
        if number is None:
            shown = short(str(value) if isinstance(value, str) else value)
            unfit(path, f"must be one of {', '.join(table.names)}, not {shown}")
        return number

    return convert


def decimal(path: str, value: Any) -> str:
    """Return a decimal as text; refuse a float, which is rarely exact, and what the server would refuse."""
    if isinstance(value, str):
        # Whether the field may be empty depends on the field, so the server decides.
        is_plain = len(value) <= _MOST_DIGITS and _PLAIN_DECIMAL.fullmatch(value)
        if value and not (is_plain and _is_credits(Decimal(value))):
            unfit(path, _CREDITS)
        return value
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        wrong_type(path, "a Decimal, int or str", value)
    if not _is_credits(Decimal(value)):
        unfit(path, _CREDITS)
    return format(abs(Decimal(value)).normalize(), "f")


def _is_credits(number: Decimal) -> bool:
    """Return whether a number is from 0 to 1000 and needs at most 3 decimals, however many it is written with."""
    if not number.is_finite() or max(number.adjusted(), -int(number.as_tuple().exponent)) > _MOST_DIGITS:
        return False
    return 0 <= number <= 1000 and (Fraction(number) * 1000).denominator == 1


def timestamp(path: str, value: Any) -> Timestamp:
    """Return a timestamp, exact to the microsecond; refuse a datetime without a timezone."""
    if not isinstance(value, dt.datetime):
        wrong_type(path, "a datetime", value)
    if value.utcoffset() is None:
        unfit(path, f"must have a timezone: which instant {value!r} means depends on it")
    if not _FIRST <= value <= _LAST:
        unfit(path, f"must be from {_FIRST.isoformat()} to {_LAST.isoformat()}")
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def time_of_day(path: str, value: Any) -> TimeOfDay:
    """Return a time of day; refuse a time with a timezone. Midnight as an ``end_time`` is 24:00."""
    if not isinstance(value, dt.time):
        wrong_type(path, "a time", value)
    if value.tzinfo is not None:
        unfit(path, "must have no timezone: it is in the wall-clock time of the campus")
    hours = 24 if value == dt.time(0) and path.endswith("end_time") else value.hour
    return TimeOfDay(hours=hours, minutes=value.minute, seconds=value.second, nanos=value.microsecond * 1000)


def date(path: str, value: Any) -> Date:
    """Return a date; refuse a datetime."""
    # A datetime is also a date, but the message would silently lose its time.
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        wrong_type(path, "a date", value)
    return Date(year=value.year, month=value.month, day=value.day)
