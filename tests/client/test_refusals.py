"""The client refuses arguments that cannot be sent, and names them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from registrar_client import CourseState, Meeting
from tests.support.client_fakes import Driver


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"),
    [
        ("enroll", {"student_id": 5, "course_id": "c"}, TypeError, "student_id must be a str, not int"),
        ("enroll", {"student_id": "s", "course_id": "\ud800"}, ValueError, "course_id: "),
        (
            "enroll",
            {"student_id": "s", "course_id": "c", "no_waitlist": "yes"},
            TypeError,
            "no_waitlist must be a bool",
        ),
        ("enroll", {"student_id": "s", "course_id": "c", "request_id": 7}, TypeError, "request_id must be a str or"),
        ("enroll", {"student_id": "s", "course_id": "c", "override": "all"}, TypeError, "override must be an Override"),
        ("enroll", {"student_id": "s", "course_id": "c", "timeout": 0}, ValueError, "timeout must be a positive"),
        ("enroll", {"student_id": "s", "course_id": "c", "timeout": "1"}, TypeError, "timeout must be a number"),
        (
            "swap",
            {"student_id": "s", "from_course_id": 5, "to_course_id": "c"},
            TypeError,
            "from_course_id must be a str, not int",
        ),
        (
            "swap",
            {"student_id": "s", "from_course_id": "c", "to_course_id": "d", "override": ["COURSE_FULL"]},
            TypeError,
            "override must be an Override, not list",
        ),
        (
            "complete",
            {"student_id": "s", "course_id": "c", "passed": "yes"},
            TypeError,
            "passed must be a bool, not str",
        ),
        ("complete", {"student_id": "s", "course_id": "c", "grade": 1.3}, TypeError, "grade must be a str, not float"),
        ("record_completion", {"student_id": "s", "course_id": "c", "passed": "A"}, TypeError, "passed must be a bool"),
        ("students.place_hold", {"student_id": "s", "code": 7}, TypeError, "code must be a str, not int"),
        ("students.release_hold", {"student_id": "s", "code": "\ud800"}, ValueError, "code: "),
        ("history.list", {"after_revision": "7"}, TypeError, "after_revision must be an int, not str"),
        ("history.list", {"after_revision": 2**63}, ValueError, "after_revision: "),
        ("list_courses", {"student_id": "s", "states": "ENROLLED"}, TypeError, "states must be a sequence"),
        ("list_courses", {"student_id": "s", "states": ["LOST"]}, ValueError, "states must be one of ENROLLED, "),
        ("list_courses", {"student_id": "s", "page_size": 2**31}, ValueError, "page_size: "),
        ("courses.create", {"credits": 1.5}, TypeError, "credits must be a Decimal, int or str, not float"),
        ("courses.create", {"capacity": "30"}, TypeError, "capacity must be an int, not str"),
        ("courses.create", {"capacity": 2**40}, ValueError, "capacity: "),
        ("courses.create", {"enroll_open_time": "now"}, TypeError, "enroll_open_time must be a datetime"),
        (
            "courses.create",
            {"drop_deadline_time": dt.datetime(2018, 1, 1)},
            ValueError,
            "drop_deadline_time must have a timezone",
        ),
        ("courses.create", {"prerequisite_course_ids": "MATH-1"}, TypeError, "prerequisite_course_ids must be a seq"),
        ("courses.create", {"prerequisite_course_ids": [1]}, TypeError, "prerequisite_course_ids must be a sequence"),
        ("courses.create", {"meetings": ["Monday"]}, TypeError, "meetings must be a sequence of Meeting, not str"),
        (
            "courses.create",
            {"meetings": [Meeting(weekdays=["NODAY"])]},  # type: ignore[list-item]
            ValueError,
            "meetings.weekdays must be one of MONDAY, ",
        ),
        (
            "courses.create",
            {"meetings": [Meeting(start_date=dt.datetime(2018, 1, 1))]},
            TypeError,
            "meetings.start_date must be a date, not datetime",
        ),
        (
            "courses.create",
            {"meetings": [Meeting(start_time=dt.time(1, tzinfo=dt.UTC))]},
            ValueError,
            "meetings.start_time must have no timezone",
        ),
        ("courses.update", {"course_id": "c", "state": CourseState.UNKNOWN}, ValueError, "state must be one of OPEN,"),
        ("students.update", {"student_id": "s", "max_credits": True}, TypeError, "max_credits must be a Decimal"),
    ],
)
def test_the_error_for_an_argument_that_cannot_be_sent_names_it(
    driver: Driver, name: str, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as refused:
        driver.call(name, **arguments)
    assert str(refused.value).startswith(message)
    assert driver.script.attempts == []
