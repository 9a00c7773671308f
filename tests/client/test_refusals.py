"""The client refuses values that cannot be sent as InvalidField, before it sends anything.

The error names the field by its path in the request, as the server does, and says what the value must be.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import inspect
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from registrar.v1 import enrollment_pb2
from registrar_client import (
    UNSET,
    AsyncRegistrarClient,
    CourseState,
    EnrollmentState,
    ErrorReason,
    FieldViolation,
    InvalidField,
    Meeting,
    Override,
    RegistrarClient,
    Weekday,
    testing,
)
from tests.support.client_fakes import Driver, empty_answer, method_of, sent
from tests.support.client_samples import SURFACE

SEAT = {"student_id": "s", "course_id": "c"}
SURROGATE = "must be Unicode text, but character 1 is half of a surrogate pair"
INT32 = f"must be from {-(2**31)} to {2**31 - 1}"


def meeting(**fields: Any) -> dict[str, Any]:
    """Return the arguments of a course with one meeting of unchecked fields."""
    return {"meetings": [Meeting(**fields)]}


def reason(**fields: Any) -> dict[str, Any]:
    """Return the arguments of an enrollment with an override of unchecked fields."""
    return {**SEAT, "override": Override(**{"rules": [ErrorReason.COURSE_FULL], "reason": "Why.", **fields})}


TEXTS = [
    ("enroll", {**SEAT, "student_id": 5}, "student_id", "must be a str, not int"),
    ("enroll", {**SEAT, "student_id": b"s-1"}, "student_id", "must be a str, not bytes"),
    ("enroll", {**SEAT, "student_id": None}, "student_id", "must be a str, not None"),
    ("enroll", {**SEAT, "student_id": UNSET}, "student_id", "must be a str, not Unset"),
    ("enroll", {**SEAT, "course_id": "c\ud800"}, "course_id", SURROGATE),
    ("enroll", {**SEAT, "comment": ["late"]}, "comment", "must be a str, not list"),
    ("enroll", {**SEAT, "request_id": 7}, "request_id", "must be a str or UUID, not int"),
    ("enroll", {**SEAT, "request_id": 0}, "request_id", "must be a str or UUID, not int"),
    ("enroll", reason(reason=b"Why."), "override.reason", "must be a str, not bytes"),
    ("complete", {**SEAT, "grade": 1.3}, "grade", "must be a str, not float"),
    ("history.list", {"student_id": None}, "student_id", "must be a str, not None"),
    ("students.create", {"given_name": b"Ada"}, "student.given_name", "must be a str, not bytes"),
    ("students.create", {"student_id": None}, "student.student_id", "must be a str, not None"),
    ("students.update", {"student_id": "s", "etag": None}, "student.etag", "must be a str, not None"),
    ("students.release_hold", {"student_id": "s", "code": "a\udfff"}, "code", SURROGATE),
    ("courses.create", meeting(location=101), "course.meetings[0].location", "must be a str, not int"),
    ("courses.search", {"term": None}, "term", "must be a str, not None"),
]
DECIMAL = "must be a decimal from 0 to 1000 with up to 3 decimals, such as 3 or 1.5"
NUMBERS = [
    ("history.list", {"after_revision": "7"}, "after_revision", "must be an int, not str"),
    ("history.list", {"after_revision": -1}, "after_revision", f"must be from 0 to {2**63 - 1}"),
    ("history.list", {"after_revision": 2**63}, "after_revision", f"must be from 0 to {2**63 - 1}"),
    ("history.list", {"after_revision": -(2**63) - 1}, "after_revision", f"must be from 0 to {2**63 - 1}"),
    ("list_roster", {"course_id": "c", "page_size": 2**31}, "page_size", "must be from 0 to 1000"),
    ("list_roster", {"course_id": "c", "page_size": -1}, "page_size", "must be from 0 to 1000"),
    ("list_roster", {"course_id": "c", "page_size": 10.0}, "page_size", "must be an int, not float"),
    ("list_roster", {"course_id": "c", "page_size": None}, "page_size", "must be an int, not None"),
    ("courses.create", {"capacity": "30"}, "course.capacity", "must be an int, not str"),
    ("courses.create", {"capacity": True}, "course.capacity", "must be an int, not bool"),
    ("courses.create", {"waitlist_capacity": False}, "course.waitlist_capacity", "must be an int, not bool"),
    ("courses.create", {"capacity": -1}, "course.capacity", "must be from 0 to 1000000"),
    ("courses.create", {"waitlist_capacity": 1_000_001}, "course.waitlist_capacity", "must be from 0 to 1000000"),
    ("courses.create", {"capacity": 2**40}, "course.capacity", "must be from 0 to 1000000"),
    ("courses.update", {"course_id": "c", "capacity": 10**30}, "course.capacity", "must be from 0 to 1000000"),
    ("courses.create", {"credits": 1.5}, "course.credits", "must be a Decimal, int or str, not float"),
    (
        "courses.create",
        {"credits": Decimal("1e999999999")},
        "course.credits",
        DECIMAL,
    ),
    (
        "students.create",
        {"max_credits": Decimal("NaN")},
        "student.max_credits",
        DECIMAL,
    ),
    *(
        ("courses.create", {"credits": credits}, "course.credits", DECIMAL)
        for credits in (-1, 1001, Decimal("1.0001"), "1.0001", "1,5", "1e2", " 3", "\u0663", "9" * 5000)
    ),
    (
        "students.update",
        {"student_id": "s", "max_credits": True},
        "student.max_credits",
        "must be a Decimal, int or str, not bool",
    ),
]
BOOLEANS = [
    ("enroll", {**SEAT, "no_waitlist": 0}, "no_waitlist", "must be a bool, not int"),
    ("enroll", {**SEAT, "no_waitlist": "yes"}, "no_waitlist", "must be a bool, not str"),
    ("students.get", {"student_id": "s", "show_deleted": 1}, "show_deleted", "must be a bool, not int"),
    ("students.delete", {"student_id": "s", "force": None}, "force", "must be a bool, not None"),
    ("complete", {**SEAT, "passed": "yes"}, "passed", "must be a bool, not str"),
]
TIMES = [
    ("courses.create", {"enroll_open_time": "now"}, "course.enroll_open_time", "must be a datetime, not str"),
    (
        "courses.create",
        {"enroll_open_time": dt.date(2018, 1, 1)},
        "course.enroll_open_time",
        "must be a datetime, not date",
    ),
    (
        "courses.create",
        {"drop_deadline_time": dt.datetime(2018, 1, 1)},
        "course.drop_deadline_time",
        "must have a timezone: which instant datetime.datetime(2018, 1, 1, 0, 0) means depends on it",
    ),
    (
        "courses.create",
        {"enroll_open_time": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14)))},
        "course.enroll_open_time",
        "must be from 0001-01-01T00:00:00+00:00 to 9999-12-31T23:59:59.999999+00:00",
    ),
    (
        "courses.create",
        meeting(start_date=dt.datetime(2018, 1, 1)),
        "course.meetings[0].start_date",
        "must be a date, not datetime",
    ),
    (
        "courses.create",
        meeting(start_time=dt.time(1, tzinfo=dt.UTC)),
        "course.meetings[0].start_time",
        "must have no timezone: it is in the wall-clock time of the campus",
    ),
    ("courses.create", meeting(end_time="10:00"), "course.meetings[0].end_time", "must be a time, not str"),
]
STATES = ", ".join(state for state in EnrollmentState if state is not EnrollmentState.UNKNOWN)
MEMBERS = [
    ("list_courses", {"student_id": "s", "states": ["LOST"]}, "states[0]", f"must be one of {STATES}, not 'LOST'"),
    ("list_courses", {"student_id": "s", "states": [[]]}, "states[0]", f"must be one of {STATES}, not []"),
    (
        "list_courses",
        {"student_id": "s", "states": [EnrollmentState.UNKNOWN]},
        "states[0]",
        f"must be one of {STATES}, not 'UNKNOWN'",
    ),
    (
        "courses.update",
        {"course_id": "c", "state": CourseState.UNKNOWN},
        "course.state",
        "must be one of OPEN, CANCELLED, not 'UNKNOWN'",
    ),
    ("courses.update", {"course_id": "c", "state": 0}, "course.state", "must be one of OPEN, CANCELLED, not 0"),
    (
        "courses.create",
        meeting(weekdays=["NODAY"]),
        "course.meetings[0].weekdays[0]",
        f"must be one of {', '.join(list(Weekday)[:7])}, not 'NODAY'",
    ),
]
SEQUENCES = [
    (
        "list_courses",
        {"student_id": "s", "states": "ENROLLED"},
        "states",
        "must be a sequence of EnrollmentState, not str",
    ),
    (
        "list_courses",
        {"student_id": "s", "states": None},
        "states",
        "must be a sequence of EnrollmentState, not None",
    ),
    (
        "courses.create",
        {"prerequisite_course_ids": "MATH-1"},
        "course.prerequisite_course_ids",
        "must be a sequence of str, not str",
    ),
    (
        "courses.create",
        {"prerequisite_course_ids": ["MATH-1", 1]},
        "course.prerequisite_course_ids[1]",
        "must be a str, not int",
    ),
    ("courses.create", {"meetings": 3}, "course.meetings", "must be a sequence of Meeting, not int"),
    (
        "courses.create",
        {"meetings": ["Monday"]},
        "course.meetings[0]",
        "must be a Meeting, not str",
    ),
    (
        "courses.create",
        meeting(weekdays="MONDAY"),
        "course.meetings[0].weekdays",
        "must be a sequence of Weekday, not str",
    ),
    ("enroll", {**SEAT, "override": "all"}, "override", "must be an Override, not str"),
    ("enroll", reason(rules="COURSE_FULL"), "override.rules", "must be a sequence of ErrorReason, not str"),
]
TIMEOUTS = [
    ("enroll", {**SEAT, "timeout": 0}, "timeout", "must be a positive number of seconds up to 1000000000, not 0"),
    (
        "enroll",
        {**SEAT, "timeout": float("nan")},
        "timeout",
        "must be a positive number of seconds up to 1000000000, not nan",
    ),
    (
        "enroll",
        {**SEAT, "timeout": 1e300},
        "timeout",
        "must be a positive number of seconds up to 1000000000, not 1e+300",
    ),
    ("enroll", {**SEAT, "timeout": "1"}, "timeout", "must be a number of seconds, not str"),
    ("students.list", {"timeout": -1}, "timeout", "must be a positive number of seconds up to 1000000000, not -1"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "field", "description"),
    TEXTS + NUMBERS + BOOLEANS + TIMES + MEMBERS + SEQUENCES + TIMEOUTS,
)
def test_a_value_that_cannot_be_sent_raises_invalid_field_before_anything_is_sent(
    driver: Driver, name: str, arguments: dict[str, Any], field: str, description: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        driver.call(name, **arguments)
    assert str(refused.value) == f"{field}: {description}"
    assert refused.value.field_violations == (FieldViolation(field=field, description=description),)
    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert driver.script.attempts == []


def test_all_values_that_cannot_be_sent_are_reported_at_once(driver: Driver) -> None:
    with pytest.raises(InvalidField) as refused:
        driver.call(
            "courses.create",
            title=5,
            capacity=2**31,
            meetings=[Meeting(), Meeting(location=None, weekdays=["MONDAY", "NODAY"])],  # type: ignore[arg-type, list-item]
            request_id=7,
        )
    assert [violation.field for violation in refused.value.field_violations] == [
        "course.title",
        "course.capacity",
        "course.meetings[1].weekdays[1]",
        "course.meetings[1].location",
        "request_id",
    ]


WRONG = [
    object(),
    2**70,
    -(2**70),
    1.5,
    float("nan"),
    b"\xff",
    "\ud800",
    "x",
    [1],
    {"a": 1},
    dt.datetime.min,
    True,
    None,
]


@pytest.mark.parametrize("rpc", SURFACE)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_no_argument_of_any_call_raises_a_bare_error(driver: Driver, rpc: str, value: Any) -> None:
    """The value is sent, or it is refused as a field of the request. Any other error fails the test."""
    name, required = SURFACE[rpc]
    for argument in _arguments(name):
        driver.script.answers.clear()
        driver.script.answers.append(empty_answer(rpc))
        with contextlib.suppress(InvalidField):
            driver.call(name, **{**required, argument: value})


def _arguments(name: str) -> list[str]:
    return list(inspect.signature(method_of(RegistrarClient(), name)).parameters)


def test_any_iterable_is_a_list(driver: Driver) -> None:
    def generated() -> Iterator[str]:
        yield "MATH-1"
        yield "MATH-2"

    for values in (generated(), {"MATH-1": 1, "MATH-2": 2}.keys(), ("MATH-1", "MATH-2")):
        driver.script.answers.append(empty_answer("CreateCourse"))
        driver.call("courses.create", prerequisite_course_ids=values)
        assert driver.script.requests[-1].course.prerequisite_course_ids == ["MATH-1", "MATH-2"]


def test_an_error_of_the_callers_generator_is_not_hidden(driver: Driver) -> None:
    def generated() -> Iterator[str]:
        yield "MATH-1"
        raise ValueError("the file is broken")

    with pytest.raises(ValueError, match="the file is broken"):
        driver.call("courses.create", prerequisite_course_ids=generated())


def test_states_can_be_a_list_of_the_whole_enum(driver: Driver) -> None:
    request = sent(driver, "list_courses", empty_answer("ListCourses"), student_id="s", states=list(EnrollmentState))
    assert list(request.states) == enrollment_pb2.EnrollmentState.values()[1:]


def test_states_as_a_list_of_the_whole_enum_find_all_enrollments(database_url: str) -> None:
    with testing.server(database_url=database_url) as address, RegistrarClient(address) as registrar:
        registrar.students.create(student_id="s-1")
        for course_id in ("C-1", "C-2", "C-3"):
            registrar.courses.create(course_id=course_id)
            registrar.enroll(student_id="s-1", course_id=course_id)
        registrar.unenroll(student_id="s-1", course_id="C-2")
        registrar.complete(student_id="s-1", course_id="C-3")
        entries = registrar.list_courses(student_id="s-1", states=list(EnrollmentState))
        assert [entry.enrollment.state for entry in entries] == ["ENROLLED", "DROPPED", "COMPLETED"]
        assert len(list(registrar.list_roster(course_id="C-2", states=list(EnrollmentState)))) == 1


def test_the_client_names_the_same_range_as_the_server() -> None:
    """The client refuses only what cannot be sent. The server refuses the rest, with the same words."""
    with testing.server() as address, RegistrarClient(address) as registrar:
        for capacity in (-1, 1_000_001, 2**31, 10**30):
            with pytest.raises(InvalidField) as refused:
                registrar.courses.create(capacity=capacity, waitlist_capacity=capacity)
            assert [(each.field, each.description) for each in refused.value.field_violations] == [
                ("course.capacity", "must be from 0 to 1000000"),
                ("course.waitlist_capacity", "must be from 0 to 1000000"),
            ]


@pytest.mark.parametrize("client", [RegistrarClient, AsyncRegistrarClient])
@pytest.mark.parametrize("option", ["timeout", "connect_timeout"])
def test_options_of_a_client_raise_a_value_error(client: Any, option: str) -> None:
    """No call is made yet, so these are no errors of a call."""
    with pytest.raises(ValueError, match=f"^{option} must be a positive number of seconds"):
        client(**{option: 0})
    with pytest.raises(TypeError, match=f"^{option} must be a number of seconds, not str"):
        client(**{option: "1"})
