"""Words the reports, and decodes stored documents without trusting what they contain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from registrar_server.verify.snapshot import AnyRow

HISTORY = "the history comes to"

#: The name of a field, its stored value, and the expected value.
Field = tuple[str, Any, Any]


def differences(name: str, fields: Iterable[Field], source: str = HISTORY) -> Iterator[str]:
    """Report each field whose stored value is not the expected one."""
    for field, stored, expected in fields:
        if stored != expected:
            yield f"{name}: {field} is {_as_json(stored)}, where {source} {_as_json(expected)}."


def gap(noun: str, earlier: int, later: int) -> str:
    """Describe two neighbouring numbers that are not consecutive; ``earlier`` is 0 if there is no earlier one."""
    return f"{noun} {earlier} is followed by {later}" if earlier else f"the first {noun} is {later}"


def event_name(event: AnyRow) -> str:
    """Return the name of an event in a report."""
    return f"Event {event.revision} ({event.type})"


def decode_document(document: str) -> Any:
    """Decode a stored JSON document; return the text itself if it is not JSON."""
    if document == "[]":
        return []
    try:
        return json.loads(document)
    except ValueError:
        return document


def changed_values(event: AnyRow) -> dict[str, tuple[Any, Any]]:
    """Return the values before and after by field, as the event states them; empty if they cannot be read."""
    try:
        return {field: (before, after) for field, before, after in decode_document(event.changes)}
    except (TypeError, ValueError):
        return {}


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
