"""Callers that leave a batch: what has begun is carried out, logged and shared, and the rest never begins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine

from registrar.v1.batch_service_pb2 import BatchWriteRequest, Write
from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar_server.call_queues import BLOCK_DEPTH
from tests.support.batches import ID, Blocks, batch, carried_out, create_course, create_student, enroll, sent, write
from tests.support.consistency import assert_consistent
from tests.support.garbage import Garbage
from tests.support.history_calls import history
from tests.support.servers import Gate, Log, Registrar, registrar_on

STUDENTS = [f"s-{number}" for number in range(1, 7)]
OF_STUDENTS = batch(*map(create_student, STUDENTS), request_id=ID)


async def created(registrar: Registrar) -> list[str]:
    return [event.student_id for event in await history(registrar)]


async def all_created(registrar: Registrar, students: list[str]) -> None:
    """Wait until these students and no others were created; on PostgreSQL batches are at work beside each other."""
    async with asyncio.timeout(30):
        while sorted(await created(registrar)) != students:
            pass


async def ended(registrar: Registrar) -> None:
    """Carry out another batch, which on SQLite begins after those before it have ended."""
    await carried_out(registrar, *[create_student("/")], request_id="0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11")


class TestLeaving:
    """The caller of a batch cancels it, or its deadline passes."""

    async def test_before_it_begins(self, gate: Gate, database_url: str, log: Log) -> None:
        """Nothing of it happens, and it does not count as under way."""
        others = [f"a-{lane}" for lane in range(BLOCK_DEPTH)]
        async with registrar_on(database_url, max_waiting=len(others) + len(STUDENTS)) as registrar:
            with gate.closed():
                busy = asyncio.gather(*(carried_out(registrar, create_student(other)) for other in others))
                await gate.holds_one()
                call = sent(registrar, OF_STUDENTS)
                await registrar.courses.SearchCourses(SearchCoursesRequest())  # Afterwards the server has the batch.
                call.cancel()
                line = await log.one("rpc", method="BatchWrite", status="CANCELLED")
                assert line["writes"] == 6
            await busy
            assert sorted(await created(registrar)) == others
            await sent(registrar, OF_STUDENTS)
            assert (await created(registrar))[len(others) :] == STUDENTS

    async def test_while_a_piece_is_under_way(
        self, gate: Gate, blocks: Blocks, database_url: str, engine: Engine, log: Log
    ) -> None:
        """The piece is carried out and its events are logged. The later pieces never begin."""
        writes = [create_course("c-1"), create_student("s-1"), enroll("s-1", "c-1"), create_student("s-2")]
        async with registrar_on(database_url, max_batch=3) as registrar:
            with gate.closed():
                call = sent(registrar, batch(*writes, request_id=ID))
                await gate.holds_one()
                call.cancel()
                await log.one("rpc", method="BatchWrite", status="CANCELLED")
            await log.one("student_enrolled")
            await ended(registrar)
            assert await created(registrar) == ["", "s-1", "s-1"]
            assert [line["status"] for line in log.of("rpc") if line.get("request_id") and "write" in line] == [
                *["CANCELLED"] * 3,
                "INVALID_ARGUMENT",
            ]
            assert blocks.sizes == [3, 0]
            response = await sent(registrar, batch(*writes, request_id=ID))
            assert response.refused_count == 0
            assert await created(registrar) == ["", "s-1", "s-1", "s-2"]
        assert_consistent(engine)

    async def test_an_unordered_batch(self, gate: Gate, database_url: str, engine: Engine, log: Log) -> None:
        """Writes that wait never begin, and those that have begun are carried out."""
        async with registrar_on(database_url, max_batch=1, write_lanes=1) as registrar:
            with gate.closed():
                call = sent(registrar, batch(*map(create_student, STUDENTS), unordered=True))
                await gate.holds_one()
                call.cancel()
                await log.one("rpc", method="BatchWrite", status="CANCELLED")
            assert len(log.of("rpc", method="CreateStudent", status="CANCELLED")) == len(STUDENTS)
            await registrar.add_student("s-9")
            await all_created(registrar, [STUDENTS[0], "s-9"])
        assert_consistent(engine)

    async def test_a_deadline(self, gate: Gate, database_url: str, log: Log) -> None:
        """A batch whose deadline passes while it is under way is logged so."""
        async with registrar_on(database_url) as registrar:
            with gate.closed():
                call = sent(registrar, OF_STUDENTS, timeout=0.3)
                await gate.holds_one()
                line = await log.one("rpc", method="BatchWrite")
                assert line["status"] == "DEADLINE_EXCEEDED"
                call.cancel()
            await all_created(registrar, STUDENTS)

    async def test_a_preview(self, database_url: str, blocks: Blocks, log: Log) -> None:
        """A caller may leave a preview at any time."""
        async with registrar_on(database_url) as registrar:
            call = sent(registrar, batch(*map(create_student, STUDENTS), validate_only=True))
            call.cancel()
            await carried_out(registrar, create_student("s-9"))
            assert await created(registrar) == ["s-9"]


WRONG = [enroll("/"), Write(), write(enroll("s-1"), timeout=0)]
KINDS: dict[str, BatchWriteRequest] = {
    "ordered": batch(create_student("s-1"), enroll("s-9"), *WRONG, request_id=ID),
    "unordered": batch(create_student("s-1"), enroll("s-9"), *WRONG, unordered=True),
    "atomic": batch(create_student("s-1"), enroll("s-9"), atomic=True),
    "atomic and unreadable": batch(create_student("s-1"), *WRONG, atomic=True),
    "preview": batch(create_student("s-1"), enroll("s-9"), *WRONG, validate_only=True),
    "atomic preview": batch(create_student("s-1"), enroll("s-9"), validate_only=True, atomic=True),
    "wrong": batch(),
    "reused": batch(create_student("s-1"), request_id=ID, unordered=True),
    "late": batch(write(create_student("s-1"), timeout=1e-9)),
}


@pytest.mark.usefixtures("log")
class TestMemory:
    """A batch that is over leaves no circle of objects that would keep its request."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_each_end(self, registrar: Registrar, garbage: Garbage, kind: str) -> None:
        await carried_out(registrar, create_student("s-8"), request_id=ID)
        for _ in range(3):
            await done(sent(registrar, KINDS[kind]))
        await registrar.courses.SearchCourses(SearchCoursesRequest())
        assert garbage() == []

    @pytest.mark.parametrize("kind", ["ordered", "unordered", "atomic", "preview"])
    @pytest.mark.parametrize("begins", [True, False])
    async def test_leaving(
        self, gate: Gate, database_url: str, log: Log, garbage: Garbage, kind: str, begins: bool
    ) -> None:
        async with registrar_on(database_url) as registrar:
            with gate.closed():
                first = None
                if not begins:
                    first = asyncio.ensure_future(carried_out(registrar, create_student("s-0")))
                    await gate.holds_one()
                call = sent(registrar, KINDS[kind])
                if begins and kind != "preview":
                    await gate.holds_one()
                else:
                    await registrar.courses.SearchCourses(SearchCoursesRequest())
                call.cancel()
                await log.one("rpc", method="BatchWrite")
            if first:
                await first
            del call, first
            await ended(registrar)
            await registrar.courses.SearchCourses(SearchCoursesRequest())
            assert garbage() == []


async def done(call: Any) -> None:
    """Wait until a call has ended in any way."""
    await call.code()
