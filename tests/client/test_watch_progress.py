"""How far a watch has come, and where and when it goes on, with a scripted server and a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from registrar.v1 import event_pb2
from registrar.v1 import history_service_pb2 as pb
from registrar_client import (
    Cancelled,
    Checkpoint,
    CredentialsInvalid,
    DatabaseUnavailable,
    Event,
    EventType,
    Internal,
    InvalidField,
    Overloaded,
    RegistrarError,
    RetryOptions,
    RevisionAhead,
    RoleRequired,
    Unavailable,
)
from tests.support.client_fakes import AsyncDriver, Driver, Failure, Late, SyncDriver

MakeDriver = Callable[..., Driver]

AWAY = Failure(StatusCode.UNAVAILABLE)
BUSY = Failure(StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_delay=Duration(seconds=5))
EXPIRED = Failure(StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
PASSED = [code for code in StatusCode if code is not StatusCode.OK]


def response(*revisions: int, upto: int = 0) -> pb.WatchEventsResponse:
    """Return a response with events, or a checkpoint."""
    events = [event_pb2.Event(revision=revision, event_id=f"ev-{revision}") for revision in revisions]
    return pb.WatchEventsResponse(events=events, revision=upto or revisions[-1], checkpoint=not events)


def watched(driver: Driver, count: int, **arguments: object) -> list[tuple[int | Checkpoint, int | None]]:
    """Return the first events of a watch by their revisions, each with the revision that the watch has reached."""
    items = driver.watched(count, **arguments)
    return [(item.revision if isinstance(item, Event) else item, reached) for item, reached in items]


def asked(driver: Driver) -> list[int | None]:
    """Return the revision after which each stream began."""
    requests = driver.script.requests
    return [request.after_revision if request.HasField("after_revision") else None for request in requests]


class TestTheRevision:
    def test_is_that_of_the_event_and_after_the_last_one_that_of_the_response(self, driver: Driver) -> None:
        driver.script.answers.extend([response(3, 5, upto=9), response(12)])
        assert watched(driver, 3, after_revision=2) == [(3, 3), (5, 9), (12, 12)]

    def test_is_that_of_a_checkpoint_even_if_the_caller_does_not_want_it(self, driver: Driver) -> None:
        driver.script.answers.extend([response(upto=7), AWAY, response(8)])
        assert watched(driver, 1) == [(8, 8)]
        assert asked(driver) == [None, 7]

    def test_is_reached_with_the_checkpoint_if_the_caller_wants_it(self, driver: Driver) -> None:
        driver.script.answers.extend([response(3, upto=7), response(upto=9), response(10)])
        assert watched(driver, 3, after_revision=0, checkpoints=True) == [
            (3, 7),
            (Checkpoint(revision=9), 9),
            (10, 10),
        ]

    @pytest.mark.parametrize("make", [SyncDriver, AsyncDriver])
    def test_is_that_of_the_caller_before_the_watch_begins(self, make: MakeDriver) -> None:
        client = make().client  # type: ignore[attr-defined]
        assert client.history.watch().revision is None
        assert client.history.watch(after_revision=0).revision == 0
        assert client.history.watch(after_revision=7).revision == 7


class TestAWatchThatGoesOn:
    def test_asks_for_what_comes_after_the_last_response(self, driver: Driver) -> None:
        driver.script.answers.extend([response(1, 2), response(4, upto=6), AWAY, response(7), AWAY, response(8)])
        assert [item for item, _ in watched(driver, 5, after_revision=0)] == [1, 2, 4, 7, 8]
        assert asked(driver) == [0, 6, 7]

    def test_sends_the_same_filters(self, driver: Driver) -> None:
        filters = {"student_id": "s-1", "course_id": "CS-101", "types": [EventType.STUDENT_ENROLLED], "actor": "sis"}
        driver.script.answers.extend([response(3), AWAY, response(4)])
        watched(driver, 2, after_revision=1, **filters)
        first, second = driver.script.requests
        assert first == pb.WatchEventsRequest(
            after_revision=1,
            student_id="s-1",
            course_id="CS-101",
            types=[event_pb2.EVENT_TYPE_STUDENT_ENROLLED],
            actor="sis",
        )
        second.after_revision = 1
        assert second == first

    def test_begins_from_now_again_if_nothing_was_received(self, driver: Driver) -> None:
        driver.script.answers.extend([AWAY, AWAY, response(upto=5), response(6)])
        assert watched(driver, 1) == [(6, 6)]
        assert asked(driver) == [None, None, None]

    @pytest.mark.parametrize("status", PASSED, ids=lambda status: status.name)
    def test_does_so_after_any_failure_once_the_stream_has_answered(self, driver: Driver, status: StatusCode) -> None:
        """A proxy can end a stream with any status. What is wrong with the call itself fails the next stream again."""
        driver.script.answers.extend([response(1), Failure(status), response(2)])
        assert watched(driver, 2, after_revision=0) == [(1, 1), (2, 2)]

    def test_fails_if_the_next_stream_fails_in_a_way_that_does_not_pass(self, driver: Driver) -> None:
        driver.script.answers.extend([response(1), EXPIRED, EXPIRED])
        with pytest.raises(CredentialsInvalid):
            watched(driver, 2, after_revision=0)
        assert len(driver.script.attempts) == 2

    def test_waits_as_long_as_the_server_is_away(self, driver: Driver) -> None:
        driver.script.jitter = 1.0
        driver.script.answers.extend([response(1), *[AWAY] * 100, response(2)])
        assert watched(driver, 2, after_revision=0) == [(1, 1), (2, 2)]
        assert driver.script.pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 94])

    def test_waits_only_for_the_timeout_of_the_call_if_it_has_one(self, driver: Driver) -> None:
        driver.script.answers.extend([response(1), Late(60, AWAY), *[Late(1, AWAY)] * 10, response(2)])
        with pytest.raises(Unavailable):
            watched(driver, 2, after_revision=0, timeout=4)
        assert [attempt.at < 64 for attempt in driver.script.attempts] == [True] * 5

    def test_has_the_timeout_again_after_each_interruption(self, driver: Driver) -> None:
        for revision in range(1, 5):
            driver.script.answers.extend([response(revision), Late(60, AWAY), Late(3, AWAY)])
        assert len(watched(driver, 4, after_revision=0, timeout=4)) == 4

    def test_begins_with_short_pauses_again_after_something_new(self, driver: Driver) -> None:
        driver.script.jitter = 1.0
        driver.script.answers.extend([response(1), AWAY, AWAY, response(2), AWAY, response(3)])
        watched(driver, 3, after_revision=0)
        assert driver.script.pauses == pytest.approx([0.05, 0.1, 0.05])

    def test_pauses_longer_and_longer_if_each_stream_fails_before_something_new(self, driver: Driver) -> None:
        driver.script.jitter = 1.0
        again = [response(upto=1), Failure(StatusCode.INTERNAL)]
        driver.script.answers.extend([response(1), *again * 4, response(2)])
        watched(driver, 2, after_revision=0)
        assert driver.script.pauses == pytest.approx([0.05, 0.1, 0.2, 0.4])

    def test_begins_with_short_pauses_again_after_a_stream_that_went_on(self, driver: Driver) -> None:
        driver.script.jitter = 1.0
        idle = [response(upto=1), response(upto=1), AWAY]
        driver.script.answers.extend([response(1), *idle * 3, response(2)])
        watched(driver, 2, after_revision=0)
        assert driver.script.pauses == pytest.approx([0.05, 0.05, 0.05])

    def test_waits_as_long_as_the_server_asks(self, driver: Driver) -> None:
        driver.script.jitter = 0.0
        driver.script.answers.extend([BUSY, response(1), BUSY, response(2)])
        watched(driver, 2, after_revision=0)
        assert driver.script.pauses == [5, 5]

    def test_does_not_wait_longer_than_its_timeout_even_if_the_server_asks(self, driver: Driver) -> None:
        driver.script.answers.extend([response(1), BUSY, response(2)])
        with pytest.raises(Overloaded):
            watched(driver, 2, after_revision=0, timeout=1)
        assert driver.script.pauses == []

    def test_can_be_forbidden(self, make_driver: MakeDriver) -> None:
        driver = make_driver(retry=RetryOptions(max_attempts=1))
        driver.script.answers.extend([response(1), AWAY, response(2)])
        with pytest.raises(Unavailable):
            watched(driver, 2, after_revision=0)
        assert len(driver.script.attempts) == 1

    def test_can_be_limited_to_some_attempts_in_a_row(self, make_driver: MakeDriver) -> None:
        driver = make_driver(retry=RetryOptions(max_attempts=3))
        driver.script.answers.extend([response(1), AWAY, AWAY, response(2), AWAY, AWAY, AWAY, response(3)])
        with pytest.raises(Unavailable):
            watched(driver, 3, after_revision=0)
        assert len(driver.script.attempts) == 5

    def test_asks_the_callable_for_the_next_token(self, make_driver: MakeDriver) -> None:
        driver: Driver = make_driver(token=lambda: f"token-{len(driver.script.attempts)}")
        driver.script.answers.extend([response(1), EXPIRED, response(2)])
        watched(driver, 2, after_revision=0)
        tokens = [attempt.metadata["authorization"] for attempt in driver.script.attempts]
        assert tokens == ["Bearer token-0", "Bearer token-1"]

    def test_is_on_behalf_of_the_same_person(self, make_driver: MakeDriver) -> None:
        driver = make_driver(on_behalf_of="dean")
        driver.script.answers.extend([response(1), AWAY, response(2)])
        watched(driver, 2, after_revision=0, on_behalf_of="advisor")
        names = [attempt.metadata["registrar-on-behalf-of"] for attempt in driver.script.attempts]
        assert names == ["advisor", "advisor"]


class TestAWatchThatHasNotBegun:
    @pytest.mark.parametrize("passing", [AWAY, Failure(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"), BUSY], ids=str)
    def test_is_tried_again_within_the_timeout_of_the_client(self, make_driver: MakeDriver, passing: Failure) -> None:
        driver = make_driver(timeout=60)
        driver.script.answers.extend([passing, passing, response(1)])
        assert watched(driver, 1, after_revision=0) == [(1, 1)]

    def test_fails_at_the_timeout_with_the_last_failure(self, driver: Driver) -> None:
        no_database = Failure(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        driver.script.answers.extend([Late(3, no_database)] * 9)
        with pytest.raises(DatabaseUnavailable):
            watched(driver, 1)
        assert len(driver.script.attempts) == 4

    def test_counts_the_timeout_from_when_it_begins(self) -> None:
        driver = SyncDriver()
        watch = driver.client.history.watch(after_revision=0, timeout=5)
        driver.script.time.sleep_for(60)
        driver.script.answers.extend([AWAY, response(1)])
        assert next(watch).revision == 1

    @pytest.mark.parametrize(
        ("failure", "kind"),
        [
            (Failure(StatusCode.OUT_OF_RANGE, "REVISION_AHEAD"), RevisionAhead),
            (Failure(StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), InvalidField),
            (Failure(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"), RoleRequired),
            (EXPIRED, CredentialsInvalid),
            (Failure(StatusCode.INTERNAL), Internal),
            (Failure(StatusCode.CANCELLED), Cancelled),
        ],
        ids=str,
    )
    def test_fails_at_once_if_the_failure_does_not_pass(
        self, driver: Driver, failure: Failure, kind: type[RegistrarError]
    ) -> None:
        driver.script.answers.extend([failure, response(1)])
        with pytest.raises(kind):
            watched(driver, 1)
        assert len(driver.script.attempts) == 1

    def test_says_in_which_revision_the_history_is_if_it_was_to_begin_later(self, driver: Driver) -> None:
        metadata = {"revision": "41"}
        driver.script.answers.append(Failure(StatusCode.OUT_OF_RANGE, "REVISION_AHEAD", metadata=metadata))
        with pytest.raises(RevisionAhead) as ahead:
            watched(driver, 1, after_revision=42)
        assert ahead.value.revision == 41

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
    def test_is_refused_with_an_invalid_timeout(self, driver: Driver, timeout: object) -> None:
        with pytest.raises(InvalidField) as refused:
            watched(driver, 1, timeout=timeout)
        assert [violation.field for violation in refused.value.field_violations] == ["timeout"]

    def test_is_refused_with_values_that_cannot_be_sent(self, driver: Driver) -> None:
        with pytest.raises(InvalidField) as refused:
            watched(driver, 1, after_revision=2**63, student_id=7, types=["ENROLLED?"])
        fields = {violation.field for violation in refused.value.field_violations}
        assert fields == {"after_revision", "student_id", "types[0]"}
        assert driver.script.attempts == []


class TestAWatchThatHasFailed:
    @pytest.mark.parametrize("answers", [[EXPIRED], [response(1), EXPIRED, EXPIRED]], ids=["at once", "later"])
    def test_is_over(self, answers: Sequence[Failure]) -> None:
        """As with a generator. A new one can go on after its revision."""
        driver = SyncDriver()
        driver.script.answers.extend(answers)
        watch = driver.client.history.watch(after_revision=0)
        with pytest.raises(CredentialsInvalid):
            list(watch)
        assert list(watch) == []
        assert watch.revision == len(answers) // 2

    def test_goes_on_if_it_was_only_the_callable_for_the_token(self) -> None:
        """Its errors are raised unchanged."""
        tokens = iter(["first", "", "second"])

        def token() -> str:
            if fetched := next(tokens):
                return fetched
            raise TimeoutError("the identity provider is away")

        driver = SyncDriver(token=token)
        driver.script.answers.extend([response(1), AWAY, response(2)])
        watch = driver.client.history.watch(after_revision=0)
        assert next(watch).revision == 1
        with pytest.raises(TimeoutError, match="the identity provider is away"):
            next(watch)
        assert next(watch).revision == 2

    async def test_goes_on_if_it_was_only_the_coroutine_function_for_the_token(self) -> None:
        tokens = iter(["first", "", "second"])

        async def token() -> str:
            if fetched := next(tokens):
                return fetched
            raise TimeoutError("the identity provider is away")

        driver = AsyncDriver(token=token)
        driver.script.answers.extend([response(1), AWAY, response(2)])
        watch = driver.client.history.watch(after_revision=0)
        assert (await anext(watch)).revision == 1
        with pytest.raises(TimeoutError, match="the identity provider is away"):
            await anext(watch)
        assert (await anext(watch)).revision == 2
