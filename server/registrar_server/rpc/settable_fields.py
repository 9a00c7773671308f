"""The fields that callers set in students and courses: read from requests, selected by masks, written in responses.

All of it follows from the kinds that the records annotate their fields with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields as dataclass_fields
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from registrar.v1 import course_pb2, student_pb2
from registrar_server.core.formats import format_credits
from registrar_server.core.kinds import (
    Choice,
    Count,
    Credits,
    Email,
    Ids,
    Kind,
    Label,
    LongText,
    Meetings,
    Text,
    Time,
)
from registrar_server.core.records import SETTABLE, Course, Student
from registrar_server.core.vocabulary import CourseState, StudentState
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import COURSE_STATES, STUDENT_STATES, meeting, timestamp

RecordType = type[Student | Course]

_MESSAGES: Mapping[RecordType, type[Message]] = {Student: student_pb2.Student, Course: course_pb2.Course}
_NUMBERS: Mapping[type[StrEnum], Mapping[Any, int]] = {StudentState: STUDENT_STATES, CourseState: COURSE_STATES}


class _Form(NamedTuple):
    """How one settable field is read from a request and written to a response."""

    has_presence: bool
    default: Any
    """The value of a field that is not set."""
    read: Callable[[Fields, str, Any], Any]
    write: Callable[[Any], Any]


def read_fields(fields: Fields, record: RecordType, message: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the values of the named fields of a student or course, by default of all settable fields.

    Both ends of an enrollment window are checked against each other if both are read.
    """
    forms = _FORMS[record]
    resource = record.__name__.lower()
    values = {
        name: _read_field(fields, f"{resource}.{name}", message, name, forms[name])
        for name in (forms if names is None else names)
    }
    fields.window(f"{resource}.enroll_close_time", values.get("enroll_open_time"), values.get("enroll_close_time"))
    return values


def masked(fields: Fields, mask: FieldMask, message: Any, record: RecordType) -> list[str]:
    """Return the names of the fields to update: those of the mask, or without a mask all populated ones (AIP-134)."""
    settable = SETTABLE[record]
    if not mask.paths:
        return [field.name for field, _ in message.ListFields() if field.name in settable]
    paths = fields.few("update_mask", mask.paths)
    if unknown := [f'"{path[:64]}"' for path in paths if path not in settable]:
        fields.wrong("update_mask", f"{', '.join(unknown)} cannot be updated; must be among {', '.join(settable)}")
    return [path for path in settable if path in paths]


def write_fields(record: Student | Course) -> dict[str, Any]:
    """Return the settable fields of a record as the arguments of its message."""
    return _WRITERS[type(record)].write(record)


def _read_field(fields: Fields, path: str, message: Any, name: str, form: _Form) -> Any:
    value = getattr(message, name)
    is_set = message.HasField(name) if form.has_presence else value
    return form.read(fields, path, value) if is_set else form.default


def _forms(record: RecordType) -> Mapping[str, _Form]:
    descriptors = _MESSAGES[record].DESCRIPTOR.fields_by_name
    hints = get_type_hints(record)
    defaults = {field.name: field.default for field in dataclass_fields(record)}
    return {
        name: _Form(descriptors[name].has_presence, defaults[name], *_conversions(kind, hints[name]))
        for name, kind in SETTABLE[record].items()
    }


def _conversions(kind: Kind, hint: Any) -> tuple[Callable[[Fields, str, Any], Any], Callable[[Any], Any]]:
    match kind:
        case Text(limit):
            return partial(Fields.text, limit=limit), _unchanged
        case Label(limit):
            return partial(Fields.label, limit=limit), _unchanged
        case LongText(limit):
            return partial(Fields.long_text, limit=limit), _unchanged
        case Email():
            return Fields.email, _unchanged
        case Credits():
            return Fields.credits, format_credits
        case Count():
            return Fields.count, _unchanged
        case Time():
            return Fields.time, timestamp
        case Meetings():
            return Fields.meetings, lambda meetings: list(map(meeting, meetings))
        case Ids():
            return Fields.ids, _unchanged
        case Choice():
            numbers = _NUMBERS[hint]
            return partial(_read_choice, {number: member for member, number in numbers.items()}), numbers.__getitem__
    raise TypeError(f"not a kind of field: {kind!r}")


def _read_choice(members: Mapping[int, StrEnum], fields: Fields, path: str, number: int) -> StrEnum | None:
    if number not in members:
        fields.wrong(path, f"must be one of {', '.join(members.values())}")
    return members.get(number)


def _unchanged(value: Any) -> Any:
    return value


_FORMS: Mapping[RecordType, Mapping[str, _Form]] = {record: _forms(record) for record in SETTABLE}


class _Writer:
    """Writes the settable fields of one record type: those that need no conversion all at once."""

    def __init__(self, forms: Mapping[str, _Form]) -> None:
        self._same = [name for name, form in forms.items() if form.write is _unchanged]
        self._take = attrgetter(*self._same)
        self._converted = [(name, form.write) for name, form in forms.items() if form.write is not _unchanged]

    def write(self, record: Student | Course) -> dict[str, Any]:
        """Return the fields of a record as the arguments of its message."""
        values = dict(zip(self._same, self._take(record), strict=True))
        for name, write in self._converted:
            value = getattr(record, name)
            values[name] = None if value is None else write(value)
        return values


_WRITERS: Mapping[RecordType, _Writer] = {record: _Writer(forms) for record, forms in _FORMS.items()}
