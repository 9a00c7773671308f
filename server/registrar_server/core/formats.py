"""Values as people read them, in violations and in the history."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from registrar_server.core.kinds import Credits, Kind, Time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_value(value: Any, kind: Kind | None = None) -> str | None:
    """Write a field's value as the API would: credits as decimals, times as RFC 3339, lists as JSON.

    An empty value is None.
    """
    if value is None or value == "" or value == ():
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(kind, Credits):
        return format_credits(value)
    if isinstance(kind, Time):
        return format_time(value)
    return format_list(value) if isinstance(value, tuple) else str(value)


def format_credits(thousandths: int) -> str:
    """Write credits as a decimal without trailing zeros: 3000 is ``3``, 1500 is ``1.5``."""
    return f"{Decimal(thousandths).scaleb(-3).normalize():f}"


def format_time(microseconds: int) -> str:
    """Write a time as RFC 3339 in UTC, such as ``2018-09-01T06:00:00Z``."""
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def format_etag(resource_id: str, version: int) -> str:
    """Write the etag of a version of a resource; it is empty for version 0, which previews have.

    The id is part of the etag, so that an etag matches no other resource. No id contains a slash.
    """
    return f"{resource_id}/{version}" if version else ""


def format_list(values: tuple[Any, ...]) -> str:
    """Write a list of names or records as compact JSON."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
