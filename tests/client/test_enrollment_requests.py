"""The requests of the calls that change enrollments."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from registrar.v1 import enrollment_pb2, error_reason_pb2
from registrar.v1 import enrollment_service_pb2 as enrollments
from registrar_client import ErrorReason, Override
from tests.support.client_fakes import Driver, empty_answer, sent
from tests.support.client_samples import REQUEST_ID, SURFACE


def test_enroll_sends_all_arguments(driver: Driver) -> None:
    override = Override(rules=[ErrorReason.COURSE_FULL, ErrorReason.STUDENT_HOLD], reason="approved by the dean")
    request = sent(
        driver,
        "enroll",
        enrollments.EnrollStudentResponse(),
        student_id="s-1",
        course_id="CS-101",
        request_id=uuid.UUID(REQUEST_ID),
        allow_existing=True,
        no_waitlist=True,
        override=override,
        comment="by telephone",
    )
    assert request == enrollments.EnrollStudentRequest(
        student_id="s-1",
        course_id="CS-101",
        request_id=REQUEST_ID,
        allow_existing=True,
        no_waitlist=True,
        override=enrollment_pb2.Override(
            rules=[error_reason_pb2.ERROR_REASON_COURSE_FULL, error_reason_pb2.ERROR_REASON_STUDENT_HOLD],
            reason="approved by the dean",
        ),
        comment="by telephone",
    )


def test_unenroll_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "unenroll",
        enrollments.UnenrollResponse(),
        student_id="s-1",
        course_id="CS-101",
        validate_only=True,
        allow_missing=True,
        reason="moved away",
        comment="by letter",
    )
    assert request == enrollments.UnenrollRequest(
        student_id="s-1",
        course_id="CS-101",
        validate_only=True,
        allow_missing=True,
        reason="moved away",
        comment="by letter",
    )


def test_swap_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "swap",
        enrollments.SwapEnrollmentResponse(),
        student_id="s-1",
        from_course_id="CS-101",
        to_course_id="CS-102",
        request_id=REQUEST_ID,
        override=Override(rules=[ErrorReason.DROP_DEADLINE_PASSED], reason="approved by the dean"),
        comment="by telephone",
    )
    assert request == enrollments.SwapEnrollmentRequest(
        student_id="s-1",
        from_course_id="CS-101",
        to_course_id="CS-102",
        request_id=REQUEST_ID,
        override=enrollment_pb2.Override(
            rules=[error_reason_pb2.ERROR_REASON_DROP_DEADLINE_PASSED], reason="approved by the dean"
        ),
        comment="by telephone",
    )


def test_complete_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "complete",
        enrollments.CompleteEnrollmentResponse(),
        student_id="s-1",
        course_id="CS-101",
        grade="A-",
        passed=True,
        etag="5",
        request_id=REQUEST_ID,
    )
    assert request == enrollments.CompleteEnrollmentRequest(
        student_id="s-1", course_id="CS-101", grade="A-", passed=True, etag="5", request_id=REQUEST_ID
    )


def test_record_completion_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "record_completion",
        enrollments.RecordCompletionResponse(),
        student_id="s-1",
        course_id="CS-101",
        grade="B",
        passed=True,
        request_id=REQUEST_ID,
        comment="from Halle",
        allow_existing=True,
    )
    assert request == enrollments.RecordCompletionRequest(
        student_id="s-1",
        course_id="CS-101",
        grade="B",
        passed=True,
        request_id=REQUEST_ID,
        comment="from Halle",
        allow_existing=True,
    )


def test_complete_by_id_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "complete",
        enrollments.CompleteEnrollmentResponse(),
        enrollment_id="e-1",
        grade="A-",
        passed=False,
        etag="5",
        request_id=REQUEST_ID,
    )
    assert request == enrollments.CompleteEnrollmentRequest(
        enrollment_id="e-1", grade="A-", passed=False, etag="5", request_id=REQUEST_ID
    )


def test_void_completion_sends_all_arguments(driver: Driver) -> None:
    request = sent(
        driver,
        "void_completion",
        enrollments.VoidCompletionResponse(),
        enrollment_id="e-1",
        reason="by mistake",
        etag="5",
        request_id=REQUEST_ID,
    )
    assert request == enrollments.VoidCompletionRequest(
        enrollment_id="e-1", reason="by mistake", etag="5", request_id=REQUEST_ID
    )


@pytest.mark.parametrize("rpc", ["CompleteEnrollment", "RecordCompletion"])
@pytest.mark.parametrize(("passed", "present"), [({}, False), ({"passed": None}, False), ({"passed": False}, True)])
def test_passed_is_absent_unless_it_is_set(driver: Driver, rpc: str, passed: dict[str, Any], present: bool) -> None:
    name, arguments = SURFACE[rpc]
    request = sent(driver, name, empty_answer(rpc), **arguments, **passed)
    assert request.HasField("passed") is present
    assert request.passed is False
