"""Refusals: every reason is in the proto and has a status, and every refusal has the details that callers need."""

from __future__ import annotations

import weakref

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
    drop_frames,
    invalid_fields,
    overloaded,
    rules_violated,
    shutting_down,
    unwrap,
)
from registrar_server.reading.history import revision_ahead

PREFIX = "ERROR_REASON_"


def test_reasons_match_the_proto() -> None:
    """``Reason`` and ``registrar.v1.ErrorReason`` have the same names, in the same order."""
    in_proto = [name.removeprefix(PREFIX) for name, number in ErrorReason.items() if number != 0]
    assert [reason.value for reason in Reason] == in_proto
    assert all(reason.name == reason.value for reason in Reason)


def test_every_reason_has_a_status() -> None:
    """Every reason maps to the name of a gRPC status."""
    assert set(STATUS) == set(Reason)
    assert {status for status in STATUS.values() if status not in grpc.StatusCode.__members__} == set()


def test_refusals_are_neither_successes_nor_crashes() -> None:
    """No reason maps to OK, UNKNOWN or INTERNAL."""
    assert not {"OK", "UNKNOWN", "INTERNAL"} & set(STATUS.values())


def test_only_rules_are_overridable() -> None:
    """An override sets aside rules about enrollment, never checks of ids, fields or load."""
    assert {STATUS[reason] for reason in OVERRIDABLE} == {"FAILED_PRECONDITION"}
    kept = {Reason.STUDENT_INACTIVE, Reason.COURSE_CANCELLED, Reason.WAITLIST_FULL}
    kept |= {Reason.COURSE_HAS_ENROLLMENTS, Reason.STUDENT_HAS_ENROLLMENTS, Reason.NOT_COMPLETED}
    assert {reason for reason in Reason if STATUS[reason] == "FAILED_PRECONDITION"} - OVERRIDABLE == kept


def test_invalid_fields() -> None:
    """The message names every invalid field and what it must be."""
    found = [FieldViolation("course.credits", "must be a number"), FieldViolation("course.title", "is too long")]
    refused = invalid_fields(iter(found))
    assert (refused.reason, refused.fields) == (Reason.INVALID_FIELD, tuple(found))
    assert str(refused) == refused.message == "course.credits: must be a number; course.title: is too long"


def test_violated_rules() -> None:
    """The first violation gives the reason, the message contains all of them, and the metadata contains the ids."""
    hold = Violation(Reason.STUDENT_HOLD, "There is a hold.", {"code": "LIBRARY"})
    full = Violation(Reason.COURSE_FULL, "It is full.", {})
    refused = rules_violated(iter([hold, full]), student_id="s-1", course_id="c-1")
    assert (refused.reason, refused.message) == (Reason.STUDENT_HOLD, "There is a hold. It is full.")
    assert refused.violations == (hold, full)
    assert refused.metadata == {"student_id": "s-1", "course_id": "c-1"}


def test_a_revision_that_the_history_has_not_reached() -> None:
    """A retry does not help, so the refusal has no delay; it has the newest revision instead."""
    refused = revision_ahead(9, 7)
    assert (refused.reason, refused.status, refused.retry_after) == (Reason.REVISION_AHEAD, "OUT_OF_RANGE", None)
    assert refused.metadata == {"revision": "7"}
    assert refused.message == "The history has not reached revision 9; its newest event has revision 7."


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (contention(), "ABORTED", 0.05),
        (overloaded(10, 0.3), "RESOURCE_EXHAUSTED", 0.3),
        (database_unavailable(), "UNAVAILABLE", 1.0),
        (shutting_down(), "UNAVAILABLE", 0.1),
    ],
)
def test_temporary_refusals_say_when_to_retry(refusal: Refusal, status: str, retry_after: float) -> None:
    """If a retry may succeed, the refusal says after how many seconds."""
    assert (refusal.status, refusal.retry_after) == (status, retry_after)


def test_a_raised_outcome_is_freed_with_its_last_reference() -> None:
    """Raising an outcome makes no cycle, so no garbage collection is necessary to free it."""
    freed = weakref.ref(_raised_outcome())
    assert freed() is None
    assert unwrap("result") == "result"


def _raised_outcome() -> Refusal:
    try:
        unwrap(contention())
    except Refusal as refusal:
        return refusal
    raise AssertionError("unwrap raised nothing")


def test_dropped_frames_of_causes_in_a_circle() -> None:
    """An error and its causes lose their tracebacks, even if the causes form a circle."""
    try:
        raise ValueError("first")
    except ValueError as error:
        first = error
    second = KeyError("second")
    first.__context__, second.__context__ = second, first
    drop_frames(first)
    assert first.__traceback__ is None
    assert {first.__context__, second.__context__} == {None}
