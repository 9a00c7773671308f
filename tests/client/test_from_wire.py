"""What answers become in Python: exact, frozen, and tolerant of newer servers."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.type import dayofweek_pb2, timeofday_pb2
from hypothesis import given
from hypothesis import strategies as st

from registrar.v1 import (
    course_pb2,
    enrollment_pb2,
    enrollment_service_pb2,
    error_reason_pb2,
    event_pb2,
    student_pb2,
)
from registrar_client import (
    Course,
    CourseState,
    Enrollment,
    EnrollmentState,
    ErrorReason,
    Event,
    EventType,
    FieldChange,
    Hold,
    Meeting,
    Override,
    RosterEntry,
    Student,
    StudentCourse,
    StudentState,
    Swapped,
    Unenrolled,
    Violation,
    Weekday,
    _types,
)
from registrar_client import _to_wire as to_wire
from registrar_client._from_wire import read
from tests.client.samples import NOON, NOON_HERE, filled

MESSAGES = {
    Student: student_pb2.Student,
    Hold: student_pb2.Hold,
    Course: course_pb2.Course,
    Meeting: course_pb2.Meeting,
    Enrollment: enrollment_pb2.Enrollment,
    Override: enrollment_pb2.Override,
    StudentCourse: enrollment_service_pb2.StudentCourse,
    RosterEntry: enrollment_service_pb2.RosterEntry,
    Unenrolled: enrollment_service_pb2.UnenrollResponse,
    Swapped: enrollment_service_pb2.SwapEnrollmentResponse,
    Violation: error_reason_pb2.RuleViolation,
    Event: event_pb2.Event,
    FieldChange: event_pb2.FieldChange,
}
"""The message of each dataclass."""

ZONES = [dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30)), ZoneInfo("Europe/Berlin")]


def test_a_student_is_converted_whole() -> None:
    message = student_pb2.Student(
        student_id="s-1",
        given_name="Ada",
        family_name="Byron",
        email="ada@example.edu",
        state=student_pb2.STUDENT_STATE_INACTIVE,
        max_credits="7.5",
        holds=[student_pb2.Hold(code="BURSAR", reason="a fee", place_time=NOON)],
        etag="2",
        create_time=NOON,
        update_time=NOON,
        delete_time=NOON,
    )
    assert read(Student, message) == Student(
        student_id="s-1",
        given_name="Ada",
        family_name="Byron",
        email="ada@example.edu",
        state=StudentState.INACTIVE,
        max_credits=Decimal("7.5"),
        holds=(Hold(code="BURSAR", reason="a fee", place_time=NOON_HERE),),
        etag="2",
        create_time=NOON_HERE,
        update_time=NOON_HERE,
        delete_time=NOON_HERE,
    )


def test_a_course_is_converted_whole() -> None:
    message = course_pb2.Course(
        course_id="CS-101",
        code="CS 101",
        title="Intro",
        description="To begin with",
        term="2018-fall",
        credits="1.5",
        capacity=0,
        waitlist_capacity=5,
        enroll_open_time=NOON,
        enroll_close_time=NOON,
        drop_deadline_time=NOON,
        meetings=[course_pb2.Meeting(location="Room 1")],
        prerequisite_course_ids=["MATH-1", "MATH-2"],
        state=course_pb2.COURSE_STATE_CANCELLED,
        enrolled_count=3,
        waitlisted_count=2,
        seats_available=0,
        etag="4",
        create_time=NOON,
        update_time=NOON,
        delete_time=NOON,
    )
    assert read(Course, message) == Course(
        course_id="CS-101",
        code="CS 101",
        title="Intro",
        description="To begin with",
        term="2018-fall",
        credits=Decimal("1.5"),
        capacity=0,
        waitlist_capacity=5,
        enroll_open_time=NOON_HERE,
        enroll_close_time=NOON_HERE,
        drop_deadline_time=NOON_HERE,
        meetings=(Meeting(location="Room 1"),),
        prerequisite_course_ids=("MATH-1", "MATH-2"),
        state=CourseState.CANCELLED,
        enrolled_count=3,
        waitlisted_count=2,
        seats_available=0,
        etag="4",
        create_time=NOON_HERE,
        update_time=NOON_HERE,
        delete_time=NOON_HERE,
    )


def test_an_enrollment_is_converted_whole() -> None:
    message = enrollment_pb2.Enrollment(
        enrollment_id="e-1",
        student_id="s-1",
        course_id="CS-101",
        state=enrollment_pb2.ENROLLMENT_STATE_COMPLETED,
        waitlist_position=1,
        attempt=2,
        grade="A",
        passed=False,
        bypassed_rules=[error_reason_pb2.ERROR_REASON_COURSE_FULL],
        reason="moved",
        create_time=NOON,
        update_time=NOON,
        end_time=NOON,
        etag="5",
    )
    assert read(Enrollment, message) == Enrollment(
        enrollment_id="e-1",
        student_id="s-1",
        course_id="CS-101",
        state=EnrollmentState.COMPLETED,
        waitlist_position=1,
        attempt=2,
        grade="A",
        passed=False,
        bypassed_rules=(ErrorReason.COURSE_FULL,),
        reason="moved",
        create_time=NOON_HERE,
        update_time=NOON_HERE,
        end_time=NOON_HERE,
        etag="5",
    )


def test_what_is_absent_is_none() -> None:
    student = read(Student, student_pb2.Student(student_id="s-1"))
    assert (student.max_credits, student.create_time, student.delete_time) == (None, None, None)
    course = read(Course, course_pb2.Course(course_id="c"))
    assert (course.capacity, course.seats_available, course.enroll_open_time) == (None, None, None)
    assert (course.credits, course.waitlist_capacity) == (Decimal(0), 0)
    assert read(Enrollment, enrollment_pb2.Enrollment()).passed is None
    assert read(Unenrolled, enrollment_service_pb2.UnenrollResponse()) == Unenrolled(enrollment=None)


def test_pairs_are_converted_together() -> None:
    course, student = course_pb2.Course(course_id="c"), student_pb2.Student(student_id="s")
    enrollment = enrollment_pb2.Enrollment(enrollment_id="e", state=enrollment_pb2.ENROLLMENT_STATE_ENROLLED)
    assert read(
        StudentCourse, enrollment_service_pb2.StudentCourse(course=course, enrollment=enrollment)
    ) == StudentCourse(course=read(Course, course), enrollment=read(Enrollment, enrollment))
    assert read(RosterEntry, enrollment_service_pb2.RosterEntry(student=student, enrollment=enrollment)) == RosterEntry(
        student=read(Student, student), enrollment=read(Enrollment, enrollment)
    )
    assert read(
        Unenrolled, enrollment_service_pb2.UnenrollResponse(enrollment=enrollment, promoted=[enrollment])
    ) == Unenrolled(enrollment=read(Enrollment, enrollment), promoted=(read(Enrollment, enrollment),))
    dropped = enrollment_pb2.Enrollment(enrollment_id="d", state=enrollment_pb2.ENROLLMENT_STATE_DROPPED)
    assert read(
        Swapped,
        enrollment_service_pb2.SwapEnrollmentResponse(
            enrollment=enrollment, dropped=dropped, promoted=[enrollment, dropped]
        ),
    ) == Swapped(
        enrollment=read(Enrollment, enrollment),
        dropped=read(Enrollment, dropped),
        promoted=(read(Enrollment, enrollment), read(Enrollment, dropped)),
    )


@pytest.mark.parametrize(("kind", "message"), MESSAGES.items())
def test_our_values_have_every_field_of_the_protos(kind: Any, message: Any) -> None:
    assert [field.name for field in dataclasses.fields(kind)] == [field.name for field in message.DESCRIPTOR.fields]
    assert not hasattr(kind, "__dict__") or kind.__slots__
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize(("kind", "message"), MESSAGES.items())
def test_every_field_that_is_set_is_read(kind: Any, message: Any) -> None:
    empty = dataclasses.asdict(read(kind, message()))
    for name in empty:
        one = dataclasses.asdict(read(kind, filled(message, name)))
        assert {each for each in one if one[each] != empty[each]} == {name}


def test_every_resource_of_the_protos_has_a_dataclass() -> None:
    files = (course_pb2, enrollment_pb2, enrollment_service_pb2, error_reason_pb2, event_pb2, student_pb2)
    messages = {message for file in files for message in file.DESCRIPTOR.message_types_by_name.values()}
    resources = {message for message in messages if not message.name.endswith(("Request", "Response"))}
    covered = {message.DESCRIPTOR for message in MESSAGES.values()}
    assert resources - covered == {error_reason_pb2.RuleViolations.DESCRIPTOR}


def test_every_dataclass_is_that_of_a_message() -> None:
    ours = {kind for kind in vars(_types).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    assert ours == set(MESSAGES)


@pytest.mark.parametrize(
    ("kind", "names", "prefix"),
    [
        (EnrollmentState, enrollment_pb2.EnrollmentState, "ENROLLMENT_STATE_"),
        (EventType, event_pb2.EventType, "EVENT_TYPE_"),
        (StudentState, student_pb2.StudentState, "STUDENT_STATE_"),
        (CourseState, course_pb2.CourseState, "COURSE_STATE_"),
        (ErrorReason, error_reason_pb2.ErrorReason, "ERROR_REASON_"),
        (Weekday, dayofweek_pb2.DayOfWeek, ""),
    ],
)
def test_our_enums_have_every_value_of_the_protos(kind: type[StrEnum], names: Any, prefix: str) -> None:
    theirs = [name.removeprefix(prefix) for name, number in names.items() if number != 0]
    assert [member.value for member in kind] == [*theirs, "UNKNOWN"]


def test_values_of_a_newer_server_are_unknown() -> None:
    enrollment = enrollment_pb2.Enrollment(state=77, bypassed_rules=[77])  # type: ignore[arg-type, list-item]
    assert read(Enrollment, enrollment).state is EnrollmentState.UNKNOWN
    assert read(Enrollment, enrollment).bypassed_rules == (ErrorReason.UNKNOWN,)
    assert read(Student, student_pb2.Student(state=77)).state is StudentState.UNKNOWN  # type: ignore[arg-type]
    assert read(Course, course_pb2.Course()).state is CourseState.UNKNOWN


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.sampled_from(ZONES)))
def test_times_are_exact_to_the_microsecond_in_both_directions(moment: dt.datetime) -> None:
    expected = moment.astimezone(dt.UTC)
    sent = to_wire.timestamp("time", moment)
    received = read(Student, student_pb2.Student(create_time=sent)).create_time
    assert received == expected
    assert received is not None
    assert received.tzinfo is dt.UTC
    assert sent.ToNanoseconds() % 1000 == 0


@given(
    st.builds(
        Meeting,
        weekdays=st.lists(st.sampled_from([day for day in Weekday if day is not Weekday.UNKNOWN])).map(tuple),
        start_time=st.none() | st.times(),
        end_time=st.none() | st.times(),
        start_date=st.none() | st.dates(),
        end_date=st.none() | st.dates(),
        location=st.sampled_from(["", "Room 1", "Aula \N{LATIN SMALL LETTER O WITH DIAERESIS}"]),
    )
)
def test_meetings_come_back_as_they_were_sent(meeting: Meeting) -> None:
    (sent,) = to_wire.fields(Course, {"meetings": [meeting]})["meetings"]
    assert read(Course, course_pb2.Course(meetings=[sent])).meetings == (meeting,)


def test_midnight_as_an_end_is_the_end_of_the_day() -> None:
    evening = Meeting(start_time=dt.time(0), end_time=dt.time(0))
    (sent,) = to_wire.fields(Course, {"meetings": [evening]})["meetings"]
    assert sent.start_time == timeofday_pb2.TimeOfDay(hours=0)
    assert sent.end_time == timeofday_pb2.TimeOfDay(hours=24)


@given(st.decimals(min_value=0, max_value=1000, places=3))
def test_decimals_come_back_equal(value: Decimal) -> None:
    sent = to_wire.decimal("max_credits", value)
    assert "E" not in sent
    assert read(Student, student_pb2.Student(max_credits=sent)).max_credits == value


def test_answers_are_hashable_and_cannot_be_changed() -> None:
    course = read(Course, course_pb2.Course(course_id="c", meetings=[course_pb2.Meeting(weekdays=[1])]))  # type: ignore[list-item]
    assert hash(course) == hash(dataclasses.replace(course))
    with pytest.raises(dataclasses.FrozenInstanceError):
        course.title = "Other"  # type: ignore[misc]
