"""Setting the fields of a record, and describing what that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registrar_server.core.formats import format_value
from registrar_server.core.kinds import Kind
from registrar_server.core.records import SETTABLE, Change, Course, Enrollment, Student
from registrar_server.errors import etag_mismatch


def set_fields(record: Student | Course, values: Mapping[str, Any]) -> tuple[Change, ...]:
    """Set fields, and return a change for each field whose value differs."""
    before = {name: getattr(record, name) for name in values}
    changes = field_changes(before, values, SETTABLE[type(record)])
    for name, value in values.items():
        setattr(record, name, value)
    return changes


def field_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], kinds: Mapping[str, Kind] | None = None
) -> tuple[Change, ...]:
    """Return a change for each field of ``after`` whose value differs from that in ``before``."""
    kinds = kinds or {}
    return tuple(
        Change(name, format_value(before[name], kinds.get(name)), format_value(value, kinds.get(name)))
        for name, value in after.items()
        if value != before[name]
    )


def check_etag(record: Student | Course | Enrollment, etag: str) -> None:
    """Refuse with ETAG_MISMATCH unless ``etag`` is empty or is the record's etag."""
    if etag and etag != str(record.version):
        resource = type(record).__name__.lower()
        raise etag_mismatch(resource, getattr(record, f"{resource}_id"), str(record.version))
