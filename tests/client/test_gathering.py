"""``AsyncRegistrarClient(gather=True)``: changing calls that are under way at the same time travel together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, NamedTuple, TypeVar

import pytest
from grpc import StatusCode
from sqlalchemy import Engine

from registrar.v1 import batch_service_pb2 as pb
from registrar_client import (
    AsyncRegistrarClient,
    Cancelled,
    CourseFull,
    CredentialsInvalid,
    DeadlineExceeded,
    Enrolled,
    RegistrarError,
    RequestIdReused,
    StudentNotFound,
    Unavailable,
    _gather_queue,
    writes,
)
from registrar_client._retry import Timing
from tests.support.consistency import assert_consistent
from tests.support.outages import database_outage
from tests.support.relays import Context, Forward, Held, Relay, relay_to
from tests.support.servers import serving

Result = TypeVar("Result")

BATCH = "BatchWrite"


class Campus(NamedTuple):
    """A client that gathers, a client that does not, and the relay between the first and their server."""

    client: AsyncRegistrarClient
    plain: AsyncRegistrarClient
    relay: Relay


@contextlib.asynccontextmanager
async def campus_on(database_url: str, students: int = 10, **settings: Any) -> AsyncIterator[Campus]:
    async with (
        serving(database_url, **settings) as server,
        relay_to(server.address) as relay,
        AsyncRegistrarClient(server.address) as plain,
        AsyncRegistrarClient(relay.address, gather=True) as client,
    ):
        await plain.courses.create(course_id="CS-101")
        await plain.batch(writes=[writes.students.create(student_id=f"s-{n}") for n in range(students)])
        yield Campus(client, plain, relay)


@pytest.fixture
async def campus(database_url: str) -> AsyncIterator[Campus]:
    """A course and ten students, on both databases."""
    async with campus_on(database_url) as made:
        yield made


@pytest.fixture
async def sqlite_campus(sqlite_url: str) -> AsyncIterator[Campus]:
    """A course and ten students, for tests that do not depend on the database."""
    async with campus_on(sqlite_url) as made:
        yield made


def enrolls(client: AsyncRegistrarClient, numbers: Iterable[int], **options: Any) -> list[asyncio.Task[Enrolled]]:
    """Begin to enroll students."""
    calls = (client.enroll(student_id=f"s-{number}", course_id="CS-101", **options) for number in numbers)
    return [asyncio.ensure_future(call) for call in calls]


async def outcomes(calls: Iterable[Awaitable[Result]]) -> list[Result | BaseException]:
    """Return the result or the error of each call."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def enrolled_count(campus: Campus) -> int:
    return (await campus.plain.courses.get(course_id="CS-101")).enrolled_count


class TestWhatTravelsTogether:
    async def test_calls_that_begin_together(self, database_url: str, engine: Engine) -> None:
        async with campus_on(database_url, students=200) as campus:
            results = await asyncio.gather(*enrolls(campus.client, range(200)))
            assert [result.student_id for result in results] == [f"s-{n}" for n in range(200)]
            assert set(campus.relay.calls) == {BATCH}
            assert len(campus.relay.calls) == 2
            assert await enrolled_count(campus) == 200
        assert_consistent(engine)

    async def test_calls_that_begin_while_others_are_under_way(self, sqlite_campus: Campus) -> None:
        held = sqlite_campus.relay.answers["EnrollStudent"] = Held()
        first = enrolls(sqlite_campus.client, [0])
        await held.arrived.acquire()
        second = enrolls(sqlite_campus.client, [1])
        await held.arrived.acquire()
        others = enrolls(sqlite_campus.client, [2, 3, 4])
        held.released.set()
        await asyncio.gather(*first, *second, *others)
        assert sqlite_campus.relay.calls == ["EnrollStudent", "EnrollStudent", BATCH]

    async def test_a_call_that_is_alone_stays_a_plain_call(self, sqlite_campus: Campus) -> None:
        for number in range(3):
            await sqlite_campus.client.enroll(student_id=f"s-{number}", course_id="CS-101")
        assert sqlite_campus.relay.calls == ["EnrollStudent"] * 3

    async def test_calls_of_different_kinds(self, campus: Campus) -> None:
        course, student, hold = await asyncio.gather(
            campus.client.courses.create(course_id="CS-102", title="Logic"),
            campus.client.students.create(student_id="s-new", given_name="Ada"),
            campus.client.students.place_hold(student_id="s-1", code="BURSAR"),
        )
        assert campus.relay.calls == [BATCH]
        assert course == await campus.plain.courses.get(course_id="CS-102")
        assert student == await campus.plain.students.get(student_id="s-new")
        assert [each.code for each in hold.holds] == ["BURSAR"]

    async def test_calls_of_a_client_from_the_environment(self, sqlite_campus: Campus) -> None:
        environ = {"REGISTRAR_TARGET": sqlite_campus.relay.address}
        async with AsyncRegistrarClient.from_env(environ, gather=True) as client:
            await asyncio.gather(*enrolls(client, range(3)))
        assert sqlite_campus.relay.calls == [BATCH]

    async def test_reads_previews_and_batches_do_not(self, sqlite_campus: Campus) -> None:
        client = sqlite_campus.client
        await asyncio.gather(
            client.courses.get(course_id="CS-101"),
            client.courses.get(course_id="CS-101"),
            client.enroll(student_id="s-1", course_id="CS-101", validate_only=True),
            client.enroll(student_id="s-2", course_id="CS-101", validate_only=True),
            client.batch([writes.enroll(student_id="s-3", course_id="CS-101")]),
            client.batch([writes.enroll(student_id="s-4", course_id="CS-101")]),
        )
        assert sorted(sqlite_campus.relay.calls) == [*[BATCH] * 2, *["EnrollStudent"] * 2, *["GetCourse"] * 2]

    async def test_no_batch_grows_beyond_its_bytes(self, sqlite_campus: Campus) -> None:
        """A quarter of what a server accepts: 120 descriptions of 10,000 bytes take two batches."""
        creates = (
            sqlite_campus.client.courses.create(course_id=f"c-{number}", description="x" * 10_000)
            for number in range(120)
        )
        await asyncio.gather(*creates)
        assert sqlite_campus.relay.calls == [BATCH] * 2


class TestCallsOfDifferentCallers:
    async def test_travel_apart(self, campus: Campus) -> None:
        people = {0: "dean", 1: "advisor", 2: "dean", 3: "advisor", 4: "parent", 5: "dean"}
        calls = (enrolls(campus.client, [number], on_behalf_of=name) for number, name in people.items())
        await asyncio.gather(*(call for each in calls for call in each))
        assert sorted(campus.relay.calls) == [BATCH, BATCH, "EnrollStudent"]
        events = [event async for event in campus.plain.history.list(course_id="CS-101")][1:]
        assert {event.student_id: event.on_behalf_of for event in events} == {
            f"s-{number}": name for number, name in people.items()
        }

    async def test_travel_apart_if_the_token_has_changed(self, sqlite_campus: Campus) -> None:
        tokens = iter(["old", "old", "new", "new"])
        address = sqlite_campus.relay.address
        async with AsyncRegistrarClient(address, gather=True, token=lambda: next(tokens)) as client:
            await asyncio.gather(*enrolls(client, range(4)))
        assert sqlite_campus.relay.calls == [BATCH] * 2

    async def test_do_not_wait_for_each_other(self, sqlite_campus: Campus, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each caller has as many RPCs under way as a client of its own would have."""
        monkeypatch.setattr(_gather_queue, "STALLED_S", 3600)
        held = sqlite_campus.relay.answers["EnrollStudent"] = Held()
        calls = []
        for number in range(10):
            calls += enrolls(sqlite_campus.client, [number], on_behalf_of=f"person-{number}", timeout=60)
            await held.arrived.acquire()
        held.released.set()
        await asyncio.gather(*calls)

    async def test_leave_nothing_behind(self, sqlite_campus: Campus) -> None:
        """Tokens change, and a backend acts for many people."""
        client = sqlite_campus.client
        for turns in range(12):
            calls = enrolls(client, range(3), on_behalf_of=f"person-{turns}") + enrolls(client, [turns])
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls[turns % 4 :]:
                call.cancel()
            await outcomes(calls)
        assert client._runner._gatherer is not None
        queues = client._runner._gatherer._queues
        await outcomes([batch for queue in queues.values() for batch in queue._batches.values()])
        await outcomes(enrolls(client, [0]))
        assert queues == {}


class TestEachCallKeepsItsOwn:
    async def test_result_and_error(self, campus: Campus, engine: Engine) -> None:
        await campus.plain.courses.create(course_id="CS-001", capacity=2)
        calls = [
            *(campus.client.enroll(student_id=f"s-{number}", course_id="CS-001") for number in range(5)),
            *(campus.client.enroll(student_id=f"nobody-{number}", course_id="CS-101") for number in range(2)),
        ]
        found = await outcomes(calls)
        assert campus.relay.calls == [BATCH]
        full, missing = found[:5], found[5:]
        assert sorted(type(one).__name__ for one in full) == ["CourseFull"] * 3 + ["Enrolled"] * 2
        for number, error in enumerate(missing):
            assert isinstance(error, StudentNotFound)
            assert error.metadata["student_id"] == f"nobody-{number}"
        assert_consistent(engine)

    async def test_error_is_that_of_a_plain_call(self, campus: Campus) -> None:
        await campus.plain.courses.create(course_id="CS-001", capacity=0)
        gathered = await outcomes(
            campus.client.enroll(student_id=f"s-{number}", course_id="CS-001") for number in range(2)
        )
        for number, ours in enumerate(gathered):
            with pytest.raises(CourseFull) as theirs:
                await campus.plain.enroll(student_id=f"s-{number}", course_id="CS-001")
            assert isinstance(ours, CourseFull)
            assert isinstance(ours.__cause__, type(theirs.value.__cause__))
            same = ("status", "reason", "metadata", "violations", "field_violations", "retry_after", "args")
            assert [getattr(ours, name) for name in same] == [getattr(theirs.value, name) for name in same]

    async def test_request_id(self, campus: Campus) -> None:
        """A call has the same identity on both ways, so each returns what the other has done."""
        ids = [f"5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b1{number}" for number in range(3)]

        def calls(client: AsyncRegistrarClient) -> Iterable[Awaitable[Enrolled]]:
            return (
                client.enroll(student_id=f"s-{number}", course_id="CS-101", request_id=each)
                for number, each in enumerate(ids)
            )

        gathered = await asyncio.gather(*calls(campus.client))
        assert [await call for call in calls(campus.plain)] == gathered
        assert campus.relay.calls == [BATCH]
        reused = await outcomes(
            campus.client.enroll(student_id="s-9", course_id="CS-101", request_id=each) for each in ids
        )
        assert [type(error) for error in reused] == [RequestIdReused] * 3
        assert [error.request_id for error in reused if isinstance(error, RegistrarError)] == ids

    async def test_deadline(self, sqlite_campus: Campus) -> None:
        """A call whose time is over ends by itself, although the batch is still under way."""
        held = sqlite_campus.relay.answers[BATCH] = Held()
        (hasty,) = enrolls(sqlite_campus.client, [0], timeout=0.2)
        patient = enrolls(sqlite_campus.client, [1, 2])
        with pytest.raises(DeadlineExceeded) as late:
            await hasty
        assert late.value.request_id
        assert not any(call.done() for call in patient)
        held.released.set()
        await asyncio.gather(*patient)

    async def test_deadline_while_it_waits(self, sqlite_campus: Campus) -> None:
        """A call that was never sent is never made."""
        held = sqlite_campus.relay.answers["EnrollStudent"] = Held()
        under_way = []
        for number in range(2):
            under_way += enrolls(sqlite_campus.client, [number])
            await held.arrived.acquire()
        with pytest.raises(DeadlineExceeded):
            await sqlite_campus.client.enroll(student_id="s-2", course_id="CS-101", timeout=0.05)
        held.released.set()
        await asyncio.gather(*under_way)
        assert await enrolled_count(sqlite_campus) == 2

    async def test_deadline_before_it_is_sent(self, sqlite_campus: Campus) -> None:
        """The event loop may be busy for so long that a call is late before its batch is made."""
        passed = 0.0
        sqlite_campus.client._runner.timing = Timing(now=lambda: time.monotonic() + passed)
        (late,) = enrolls(sqlite_campus.client, [0], timeout=1)
        (patient,) = enrolls(sqlite_campus.client, [1], timeout=60)
        await asyncio.sleep(0)  # Both calls wait for the next turn of the event loop.
        passed = 2.0
        assert (await patient).student_id == "s-1"
        with pytest.raises(DeadlineExceeded):
            await late
        assert await enrolled_count(sqlite_campus) == 1

    async def test_deadline_within_that_of_the_batch(self, sqlite_campus: Campus) -> None:
        timeouts: list[float] = []

        async def note(forward: Forward, context: Context) -> bytes:
            timeouts.append(context.time_remaining() or 0)
            return await forward()

        sqlite_campus.relay.answers[BATCH] = note
        await asyncio.gather(
            *enrolls(sqlite_campus.client, [0], timeout=5), *enrolls(sqlite_campus.client, [1], timeout=20)
        )
        (timeout,) = timeouts
        assert 5 < timeout <= 20.1


class TestACallThatIsCancelled:
    async def test_before_it_is_sent_is_not_sent(self, sqlite_campus: Campus) -> None:
        held = sqlite_campus.relay.answers["EnrollStudent"] = Held()
        under_way = []
        for number in range(2):
            under_way += enrolls(sqlite_campus.client, [number])
            await held.arrived.acquire()
        cancelled, *others = enrolls(sqlite_campus.client, [2, 3, 4])
        await asyncio.sleep(0)
        cancelled.cancel()
        held.released.set()
        await asyncio.gather(*under_way, *others)
        assert cancelled.cancelled()
        assert await enrolled_count(sqlite_campus) == 4

    async def test_afterwards_disturbs_no_other(self, campus: Campus, engine: Engine) -> None:
        held = campus.relay.answers[BATCH] = Held()
        cancelled, *others = enrolls(campus.client, range(5))
        await held.arrived.acquire()
        cancelled.cancel()
        held.released.set()
        await asyncio.gather(*others)
        assert cancelled.cancelled()
        assert campus.relay.calls == [BATCH]
        assert_consistent(engine)

    async def test_as_the_last_of_its_batch_cancels_the_batch(self, sqlite_campus: Campus) -> None:
        held = sqlite_campus.relay.answers[BATCH] = Held()
        calls = enrolls(sqlite_campus.client, range(3), timeout=3600)
        await held.arrived.acquire()
        for call in calls:
            call.cancel()
        async with asyncio.timeout(30):
            await held.cancelled.wait()
        assert await enrolled_count(sqlite_campus) == 0

    async def test_at_any_moment_leaves_room_for_others(self, sqlite_campus: Campus) -> None:
        for turns in range(20):
            for together in (1, 3):
                calls = enrolls(sqlite_campus.client, range(together))
                for _ in range(turns):
                    await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                await outcomes(calls)
        found = await outcomes(enrolls(sqlite_campus.client, range(10)))
        assert {type(one).__name__ for one in found} <= {"Enrolled", "AlreadyEnrolled"}
        assert await enrolled_count(sqlite_campus) == 10


class TestARpcThatIsSlow:
    async def test_stops_no_other_call(self, sqlite_campus: Campus) -> None:
        """A write can wait long for a lock, and its batch with it."""
        held = sqlite_campus.relay.answers[BATCH] = Held()
        slow = []
        for number in range(0, 4, 2):
            slow += enrolls(sqlite_campus.client, [number, number + 1], timeout=60)
            await held.arrived.acquire()
        await sqlite_campus.client.enroll(student_id="s-5", course_id="CS-101")
        assert not any(call.done() for call in slow)
        held.released.set()
        await asyncio.gather(*slow)


class TestABatchThatFails:
    async def test_is_repeated_call_by_call_and_doubles_nothing(self, campus: Campus, engine: Engine) -> None:
        """The answer of the first batch is lost after its writes were made."""

        async def lose(forward: Forward, context: Context) -> bytes:
            await forward()
            del campus.relay.answers[BATCH]
            await context.abort(StatusCode.UNAVAILABLE, "lost")

        async def note(pause: float) -> None:
            pauses.append(pause)
            await asyncio.sleep(pause)

        pauses: list[float] = []
        campus.relay.answers[BATCH], campus.client._runner.sleep = lose, note
        results = await asyncio.gather(*enrolls(campus.client, range(10)))
        assert len(set(pauses)) == 10  # So a server that is in trouble does not get all calls at once.
        assert [result.student_id for result in results] == [f"s-{n}" for n in range(10)]
        assert await enrolled_count(campus) == 10
        assert_consistent(engine)

    async def test_is_not_repeated_after_the_deadline(self, sqlite_campus: Campus) -> None:
        async def fail(_forward: Forward, context: Context) -> bytes:
            await context.abort(StatusCode.UNAVAILABLE, "away")

        sqlite_campus.relay.answers |= {BATCH: fail, "EnrollStudent": fail}
        found = await outcomes(enrolls(sqlite_campus.client, range(5), timeout=0.3))
        assert {type(one) for one in found} <= {Unavailable, DeadlineExceeded}
        errors = [one for one in found if isinstance(one, RegistrarError)]
        assert len({error.request_id for error in errors}) == 5

    async def test_for_a_reason_of_its_own_is_sent_as_plain_calls(self, sqlite_campus: Campus) -> None:
        """A proxy may refuse a batch although it forwards its calls."""

        async def refuse(_forward: Forward, context: Context) -> bytes:
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, "too large")

        sqlite_campus.relay.answers[BATCH] = refuse
        await asyncio.gather(*enrolls(sqlite_campus.client, range(3)))
        assert sqlite_campus.relay.calls == [BATCH, *["EnrollStudent"] * 3]

    async def test_for_its_credentials_is_not_sent_again(self, sqlite_url: str) -> None:
        """They are those of each call."""
        async with (
            serving(sqlite_url, identity="required") as server,
            relay_to(server.address) as relay,
            AsyncRegistrarClient(relay.address, gather=True, token="revoked") as client,
        ):
            found = await outcomes(enrolls(client, range(3)))
        assert [type(error) for error in found] == [CredentialsInvalid] * 3
        assert len({error.request_id for error in found if isinstance(error, RegistrarError)}) == 3
        assert relay.calls == [BATCH]

    async def test_on_an_older_server_turns_gathering_off(self, sqlite_campus: Campus) -> None:
        async def unknown(_forward: Forward, context: Context) -> bytes:
            await context.abort(StatusCode.UNIMPLEMENTED, "Method not found!")

        sqlite_campus.relay.answers[BATCH] = unknown
        await asyncio.gather(*enrolls(sqlite_campus.client, range(4)))
        await asyncio.gather(*enrolls(sqlite_campus.client, range(4, 8)))
        assert sqlite_campus.relay.calls == [BATCH, *["EnrollStudent"] * 8]

    async def test_on_an_older_server_lets_the_calls_that_wait_travel_alone(self, sqlite_campus: Campus) -> None:
        """Two batches are under way when more calls wait. They do not become a batch, which would fail too."""

        async def unknown(_forward: Forward, context: Context) -> bytes:
            await context.abort(StatusCode.UNIMPLEMENTED, "Method not found!")

        sqlite_campus.relay.answers[BATCH] = unknown
        await outcomes(enrolls(sqlite_campus.client, range(300)))
        assert sorted(sqlite_campus.relay.calls) == [*[BATCH] * 2, *["EnrollStudent"] * 300]

    async def test_because_of_an_answer_that_makes_no_sense_ends_its_calls(self, sqlite_campus: Campus) -> None:
        async def too_few(_forward: Forward, _context: Context) -> bytes:
            return pb.BatchWriteResponse().SerializeToString()

        sqlite_campus.relay.answers[BATCH] = too_few
        found = await outcomes(enrolls(sqlite_campus.client, range(3)))
        assert [type(error) for error in found] == [ValueError] * 3

    async def test_while_the_database_is_away_is_repeated(
        self, campus: Campus, database_url: str, request: pytest.FixtureRequest, engine: Engine
    ) -> None:
        tried = asyncio.Event()

        async def note(pause: float) -> None:
            tried.set()
            await asyncio.sleep(pause)

        campus.client._runner.sleep = note
        with database_outage(database_url, request):
            calls = enrolls(campus.client, range(10), timeout=60)
            await tried.wait()
        await asyncio.gather(*calls)
        assert await enrolled_count(campus) == 10
        assert_consistent(engine)


async def test_an_answer_that_is_abridged_is_fetched_in_full(sqlite_url: str) -> None:
    """The responses of a batch do not fit into a message. The calls are repeated and return what is stored."""
    async with campus_on(sqlite_url, max_message_bytes=262_144) as campus:
        description = "x" * 8_000
        creates = [
            campus.client.courses.create(course_id=f"c-{number}", description=description) for number in range(30)
        ]
        refused = campus.client.courses.create(course_id="CS-101")
        *courses, error = await outcomes([*creates, refused])
        assert campus.relay.calls == [BATCH, *["CreateCourse"] * 30]
        assert courses == [await campus.plain.courses.get(course_id=f"c-{number}") for number in range(30)]
        assert type(error).__name__ == "CourseExists"


class TestClose:
    async def test_ends_the_calls_that_wait(self, sqlite_campus: Campus) -> None:
        held = sqlite_campus.relay.answers["EnrollStudent"] = Held()
        under_way = []
        for number in range(2):
            under_way += enrolls(sqlite_campus.client, [number])
            await held.arrived.acquire()
        waiting = enrolls(sqlite_campus.client, [2, 3])
        await asyncio.sleep(0)
        await sqlite_campus.client.close()
        assert [type(error) for error in await outcomes(waiting)] == [Cancelled] * 2
        assert [type(error) for error in await outcomes(under_way)] == [asyncio.CancelledError] * 2

    @pytest.mark.parametrize("together", [1, 5])
    async def test_ends_every_call_at_any_moment(self, sqlite_url: str, together: int) -> None:
        async with campus_on(sqlite_url) as campus:
            for turns in range(12):
                client = AsyncRegistrarClient(campus.relay.address, gather=True)
                calls = enrolls(client, range(together))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await client.close()
                found = await outcomes(calls)
                assert {type(one) for one in found} <= {Cancelled, asyncio.CancelledError, RuntimeError}

    async def test_a_closed_client_raises(self, sqlite_campus: Campus) -> None:
        await asyncio.gather(*enrolls(sqlite_campus.client, range(3)))
        await sqlite_campus.client.close()
        with pytest.raises(RuntimeError, match="this client is closed"):
            await sqlite_campus.client.enroll(student_id="s-4", course_id="CS-101")
