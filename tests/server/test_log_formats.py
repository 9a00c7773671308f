"""The formats of log lines: the same as structlog's own renderers for whatever a record contains."""

from __future__ import annotations

import enum
import json
import uuid
from collections import UserString
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from registrar_server.errors import Reason
from registrar_server.log_formats import ConsoleFormat, Format, JsonFormat, Record

TIME = 1_700_000_000_123_456_789
HEAD = {"time": "2023-11-14T22:13:20.123456Z", "level": "info", "event": "rpc"}


class Number(enum.IntEnum):
    ONE = 1


class Pair(NamedTuple):
    first: int
    second: str


class Unreadable:
    """A value without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


SAME_AS_IN_PYTHON: dict[str, Any] = {
    "text": "Zoë 學 😀 \u2028",
    "escapes": 'quote " backslash \\ slash / newline \n tab \t null \x00 delete \x7f',
    "empty": "",
    "half_a_pair": "a \udc80 b \ud83d",
    "string_enum": Reason.COURSE_FULL,
    "int_enum": Number.ONE,
    "int": 1,
    "large_int": 2**63,
    "larger_int": -(2**70),
    "float": 12.345,
    "whole_float": 1.0,
    "sum": 0.1 + 0.2,
    "true": True,
    "none": None,
    "list": ["a", 1, ["b"], []],
    "tuple": ("a", 1),
    "named_tuple": Pair(1, "b"),
    "object": {"b": 1, "a": {}, "": None},
    "int_keys": {1: "a", 2.5: "b"},
    "half_a_pair_as_a_key": {"\udc80": 1},
    "uuid": uuid.UUID(int=1),
    "decimal": Decimal("1.50"),
    "path": Path("/x"),
    "error": ValueError("broken"),
    "class": ValueError,
    "unknown_type": UserString("text"),
    "unknown_in_a_list": [UserString("text")],
}

DIFFERENT: dict[str, tuple[Any, str]] = {
    "not a number, which JSON cannot express": (float("nan"), "null"),
    "infinity": (float("inf"), "null"),
    "a large float": (1e22, "1e22"),
    "bytes, in base64": (b"ab", '"YWI="'),
    "a set": ({1}, "[1]"),
    "keys that are no texts": ({(1, 2): 3}, '{"(1, 2)":3}'),
}


def in_python(values: dict[str, Any]) -> str:
    """Return a line as Python's encoder writes it, and as standard error escapes it."""
    line = json.dumps(HEAD | values, ensure_ascii=False, default=str, separators=(",", ":"))
    return line.encode("utf-8", "backslashreplace").decode() + "\n"


def record(**values: Any) -> Record:
    return (TIME, "info", "rpc", values)


def json_line(**values: Any) -> str:
    return JsonFormat().lines([record(**values)])


@pytest.mark.parametrize("name", SAME_AS_IN_PYTHON)
def test_a_json_line_is_the_one_that_pythons_encoder_writes(name: str) -> None:
    values = {name: SAME_AS_IN_PYTHON[name], "last": 1}
    assert json_line(**values) == in_python(values)


@pytest.mark.parametrize("name", DIFFERENT)
def test_some_values_have_a_form_of_their_own(name: str) -> None:
    value, written = DIFFERENT[name]
    assert json_line(value=value) == in_python({"value": "?"}).replace('"?"', written)


def test_values_never_replace_the_head_of_a_line() -> None:
    line = json_line(method="x", level="high", time="noon")
    assert line == in_python({"method": "x"})


@pytest.mark.parametrize("step", [1, 999, 1_000, 999_999, 1_000_000], ids=lambda step: f"{step} µs")
def test_a_time_always_has_six_decimals(step: int) -> None:
    """The lines of one flush share the second or the millisecond, or are just beyond it."""
    begun = datetime(2023, 11, 14, 23, 59, 59, 998_000, UTC)
    times = [begun + step * number * timedelta(microseconds=1) for number in range(5)]
    nanoseconds = [(time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000 + 999 for time in times]
    written = JsonFormat().lines([(time, "info", "rpc", {}) for time in nanoseconds]).splitlines()
    assert [json.loads(line)["time"] for line in written] == [f"{time:%Y-%m-%dT%H:%M:%S.%f}Z" for time in times]


def test_the_lines_of_one_flush_keep_their_order_across_seconds() -> None:
    records: list[Record] = [(TIME + second * 10**9, "info", "rpc", {"second": second}) for second in (0, 1, 0, 2)]
    lines = [json.loads(line) for line in JsonFormat().lines(records).splitlines()]
    assert [(line["second"], line["time"][17:19]) for line in lines] == [(0, "20"), (1, "21"), (0, "20"), (2, "22")]


@pytest.mark.parametrize("form", [JsonFormat(), ConsoleFormat(colors=False)], ids=["json", "console"])
def test_a_record_that_cannot_be_rendered_is_a_line_with_the_error_and_its_neighbours_are_complete(
    form: Format,
) -> None:
    circle: list[Any] = []
    circle.append(circle)
    records = [record(name="before"), record(name=Unreadable()), record(name=circle, half="\udc80"), record(name="end")]
    lines = form.lines(records).splitlines()
    assert len(lines) == 4
    assert "before" in lines[0]
    assert "rpc" in lines[1]
    assert "unreadable_values" in lines[1]
    assert "end" in lines[3]


@pytest.mark.parametrize("colors", [False, True])
def test_a_console_line_is_the_one_that_structlog_renders(colors: bool) -> None:
    renderer = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, timestamp_key="time")
    values = {"method": "x", "reasons": ["A", "B"], "name": "Zoë", "state": Reason.COURSE_FULL, "logger": "psycopg"}
    form = ConsoleFormat(colors=colors)
    assert form.lines([record(**values)]) == renderer(None, "info", {**values, **HEAD}) + "\n"


@pytest.mark.parametrize("colors", [False, True])
def test_a_console_line_with_a_traceback_is_the_one_that_structlog_renders(colors: bool) -> None:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    form = ConsoleFormat(colors=colors)
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        expected = renderer(None, "info", {**HEAD, "exc_info": error}) + "\n"
        values: dict[str, Any] = {"exc_info": error}
        form.render_exception(values)
    assert form.lines([record(**values)]) == expected
