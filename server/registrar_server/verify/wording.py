"""The words for a disagreement, and the reading of stored documents, of which nothing is taken for granted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from registrar_server.verify.snapshot import AnyRow

HISTORY = "the history comes to"

#: What a field is called, what is stored in it, and what that should be.
Field = tuple[str, Any, Any]


def differing(name: str, fields: Iterable[Field], source: str = HISTORY) -> Iterator[str]:
    """Tell of each field that is not what it should be."""
    for field, stored, expected in fields:
        if stored != expected:
            yield f"{name}: {field} is {_shown(stored)}, where {source} {_shown(expected)}."


def jump(noun: str, earlier: int, later: int) -> str:
    """Tell of a number that is not the one after the one before it."""
    return f"{noun} {earlier} is followed by {later}" if earlier else f"the first {noun} is {later}"


def event_name(event: AnyRow) -> str:
    """Say which event it is."""
    return f"Event {event.revision} ({event.type})"


def decoded(document: str) -> Any:
    """Read a stored document; one that cannot be read stands for itself, and is like no other."""
    if document == "[]":
        return []
    try:
        return json.loads(document)
    except ValueError:
        return document


def changes(event: AnyRow) -> dict[str, tuple[Any, Any]]:
    """Return what an event says it changed: values before and after, by field; nothing where it cannot be read."""
    try:
        return {field: (before, after) for field, before, after in decoded(event.changes)}
    except (TypeError, ValueError):
        return {}


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
