"""The formats of the log: records as JSON lines, or as text for a terminal.

A format renders all records of one flush together. Whatever a record contains, it becomes a line: a value without a
JSON form is logged as its ``str``, and a record that cannot be rendered is logged with the error instead of its values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer

Record = tuple[int, str, str, dict[str, Any]]
"""The time in nanoseconds, the level, the event and the values. A plain tuple is the fastest to create."""

# These keys come first. A value of the same name never replaces the time, the level or the event.
_HEAD = {"time": None, "level": None, "event": None}

_THOUSANDTHS = tuple(f"{number:03}" for number in range(1000))


class Format(Protocol):
    """How records become lines."""

    def render_exception(self, values: dict[str, Any]) -> None:
        """Replace ``exc_info`` with ``exception``, the rendered traceback."""

    def lines(self, records: Sequence[Record]) -> str:
        """Return the lines of records, each with its line break. Never raises."""


class JsonFormat:
    """One JSON object per line: time, level, event, then the values in their order."""

    def __init__(self) -> None:
        self._render_exception = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._encode_in_python = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode

    def render_exception(self, values: dict[str, Any]) -> None:
        """Replace ``exc_info`` with a list of the exceptions and their frames."""
        self._render_exception(None, "", values)

    def lines(self, records: Sequence[Record]) -> str:
        """Return the lines of records, encoded in one call unless one of the records needs more care."""
        try:
            return self._encoder.encode_lines([_fields(record) for record in records]).decode()
        except Exception:
            return "".join(_with_care(self._line, record) for record in records)

    def _line(self, record: Record) -> str:
        fields = _fields(record)
        try:
            return self._encoder.encode(fields).decode() + "\n"
        except UnicodeEncodeError:
            # msgspec refuses half of a surrogate pair. Python's escape sequence for it is also that of JSON.
            return self._encode_in_python(fields).encode(errors="backslashreplace").decode() + "\n"


class ConsoleFormat:
    """Text for a terminal, with or without colors."""

    def __init__(self, *, colors: bool) -> None:
        self._render_exception = structlog.processors.format_exc_info
        # Each line names its values in the order of their importance, so keep that order.
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors,
            sort_keys=False,
            timestamp_key="time",
            exception_formatter=structlog.dev.plain_traceback,
        )

    def render_exception(self, values: dict[str, Any]) -> None:
        """Replace ``exc_info`` with the text of the traceback."""
        self._render_exception(None, "", values)

    def lines(self, records: Sequence[Record]) -> str:
        """Return the lines of records."""
        return "".join(_with_care(self._line, record) for record in records)

    def _line(self, record: Record) -> str:
        text = self._render(None, record[1], _fields(record))
        return text.encode(errors="backslashreplace").decode() + "\n"


def _fields(record: Record) -> dict[str, Any]:
    time, level, event, values = record
    return {**_HEAD, **values, "time": _as_text(time), "level": level, "event": event}


def _with_care(line: Callable[[Record], str], record: Record) -> str:
    """Return the line of a record, or one with the error if a value cannot be rendered."""
    try:
        return line(record)
    except Exception as error:
        time, level, event, _ = record
        return line((time, level, event, {"unreadable_values": type(error).__name__}))


def _as_text(nanoseconds: int) -> str:
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    return f"{_until_milliseconds(milliseconds)}{_THOUSANDTHS[rest // 1000]}Z"


@lru_cache(maxsize=1)
def _until_milliseconds(milliseconds: int) -> str:
    """Return the millisecond in ISO format; many records of a batch share it."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_until_seconds(seconds)}.{_THOUSANDTHS[rest]}"


@lru_cache(maxsize=1)
def _until_seconds(seconds: int) -> str:
    """Return the second in ISO format; the records of one flush most often share it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
