"""Setting the fields of a resource, and telling in the history what that changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from registrar_server.core.records import Change, Course, Enrollment, Student, encode
from registrar_server.errors import etag_mismatch

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def set_fields(record: Student | Course, values: Mapping[str, Any]) -> tuple[Change, ...]:
    """Set the fields whose values differ, and return what changed; nothing differing is nothing changed."""
    changes = field_changes({name: getattr(record, name) for name in values}, values)
    for name, value in values.items():
        setattr(record, name, value)
    record.search_text = record.describe()
    return changes


def field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the fields whose values differ, as people read them."""
    return tuple(
        Change(name, readable(name, before[name]), readable(name, value))
        for name, value in after.items()
        if value != before[name]
    )


def readable(name: str, value: Any) -> str | None:
    """Write a field's value as the API would: credits as decimals, times as RFC 3339, lists as JSON."""
    if value is None or value == "" or value == ():
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if name.endswith("credits"):
        return format_credits(value)
    if name.endswith("_time"):
        return format_time(value)
    return encode(value) if isinstance(value, tuple) else str(value)


def format_credits(thousandths: int) -> str:
    """Write credits as a decimal without trailing zeros: 3000 is ``3``, 1500 is ``1.5``."""
    return f"{Decimal(thousandths).scaleb(-3).normalize():f}"


def format_time(microseconds: int) -> str:
    """Write a time as RFC 3339 in UTC, such as ``2018-09-01T06:00:00Z``."""
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def check_etag(record: Student | Course | Enrollment, etag: str) -> None:
    """Refuse with ETAG_MISMATCH unless ``etag`` is empty or the record's own."""
    if etag and etag != str(record.version):
        kind = type(record).__name__.lower()
        raise etag_mismatch(kind, getattr(record, f"{kind}_id"), str(record.version))
