"""Reads protobuf messages into the dataclasses that callers get.

The annotation of a dataclass field decides how it is read, so a new field needs no code here.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeVar, cast, get_args, get_origin

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.timeofday_pb2 import TimeOfDay

from registrar_client._field_types import FieldType, field_types, is_enum
from registrar_client._wire_enums import enum_table

Value = TypeVar("Value")
Convert = Callable[[Any], Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def read(kind: type[Value], message: Message) -> Value:
    """Return a message as a dataclass of this kind."""
    return reader(kind)(message)


def reader(kind: type[Value], *, inherited: str = "") -> Callable[[Message], Value]:
    """Return the function that reads messages into dataclasses of this kind.

    ``inherited`` is the field of the messages in which the values of the inherited dataclass fields are.
    """
    # To mypy, a class behind a type variable is not hashable.
    return _generated(cast(type, kind), inherited)


@functools.cache
def _generated(kind: type, inherited: str) -> Convert:
    """Generate the function from source, as ``dataclasses`` generates ``__init__``. A loop over fields is slower.

    The function fills the slots of an empty object. The ``__init__`` of a frozen dataclass takes three times as long,
    since it looks up each slot by its name.
    """
    scope: dict[str, Any] = {"kind": kind, "new": object.__new__}
    places = dict.fromkeys(field_types(cast(type, kind.__base__)) if inherited else (), "inherited")
    lines = ["def read(message):", f"inherited = message.{inherited}" if inherited else "", "made = new(kind)"]
    for name, field_type in field_types(kind).items():
        scope |= {f"set_{name}": getattr(kind, name).__set__, f"convert_{name}": _converter(field_type)}
        lines.append(f"set_{name}(made, {_expression(places.get(name, 'message'), name, field_type)})")
    exec("\n ".join([*lines, "return made"]), scope)
    return cast(Convert, scope["read"])


def _expression(message: str, name: str, field_type: FieldType) -> str:
    """Return the Python expression that reads a field of a message."""
    field = f"{message}.{name}"
    value = field if field_type.annotation in _UNCHANGED else f"convert_{name}({field})"
    if get_origin(field_type.annotation) in _SEQUENCES:
        # Most sequences are empty.
        return f"{value} if {field} else ()"
    if not field_type.optional:
        return value
    # Optional enums have no presence in the protos: 0 means "unspecified".
    present = field if is_enum(field_type.annotation) else f"{message}.HasField({name!r})"
    return f"{value} if {present} else None"


def _converter(field_type: FieldType) -> Convert | None:
    """Return the function that converts a value of a field, None if the value stays as it is."""
    annotation, origin = field_type.annotation, get_origin(field_type.annotation)
    if annotation in _UNCHANGED:
        return None
    if origin in _SEQUENCES:
        convert = _converter(FieldType(get_args(annotation)[0], optional=True))
        return tuple if convert is None else lambda values: tuple(map(convert, values))
    if origin is Mapping:
        return _ordered
    if is_enum(annotation):
        return enum_table(annotation).member
    if is_dataclass(annotation):
        return reader(cast(type, annotation))
    if annotation is Decimal and not field_type.optional:
        return _decimal_or_zero
    return _CONVERTERS[annotation]


def _ordered(values: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(values.items()))


def _decimal_or_zero(text: str) -> Decimal:
    return Decimal(text or 0)


def _instant(stamp: Timestamp) -> dt.datetime:
    return _instant_at(stamp.seconds, stamp.nanos)


# Changes that were made together have the same time.
@functools.lru_cache(maxsize=32)
def _instant_at(seconds: int, nanos: int) -> dt.datetime:
    # Adding to the epoch is exact. A float of seconds would round microseconds.
    return _EPOCH + dt.timedelta(0, seconds, nanos // 1000)


def _time(clock: TimeOfDay) -> dt.time:
    # 24:00, the end of the day, is time(0).
    return dt.time(clock.hours % 24, clock.minutes, clock.seconds, clock.nanos // 1000)


_date_parts = attrgetter("year", "month", "day")


def _date(day: Any) -> dt.date:
    return dt.date(*_date_parts(day))


_UNCHANGED = (str, int, bool)
_SEQUENCES = (tuple, Sequence)
_CONVERTERS: dict[Any, Convert] = {Decimal: Decimal, dt.datetime: _instant, dt.time: _time, dt.date: _date}
