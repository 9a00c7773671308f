"""When two meetings overlap: on a common date, on a common weekday, at a common time.

Times are half-open, so that one meeting may begin when another ends; dates are inclusive. What is to be announced, for
want of weekdays or of times, overlaps nothing; a period without a beginning or an end goes on for ever.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from registrar_server.core.records import Meeting

WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class Overlap(NamedTuple):
    """What two meetings have in common: ISO weekdays, seconds of the day, ISO dates (empty for ever)."""

    weekdays: tuple[int, ...]
    start: int
    end: int
    start_date: str
    end_date: str


def overlap(one: Meeting, other: Meeting) -> Overlap | None:
    """Return what two meetings have in common, or None."""
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return None
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start >= end:
        return None
    weekdays = tuple(weekday for weekday in one.weekdays if weekday in other.weekdays)
    if not weekdays:
        return None
    # ISO dates sort as text does, and an empty one is earlier than all: the earliest beginning, but not the latest end.
    first = max(one.start_date, other.start_date)
    last = min(one.end_date, other.end_date) or max(one.end_date, other.end_date)
    common = _within(weekdays, first, last)
    return Overlap(common, start, end, first, last) if common else None


def _within(weekdays: tuple[int, ...], first: str, last: str) -> tuple[int, ...]:
    """Return those of the weekdays that fall into a period; a week or more has them all."""
    if not first or not last:
        return weekdays
    begin, days = date.fromisoformat(first), (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    if days >= len(WEEKDAYS):
        return weekdays
    there = {(begin + timedelta(days=day)).isoweekday() for day in range(days)}
    return tuple(weekday for weekday in weekdays if weekday in there)
