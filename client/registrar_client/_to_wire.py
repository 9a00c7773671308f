"""Converts the plain values that callers pass to protobuf messages.

The field of a message decides how its value is checked and converted, so a new argument needs no code here. Only values
that cannot be sent are refused, as INVALID_FIELD. The server decides whether a value makes sense.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1 import course_pb2, enrollment_pb2, student_pb2
from registrar_client._field_types import field_types
from registrar_client._types import UNSET, Course, Meeting, Override, Student
from registrar_client._wire_enums import enum_of
from registrar_client._wire_values import (
    INTEGERS,
    Convert,
    Unfit,
    boolean,
    date,
    decimal,
    integer,
    member,
    text,
    time_of_day,
    timestamp,
    uuid_text,
    wrong_type,
)
from registrar_client.errors import FieldViolation
from registrar_client.reasons import InvalidField

Sent = TypeVar("Sent", bound=Message)
# These fields say which version of which resource an update changes.
_IDENTIFYING = ("student_id", "course_id", "etag")
_NO_VALUE = object()


def message(kind: type[Sent], /, **values: Any) -> Sent:
    """Return a request; raise InvalidField that lists every value that cannot be sent."""
    # To mypy, a class of messages is not hashable.
    parameters = _request_parameters(cast(type, kind))
    try:
        return kind(**_fields("", parameters, values))
    except Unfit as unfit:
        raise invalid_fields(unfit.violations) from None


def invalid_fields(violations: list[FieldViolation]) -> InvalidField:
    """Return the error that the server sends for these fields."""
    summary = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return InvalidField(summary, field_violations=violations)


def fields(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a resource that a call passes.

    Args:
        kind: The dataclass of the resource.
        arguments: All arguments of the call by name: its ``locals()``. Names that are not fields of the resource and
            values that are ``UNSET`` are left out. ``None`` stays ``None``, which clears a field.
    """
    types = field_types(kind)
    return {name: value for name, value in arguments.items() if name in types and value is not UNSET}


def items(name: str, values: Any, kind: str) -> list[Any]:
    """Return the items of an argument; raise InvalidField if it is not a sequence of such items."""
    try:
        return _items(name, values, kind)
    except Unfit as unfit:
        raise invalid_fields(unfit.violations) from None


def update_mask(passed: Iterable[str]) -> FieldMask:
    """Return the mask of an update: the passed fields without the resource's id and etag."""
    return FieldMask(paths=[name for name in passed if name not in _IDENTIFYING])


def request_id(value: str | uuid.UUID | None) -> str | uuid.UUID:
    """Return the caller's request id, empty if there is none. ``_request_ids`` makes one when the call is sent."""
    return "" if value is None else value


# Messages


class _Parameter(NamedTuple):
    """How callers pass the value of a field."""

    convert: Convert
    absent: Any
    """The value that is sent by leaving the field out. Most arguments of a call have it."""


def _fields(path: str, parameters: Mapping[str, _Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the fields of a message; raise Unfit that lists all that do not fit."""
    converted: dict[str, Any] = {}
    violations: list[FieldViolation] = []
    for name, value in values.items():
        parameter = parameters[name]
        if value is parameter.absent:
            continue
        try:
            converted[name] = parameter.convert(path + name, value)
        except Unfit as unfit:
            violations += unfit.violations
    if violations:
        raise Unfit(violations)
    return converted


class _RequestParameters(dict[str, _Parameter]):
    """The fields of a request that calls pass."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._fields: Mapping[str, FieldDescriptor] = kind.DESCRIPTOR.fields_by_name

    def __missing__(self, name: str) -> _Parameter:
        field = self._fields[name]
        self[name] = parameter = _Parameter(_filter(field) or _converter(field), _absent(field))
        return parameter


@functools.cache
def _request_parameters(kind: type) -> Mapping[str, _Parameter]:
    return _RequestParameters(kind)


@functools.cache
def _resource_parameters(message: type, kind: type) -> Mapping[str, _Parameter]:
    named: Any = message.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined]
    return {
        name: _Parameter(_converter(named[name], each.annotation), _absent(named[name]))
        for name, each in field_types(kind).items()
    }


def _absent(field: FieldDescriptor) -> Any:
    if field.has_presence:
        return None
    # Callers pass members of enums, never numbers.
    return _NO_VALUE if field.enum_type is not None else field.default_value


def _resource(message: type[Message], kind: type) -> Convert:
    """Return the converter of the passed fields of a resource."""

    def convert(path: str, passed: Mapping[str, Any]) -> Message:
        # None clears a field, which is then absent from the message. An id or etag cannot be cleared.
        present = {name: value for name, value in passed.items() if value is not None or name in _IDENTIFYING}
        return message(**_fields(f"{path}.", _resource_parameters(cast(type, message), kind), present))

    return convert


def _dataclass(message: type[Message], kind: type) -> Convert:
    """Return the converter of a dataclass."""
    name = kind.__name__
    expected = f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"

    def convert(path: str, value: Any) -> Message:
        if not isinstance(value, kind):
            wrong_type(path, expected, value)
        values = {name: getattr(value, name) for name in field_types(kind)}
        return message(**_fields(f"{path}.", _resource_parameters(cast(type, message), kind), values))

    return convert


def _converter(field: FieldDescriptor, annotation: Any = None) -> Convert:
    if field.is_repeated:
        return _sequence(_single(field, annotation), _item_name(field))
    return _optional(_single(field, annotation)) if field.has_presence else _single(field, annotation)


def _single(field: FieldDescriptor, annotation: Any) -> Convert:
    if field.message_type is not None:
        # Callers pass no other messages. The server makes them.
        return _MESSAGES.get(field.message_type.full_name, _unchanged)
    if field.enum_type is not None:
        return member(enum_of(field.enum_type.full_name))
    if field.cpp_type in INTEGERS:
        return integer(field)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return boolean
    if annotation is Decimal:
        return decimal
    return uuid_text if field.name == "request_id" else text


def _optional(convert: Convert) -> Convert:
    return lambda path, value: None if value is None else convert(path, value)


# Sequences


def _sequence(convert: Convert, items: str) -> Convert:
    def converted(path: str, values: Any) -> list[Any]:
        found = _items(path, values, items)
        paths = {f"{path}[{place}]": value for place, value in enumerate(found)}
        return list(_fields("", dict.fromkeys(paths, _Parameter(convert, _NO_VALUE)), paths).values())

    return converted


def _filter(field: FieldDescriptor) -> Convert | None:
    """Return the converter of a filter by enum members, None for another field."""
    if field.enum_type is None:
        return None
    if not field.is_repeated:
        return _optional(member(enum_of(field.enum_type.full_name)))
    convert = _sequence(member(enum_of(field.enum_type.full_name)), _item_name(field))

    def converted(path: str, values: Any) -> Any:
        found = _items(path, values, _item_name(field))
        # All members of an enum include UNKNOWN, which stands for no number. Alone, it must not become "no filter".
        return convert(path, [value for value in found if value != "UNKNOWN"] or found)

    return converted


def _items(path: str, values: Any, items: str) -> list[Any]:
    # A single string is a mistake, although it is iterable.
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        wrong_type(path, f"a sequence of {items}", values)
    return list(values)


def _item_name(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return enum_of(field.enum_type.full_name).__name__
    return "str" if field.message_type is None else field.message_type.name


def _unchanged(_path: str, value: Any) -> Any:
    return value


_MESSAGES: Mapping[str, Convert] = {
    Timestamp.DESCRIPTOR.full_name: timestamp,
    Date.DESCRIPTOR.full_name: date,
    TimeOfDay.DESCRIPTOR.full_name: time_of_day,
    course_pb2.Meeting.DESCRIPTOR.full_name: _dataclass(course_pb2.Meeting, Meeting),
    enrollment_pb2.Override.DESCRIPTOR.full_name: _dataclass(enrollment_pb2.Override, Override),
    course_pb2.Course.DESCRIPTOR.full_name: _resource(course_pb2.Course, Course),
    student_pb2.Student.DESCRIPTOR.full_name: _resource(student_pb2.Student, Student),
}
