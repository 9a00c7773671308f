"""The published offerings of a real semester, converted to courses."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from registrar_client import Meeting, Weekday

FILE = Path(os.environ.get("REGISTRAR_TEST_DATA", "")) / "fall2018_offerings.json"
YEAR = 2018
TERM = f"{YEAR}-fall"
WEEKDAYS = dict(zip("MTWRFSU", Weekday, strict=False))

Offering = dict[str, Any]

needs_semester = pytest.mark.skipif(
    not FILE.is_file(), reason="REGISTRAR_TEST_DATA names no folder with a real semester"
)


def read() -> list[Offering]:
    """Read the sections of Fall 2018."""
    found: list[Offering] = json.loads(FILE.read_text())
    assert len(found) == 1519
    assert sum(offering["act"] for offering in found) == 25_595
    return found


def clock(published: str) -> dt.time:
    """Read a time such as ``0330pm``."""
    return dt.datetime.strptime(published, "%I%M%p").time()


def period(published: str) -> list[dt.date]:
    """Read a period such as ``09/04-12/10``."""
    return [dt.datetime.strptime(f"{YEAR}/{day}", "%Y/%m/%d").date() for day in published.split("-")]


def meeting(published: dict[str, str]) -> Meeting:
    """Read a meeting; times to be announced are absent."""
    start, end = map(clock, published["times"].split("-")) if published["times"] != "TBA" else (None, None)
    first, last = period(published["dates"])
    return Meeting(
        weekdays=[WEEKDAYS[letter] for letter in published["days"]],
        start_time=start,
        end_time=end,
        start_date=first,
        end_date=last,
        location=published["location"],
    )


def capacity(offering: Offering) -> int:
    """Return the published cap, or the seats taken if the cap is shared with another section or exceeded."""
    cap, taken = offering["cap"], offering["act"]
    return int(taken if cap == 0 or cap < taken else cap)


def course(offering: Offering) -> dict[str, Any]:
    """Read a course; a range of credits is read as its lower end."""
    return {
        "course_id": str(offering["crn"]),
        "code": offering["catalog_id"],
        "title": offering["title"],
        "term": TERM,
        "credits": Decimal(re.split("[-/]", offering["credits"])[0]),
        "capacity": capacity(offering),
        "meetings": [meeting(published) for published in offering["meetings"]],
    }
