"""Whether two meetings overlap: on a common date, on a common weekday, at a common time.

Times are half-open, so one meeting may begin when another ends. Dates are inclusive; a period without a start date or
an end date is unbounded there. A meeting without weekdays or times is yet to be announced and overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cached_property, reduce
from operator import or_
from typing import NamedTuple

WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class _MeetingFields(NamedTuple):
    weekdays: tuple[int, ...]
    start: int | None
    end: int | None
    start_date: str
    end_date: str
    location: str


class Meeting(_MeetingFields):
    """When and where a course meets, in campus wall-clock time.

    ``weekdays`` are ISO numbers (Monday is 1), ``start`` and ``end`` whole seconds of the day (24:00 is 86,400) or
    absent, the dates ISO 8601 or empty.
    """

    @cached_property
    def hours(self) -> int:
        """The hours of the week that the meeting touches, one bit for each; meetings overlap only if they share one.

        They are computed once: meetings are kept decoded, and many decisions look at them.
        """
        if self.start is None or self.end is None:
            return 0
        of_day = (1 << -(-self.end // 3600)) - (1 << self.start // 3600)
        return reduce(or_, (of_day << 24 * weekday for weekday in self.weekdays), 0)


class Overlap(NamedTuple):
    """The common part of two meetings: ISO weekdays, seconds of the day, ISO dates (empty is unbounded)."""

    weekdays: tuple[int, ...]
    start: int
    end: int
    start_date: str
    end_date: str


def overlap(one: Meeting, other: Meeting) -> Overlap | None:
    """Return the common part of two meetings, or None."""
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return None
    if one.start >= other.end or other.start >= one.end:
        return None
    start, end = max(one.start, other.start), min(one.end, other.end)
    weekdays = tuple(weekday for weekday in one.weekdays if weekday in other.weekdays)
    if not weekdays:
        return None
    # ISO dates sort as text. An empty date sorts first, which is right for the start of a period but not for its end.
    first = max(one.start_date, other.start_date)
    last = min(one.end_date, other.end_date) or max(one.end_date, other.end_date)
    common = _within(weekdays, first, last)
    return Overlap(common, start, end, first, last) if common else None


def hours_of(meetings: Iterable[Meeting]) -> int:
    """Return the hours of the week that any of the meetings touches, as ``Meeting.hours``."""
    hours = 0
    for meeting in meetings:
        hours |= meeting.hours
    return hours


def has_dates(meeting: Meeting) -> bool:
    """Return whether a meeting has both a start date and an end date."""
    return bool(meeting.start_date and meeting.end_date)


def _within(weekdays: tuple[int, ...], first: str, last: str) -> tuple[int, ...]:
    """Return the weekdays that fall into a period; a period of a week or more contains all of them."""
    if not first or not last:
        return weekdays
    begin, days = date.fromisoformat(first), (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
    if days >= len(WEEKDAYS):
        return weekdays
    there = {(begin + timedelta(days=day)).isoweekday() for day in range(days)}
    return tuple(weekday for weekday in weekdays if weekday in there)
