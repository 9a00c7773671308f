"""Reads JSON from outside, of which every program must read the same."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class NotStrictJson(Exception):
    """The bytes are no JSON object, or one that programs read differently; the message does not repeat them."""


def read_object(data: bytes) -> dict[str, Any]:
    """Return the object in UTF-8.

    Raises ``NotStrictJson`` for all else, also if a name appears twice in an object, or for numbers such as NaN.
    """
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise NotStrictJson("is not JSON") from None
    if not isinstance(found, dict):
        raise NotStrictJson("is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotStrictJson("has a name twice in one JSON object")
    return found


def _refuse_constant(_text: str) -> NoReturn:
    raise NotStrictJson("has a number that is not JSON")
