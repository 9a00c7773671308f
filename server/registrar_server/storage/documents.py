"""The JSON documents that columns hold: lists of holds, meetings, names, changes and violations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from registrar_server.core.records import Change, Hold
from registrar_server.core.schedule import Meeting
from registrar_server.errors import Reason, Violation

EMPTY = "[]"
"""The document of an empty list, which is by far the most frequent; no decoder needs to read it."""

_parse = json.JSONDecoder().raw_decode
"""Returns the value of a document and its length, twice as fast as ``json.loads``, which looks for white space."""

MAX_CACHED_LENGTH = 1000
"""The longest document of meetings, in characters, that is kept decoded."""


def _value(document: str) -> Any:
    value, _end = _parse(document)
    return value


def encode(values: tuple[Any, ...]) -> str:
    """Write a list as its document."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _decode_meetings(document: str) -> tuple[Meeting, ...]:
    # Every load of a course repeats its document. Keeping long ones decoded would take too much memory.
    if len(document) <= MAX_CACHED_LENGTH:
        return _cached_meetings(document)
    return _parse_meetings(document)


def _parse_meetings(document: str) -> tuple[Meeting, ...]:
    return tuple(Meeting(tuple(weekdays), *rest) for weekdays, *rest in _value(document))


_cached_meetings = lru_cache(maxsize=4096)(_parse_meetings)


def _decode_holds(document: str) -> tuple[Hold, ...]:
    return tuple(Hold(*hold) for hold in _value(document))


def _decode_names(document: str) -> tuple[str, ...]:
    return tuple(_value(document))


def _decode_changes(document: str) -> tuple[Change, ...]:
    return tuple(Change(*change) for change in _value(document))


def _decode_violations(document: str) -> tuple[Violation, ...]:
    return tuple(Violation(Reason(reason), *rest) for reason, *rest in _value(document))


DECODERS: Mapping[type[Any], Callable[[str], tuple[Any, ...]]] = {
    Meeting: _decode_meetings,
    Hold: _decode_holds,
    str: _decode_names,
    Change: _decode_changes,
    Violation: _decode_violations,
}
"""The decoders of documents, by the type of their entries."""
