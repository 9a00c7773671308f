"""The requests that calls send."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2, dayofweek_pb2, timeofday_pb2

from registrar.v1 import course_pb2, enrollment_pb2, student_pb2
from registrar.v1 import course_service_pb2 as courses
from registrar.v1 import enrollment_service_pb2 as enrollments
from registrar.v1 import history_service_pb2 as history
from registrar.v1 import student_service_pb2 as students
from registrar_client import (
    UNSET,
    CourseState,
    EnrollmentState,
    Meeting,
    StudentState,
    Weekday,
)
from tests.support.client_fakes import Driver, sent
from tests.support.client_samples import REQUEST_ID


def test_a_list_sends_its_filters_and_page(driver: Driver) -> None:
    request = sent(
        driver,
        "list_courses",
        enrollments.ListCoursesResponse(),
        student_id="s-1",
        states=[EnrollmentState.DROPPED, EnrollmentState.COMPLETED],
        page_size=7,
        page_token="next",
    )
    assert request == enrollments.ListCoursesRequest(
        student_id="s-1",
        states=[enrollment_pb2.ENROLLMENT_STATE_DROPPED, enrollment_pb2.ENROLLMENT_STATE_COMPLETED],
        page_size=7,
        page_token="next",
    )


def test_the_history_sends_its_filters(driver: Driver) -> None:
    request = sent(
        driver,
        "history.list",
        history.ListEventsResponse(),
        student_id="s-1",
        course_id="CS-101",
        actor="key:sis-sync",
        on_behalf_of="dean@example.edu",
        after_revision=2**40,
        page_size=7,
        page_token="next",
    )
    assert request == history.ListEventsRequest(
        student_id="s-1",
        course_id="CS-101",
        actor="key:sis-sync",
        on_behalf_of="dean@example.edu",
        after_revision=2**40,
        page_size=7,
        page_token="next",
    )


def test_a_search_sends_its_filters(driver: Driver) -> None:
    request = sent(
        driver,
        "courses.search",
        courses.SearchCoursesResponse(),
        query="intro",
        term="2018-fall",
        code="CS 101",
        open_only=True,
        show_deleted=True,
    )
    assert request == courses.SearchCoursesRequest(
        query="intro", term="2018-fall", code="CS 101", open_only=True, show_deleted=True
    )


def test_a_course_is_created_from_plain_values(driver: Driver) -> None:
    berlin = dt.timezone(dt.timedelta(hours=2))
    request = sent(
        driver,
        "courses.create",
        courses.CreateCourseResponse(),
        course_id="CS-101",
        title="Intro",
        credits=Decimal("1.5E+1"),
        capacity=0,
        enroll_open_time=dt.datetime(2018, 8, 1, 8, 0, 0, 123457, tzinfo=berlin),
        meetings=[
            Meeting(
                weekdays=[Weekday.MONDAY, Weekday.FRIDAY],
                start_time=dt.time(22, 30),
                end_time=dt.time(0),
                start_date=dt.date(2018, 8, 27),
                end_date=dt.date(2018, 12, 14),
                location="Room 1",
            )
        ],
        prerequisite_course_ids=("MATH-1",),
        state=CourseState.OPEN,
        request_id=REQUEST_ID,
    )
    course = course_pb2.Course(
        course_id="CS-101",
        title="Intro",
        credits="15",
        capacity=0,
        enroll_open_time=Timestamp(seconds=1533103200, nanos=123457000),
        meetings=[
            course_pb2.Meeting(
                weekdays=[dayofweek_pb2.MONDAY, dayofweek_pb2.FRIDAY],
                start_time=timeofday_pb2.TimeOfDay(hours=22, minutes=30),
                end_time=timeofday_pb2.TimeOfDay(hours=24),
                start_date=date_pb2.Date(year=2018, month=8, day=27),
                end_date=date_pb2.Date(year=2018, month=12, day=14),
                location="Room 1",
            )
        ],
        prerequisite_course_ids=["MATH-1"],
        state=course_pb2.COURSE_STATE_OPEN,
    )
    assert request == courses.CreateCourseRequest(course=course, request_id=REQUEST_ID)


def test_arguments_that_are_not_passed_are_absent_from_a_new_resource(driver: Driver) -> None:
    course = sent(driver, "courses.create", courses.CreateCourseResponse()).course
    assert course == course_pb2.Course(credits="0")
    driver.script.answers.append(students.CreateStudentResponse())
    driver.call("students.create", given_name="Ada")
    assert driver.script.requests[-1].student == student_pb2.Student(given_name="Ada")


def test_the_mask_of_an_update_has_the_passed_fields_only(driver: Driver) -> None:
    request = sent(
        driver,
        "students.update",
        students.UpdateStudentResponse(),
        student_id="s-1",
        family_name="Lovelace",
        email=UNSET,
        state=StudentState.INACTIVE,
        max_credits=Decimal("7.5"),
        etag="3",
        request_id=REQUEST_ID,
    )
    assert list(request.update_mask.paths) == ["family_name", "state", "max_credits"]
    assert request.student == student_pb2.Student(
        student_id="s-1",
        family_name="Lovelace",
        state=student_pb2.STUDENT_STATE_INACTIVE,
        max_credits="7.5",
        etag="3",
    )


def test_none_in_an_update_clears_a_field(driver: Driver) -> None:
    request = sent(
        driver,
        "courses.update",
        courses.UpdateCourseResponse(),
        course_id="CS-101",
        capacity=None,
        title=None,
        credits=None,
        meetings=None,
        drop_deadline_time=None,
    )
    assert set(request.update_mask.paths) == {"capacity", "title", "credits", "meetings", "drop_deadline_time"}
    assert request.course == course_pb2.Course(course_id="CS-101")


def test_zero_and_empty_in_an_update_are_values(driver: Driver) -> None:
    request = sent(
        driver, "courses.update", courses.UpdateCourseResponse(), course_id="CS-101", capacity=0, meetings=[]
    )
    assert list(request.update_mask.paths) == ["capacity", "meetings"]
    assert request.course.HasField("capacity")


def test_place_hold_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "students.place_hold",
        students.PlaceHoldResponse(),
        student_id="s-1",
        code="BURSAR",
        reason="Unpaid fees.",
        request_id=REQUEST_ID,
    )
    assert request == students.PlaceHoldRequest(
        student_id="s-1", code="BURSAR", reason="Unpaid fees.", request_id=REQUEST_ID
    )


def test_release_hold_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "students.release_hold",
        students.ReleaseHoldResponse(),
        student_id="s-1",
        code="BURSAR",
        request_id=REQUEST_ID,
    )
    assert request == students.ReleaseHoldRequest(student_id="s-1", code="BURSAR", request_id=REQUEST_ID)


def test_a_token_is_sent_as_metadata(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(token="secret")
    driver.script.answers.append(enrollments.GetEnrollmentResponse())
    driver.call("get_enrollment", enrollment_id="e-1")
    assert driver.script.attempts[0].metadata == {"authorization": "Bearer secret"}


def test_without_a_token_there_is_no_metadata(driver: Driver) -> None:
    sent(driver, "get_enrollment", enrollments.GetEnrollmentResponse(), enrollment_id="e-1")
    assert driver.script.attempts[0].metadata == {}
