"""Checks the fields of requests, so that one refusal names every invalid field."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1.course_pb2 import Meeting as MeetingMessage
from registrar.v1.enrollment_pb2 import Override as OverrideMessage
from registrar.v1.error_reason_pb2 import ErrorReason
from registrar_server.core import texts
from registrar_server.core.commands import Override
from registrar_server.core.schedule import Meeting
from registrar_server.errors import OVERRIDABLE, FieldViolation, Reason, invalid_fields
from registrar_server.ids import match_id
from registrar_server.rpc.id_rule import id_fault, shown

Item = TypeVar("Item")

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DECIMAL = re.compile(r"(?=\.?[0-9])([0-9]*)\.?([0-9]*)")
MAX_DECIMAL_LENGTH = 64
MAX_CREDITS = 1000
MAX_COUNT = 1_000_000
MAX_ENTRIES = 50
DAY_S = 24 * 60 * 60


class Fields:
    """Reads fields one by one and records the invalid ones; ``check`` reports all of them at once."""

    def __init__(self) -> None:
        self._violations: dict[str, str] = {}

    def wrong(self, path: str, expected: str) -> None:
        """Record what the field at ``path`` must be; only the first record of a field counts."""
        self._violations.setdefault(path, expected)

    @property
    def any_wrong(self) -> bool:
        """Whether any field read so far is invalid."""
        return bool(self._violations)

    def check(self) -> None:
        """Raise INVALID_FIELD with every invalid field found so far, if there are any."""
        if self._violations:
            raise invalid_fields(FieldViolation(*found) for found in self._violations.items())

    def id(self, path: str, value: str) -> str:
        """Return an id, which is required."""
        if not match_id(value):
            self.wrong(path, id_fault(value))
        return value

    def optional_id(self, path: str, value: str) -> str:
        """Return an id, which may be empty."""
        return self.id(path, value) if value else ""

    def request_id(self, value: str) -> str:
        """Return a UUID in lower case, or an empty string."""
        if value and not _UUID.fullmatch(value):
            example = "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11"
            self.wrong("request_id", f"must be a UUID, such as {example}, and not {shown(value)}")
            return ""
        return value.lower()

    def text(
        self, path: str, value: str, limit: int, *, required: bool = False, form: Callable[[str], str] = texts.line
    ) -> str:
        """Return a line of text of at most ``limit`` characters in its canonical form."""
        if not value:
            if required:
                self.wrong(path, "is required")
            return ""
        # The canonical form may be shorter, but it is not worth computing for a text that is much too long.
        text = form(value) if len(value) <= 4 * limit else value
        if len(text) > limit:
            self.wrong(path, f"must have at most {limit} characters, has {len(text)}")
            return ""
        if required and texts.is_blank(text):
            self.wrong(path, "must not be blank")
        self._without(path, texts.control(text))
        return text

    def label(self, path: str, value: str, limit: int, *, required: bool = False) -> str:
        """Return a line of visible characters, such as a code, in its canonical form."""
        label = self.text(path, value, limit, required=required)
        self._without(path, texts.invisible(label))
        return label

    def long_text(self, path: str, value: str, limit: int) -> str:
        """Return text in any number of lines, in its canonical form."""
        return self.text(path, value, limit, form=texts.long_text) if value else ""

    def selector(self, path: str, value: str, limit: int, *, required: bool = False) -> str:
        """Return a text that selects by its key. It may have any form, since stored texts may be older than the rules.

        A blank filter is no filter, as an empty one is. A blank text that is required selects the texts of its key.
        """
        # Few texts are too long, and the canonical form of one that is much too long is not worth computing.
        length = len(texts.line(value) if limit < len(value) <= 4 * limit else value)
        if length > limit:
            self.wrong(path, f"must have at most {limit} characters, has {length}")
            return ""
        if required and not value:
            self.wrong(path, "is required")
        self._without(path, "\0" if "\0" in value else "")
        return value

    def _without(self, path: str, character: str) -> None:
        if character:
            self.wrong(path, f"must not contain {texts.character_name(character)}")

    def grade(self, value: str) -> str:
        """Return a grade, whose notation is free."""
        return self.text("grade", value, 64)

    def email(self, path: str, value: str) -> str:
        """Return an e-mail address in its canonical form, or an empty string."""
        email = self.text(path, value, 320, form=texts.word)
        self._without(path, texts.space(email) or texts.invisible(email))
        if email and email.count("@") != 1:
            self.wrong(path, "must contain exactly one @")
        return email

    def count(self, path: str, value: int) -> int:
        """Return a number of seats or waitlist places."""
        if not 0 <= value <= MAX_COUNT:
            self.wrong(path, f"must be from 0 to {MAX_COUNT}")
        return value

    def credits(self, path: str, value: str) -> int:
        """Return a decimal from 0 to 1,000 that needs at most 3 decimals as thousandths."""
        thousandths = _thousandths(value)
        if not 0 <= thousandths <= MAX_CREDITS * 1000:
            self.wrong(path, f"must be a decimal from 0 to {MAX_CREDITS} with up to 3 decimals, such as 3 or 1.5")
        return thousandths

    def time(self, path: str, value: Timestamp) -> int:
        """Return a time as microseconds since 1970 UTC; finer parts are truncated."""
        if not -62135596800 <= value.seconds <= 253402300799 or not 0 <= value.nanos <= 999_999_999:
            self.wrong(path, "must be a time from year 1 to 9999 with 0 to 999,999,999 nanoseconds")
        return value.seconds * 1_000_000 + value.nanos // 1000

    def window(self, path: str, opens: int | None, closes: int | None) -> None:
        """Check that a half-open window is not empty."""
        if opens is not None and closes is not None and opens >= closes:
            self.wrong(path, "must be after enroll_open_time")

    def few(self, path: str, values: Sequence[Item], limit: int = MAX_ENTRIES) -> Sequence[Item]:
        """Return a list of at most ``limit`` entries, or an empty list in place of a longer one, to save time."""
        if len(values) <= limit:
            return values
        self.wrong(path, f"must have at most {limit} entries, has {len(values)}")
        return ()

    def ids(self, path: str, values: Sequence[str]) -> tuple[str, ...]:
        """Return a list of distinct ids."""
        found = self.few(path, values)
        if len(set(found)) < len(found):
            self.wrong(path, "must not name an id twice")
        return tuple(self.id(f"{path}[{place}]", value) for place, value in enumerate(found))

    def meetings(self, path: str, messages: Sequence[MeetingMessage]) -> tuple[Meeting, ...]:
        """Return the meetings of a course."""
        found = self.few(path, messages)
        return tuple(self.meeting(f"{path}[{place}]", message) for place, message in enumerate(found))

    def meeting(self, path: str, message: MeetingMessage) -> Meeting:
        """Return a meeting with known weekdays, an end after its start, and dates in order."""
        weekdays = tuple(sorted(set(self.few(f"{path}.weekdays", message.weekdays))))
        if any(not 1 <= weekday <= 7 for weekday in weekdays):
            self.wrong(f"{path}.weekdays", "must be MONDAY to SUNDAY")
        start = self._time_of_day(f"{path}.start_time", message, "start_time")
        end = self._time_of_day(f"{path}.end_time", message, "end_time")
        if (start is None) != (end is None):
            self.wrong(path, "must have both start_time and end_time, or neither")
        elif start is not None and end is not None and start >= end:
            self.wrong(f"{path}.end_time", "must be after start_time: a meeting does not cross midnight")
        first = self._date(f"{path}.start_date", message, "start_date")
        last = self._date(f"{path}.end_date", message, "end_date")
        if first and last and first > last:
            self.wrong(f"{path}.end_date", "must not be before start_date")
        return Meeting(weekdays, start, end, first, last, self.text(f"{path}.location", message.location, 200))

    def _time_of_day(self, path: str, message: MeetingMessage, field: str) -> int | None:
        if not message.HasField(field):  # type: ignore[arg-type]
            return None
        value: TimeOfDay = getattr(message, field)
        seconds = value.hours * 3600 + value.minutes * 60 + value.seconds
        whole = 0 <= value.minutes < 60 and 0 <= value.seconds < 60 and value.nanos == 0
        latest = DAY_S if field == "end_time" else DAY_S - 1
        if not whole or value.hours < 0 or seconds > latest:
            self.wrong(path, "must be a time of day in whole seconds; only an end may be 24:00")
        return seconds

    def _date(self, path: str, message: MeetingMessage, field: str) -> str:
        if not message.HasField(field):  # type: ignore[arg-type]
            return ""
        value: Date = getattr(message, field)
        try:
            return date(value.year, value.month, value.day).isoformat()
        except ValueError:
            self.wrong(path, "must be a whole date: year, month and day")
            return ""

    def override(self, message: OverrideMessage) -> Override:
        """Return the rules to set aside, which must be overridable, and the reason, which is required."""
        allowed = ", ".join(sorted(OVERRIDABLE))
        if not message.rules:
            self.wrong("override.rules", f"must name at least one of {allowed}")
        rules = set()
        for place, number in enumerate(self.few("override.rules", message.rules)):
            name = reason_name(number)
            if name in OVERRIDABLE:
                rules.add(name)
            else:
                self.wrong(f"override.rules[{place}]", f"must be one of {allowed}")
        reason = self.text("override.reason", message.reason, 1000, required=True)
        return Override(frozenset(rules), reason)


def _thousandths(decimal: str) -> int:
    """Return a decimal in thousandths, or -1 if it is not a plain decimal or needs more than 3 decimals."""
    found = _DECIMAL.fullmatch(decimal) if len(decimal) <= MAX_DECIMAL_LENGTH else None
    if found is None:
        return -1
    whole, fraction = found[1], found[2].rstrip("0")
    return -1 if len(fraction) > 3 else int(whole + fraction.ljust(3, "0"))


def reason_name(number: int) -> str:
    """Return the name of an ``ErrorReason`` without its prefix, or an empty string for an unknown number."""
    if number not in ErrorReason.values():
        return ""
    return ErrorReason.Name(ErrorReason.ValueType(number)).removeprefix("ERROR_REASON_")


def reason_number(name: str) -> ErrorReason.ValueType:
    """Return the ``ErrorReason`` of a name without its prefix; an empty name is unspecified."""
    return ErrorReason.Value(f"ERROR_REASON_{Reason(name) if name else 'UNSPECIFIED'}")
