"""The client retries transient failures until the deadline."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_client import (
    Contention,
    DatabaseUnavailable,
    DeadlineExceeded,
    EtagMismatch,
    Overloaded,
    RegistrarError,
    ResourceExhausted,
    RetryOptions,
    Unavailable,
)
from tests.support.client_fakes import Driver, Failure, Late

AWAY = Failure(StatusCode.UNAVAILABLE)
NO_DATABASE = Failure(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
CONTENTION = Failure(StatusCode.ABORTED, "CONTENTION")
OVERLOADED = Failure(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_delay=Duration(seconds=1, nanos=500_000_000))
DONE = pb.EnrollStudentResponse()


def enroll(driver: Driver, timeout: float | None = None) -> None:
    driver.call("enroll", student_id="s-1", course_id="CS-101", timeout=timeout)


@pytest.mark.parametrize("passing", [AWAY, NO_DATABASE, CONTENTION, OVERLOADED], ids=lambda failure: failure.reason)
def test_a_transient_failure_is_retried(driver: Driver, passing: Failure) -> None:
    driver.script.answers.extend([passing, passing, DONE])
    enroll(driver)
    assert len(driver.script.attempts) == 3


@pytest.mark.parametrize(
    "final",
    [
        Failure(StatusCode.ABORTED, "ETAG_MISMATCH"),
        Failure(StatusCode.ABORTED),
        Failure(StatusCode.ALREADY_EXISTS, "ALREADY_ENROLLED"),
        Failure(StatusCode.FAILED_PRECONDITION, "COURSE_FULL"),
        Failure(StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND"),
        Failure(StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        Failure(StatusCode.RESOURCE_EXHAUSTED),
        Failure(StatusCode.DEADLINE_EXCEEDED),
        Failure(StatusCode.CANCELLED),
        Failure(StatusCode.INTERNAL),
        Failure(StatusCode.UNKNOWN),
        Failure(StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"),
        Failure(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"),
    ],
    ids=lambda failure: f"{failure.code.name}-{failure.reason}",
)
def test_a_permanent_failure_is_not_retried(driver: Driver, final: Failure) -> None:
    driver.script.answers.extend([final, DONE])
    with pytest.raises(RegistrarError):
        enroll(driver)
    assert len(driver.script.attempts) == 1
    assert driver.script.pauses == []


def test_contention_is_retried_but_an_etag_mismatch_is_not(driver: Driver) -> None:
    driver.script.answers.extend([CONTENTION, Failure(StatusCode.ABORTED, "ETAG_MISMATCH"), DONE])
    with pytest.raises(EtagMismatch):
        enroll(driver)
    assert len(driver.script.attempts) == 2


def test_a_retry_repeats_the_request_with_its_request_id(driver: Driver) -> None:
    driver.script.answers.extend([AWAY, CONTENTION, DONE])
    enroll(driver)
    first, *others = driver.script.requests
    assert first.request_id
    assert others == [first, first]


def test_pauses_grow_to_a_bound(driver: Driver) -> None:
    driver.script.jitter = 1.0
    driver.script.answers.extend([AWAY] * 8 + [DONE])
    enroll(driver, timeout=100)
    assert driver.script.pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_a_pause_can_be_zero(driver: Driver) -> None:
    driver.script.jitter = 0.0
    driver.script.answers.extend([AWAY, AWAY, DONE])
    enroll(driver)
    assert driver.script.pauses == [0, 0]


def test_the_jitter_is_added_to_the_wait_of_the_server(driver: Driver) -> None:
    driver.script.answers.extend([OVERLOADED, OVERLOADED, DONE])
    enroll(driver)
    assert driver.script.pauses == pytest.approx([1.5 + 0.5 * 0.05, 1.5 + 0.5 * 0.1])


def test_the_backoff_can_be_configured(make_driver: Callable[..., Driver]) -> None:
    retry = RetryOptions(initial_backoff=1.0, backoff_multiplier=3.0, max_backoff=4.0)
    driver = make_driver(retry=retry)
    driver.script.jitter = 1.0
    driver.script.answers.extend([AWAY, AWAY, AWAY, DONE])
    enroll(driver, timeout=60)
    assert driver.script.pauses == [1, 3, 4]


def test_retries_can_be_limited_and_disabled(make_driver: Callable[..., Driver]) -> None:
    for most in (1, 3):
        driver = make_driver(retry=RetryOptions(max_attempts=most))
        driver.script.answers.extend([AWAY] * 5)
        with pytest.raises(Unavailable):
            enroll(driver)
        assert len(driver.script.attempts) == most


@pytest.mark.parametrize(
    "wrong",
    [{"max_attempts": 0}, {"initial_backoff": -1}, {"max_backoff": -1}, {"backoff_multiplier": 0.5}],
    ids=str,
)
def test_invalid_retry_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        RetryOptions(**wrong)  # type: ignore[arg-type]


def test_all_attempts_share_one_deadline(driver: Driver) -> None:
    driver.script.answers.extend([Late(3, AWAY), Late(2, CONTENTION), DONE])
    enroll(driver)
    first, second = driver.script.pauses
    timeouts = [attempt.timeout for attempt in driver.script.attempts]
    assert timeouts == pytest.approx([10, 10 - 3 - first, 10 - 3 - first - 2 - second])


def test_a_call_can_have_its_own_timeout(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(timeout=30)
    driver.script.answers.extend([DONE, DONE])
    enroll(driver)
    enroll(driver, timeout=0.5)
    assert [attempt.timeout for attempt in driver.script.attempts] == [30, 0.5]


def test_no_attempt_starts_at_or_after_the_deadline(driver: Driver) -> None:
    driver.script.answers.extend([Late(4, AWAY)] * 5)
    with pytest.raises(Unavailable):
        enroll(driver)
    assert [attempt.at < 10 for attempt in driver.script.attempts] == [True] * 3
    assert driver.script.time.time() < 4 * 3 + 1


def test_a_wait_beyond_the_deadline_is_not_started(driver: Driver) -> None:
    driver.script.answers.extend([OVERLOADED, DONE])
    with pytest.raises(Overloaded) as refused:
        enroll(driver, timeout=1.5)
    assert driver.script.pauses == []
    assert refused.value.retry_after == 1.5


def test_a_missed_deadline_mentions_the_failure_before_it(driver: Driver) -> None:
    driver.script.answers.extend([NO_DATABASE, Late(9.9, Failure(StatusCode.DEADLINE_EXCEEDED))])
    with pytest.raises(DeadlineExceeded) as late:
        enroll(driver)
    assert "DatabaseUnavailable" in "".join(late.value.__notes__)
    assert late.value.request_id == driver.script.requests[0].request_id


def test_the_last_failure_is_raised(driver: Driver) -> None:
    driver.script.answers.extend([Late(5, CONTENTION), Late(5, NO_DATABASE)])
    with pytest.raises(DatabaseUnavailable):
        enroll(driver)


def test_reads_are_retried_too(driver: Driver) -> None:
    driver.script.answers.extend([AWAY, pb.GetEnrollmentResponse()])
    driver.call("get_enrollment", enrollment_id="e-1")
    assert len(driver.script.attempts) == 2


def test_contention_is_raised_as_its_own_class(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(retry=RetryOptions(max_attempts=2))
    driver.script.answers.extend([CONTENTION, CONTENTION])
    with pytest.raises(Contention):
        enroll(driver)


def test_a_message_that_is_too_large_is_not_retried(driver: Driver) -> None:
    driver.script.answers.append(Failure(StatusCode.RESOURCE_EXHAUSTED, message="Sent message larger than max"))
    with pytest.raises(ResourceExhausted):
        enroll(driver)
    assert len(driver.script.attempts) == 1
