"""Checks JSON against the fields of a message, so that one refusal names every value that does not fit.

``json_format`` stops at the first such value, does not name its field well, and takes some that are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.validation import Fields

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.TYPE_INT64: range(-(2**63), 2**63),
}
_INTEGER = re.compile(r"-?[0-9]{1,19}").fullmatch
_TIMES: Mapping[str, tuple[type[Timestamp] | type[Duration], str]] = {
    Timestamp.DESCRIPTOR.full_name: (Timestamp, "a time, such as 2026-08-24T09:00:00Z"),
    Duration.DESCRIPTOR.full_name: (Duration, "a duration in seconds, such as 1.5s"),
}
_MASK = "google.protobuf.FieldMask"


@cache
def fields_of(kind: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the fields of a message by each of their names: ``course_id`` and ``courseId``."""
    return {name: field for field in kind.fields for name in (field.json_name, field.name)}


def is_leaf(field: FieldDescriptor) -> bool:
    """Return whether JSON writes the value of a field as a text, a number or a boolean."""
    kind = field.message_type
    return kind is None or kind.full_name == _MASK or kind.full_name in _TIMES


def unknown(kind: Descriptor, name: str) -> str:
    """Return the message for a name that is no field of a message."""
    nearest = get_close_matches(name, [field.name for field in kind.fields], n=1)
    return f"is no field of {kind.name}" + (f"; {nearest[0]} is one" if nearest else "")


def canonical_object(kind: Descriptor, value: Any, path: str, given: Fields) -> dict[str, Any]:
    """Return a JSON object with the names of the proto and without nulls. Notes each value that does not fit."""
    if not isinstance(value, Mapping):
        given.wrong(path, f"must be a JSON object, not {_shown(value)}")
        return {}
    found: dict[str, Any] = {}
    for name, item in value.items():
        field = fields_of(kind).get(name)
        at = f"{path}.{field.name if field else name}" if path else field.name if field else name
        if field is None:
            given.wrong(at, unknown(kind, name))
        elif field.name in found:
            given.wrong(at, f"is given twice, as {field.name} and as {field.json_name}")
        elif item is not None:
            found[field.name] = _canonical(field, item, at, given)
    return found


def _canonical(field: FieldDescriptor, value: Any, path: str, given: Fields) -> Any:
    if not field.is_repeated:
        return canonical_value(field, value, path, given)
    if not isinstance(value, Sequence) or isinstance(value, str):
        given.wrong(path, f"must be a JSON array, not {_shown(value)}")
        return []
    return [canonical_value(field, item, f"{path}[{place}]", given) for place, item in enumerate(value)]


def canonical_value(field: FieldDescriptor, value: Any, path: str, given: Fields) -> Any:
    """Return one value of a field as ``json_format`` reads it, or note what it must be."""
    if field.message_type and not is_leaf(field):
        return canonical_object(field.message_type, value, path, given)
    fits, expected = _rule(field)
    if not fits(value):
        given.wrong(path, f"must be {expected}, not {_shown(value)}")
    elif field.message_type and field.message_type.full_name == _MASK:
        return ",".join(map(_camel_case, value.split(","))) if value else ""
    return value


@cache
def _rule(field: FieldDescriptor) -> tuple[Callable[[Any], bool], str]:
    """Return what the value of a field must satisfy, and what it must be in words."""
    if field.message_type:
        if field.message_type.full_name == _MASK:
            return _is_text, "the names of fields, separated by commas"
        kind, expected = _TIMES[field.message_type.full_name]
        return lambda value: _is_text(value) and _reads(kind, value), expected
    if field.enum_type:
        names = frozenset(field.enum_type.values_by_name)
        listed = ", ".join(value.name for value in field.enum_type.values[:20])
        return lambda value: value in names if isinstance(value, str) else _is_whole(value), f"one of {listed}"
    if field.type in _INTEGERS:
        allowed = _INTEGERS[field.type]
        return lambda value: _is_whole(value) and int(value) in allowed, "a whole number"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: isinstance(value, bool), "true or false"
    if field.type == FieldDescriptor.TYPE_STRING:
        return _is_text, "a string"
    raise RuntimeError(f"{field.full_name} has a type that requests in JSON do not support")


def _is_text(value: Any) -> bool:
    # JSON can write half of a surrogate pair, which is no text.
    return (isinstance(value, str) and value.isascii()) or (isinstance(value, str) and _is_utf8(value))


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_INTEGER(value))
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1


def _reads(kind: type[Timestamp] | type[Duration], value: str) -> bool:
    try:
        kind().FromJsonString(value)
    except ValueError:
        return False
    return True


def _camel_case(path: str) -> str:
    """Return a path of a mask as JSON writes it; ``json_format`` refuses the names of the proto."""
    first, *others = path.strip().split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _shown(value: Any) -> str:
    match value:
        case None | bool():
            return str(value).lower().replace("none", "null")
        case str():
            return shown(value)
        case int() | float():
            return shown(str(value)).strip('"')
        case Mapping():
            return "an object"
    return "an array"
