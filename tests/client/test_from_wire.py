"""Messages are read into dataclasses: exact, frozen, and tolerant of newer servers."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from google.type import timeofday_pb2
from hypothesis import given
from hypothesis import strategies as st

from registrar.v1 import (
    course_pb2,
    enrollment_pb2,
    enrollment_service_pb2,
    error_reason_pb2,
    student_pb2,
)
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar_client import (
    Course,
    CourseState,
    Enrollment,
    EnrollmentState,
    ErrorReason,
    Hold,
    Meeting,
    RosterEntry,
    Student,
    StudentCourse,
    StudentState,
    Swapped,
    Unenrolled,
    Weekday,
)
from registrar_client import _to_wire as to_wire
from registrar_client._from_wire import read
from registrar_client._wire_values import decimal, timestamp
from tests.support.client_samples import NOON, NOON_HERE

ZONES = [dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30)), ZoneInfo("Europe/Berlin")]


def test_all_fields_of_a_student_are_read() -> None:
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


def test_all_fields_of_a_course_are_read() -> None:
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
        completed_count=6,
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
        completed_count=6,
        seats_available=0,
        etag="4",
        create_time=NOON_HERE,
        update_time=NOON_HERE,
        delete_time=NOON_HERE,
    )


def test_all_fields_of_an_enrollment_are_read() -> None:
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


def test_absent_fields_are_none() -> None:
    student = read(Student, student_pb2.Student(student_id="s-1"))
    assert (student.max_credits, student.create_time, student.delete_time) == (None, None, None)
    course = read(Course, course_pb2.Course(course_id="c"))
    assert (course.capacity, course.seats_available, course.enroll_open_time) == (None, None, None)
    assert (course.credits, course.waitlist_capacity) == (Decimal(0), 0)
    assert read(Enrollment, enrollment_pb2.Enrollment()).passed is None
    assert read(Unenrolled, enrollment_service_pb2.UnenrollResponse()) == Unenrolled(enrollment=None)


def test_nested_resources_are_read() -> None:
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


def test_values_of_a_newer_server_are_unknown() -> None:
    enrollment = enrollment_pb2.Enrollment(state=77, bypassed_rules=[77])  # type: ignore[arg-type, list-item]
    assert read(Enrollment, enrollment).state is EnrollmentState.UNKNOWN
    assert read(Enrollment, enrollment).bypassed_rules == (ErrorReason.UNKNOWN,)
    assert read(Student, student_pb2.Student(state=77)).state is StudentState.UNKNOWN  # type: ignore[arg-type]
    assert read(Course, course_pb2.Course()).state is CourseState.UNKNOWN


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.sampled_from(ZONES)))
def test_times_are_exact_to_the_microsecond_in_both_directions(moment: dt.datetime) -> None:
    expected = moment.astimezone(dt.UTC)
    sent = timestamp("time", moment)
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
def test_a_meeting_is_read_as_it_was_sent(meeting: Meeting) -> None:
    sent = to_wire.message(CreateCourseRequest, course={"meetings": [meeting]}).course
    assert read(Course, sent).meetings == (meeting,)


def test_midnight_as_an_end_time_is_the_end_of_the_day() -> None:
    evening = Meeting(start_time=dt.time(0), end_time=dt.time(0))
    (sent,) = to_wire.message(CreateCourseRequest, course={"meetings": [evening]}).course.meetings
    assert sent.start_time == timeofday_pb2.TimeOfDay(hours=0)
    assert sent.end_time == timeofday_pb2.TimeOfDay(hours=24)


@given(st.decimals(min_value=0, max_value=1000, places=3))
def test_a_decimal_is_read_as_it_was_sent(value: Decimal) -> None:
    sent = decimal("max_credits", value)
    assert "E" not in sent
    assert read(Student, student_pb2.Student(max_credits=sent)).max_credits == value


def test_results_are_hashable_and_frozen() -> None:
    course = read(Course, course_pb2.Course(course_id="c", meetings=[course_pb2.Meeting(weekdays=[1])]))  # type: ignore[list-item]
    assert hash(course) == hash(dataclasses.replace(course))
    with pytest.raises(dataclasses.FrozenInstanceError):
        course.title = "Other"  # type: ignore[misc]
