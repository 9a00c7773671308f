"""Twins over gRPC: a call waits for an equal call with the same ``request_id``, even if the caller of that has left."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED as ENROLLED
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, EnrollStudentResponse
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest
from registrar_client import AsyncRegistrarClient, DeadlineExceeded
from tests.support.consistency import assert_consistent
from tests.support.servers import Gate, Log, Registrar, calling, registrar_on, serving

ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
ENROLL = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID)


async def prepared(registrar: Registrar) -> None:
    """Create the course CS-101 with two seats and the students s-1 to s-4."""
    await registrar.add_course("CS-101", capacity=2)
    for number in range(1, 5):
        await registrar.add_student(f"s-{number}")


def events(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT type FROM events WHERE enrollment_id <> '' ORDER BY revision")))


async def code(call: Any) -> StatusCode:
    """Return the status of a call."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


async def fill_the_queue(registrar: Registrar) -> list[Any]:
    """Fill the queue of the course's lane, which has one place, and return the call that waits there.

    The lane must be busy. Of three calls two are refused, so the third waits.
    """
    calls = [registrar.enroll(f"s-{number}", "CS-101") for number in (2, 3, 4)]
    tasks = {asyncio.create_task(call) for call in calls}
    waiting = tasks
    while len(waiting) > 1:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    refused = [task.exception() for task in tasks - waiting]
    assert {error.code() for error in refused if isinstance(error, grpc.aio.AioRpcError)} == {
        StatusCode.RESOURCE_EXHAUSTED
    }
    return list(waiting)


class TestGivenUp:
    """An attempt that its caller gave up is still under way, so its retry waits for it instead of being refused."""

    async def test_a_retry_is_not_refused_before_the_given_up_attempt_takes_effect(
        self, gate: Gate, log: Log, database_url: str, engine: Engine
    ) -> None:
        """The retry of an attempt whose batch has begun is not refused as OVERLOADED: it shares the outcome."""
        async with registrar_on(database_url, max_waiting=1) as registrar:
            await prepared(registrar)
            with gate.closed():
                attempt = registrar.enrollments.EnrollStudent(ENROLL)
                await gate.holds_one()
                attempt.cancel()
                await log.one("rpc", status="CANCELLED")
                others = await fill_the_queue(registrar)
                last = registrar.enrollments.EnrollStudent(ENROLL)
                retry = registrar.enrollments.EnrollStudent(ENROLL, timeout=0.5)
                # Without a time limit of its own, the retry would wait until the gate opens. It is sent after the last
                # call, which therefore waits too when the retry has ended.
                assert await code(retry) is StatusCode.DEADLINE_EXCEEDED
            answer: EnrollStudentResponse = await last
            await asyncio.gather(*others)
            assert (answer.enrollment.state, answer.enrollment.attempt) == (ENROLLED, 1)
        assert events(engine) == ["STUDENT_ENROLLED", "STUDENT_ENROLLED"]
        assert_consistent(engine)

    async def test_the_client_shares_the_outcome_of_a_call_that_it_gave_up(
        self, gate: Gate, log: Log, database_url: str, engine: Engine
    ) -> None:
        """A call that its caller gave up is repeated with its request_id, and gets the enrollment of the first."""
        async with (
            serving(database_url) as server,
            calling(server.address) as registrar,
            AsyncRegistrarClient(server.address) as client,
        ):
            await prepared(registrar)
            with gate.closed():
                with pytest.raises(DeadlineExceeded):
                    await client.enroll(student_id="s-1", course_id="CS-101", request_id=ID, timeout=0.5)
                retry = asyncio.create_task(client.enroll(student_id="s-1", course_id="CS-101", request_id=ID))
                await log.one("rpc", status="DEADLINE_EXCEEDED")
            assert (await retry).attempt == 1
        assert events(engine) == ["STUDENT_ENROLLED"]
        assert_consistent(engine)


class TestTogether:
    """Equal calls at the same time."""

    async def test_twins_share_one_execution_and_log_its_events_once(
        self, gate: Gate, log: Log, database_url: str, engine: Engine
    ) -> None:
        """Every caller gets the same answer, and has a line of its own in the log."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            with gate.closed():
                calls = [asyncio.create_task(code(registrar.enrollments.EnrollStudent(ENROLL))) for _ in range(8)]
                await gate.holds_one()
            assert set(await asyncio.gather(*calls)) == {StatusCode.OK}
        assert events(engine) == ["STUDENT_ENROLLED"]
        assert len(log.of("student_enrolled")) == 1
        assert len(log.of("rpc", method="EnrollStudent", status="OK")) == 8

    async def test_refused_twins_are_decided_one_by_one(self, database_url: str, log: Log) -> None:
        """Refusals are not shared: each call gets a refusal of its own."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            await registrar.enroll("s-1", "CS-101")
            calls = [code(registrar.enrollments.EnrollStudent(ENROLL)) for _ in range(8)]
            assert set(await asyncio.gather(*calls)) == {StatusCode.ALREADY_EXISTS}
        assert len(log.of("enrollment_refused")) == 8

    async def test_twins_create_one_student_although_their_lanes_differ(
        self, gate: Gate, database_url: str, engine: Engine
    ) -> None:
        """Creations without an id get a new id for each call, and still share one execution."""
        request = CreateStudentRequest(student=Student(given_name="Ada"), request_id=ID)
        async with registrar_on(database_url, write_lanes=8) as registrar:
            with gate.closed():
                calls = [registrar.students.CreateStudent(request) for _ in range(8)]
                await gate.holds_one()
            answers = await asyncio.gather(*calls)
        assert len({answer.student.student_id for answer in answers}) == 1
        assert_consistent(engine)
