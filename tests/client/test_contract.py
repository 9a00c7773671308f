"""The dataclasses and enums of the client match the protos, field by field and value by value."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Any

import pytest
from google.type import dayofweek_pb2

from registrar.v1 import (
    course_pb2,
    course_service_pb2,
    enrollment_pb2,
    enrollment_service_pb2,
    error_reason_pb2,
    event_pb2,
    student_pb2,
    student_service_pb2,
)
from registrar_client import (
    Course,
    CourseState,
    DeletedCourse,
    DeletedStudent,
    Enrolled,
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
    Settled,
    Student,
    StudentCourse,
    StudentState,
    Swapped,
    Unenrolled,
    UpdatedCourse,
    Violation,
    Weekday,
    _results,
    _types,
)
from registrar_client._from_wire import read
from tests.support.client_samples import filled

MESSAGES: dict[Any, Any] = {
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
    UpdatedCourse: course_service_pb2.UpdateCourseResponse,
    Settled: course_service_pb2.SettleCourseResponse,
    DeletedCourse: course_service_pb2.DeleteCourseResponse,
    DeletedStudent: student_service_pb2.DeleteStudentResponse,
    Violation: error_reason_pb2.RuleViolation,
    Event: event_pb2.Event,
    FieldChange: event_pb2.FieldChange,
}
"""The message of each dataclass. ``Enrolled`` is an enrollment itself, so its fields are not those of its message."""


@pytest.mark.parametrize(("kind", "message"), MESSAGES.items())
def test_a_dataclass_has_every_field_of_its_message_and_no_other(kind: Any, message: Any) -> None:
    assert [field.name for field in dataclasses.fields(kind)] == [field.name for field in message.DESCRIPTOR.fields]
    assert not hasattr(kind, "__dict__") or kind.__slots__
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize("kind", MESSAGES)
def test_reading_a_message_makes_what_the_constructor_makes(kind: Any) -> None:
    """Reading fills the slots without ``__init__``."""
    made = read(kind, filled(MESSAGES[kind]))
    assert made == kind(**{field.name: getattr(made, field.name) for field in dataclasses.fields(kind)})
    assert not hasattr(kind, "__post_init__")


@pytest.mark.parametrize(("kind", "message"), MESSAGES.items())
def test_every_field_that_is_set_is_read(kind: Any, message: Any) -> None:
    empty = dataclasses.asdict(read(kind, message()))
    for name in empty:
        one = dataclasses.asdict(read(kind, filled(message, name)))
        assert {each for each in one if one[each] != empty[each]} == {name}


def test_the_result_of_enroll_is_the_enrollment_with_every_other_field_of_the_response() -> None:
    response = enrollment_service_pb2.EnrollStudentResponse.DESCRIPTOR
    ours = [field.name for field in dataclasses.fields(Enrolled)]
    assert ours[: len(dataclasses.fields(Enrollment))] == [field.name for field in dataclasses.fields(Enrollment)]
    assert ["enrollment", *ours[len(dataclasses.fields(Enrollment)) :]] == [field.name for field in response.fields]


def test_every_resource_of_the_protos_has_a_dataclass() -> None:
    files = (course_pb2, enrollment_pb2, enrollment_service_pb2, error_reason_pb2, event_pb2, student_pb2)
    messages = {message for file in files for message in file.DESCRIPTOR.message_types_by_name.values()}
    resources = {message for message in messages if not message.name.endswith(("Request", "Response"))}
    covered = {message.DESCRIPTOR for message in MESSAGES.values()}
    details = (error_reason_pb2.RuleViolations, error_reason_pb2.BatchRefusals, error_reason_pb2.BatchRefusal)
    assert resources - covered == {detail.DESCRIPTOR for detail in details}


def test_every_dataclass_has_a_message() -> None:
    defined = [*vars(_types).values(), *vars(_results).values()]
    ours = {kind for kind in defined if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    assert ours == {*MESSAGES, Enrolled}


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
def test_an_enum_has_every_value_of_the_protos(kind: type[StrEnum], names: Any, prefix: str) -> None:
    theirs = [name.removeprefix(prefix) for name, number in names.items() if number != 0]
    assert [member.value for member in kind] == [*theirs, "UNKNOWN"]
