"""Setting the fields of a resource, and telling in the history what that changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from registrar_server.enrollment.records import Change, Course, Student, encode
from registrar_server.errors import etag_mismatch

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def set_fields(record: Student | Course, values: Mapping[str, Any]) -> tuple[Change, ...]:
    """Set the fields whose values differ, and return what changed; nothing differing is nothing changed."""
    changes = []
    for name, value in values.items():
        before = getattr(record, name)
        if value != before:
            setattr(record, name, value)
            changes.append(Change(name, readable(name, before), readable(name, value)))
    record.search_text = record.describe()
    return tuple(changes)


def readable(name: str, value: Any) -> str | None:
    """Write a field's value as the API would: credits as decimals, times as RFC 3339, lists as JSON."""
    if value is None or value == "" or value == ():
        return None
    if name.endswith("credits"):
        return format_credits(value)
    if name.endswith("_time"):
        return (EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")
    return encode(value) if isinstance(value, tuple) else str(value)


def format_credits(thousandths: int) -> str:
    """Write credits as a decimal without trailing zeros: 3000 is ``3``, 1500 is ``1.5``."""
    return f"{Decimal(thousandths).scaleb(-3).normalize():f}"


def check_etag(record: Student | Course, etag: str) -> None:
    """Refuse with ETAG_MISMATCH unless ``etag`` is empty or the record's own."""
    if etag and etag != str(record.version):
        if isinstance(record, Student):
            raise etag_mismatch("student", record.student_id, str(record.version))
        raise etag_mismatch("course", record.course_id, str(record.version))
