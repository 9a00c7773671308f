"""Every reason is in the contract, has a status, and every refusal carries what callers need."""

from __future__ import annotations

import grpc
import pytest

from registrar.v1.error_reason_pb2 import ErrorReason
from registrar_server.errors import (
    OVERRIDABLE,
    STATUS,
    FieldViolation,
    Reason,
    Refusal,
    Violation,
    contention,
    database_unavailable,
    invalid_fields,
    overloaded,
    rules_violated,
    shutting_down,
)

PREFIX = "ERROR_REASON_"


def test_every_reason_is_in_the_contract() -> None:
    """The domain's reasons and ``registrar.v1.ErrorReason`` are the same, name for name."""
    contract = {name.removeprefix(PREFIX) for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert {reason.value for reason in Reason} == contract
    assert all(reason.name == reason.value for reason in Reason)


def test_every_reason_has_a_status() -> None:
    """One canonical status each, which gRPC knows."""
    assert set(STATUS) == set(Reason)
    assert {status for status in STATUS.values() if status not in grpc.StatusCode.__members__} == set()


def test_no_reason_means_success() -> None:
    """A refusal is never OK, and never an accident."""
    assert not {"OK", "UNKNOWN", "INTERNAL"} & set(STATUS.values())


def test_only_rules_may_be_overridden() -> None:
    """An override is about a rule of the domain, never about identity, fields or load."""
    assert {STATUS[reason] for reason in OVERRIDABLE} == {"FAILED_PRECONDITION"}
    kept = {Reason.STUDENT_INACTIVE, Reason.COURSE_CANCELLED, Reason.WAITLIST_FULL}
    kept |= {Reason.COURSE_HAS_ENROLLMENTS, Reason.STUDENT_HAS_ENROLLMENTS}
    assert {reason for reason in Reason if STATUS[reason] == "FAILED_PRECONDITION"} - OVERRIDABLE == kept


def test_every_bad_field_at_once() -> None:
    """The message names each field with what is wrong about it."""
    found = [FieldViolation("course.credits", "must be a number"), FieldViolation("course.title", "is too long")]
    refused = invalid_fields(iter(found))
    assert (refused.reason, refused.fields) == (Reason.INVALID_FIELD, tuple(found))
    assert str(refused) == refused.message == "course.credits: must be a number; course.title: is too long"


def test_every_violated_rule_at_once() -> None:
    """The first rule gives the reason; all are told, and the ids involved stand in the metadata."""
    hold = Violation(Reason.STUDENT_HOLD, "There is a hold.", {"code": "LIBRARY"})
    full = Violation(Reason.COURSE_FULL, "It is full.", {})
    refused = rules_violated(iter([hold, full]), student_id="s-1", course_id="c-1")
    assert (refused.reason, refused.message) == (Reason.STUDENT_HOLD, "There is a hold. It is full.")
    assert refused.violations == (hold, full)
    assert refused.metadata == {"student_id": "s-1", "course_id": "c-1"}


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (contention(), "ABORTED", 0.05),
        (overloaded(10, 0.3), "RESOURCE_EXHAUSTED", 0.3),
        (database_unavailable(), "UNAVAILABLE", 1.0),
        (shutting_down(), "UNAVAILABLE", 0.1),
    ],
)
def test_what_passes_says_when_to_try_again(refusal: Refusal, status: str, retry_after: float) -> None:
    """Where another try makes sense, the refusal says after how many seconds."""
    assert (refusal.status, refusal.retry_after) == (status, retry_after)
