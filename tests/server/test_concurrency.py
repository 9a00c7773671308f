"""Concurrent callers on one server and on several processes, and servers that are killed under load."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from sqlalchemy import Engine, create_engine, text

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import SettleCourseRequest, UpdateCourseRequest
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, EnrollStudentResponse
from registrar.v1.student_service_pb2 import PlaceHoldRequest, ReleaseHoldRequest
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, refused
from tests.support.servers import Gate, Log, Registrar, calling, registrar_on, server_process, server_processes, serving

CALLERS = [f"caller-{number:02}" for number in range(64)]


async def outcome(call: Awaitable[Any]) -> str:
    """Return the reason of a refusal, or OK."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Failure.read(error).reason
    return "OK"


@contextmanager
def engine_on(url: str) -> Iterator[Engine]:
    """Return an engine on a database."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


async def compete_for_the_last_seats(addresses: Sequence[str]) -> Counter[str]:
    """Let 64 callers, each on a separate connection, request the last 30 of 40 seats at once."""
    async with AsyncExitStack() as stack:
        places = [addresses[number % len(addresses)] for number in range(len(CALLERS))]
        callers = [await stack.enter_async_context(calling(place)) for place in places]
        first = callers[0]
        await first.add_course("LAST", capacity=40)
        early = [f"early-{number}" for number in range(10)]
        await asyncio.gather(*(first.add_student(student_id) for student_id in (*early, *CALLERS)))
        await asyncio.gather(*(first.enroll(student_id, "LAST") for student_id in early))
        rush = [outcome(caller.enroll(name, "LAST")) for caller, name in zip(callers, CALLERS, strict=True)]
        return Counter(await asyncio.gather(*rush))


def enrolled(engine: Engine) -> list[str]:
    """Return the enrolled students, once for each seat."""
    with engine.connect() as connection:
        query = text("SELECT student_id FROM enrollments WHERE state = 'ENROLLED'")
        return sorted(connection.scalars(query))


def seats(engine: Engine) -> tuple[int, int]:
    """Return the number of seats taken, from the counter of the course and from its rows."""
    with engine.connect() as connection:
        counted = connection.scalar(text("SELECT enrolled_count FROM courses"))
    return counted or 0, len(enrolled(engine))


class TestTheLastSeats:
    """No seat is taken twice, however many callers request it at once."""

    async def test_two_processes(self, postgresql_url: str, tmp_path: Path) -> None:
        """Of 64 callers on two processes, exactly 30 get one of the last 30 seats and the others COURSE_FULL."""
        async with server_processes(2, postgresql_url, tmp_path) as servers:
            outcomes = await compete_for_the_last_seats([await server.address() for server in servers])
        assert outcomes == {"OK": 30, "COURSE_FULL": 34}
        with engine_on(postgresql_url) as engine:
            assert seats(engine) == (40, 40)
            assert_consistent(engine)

    async def test_one_server(self, sqlite_url: str) -> None:
        """On one server with SQLite, exactly 30 callers get a seat."""
        async with serving(sqlite_url) as server:
            outcomes = await compete_for_the_last_seats([server.address])
        assert outcomes == {"OK": 30, "COURSE_FULL": 34}
        with engine_on(sqlite_url) as engine:
            assert seats(engine) == (40, 40)
            assert_consistent(engine)

    async def test_two_in_one_process(self, database_url: str, engine: Engine) -> None:
        """On two servers that share only the database, exactly 30 callers get a seat."""
        async with serving(database_url) as one, serving(database_url) as other:
            outcomes = await compete_for_the_last_seats([one.address, other.address])
        assert outcomes == {"OK": 30, "COURSE_FULL": 34}
        assert seats(engine) == (40, 40)
        assert_consistent(engine)


class TestSettling:
    """Two servers settle one course at once, on demand and for the waiters' own calls."""

    async def test_two_processes(self, postgresql_url: str, tmp_path: Path) -> None:
        """The free seats go to waiters whose holds were just released, each once, and no call meets CONTENTION."""
        async with server_processes(2, postgresql_url, tmp_path) as servers:
            promoted = await settle_from_many_callers([await server.address() for server in servers])
        with engine_on(postgresql_url) as engine:
            assert_given_once(engine, promoted)

    async def test_two_in_one_process(self, database_url: str, engine: Engine) -> None:
        """The same with two servers that share only the database."""
        async with serving(database_url) as one, serving(database_url) as other:
            promoted = await settle_from_many_callers([one.address, other.address])
        assert_given_once(engine, promoted)


async def settle_from_many_callers(addresses: Sequence[str]) -> list[str]:
    """Release the holds of 54 waiters for 30 free seats at once, and return who was promoted, as the calls say.

    Each caller settles after releasing a hold: by SettleCourse, or by the own call of the waiter.
    """
    async with AsyncExitStack() as stack:
        places = [addresses[number % len(addresses)] for number in range(len(CALLERS))]
        callers = [await stack.enter_async_context(calling(place)) for place in places]
        first, seated, waiting = callers[0], CALLERS[:10], CALLERS[10:]
        await first.add_course("CS-101", capacity=10, waitlist_capacity=60)
        await asyncio.gather(*map(first.add_student, CALLERS))
        for names in (seated, waiting):
            await asyncio.gather(*(first.enroll(name, "CS-101") for name in names))
        holds = [PlaceHoldRequest(student_id=name, code="BURSAR") for name in waiting]
        await asyncio.gather(*map(first.students.PlaceHold, holds))
        course = Course(course_id="CS-101", capacity=40)
        await first.courses.UpdateCourse(UpdateCourseRequest(course=course, update_mask=FieldMask(paths=["capacity"])))

        async def release(caller: Registrar, name: str, *, own_call: bool) -> list[str]:
            await caller.students.ReleaseHold(ReleaseHoldRequest(student_id=name, code="BURSAR"))
            if not own_call:
                settled = await caller.courses.SettleCourse(SettleCourseRequest(course_id="CS-101"))
                return [enrollment.student_id for enrollment in settled.promoted]
            request = EnrollStudentRequest(student_id=name, course_id="CS-101", allow_existing=True)
            answer = await caller.enrollments.EnrollStudent(request)
            return [enrollment.student_id for enrollment in answer.promoted]

        calls = [
            release(caller, name, own_call=number % 3 == 0)
            for number, (caller, name) in enumerate(zip(callers, waiting, strict=False))
        ]
        return [student_id for found in await asyncio.gather(*calls) for student_id in found]


def assert_given_once(engine: Engine, promoted: Sequence[str]) -> None:
    """Assert that all 40 seats are taken, and that no two calls report the promotion of one student."""
    assert seats(engine) == (40, 40)
    assert len(set(promoted)) == len(promoted) > 0
    assert set(promoted) <= set(enrolled(engine)) - set(CALLERS[:10])
    assert_consistent(engine)


class TestOneStudentManyCalls:
    """Concurrent calls with the same effect take effect once."""

    async def test_enroll(self, database_url: str, engine: Engine) -> None:
        """Of many calls on two servers for one student, one takes the seat and the others are refused."""
        async with registrar_on(database_url) as here, registrar_on(database_url) as there:
            await here.add_student("s-1")
            await here.add_course("CS-101", capacity=20)
            calls = [registrar.enroll("s-1", "CS-101") for registrar in (here, there) * 8]
            outcomes = Counter(await asyncio.gather(*map(outcome, calls)))
        assert outcomes == {"OK": 1, "ALREADY_ENROLLED": 15}
        assert seats(engine) == (1, 1)
        assert_consistent(engine)

    async def test_create(self, database_url: str, engine: Engine) -> None:
        """Of many calls on two servers that create the same id, one succeeds and the others are refused."""
        async with registrar_on(database_url) as here, registrar_on(database_url) as there:
            calls = [registrar.add_student("s-1") for registrar in (here, there) * 8]
            outcomes = Counter(await asyncio.gather(*map(outcome, calls)))
        assert outcomes == {"OK": 1, "STUDENT_EXISTS": 15}
        assert_consistent(engine)


class TestWaiting:
    """Calls that wait in a lane."""

    @pytest.fixture
    async def campus(self, gate: Gate, database_url: str) -> AsyncIterator[Registrar]:
        """Students s-0 to s-9 and a course, on a gated server where one call may wait."""
        async with registrar_on(database_url, max_waiting=1) as registrar:
            await registrar.add_course("CS-101", capacity=10)
            for number in range(10):
                await registrar.add_student(f"s-{number}")
            yield registrar

    async def test_overloaded(self, gate: Gate, campus: Registrar, engine: Engine) -> None:
        """A call beyond the limit of waiting calls is refused immediately, with a retry delay."""
        with gate.closed():
            at_work = asyncio.create_task(outcome(campus.enroll("s-0", "CS-101")))
            await gate.holds_one()
            others = [asyncio.create_task(outcome(campus.enroll(f"s-{n}", "CS-101"))) for n in range(1, 9)]
            while sum(task.done() for task in others) < 7:
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            failure = await refused(campus.enroll("s-9", "CS-101"))
        assert Counter(await asyncio.gather(at_work, *others)) == {"OK": 2, "OVERLOADED": 7}
        delay = failure.the(RetryInfo).retry_delay
        assert 0.05 <= delay.ToTimedelta().total_seconds() <= 5
        assert failure == Failure(
            StatusCode.RESOURCE_EXHAUSTED,
            f"1 calls are already waiting; try again in {delay.ToTimedelta().total_seconds():g} s.",
            (info("OVERLOADED"), RetryInfo(retry_delay=delay)),
        )
        assert seats(engine) == (2, 2)
        assert_consistent(engine)

    async def test_expired(self, gate: Gate, campus: Registrar, engine: Engine, log: Log) -> None:
        """A call whose deadline passes while it waits changes nothing."""
        with gate.closed():
            at_work = asyncio.create_task(campus.enroll("s-0", "CS-101"))
            await gate.holds_one()
            request = EnrollStudentRequest(student_id="s-1", course_id="CS-101")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await campus.enrollments.EnrollStudent(request, timeout=0.1)
            assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
            line = await log.one("rpc", student_id="s-1", course_id="CS-101")
        await at_work
        await campus.enroll("s-2", "CS-101")
        assert line["status"] == "DEADLINE_EXCEEDED"
        assert enrolled(engine) == ["s-0", "s-2"]

    async def test_cancelled(self, gate: Gate, campus: Registrar, engine: Engine, log: Log) -> None:
        """A call that is cancelled while it waits changes nothing."""
        with gate.closed():
            at_work = asyncio.create_task(campus.enroll("s-0", "CS-101"))
            await gate.holds_one()
            waiting = campus.enrollments.EnrollStudent(EnrollStudentRequest(student_id="s-1", course_id="CS-101"))
            # The call is waiting once the next call is refused.
            assert await outcome(campus.enroll("s-3", "CS-101")) == "OVERLOADED"
            waiting.cancel()
            line = await log.one("rpc", student_id="s-1", course_id="CS-101")
        await at_work
        await campus.enroll("s-2", "CS-101")
        assert line["status"] == "CANCELLED"
        assert enrolled(engine) == ["s-0", "s-2"]


class TestKilled:
    """A server is killed under load."""

    async def test_acknowledged_is_kept(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """Acknowledged calls are committed, and retries after a restart give each caller exactly one seat."""
        names = [f"s-{number:03}" for number in range(300)]
        requests = [
            EnrollStudentRequest(student_id=name, course_id="CS-101", request_id=str(uuid.uuid4())) for name in names
        ]
        acknowledged: dict[str, EnrollStudentResponse] = {}
        async with server_process(database_url, tmp_path) as server, calling(await server.address()) as registrar:
            await registrar.add_course("CS-101", capacity=300)
            await asyncio.gather(*map(registrar.add_student, names))
            at_once = asyncio.Semaphore(32)

            async def enroll(request: EnrollStudentRequest) -> None:
                async with at_once:
                    acknowledged[request.student_id] = await registrar.enrollments.EnrollStudent(request)
                if len(acknowledged) == 40:
                    server.signal(signal.SIGKILL)

            ends = await asyncio.gather(*map(enroll, requests), return_exceptions=True)
            assert await server.wait() == -signal.SIGKILL
        lost = [end for end in ends if end is not None]
        assert {end.code() for end in lost if isinstance(end, grpc.aio.AioRpcError)} == {StatusCode.UNAVAILABLE}
        assert len(lost) == 300 - len(acknowledged) > 0
        assert set(acknowledged) <= set(enrolled(engine))
        assert_consistent(engine)

        async with server_process(database_url, tmp_path) as server, calling(await server.address()) as registrar:
            answers = await asyncio.gather(*map(registrar.enrollments.EnrollStudent, requests))
        assert {answer.enrollment.student_id: answer for answer in answers}.items() >= acknowledged.items()
        assert enrolled(engine) == names
        assert seats(engine) == (300, 300)
        assert_consistent(engine)
