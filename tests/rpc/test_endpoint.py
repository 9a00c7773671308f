"""What every RPC gets around it: refusals as rich statuses of bounded size, crashes that tell the caller nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.enrollment_pb2 import EnrollmentState
from registrar.v1.enrollment_service_pb2 import ListCoursesRequest
from registrar.v1.error_reason_pb2 import RuleViolations
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import UpdateStudentRequest
from registrar_server.errors import FieldViolation, Reason, Refusal, Violation, invalid_fields, rules_violated
from registrar_server.rpc import status
from registrar_server.rpc.validation import Fields
from tests.support.servers import Log, Registrar

# Above 8 KiB of trailers calls fail at random; base64 makes four bytes of three.
TRAVELS = 6 * 1024


def sent(refusal: Refusal) -> Status:
    """The status of a refusal, as a caller reads it."""
    ((key, value),) = status.of_refusal(refusal).trailing_metadata
    assert key == "grpc-status-details-bin"
    assert len(value) * 4 / 3 < TRAVELS
    return Status.FromString(value)


def find(found: Status, kind: Any) -> Any:
    """The detail of a kind, or None."""
    for detail in found.details:
        message = kind()
        if detail.Unpack(message):
            return message
    return None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_travels_under_its_status(reason: Reason) -> None:
    refusal = Refusal(reason, "Why.", retry_after=1.5, student_id="s-1")
    found = sent(refusal)
    assert grpc.StatusCode[refusal.status].value[0] == found.code
    assert find(found, ErrorInfo) == ErrorInfo(reason=reason, domain="registrar", metadata={"student_id": "s-1"})
    assert find(found, RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1.5


def test_many_bad_fields_are_cut_and_the_rest_is_counted() -> None:
    fields = [
        FieldViolation(f"course.meetings[{place}].location", "must have at most 200 characters") for place in range(90)
    ]
    found = sent(invalid_fields(fields))
    kept = find(found, BadRequest).field_violations
    assert [violation.field for violation in kept] == [field for field, _ in fields[: len(kept)]]
    assert 0 < len(kept) < len(fields)
    assert found.message.endswith(f"({len(fields) - len(kept)} more details left out)")


def test_thousands_of_bad_fields_are_counted_too() -> None:
    fields = [FieldViolation(f"states[{place}]", "must be known") for place in range(5_000)]
    found = sent(invalid_fields(fields))
    kept = find(found, BadRequest).field_violations
    assert found.message.endswith(f"({len(fields) - len(kept)} more details left out)")


def test_many_violated_rules_keep_the_reason() -> None:
    violations = [
        Violation(
            Reason.SCHEDULE_CONFLICT,
            f"Meets at the same time as course {place}. " + "x" * 200,
            {"course_id": str(place)},
        )
        for place in range(100)
    ]
    found = sent(rules_violated(violations))
    assert find(found, ErrorInfo).reason == "SCHEDULE_CONFLICT"
    assert "more details left out" in found.message


def test_a_few_violated_rules_all_stand_in_the_details() -> None:
    violations = [
        Violation(Reason.STUDENT_INACTIVE, "The student is inactive.", {}),
        Violation(Reason.COURSE_FULL, "All 2 seats are taken.", {"capacity": "2"}),
    ]
    found = find(sent(rules_violated(violations)), RuleViolations).violations
    assert [(one.description, dict(one.values), one.overridable) for one in found] == [
        ("The student is inactive.", {}, False),
        ("All 2 seats are taken.", {"capacity": "2"}, True),
    ]


async def test_a_long_refusal_reaches_the_caller_over_the_wire(sqlite_registrar: Registrar) -> None:
    course = Course(course_id="c-1", prerequisite_course_ids=["é" * 127 + str(place) for place in range(50)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sqlite_registrar.courses.CreateCourse(CreateCourseRequest(course=course))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(refused.value.trailing_metadata())
    assert find(Status.FromString(bytes(trailers["grpc-status-details-bin"])), ErrorInfo).reason == "INVALID_FIELD"


async def test_a_crash_tells_the_caller_nothing_but_where_to_look(
    log: Log, sqlite_registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registrar_server.rpc.dispatch.Dispatcher.change", _crash)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await sqlite_registrar.add_student("s-1")
    trailers = dict(failed.value.trailing_metadata())
    found = Status.FromString(bytes(trailers["grpc-status-details-bin"]))
    error_id = find(found, RequestInfo).request_id
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == f"Internal error; the server's log tells more under request {error_id}."
    assert b"hunter2" not in found.SerializeToString()
    (crash,) = log.of("rpc_crashed")
    assert (crash["method"], crash["error_id"]) == ("CreateStudent", error_id)
    assert isinstance(crash["exc_info"], RuntimeError)
    (line,) = log.of("rpc")
    assert (line["status"], line["error_id"]) == ("INTERNAL", error_id)


async def _crash(*_arguments: Any) -> None:
    raise RuntimeError("password=hunter2")


async def test_a_very_long_list_is_refused_without_looking_at_its_entries(sqlite_registrar: Registrar) -> None:
    request = ListCoursesRequest(student_id="s-1", states=[EnrollmentState.ValueType(99)] * 1_000_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sqlite_registrar.enrollments.ListCourses(request)
    assert refused.value.details() == "states: must have at most 50 entries, has 1000000"


async def test_trailers_stay_small_whatever_the_caller_wrote(sqlite_registrar: Registrar) -> None:
    request = UpdateStudentRequest(student=Student(student_id="s-1"))
    request.update_mask.paths.extend(["😀" * 400] + ["😀" * 60 + str(place) for place in range(49)])
    for _ in range(20):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sqlite_registrar.students.UpdateStudent(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_beyond_ascii_is_cut_by_what_travels() -> None:
    cut = status.of_refusal(Refusal(Reason.INVALID_FIELD, "😀" * 1000)).details
    assert cut.endswith("…")
    assert 12 * len(cut) <= 700


async def test_a_crash_that_met_a_batch_is_logged_once(
    log: Log, sqlite_registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("broken")

    async def crash(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr("registrar_server.rpc.dispatch.Dispatcher.change", crash)
    calls = [sqlite_registrar.add_student(f"s-{place}") for place in range(5)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(log.of("rpc_crashed")) == 1
    assert len(log.of("rpc", status="INTERNAL")) == 5


async def test_an_id_that_is_none_is_cut_and_disarmed_in_the_log(log: Log, sqlite_registrar: Registrar) -> None:
    for bad in ("x" * 1_000_000, "\x1b[2J"):
        with pytest.raises(grpc.aio.AioRpcError):
            await sqlite_registrar.course(bad)
    assert [line["course_id"] for line in log.of("rpc")] == ["x" * 128, "\\x1b[2J"]


def test_a_field_is_told_once_however_much_is_wrong_with_it() -> None:
    fields = Fields()
    fields.email("student.email", "x" * 400 + "\0")
    with pytest.raises(Refusal) as refused:
        fields.check()
    assert [field for field, _ in refused.value.fields] == ["student.email"]
