"""The wrapper of every RPC: refusals as statuses of limited size, and crashes without details for callers."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.enrollment_pb2 import EnrollmentState
from registrar.v1.enrollment_service_pb2 import ListCoursesRequest
from registrar.v1.error_reason_pb2 import RuleViolations
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import UpdateStudentRequest
from registrar_client import AsyncRegistrarClient, ErrorReason, StudentHold
from registrar_server.errors import FieldViolation, Reason, Refusal, Violation, invalid_fields, rules_violated
from registrar_server.ledger.ledger import Ledger
from registrar_server.rpc import status
from registrar_server.rpc.validation import Fields
from tests.support.servers import Log, Registrar, registrar_on, serving

# Calls with more than 8 KiB of trailers fail at random. Base64 encodes three bytes as four.
TRAVELS = 6 * 1024


def sent(refusal: Refusal) -> Status:
    """Return the status of a refusal, as a caller reads it."""
    ((key, value),) = status.of_refusal(refusal).trailing_metadata
    assert key == "grpc-status-details-bin"
    assert len(value) * 4 / 3 < TRAVELS
    return Status.FromString(value)


def find(found: Status, kind: Any) -> Any:
    """Return the detail of a kind, or None."""
    for detail in found.details:
        message = kind()
        if detail.Unpack(message):
            return message
    return None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_sent_with_its_status(reason: Reason) -> None:
    refusal = Refusal(reason, "Why.", retry_after=1.5, student_id="s-1")
    found = sent(refusal)
    assert grpc.StatusCode[refusal.status].value[0] == found.code
    assert find(found, ErrorInfo) == ErrorInfo(reason=reason, domain="registrar", metadata={"student_id": "s-1"})
    assert find(found, RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1.5


def hold(reason: str, code: str = "BURSAR") -> Violation:
    """Return the violation of a hold, as the rule words it."""
    message = f'There is a hold "{code}" on student "s-1": {reason}.'
    return Violation(Reason.STUDENT_HOLD, message, {"code": code, "reason": reason})


FULL = Violation(Reason.COURSE_FULL, "All 2 seats are taken.", {"capacity": "2", "enrolled_count": "2"})


@pytest.mark.parametrize("reason", ["學費未繳" * 125, "به دلیل بدهی شهریه " * 50, "😀" * 1000], ids=len)
def test_a_long_text_is_shortened_and_the_violations_stay_complete(reason: str) -> None:
    found = find(sent(rules_violated([hold(reason), FULL])), RuleViolations).violations
    assert [(one.reason, one.overridable, one.override_rule) for one in found] == [(14, True, 14), (21, True, 21)]
    assert found[0].values["code"] == "BURSAR"
    assert dict(found[1].values) == FULL.values
    assert found[1].description == FULL.description
    for text, whole in ((found[0].description, hold(reason).description), (found[0].values["reason"], reason)):
        assert text.endswith("…")
        assert whole.startswith(text[:-1])
        assert len(text.encode()) > 500


def test_texts_are_shortened_only_as_far_as_necessary() -> None:
    refused = sent(rules_violated([hold("x" * 1000)]))
    assert status.MAX_STATUS_BYTES - 100 < refused.ByteSize() <= status.MAX_STATUS_BYTES


def test_every_one_of_fifty_holds_with_long_reasons_is_listed() -> None:
    violations = [hold("學費未繳" * 125, f"HOLD-{place}") for place in range(50)]
    refused = sent(rules_violated(violations))
    found = find(refused, RuleViolations).violations
    assert [one.values["code"] for one in found] == [f"HOLD-{place}" for place in range(50)]
    assert {(one.reason, one.override_rule) for one in found} == {(14, 14)}
    assert len(find(refused, PreconditionFailure).violations) == 50
    assert "left out" not in refused.message


def test_violations_are_dropped_only_when_every_text_is_gone_and_the_refusal_counts_them() -> None:
    violations = [hold("學費未繳" * 125, f"{place:02}" + "碼" * 62) for place in range(50)]
    refused = sent(rules_violated(violations))
    found = find(refused, RuleViolations).violations
    assert 1 < len(found) < 50
    assert not any(one.description or one.values["reason"] for one in found)
    assert [one.values["code"][:2] for one in found] == [f"{place:02}" for place in range(len(found))]
    assert find(refused, ErrorInfo).metadata["left_out"] == str(50 - len(found))
    assert refused.message.endswith(f"({50 - len(found)} more details left out)")


def test_ids_are_dropped_from_a_list_only_when_every_text_is_gone_and_the_refusal_counts_them() -> None:
    ids = [f"{place:02}" + "x" * 126 for place in range(50)]
    values = {"missing_course_ids": ", ".join(ids)}
    unmet = Violation(Reason.PREREQUISITE_UNMET, f"Ask for {', '.join(ids)}.", values)
    refused = sent(rules_violated([unmet, FULL]))
    first, second = find(refused, RuleViolations).violations
    kept = first.values["missing_course_ids"].split(", ")
    assert kept == ids[: len(kept)]
    assert 20 < len(kept) < 50
    assert dict(second.values) == FULL.values
    assert (first.description, second.description) == ("", "")
    assert find(refused, ErrorInfo).metadata["left_out"] == str(50 - len(kept))


def test_the_descriptions_of_many_invalid_fields_are_shortened_before_fields_are_dropped() -> None:
    fields = [
        FieldViolation(f"course.meetings[{place}].location", "must have at most 200 characters") for place in range(70)
    ]
    refused = sent(invalid_fields(fields))
    found = find(refused, BadRequest).field_violations
    assert [violation.field for violation in found] == [field for field, _ in fields]
    assert all(violation.description.endswith("…") for violation in found)
    assert "left out" not in refused.message


def test_the_message_counts_thousands_of_invalid_fields() -> None:
    fields = [FieldViolation(f"states[{place}]", "must be known") for place in range(5_000)]
    found = sent(invalid_fields(fields))
    kept = find(found, BadRequest).field_violations
    assert 0 < len(kept) < len(fields)
    assert find(found, ErrorInfo).metadata["left_out"] == str(len(fields) - len(kept))
    assert found.message.endswith(f"({len(fields) - len(kept)} more details left out)")


def test_a_short_refusal_is_sent_as_it_is() -> None:
    refused = sent(rules_violated([hold("Unpaid fees"), FULL]))
    assert [one.description for one in find(refused, RuleViolations).violations] == [
        'There is a hold "BURSAR" on student "s-1": Unpaid fees.',
        "All 2 seats are taken.",
    ]
    assert "left_out" not in find(refused, ErrorInfo).metadata


def test_the_details_contain_all_of_a_few_violations() -> None:
    violations = [
        Violation(Reason.STUDENT_INACTIVE, "The student is inactive.", {}),
        Violation(Reason.COURSE_FULL, "All 2 seats are taken.", {"capacity": "2"}),
    ]
    found = find(sent(rules_violated(violations)), RuleViolations).violations
    assert [(one.description, dict(one.values), one.overridable) for one in found] == [
        ("The student is inactive.", {}, False),
        ("All 2 seats are taken.", {"capacity": "2"}, True),
    ]


async def test_a_caller_receives_a_long_refusal(sqlite_registrar: Registrar) -> None:
    course = Course(course_id="c-1", prerequisite_course_ids=["é" * 127 + str(place) for place in range(50)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sqlite_registrar.courses.CreateCourse(CreateCourseRequest(course=course))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(refused.value.trailing_metadata())
    assert find(Status.FromString(bytes(trailers["grpc-status-details-bin"])), ErrorInfo).reason == "INVALID_FIELD"


async def test_a_client_receives_every_violation_of_a_student_with_long_holds(database_url: str) -> None:
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        await client.students.create(student_id="s-1")
        await client.courses.create(course_id="c-1", capacity=0)
        for place in range(20):
            await client.students.place_hold(student_id="s-1", code=f"HOLD-{place:02}", reason="學費未繳" * 125)
        with pytest.raises(StudentHold) as refused:
            await client.enroll(student_id="s-1", course_id="c-1")
    *holds, full = refused.value.violations
    assert [one.values["code"] for one in holds] == [f"HOLD-{place:02}" for place in range(20)]
    assert all(one.description.endswith("…") and one.override_rule is ErrorReason.STUDENT_HOLD for one in holds)
    assert (full.reason, full.values["capacity"]) == (ErrorReason.COURSE_FULL, "0")


async def test_a_caller_learns_only_the_error_id_of_a_crash(
    log: Log, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "run", _crash)
    async with registrar_on(sqlite_url) as registrar:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await registrar.add_student("s-1")
    trailers = dict(failed.value.trailing_metadata())
    found = Status.FromString(bytes(trailers["grpc-status-details-bin"]))
    error_id = find(found, ErrorInfo).metadata["error_id"]
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert failed.value.details() == f"Internal error; the server's log has more under error_id {error_id}."
    assert b"hunter2" not in found.SerializeToString()
    (crash,) = log.of("rpc_crashed")
    assert (crash["method"], crash["error_id"], crash["level"]) == ("CreateStudent", error_id, "error")
    assert isinstance(crash["exc_info"], RuntimeError)
    (line,) = log.of("rpc")
    assert (line["status"], line["error_id"], line["level"]) == ("INTERNAL", error_id, "error")


async def _crash(*_arguments: Any) -> None:
    raise RuntimeError("password=hunter2")


async def test_a_long_list_is_refused_without_checking_its_entries(sqlite_registrar: Registrar) -> None:
    request = ListCoursesRequest(student_id="s-1", states=[EnrollmentState.ValueType(99)] * 1_000_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sqlite_registrar.enrollments.ListCourses(request)
    assert refused.value.details() == "states: must have at most 50 entries, has 1000000"


async def test_trailers_are_small_for_any_request(sqlite_registrar: Registrar) -> None:
    request = UpdateStudentRequest(student=Student(student_id="s-1"))
    request.update_mask.paths.extend(["😀" * 400] + ["😀" * 60 + str(place) for place in range(49)])
    for _ in range(20):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sqlite_registrar.students.UpdateStudent(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_is_truncated_by_its_encoded_size() -> None:
    cut = status.of_refusal(Refusal(Reason.INVALID_FIELD, "😀" * 1000)).details
    assert cut.endswith("…")
    assert 12 * len(cut) <= 700


async def test_a_crash_of_a_batch_is_logged_once(log: Log, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("broken")

    async def crash(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(Ledger, "run", crash)
    async with registrar_on(sqlite_url) as registrar:
        calls = [registrar.add_student(f"s-{place}") for place in range(5)]
        await asyncio.gather(*calls, return_exceptions=True)
    assert len(log.of("rpc_crashed")) == 1
    assert len(log.of("rpc", status="INTERNAL")) == 5


async def test_invalid_ids_are_truncated_and_escaped_in_the_log(log: Log, sqlite_registrar: Registrar) -> None:
    for bad in ("x" * 1_000_000, "\x1b[2J"):
        with pytest.raises(grpc.aio.AioRpcError):
            await sqlite_registrar.course(bad)
    assert [line["course_id"] for line in log.of("rpc")] == ["x" * 128, "\\x1b[2J"]


def test_a_refusal_names_an_invalid_field_once() -> None:
    fields = Fields()
    fields.email("student.email", "x" * 400 + "\0")
    with pytest.raises(Refusal) as refused:
        fields.check()
    assert [field for field, _ in refused.value.fields] == ["student.email"]
