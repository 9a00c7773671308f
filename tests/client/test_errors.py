"""Failures become exceptions: a class for each reason, with everything that the server sends."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc import StatusCode

import registrar_client
from registrar.v1 import error_reason_pb2
from registrar_client import (
    AlreadyEnrolled,
    CourseFull,
    ErrorReason,
    FailedPrecondition,
    FieldViolation,
    InvalidField,
    NotFound,
    Override,
    RegistrarError,
    ResourceExhausted,
    Unavailable,
    Violation,
    reasons,
)
from tests.support.client_fakes import Driver, Failure, empty_answer

REASONS = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()[1:]]
STATUSES = [code for code in StatusCode if code is not StatusCode.OK]
PROTO = Path(__file__).parents[2] / "protos/registrar/v1/error_reason.proto"


def failed(driver: Driver, failure: Failure) -> RegistrarError:
    """Make a call that fails, and return the error."""
    driver.script.answers.append(failure)
    with pytest.raises(RegistrarError) as raised:
        driver.call("enroll", student_id="s-1", course_id="CS-101", timeout=0.001)
    return raised.value


def class_name(constant: str) -> str:
    return "".join(word.capitalize() for word in constant.split("_"))


def documented_status(reason: str) -> StatusCode:
    """Return the status at the start of the proto's comment on a reason."""
    comment: list[str] = []
    for line in map(str.strip, PROTO.read_text().splitlines()):
        if line.startswith(f"ERROR_REASON_{reason} ="):
            return StatusCode[comment[0].removeprefix("// ").partition(".")[0]]
        comment = [*comment, line] if line.startswith("//") else []
    raise AssertionError(reason)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_class_under_its_status(driver: Driver, reason: str) -> None:
    status = documented_status(reason)
    error = failed(driver, Failure(status, reason))
    kind = getattr(registrar_client, class_name(reason))
    assert type(error) is kind
    assert kind.__bases__ == (getattr(registrar_client, class_name(status.name)),)
    assert error.reason is ErrorReason[reason]
    assert error.status is status


def test_our_reasons_are_those_of_the_protos() -> None:
    assert [reason.name for reason in ErrorReason] == [*REASONS, "UNKNOWN"]
    assert {name for name, kind in vars(reasons).items() if getattr(kind, "reason", "")} == set(
        map(class_name, REASONS)
    )


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: status.name)
def test_every_status_has_a_class(driver: Driver, status: StatusCode) -> None:
    error = failed(driver, Failure(status))
    assert type(error) is getattr(registrar_client, class_name(status.name))
    assert type(error).__bases__ == (RegistrarError,)
    assert (error.status, error.reason) == (status, "")


def test_an_unknown_reason_is_raised_as_the_class_of_its_status(driver: Driver) -> None:
    error = failed(driver, Failure(StatusCode.FAILED_PRECONDITION, "MOON_IN_WRONG_PHASE"))
    assert type(error) is FailedPrecondition
    assert error.reason == "MOON_IN_WRONG_PHASE"


def test_a_reason_with_another_status_is_raised_as_the_class_of_that_status(driver: Driver) -> None:
    error = failed(driver, Failure(StatusCode.NOT_FOUND, "COURSE_FULL"))
    assert type(error) is NotFound
    assert error.reason is ErrorReason.COURSE_FULL


def test_a_reason_of_another_domain_is_not_ours(driver: Driver) -> None:
    error = failed(driver, Failure(StatusCode.FAILED_PRECONDITION, "COURSE_FULL", domain="example.com"))
    assert type(error) is FailedPrecondition
    assert error.reason == ""


def test_the_error_has_the_message_metadata_and_cause(driver: Driver) -> None:
    metadata = {"student_id": "s-1", "enrollment_id": "e-7"}
    error = failed(
        driver,
        Failure(StatusCode.ALREADY_EXISTS, "ALREADY_ENROLLED", message="s-1 has a seat.", metadata=metadata),
    )
    assert isinstance(error, AlreadyEnrolled)
    assert str(error) == "s-1 has a seat."
    assert repr(error) == "AlreadyEnrolled('s-1 has a seat.')"
    assert error.metadata == metadata
    assert isinstance(error.__cause__, grpc.RpcError)


def test_an_error_without_a_message_shows_its_status(driver: Driver) -> None:
    assert str(failed(driver, Failure(StatusCode.INTERNAL, message=""))) == "INTERNAL"


def test_the_error_lists_all_violated_rules(driver: Driver) -> None:
    violations = error_reason_pb2.RuleViolations(
        violations=[
            error_reason_pb2.RuleViolation(
                reason=error_reason_pb2.ERROR_REASON_STUDENT_INACTIVE,
                description="The student is not active.",
                values={"state": "INACTIVE"},
            ),
            error_reason_pb2.RuleViolation(
                reason=error_reason_pb2.ERROR_REASON_WAITLIST_FULL,
                description="No place.",
                overridable=True,
                override_rule=error_reason_pb2.ERROR_REASON_COURSE_FULL,
            ),
            error_reason_pb2.RuleViolation(reason=99),  # type: ignore[arg-type]
        ]
    )
    error = failed(driver, Failure(StatusCode.FAILED_PRECONDITION, "STUDENT_INACTIVE", details=[violations]))
    assert error.violations == (
        Violation(
            reason=ErrorReason.STUDENT_INACTIVE,
            description="The student is not active.",
            values={"state": "INACTIVE"},
        ),
        Violation(
            reason=ErrorReason.WAITLIST_FULL,
            description="No place.",
            overridable=True,
            override_rule=ErrorReason.COURSE_FULL,
        ),
        Violation(reason=ErrorReason.UNKNOWN),
    )


def test_an_override_can_name_the_rules_of_the_violations(driver: Driver) -> None:
    violations = error_reason_pb2.RuleViolations(
        violations=[
            error_reason_pb2.RuleViolation(
                reason=error_reason_pb2.ERROR_REASON_STUDENT_HOLD,
                overridable=True,
                override_rule=error_reason_pb2.ERROR_REASON_STUDENT_HOLD,
            ),
            error_reason_pb2.RuleViolation(reason=error_reason_pb2.ERROR_REASON_COURSE_CANCELLED),
            error_reason_pb2.RuleViolation(
                reason=error_reason_pb2.ERROR_REASON_WAITLIST_FULL,
                overridable=True,
                override_rule=error_reason_pb2.ERROR_REASON_COURSE_FULL,
            ),
        ]
    )
    error = failed(driver, Failure(StatusCode.FAILED_PRECONDITION, "STUDENT_HOLD", details=[violations]))
    rules = [violation.override_rule for violation in error.violations if violation.override_rule]
    driver.script.answers.append(empty_answer("EnrollStudent"))
    driver.call("enroll", student_id="s-1", course_id="CS-101", override=Override(rules=rules, reason="approved"))
    assert list(driver.script.requests[-1].override.rules) == [
        error_reason_pb2.ERROR_REASON_STUDENT_HOLD,
        error_reason_pb2.ERROR_REASON_COURSE_FULL,
    ]


def test_violations_are_hashable() -> None:
    full, same = (Violation(reason=ErrorReason.COURSE_FULL, values={"capacity": "30"}) for _ in range(2))
    other = Violation(reason=ErrorReason.COURSE_FULL, values={"capacity": "31"})
    assert {full, same, other} == {full, other}


def test_the_error_lists_all_invalid_fields(driver: Driver) -> None:
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="student_id", description="is empty"),
            error_details_pb2.BadRequest.FieldViolation(field="comment", description="is too long"),
        ]
    )
    error = failed(driver, Failure(StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", details=[bad]))
    assert isinstance(error, InvalidField)
    assert error.field_violations == (
        FieldViolation(field="student_id", description="is empty"),
        FieldViolation(field="comment", description="is too long"),
    )


def test_the_error_has_the_requested_wait_in_seconds(driver: Driver) -> None:
    delay = Duration(seconds=2, nanos=250_000_000)
    error = failed(driver, Failure(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_delay=delay))
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after == 2.25


def test_retry_after_is_none_without_a_requested_wait(driver: Driver) -> None:
    error = failed(driver, Failure(StatusCode.UNAVAILABLE))
    assert isinstance(error, Unavailable)
    assert error.retry_after is None


def test_the_error_has_the_request_id_of_the_call(driver: Driver) -> None:
    error = failed(driver, Failure(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"))
    assert error.request_id == driver.script.requests[0].request_id != ""


def test_a_note_says_that_a_server_is_too_old(driver: Driver) -> None:
    """The message of gRPC does not say what to do."""
    error = failed(driver, Failure(StatusCode.UNIMPLEMENTED, message="Method not found!"))
    assert error.__notes__ == ["The server does not have this call, so it is probably too old for this client."]


def test_truncated_details_do_not_hide_the_failure(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failure, "trailers", lambda failure: (("grpc-status-details-bin", b"\xff\xff"),))
    error = failed(driver, Failure(StatusCode.NOT_FOUND, message="no such student"))
    assert type(error) is NotFound
    assert str(error) == "no such student"


def test_unknown_details_are_ignored(driver: Driver) -> None:
    foreign = error_details_pb2.LocalizedMessage(locale="de", message="voll")
    error = failed(driver, Failure(StatusCode.FAILED_PRECONDITION, "COURSE_FULL", details=[foreign]))
    assert type(error) is CourseFull


def test_errors_survive_pickling_and_copying() -> None:
    violation = Violation(reason=ErrorReason.COURSE_FULL, values={"capacity": "30"})
    error = CourseFull("full", metadata={"course_id": "c"}, violations=[violation], retry_after=1.5, request_id="r")
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(twin) is CourseFull
        assert (str(twin), vars(twin)) == (str(error), vars(error))
        assert twin.reason is ErrorReason.COURSE_FULL
