"""Checks JSON against the fields of a message, so that one refusal names every value that does not fit.

``json_format`` stops at the first such value, does not name its field well, and takes some that are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.validation import Fields

MAX_FAULTS = 50
"""A refusal names so many faults at most; its size is limited anyway."""
MAX_ENTRIES = 1000
"""An array has so many entries at most. The methods allow fewer; this limits the work of reading one."""
MAX_TEXT_LENGTH = 100_000
"""A text has so many characters at most; ``json_format`` searches all of them for halves of characters."""

_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)
_INTEGERS = {FieldDescriptor.TYPE_INT32: _INT32, FieldDescriptor.TYPE_INT64: _INT64}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_MASK_PATH = re.compile(r"[a-z][a-zA-Z0-9]*(?:\.[a-z][a-zA-Z0-9]*)*").fullmatch
_SNAKE = re.compile(r"_([a-z])")
_INTEGER = re.compile(r"-?[0-9]{1,19}").fullmatch
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_DURATION = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s")
_TIMES: Mapping[str, tuple[type[Timestamp] | type[Duration], re.Pattern[str], str]] = {
    Timestamp.DESCRIPTOR.full_name: (Timestamp, _TIME, "a time, such as 2026-08-24T09:00:00Z"),
    Duration.DESCRIPTOR.full_name: (Duration, _DURATION, "a duration in seconds, such as 1.5s"),
}
_MASK = "google.protobuf.FieldMask"


class Faults(Fields):
    """Records the faults of a request, and reports them at once when there are many."""

    def wrong(self, path: str, expected: str) -> None:
        """Record what the field at ``path`` must be; raises INVALID_FIELD if that is one fault too many."""
        super().wrong(path, expected)
        if len(self._violations) >= MAX_FAULTS:
            self.check()


def named(name: str) -> str:
    """Return a name that a request contains as a message shows it: shortened and escaped if it can be no field."""
    return name if _NAME(name) else shown(name)


@cache
def fields_of(kind: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the fields of a message by each of their names: ``course_id`` and ``courseId``."""
    return {name: field for field in kind.fields for name in (field.json_name, field.name)}


@cache
def alternatives(kind: Descriptor) -> Sequence[frozenset[str]]:
    """Return the names of the fields of which only one may be set, for each oneof of a message."""
    # An optional field is in a oneof of its own.
    named = (frozenset(field.name for field in oneof.fields) for oneof in kind.oneofs)
    return tuple(names for names in named if len(names) > 1)


def is_leaf(field: FieldDescriptor) -> bool:
    """Return whether JSON writes the value of a field as a text, a number or a boolean."""
    kind = field.message_type
    return kind is None or kind.full_name == _MASK or kind.full_name in _TIMES


def unknown(kind: Descriptor, name: str) -> str:
    """Return the message for a name that is no field of a message."""
    nearest = get_close_matches(name, [field.name for field in kind.fields], n=1) if _NAME(name) else ()
    return f"is no field of {kind.name}" + (f"; {nearest[0]} is one" if nearest else "")


def canonical_object(kind: Descriptor, value: Any, path: str, given: Fields) -> dict[str, Any]:
    """Return a JSON object with the names of the proto. Notes each value that does not fit.

    A field that is null remains null, which is the same as none.
    """
    found: dict[str, Any] = {}
    if not isinstance(value, Mapping):
        given.wrong(path or "body", f"must be a JSON object, not {shown_value(value)}")
        return found
    known, prefix = fields_of(kind), f"{path}." if path else ""
    for name, item in value.items():
        field = known.get(name)
        if field is None:
            given.wrong(prefix + named(name), unknown(kind, name))
        elif field.name in found:
            given.wrong(prefix + field.name, f"is given twice, as {field.name} and as {field.json_name}")
        else:
            found[field.name] = None if item is None else _canonical(field, item, prefix + field.name, given)
    for names in alternatives(kind):
        chosen = [name for name, item in found.items() if name in names and item is not None]
        for name in chosen[1:]:
            given.wrong(prefix + name, f"must not be set together with {chosen[0]}")
    return found


def _canonical(field: FieldDescriptor, value: Any, path: str, given: Fields) -> Any:
    if not field.is_repeated:
        return canonical_value(field, value, path, given)
    if not isinstance(value, Sequence) or isinstance(value, str):
        given.wrong(path, f"must be a JSON array, not {shown_value(value)}")
        return []
    return canonical_list(field, value, path, given)


def canonical_list(field: FieldDescriptor, values: Sequence[Any], path: str, given: Fields) -> list[Any]:
    """Return the entries of a repeated field as ``json_format`` reads them, or note what they must be."""
    few = given.few(path, values, MAX_ENTRIES)
    return [canonical_value(field, value, f"{path}[{place}]", given) for place, value in enumerate(few)]


def canonical_value(field: FieldDescriptor, value: Any, path: str, given: Fields) -> Any:
    """Return one value of a field as ``json_format`` reads it, or note what it must be."""
    if field.message_type and not is_leaf(field):
        return canonical_object(field.message_type, value, path, given)
    fits, expected = _rule(field)
    if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
        given.wrong(path, f"must have at most {MAX_TEXT_LENGTH} characters, has {len(value)}")
    elif not fits(value):
        given.wrong(path, f"must be {expected}, not {shown_value(value)}")
    elif field.message_type and field.message_type.full_name == _MASK:
        return _camel_case(value)
    return value


@cache
def _rule(field: FieldDescriptor) -> tuple[Callable[[Any], bool], str]:
    """Return what the value of a field must satisfy, and what it must be in words."""
    if field.message_type:
        if field.message_type.full_name == _MASK:
            return _is_mask, "the names of fields, separated by commas"
        kind, form, expected = _TIMES[field.message_type.full_name]
        return partial(_reads, kind, form), expected
    if field.enum_type:
        names = frozenset(field.enum_type.values_by_name)
        listed = ", ".join(value.name for value in field.enum_type.values[:20])
        return lambda value: value in names if isinstance(value, str) else _is_whole(value, _INT32), f"one of {listed}"
    if field.type in _INTEGERS:
        allowed = _INTEGERS[field.type]
        return lambda value: _is_whole(value, allowed), f"a whole number from {allowed[0]} to {allowed[-1]}"
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


def _is_whole(value: Any, allowed: range) -> bool:
    if isinstance(value, str):
        return bool(_INTEGER(value)) and int(value) in allowed
    # A float such as 1e3 is a whole number too. Infinity, which 1e999 becomes, is not: it differs from itself // 1.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and int(value) in allowed
    )


def _reads(kind: type[Timestamp] | type[Duration], form: re.Pattern[str], value: Any) -> bool:
    # protobuf also takes other forms, such as a fraction of .2e5 s, and crashes with some of them.
    if not isinstance(value, str) or not form.fullmatch(value):
        return False
    try:
        kind().FromJsonString(value)
    except ValueError:
        return False
    return True


def _is_mask(value: Any) -> bool:
    return isinstance(value, str) and all(map(_MASK_PATH, _camel_case(value).split(",") if value else ()))


def _camel_case(paths: str) -> str:
    """Return the paths of a mask as JSON writes them; ``json_format`` refuses the names of the proto."""
    return ",".join(_SNAKE.sub(lambda found: found[1].upper(), path.strip()) for path in paths.split(","))


def shown_value(value: Any) -> str:
    """Return a value of a request as a message shows it: shortened and escaped."""
    match value:
        case None | bool():
            return str(value).lower().replace("none", "null")
        case str():
            return shown(value)
        case int() | float():
            return str(value)
        case Mapping():
            return "an object"
    return "an array"
