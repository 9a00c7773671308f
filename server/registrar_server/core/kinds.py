"""The kinds of values that callers set in students and courses.

A record annotates each field that callers may set with its kind. How the field is checked in a request, written in a
response and shown in the history follows from the kind, so a new field of a known kind needs no code of its own there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_type_hints


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of value of a field that callers set."""


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """A line of text of at most ``limit`` characters."""

    limit: int


@dataclass(frozen=True, slots=True)
class Label(Kind):
    """A line of visible characters that is compared by its key, such as a code; at most ``limit`` characters."""

    limit: int


@dataclass(frozen=True, slots=True)
class LongText(Kind):
    """Text of at most ``limit`` characters in any number of lines."""

    limit: int


@dataclass(frozen=True, slots=True)
class Email(Kind):
    """An e-mail address, or empty."""


@dataclass(frozen=True, slots=True)
class Credits(Kind):
    """A decimal number of credits, kept in thousandths."""


@dataclass(frozen=True, slots=True)
class Count(Kind):
    """A number of seats or places."""


@dataclass(frozen=True, slots=True)
class Time(Kind):
    """An instant, kept in microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Meetings(Kind):
    """The meetings of a course."""


@dataclass(frozen=True, slots=True)
class Ids(Kind):
    """A list of ids, each named once."""


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """A member of the field's enum."""


def kinds_of(record: type[Any]) -> Mapping[str, Kind]:
    """Return the fields of a record type that callers may set, with their kinds, in the order of declaration."""
    found = {}
    for name, hint in get_type_hints(record, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Kind):
                found[name] = extra
    return MappingProxyType(found)
