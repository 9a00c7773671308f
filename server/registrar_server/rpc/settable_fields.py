"""Which fields of students and courses callers set, how each is read, and what an update mask selects (AIP-134)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from registrar.v1.course_pb2 import Course
from registrar.v1.student_pb2 import Student
from registrar_server.rpc import convert
from registrar_server.rpc.validation import Fields

FieldReader = Callable[[Fields, str, Any], Any]


def _text(name: str, limit: int) -> FieldReader:
    return lambda fields, path, message: fields.text(path, getattr(message, name), limit)


def _state(states: Mapping[str, Any]) -> FieldReader:
    """Read an enum; unset means the first state, which is also what clearing gives."""
    names = {number: name for name, number in states.items()}
    default = next(iter(states))

    def read(fields: Fields, path: str, message: Any) -> str:
        if message.state not in names and message.state != 0:
            fields.wrong(path, f"must be one of {', '.join(states)}")
        return names.get(message.state, default)

    return read


def _optional(name: str, read: Callable[[Fields, str, Any], Any]) -> FieldReader:
    """Read a field with presence; absent is None."""

    def read_present(fields: Fields, path: str, message: Any) -> Any:
        return read(fields, path, getattr(message, name)) if message.HasField(name) else None

    return read_present


def _credits(fields: Fields, path: str, message: Course) -> int:
    return fields.credits(path, message.credits) if message.credits else 0


STUDENT_FIELDS: Mapping[str, FieldReader] = MappingProxyType(
    {
        "given_name": _text("given_name", 200),
        "family_name": _text("family_name", 200),
        "email": lambda fields, path, message: fields.email(path, message.email),
        "state": _state(convert.STUDENT_STATES),
        "max_credits": _optional("max_credits", Fields.credits),
    }
)

COURSE_FIELDS: Mapping[str, FieldReader] = MappingProxyType(
    {
        "code": _text("code", 64),
        "title": _text("title", 500),
        "description": _text("description", 10_000),
        "term": _text("term", 64),
        "credits": _credits,
        "capacity": _optional("capacity", Fields.count),
        "waitlist_capacity": _optional("waitlist_capacity", Fields.count),
        "enroll_open_time": _optional("enroll_open_time", Fields.time),
        "enroll_close_time": _optional("enroll_close_time", Fields.time),
        "drop_deadline_time": _optional("drop_deadline_time", Fields.time),
        "meetings": lambda fields, path, message: fields.meetings(path, message.meetings),
        "prerequisite_course_ids": lambda fields, path, message: fields.ids(path, message.prerequisite_course_ids),
        "state": _state(convert.COURSE_STATES),
    }
)


def student_values(fields: Fields, message: Student, names: Iterable[str]) -> dict[str, Any]:
    """Read the named fields of a student."""
    return {name: STUDENT_FIELDS[name](fields, f"student.{name}", message) for name in names}


def course_values(fields: Fields, message: Course, names: Iterable[str]) -> dict[str, Any]:
    """Read the named fields of a course; both ends of a window must fit where both are named."""
    values = {name: COURSE_FIELDS[name](fields, f"course.{name}", message) for name in names}
    fields.window("course.enroll_close_time", values.get("enroll_open_time"), values.get("enroll_close_time"))
    return values


def masked(fields: Fields, mask: FieldMask, message: Any, settable: Mapping[str, FieldReader]) -> list[str]:
    """Return the names of the fields to update: those of the mask, or without one those that are populated."""
    if not mask.paths:
        return [field.name for field, _ in message.ListFields() if field.name in settable]
    paths = fields.few("update_mask", mask.paths)
    if unknown := [f'"{path[:64]}"' for path in paths if path not in settable]:
        fields.wrong("update_mask", f"{', '.join(unknown)} cannot be updated; must be among {', '.join(settable)}")
    return [path for path in settable if path in paths]
