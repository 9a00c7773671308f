"""Batches beside other calls: bulk yields to people, unordered writes are like single calls, and a killed server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc import StatusCode
from sqlalchemy import Engine, create_engine

from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.rpc.batches import SMALL_PIECE
from registrar_server.storage import engines
from tests.support.batches import (
    ID,
    Blocks,
    answer,
    batch,
    carried_out,
    create_course,
    create_student,
    enroll,
    id_of,
    reasons,
    sent,
    write,
)
from tests.support.consistency import assert_consistent
from tests.support.history_calls import history
from tests.support.servers import Gate, Registrar, calling, registrar_on, server_process

PAGE = ListEventsRequest()
LOCK_WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def locking_engine(postgresql_url: str) -> Iterator[Engine]:
    """An engine that the server does not use."""
    engine = create_engine(postgresql_url)
    yield engine
    engine.dispose()


async def created(registrar: Registrar) -> list[str]:
    return [event.student_id for event in await history(registrar) if event.student_id]


class TestBulkYields:
    """Single calls do not wait for a long batch."""

    async def test_single_calls_go_before_the_next_piece(self, gate: Gate, sqlite_url: str) -> None:
        """On SQLite, which has one writer, a call that arrives during a piece comes next."""
        async with registrar_on(sqlite_url, max_batch=2) as registrar:
            with gate.closed():
                long = asyncio.ensure_future(carried_out(registrar, *(create_student(f"s-{at}") for at in range(6))))
                await gate.holds_one()
                single = registrar.students.CreateStudent(create_student("single"))
                await registrar.history.ListEvents(PAGE)  # Afterwards the server has the call.
            await asyncio.gather(long, single)
            assert await created(registrar) == ["s-0", "s-1", "single", "s-2", "s-3", "s-4", "s-5"]

    async def test_single_calls_overtake_a_piece_that_waits(self, gate: Gate, sqlite_url: str) -> None:
        """On SQLite, calls that arrive after a batch that waits go first, in one transaction without it."""
        async with registrar_on(sqlite_url) as registrar:
            with gate.closed():
                first = asyncio.ensure_future(carried_out(registrar, create_student("first")))
                await gate.holds_one()
                waiting = sent(registrar, batch(create_student("waiting")))
                await registrar.history.ListEvents(PAGE)  # Afterwards the server has the batch.
                singles = [registrar.students.CreateStudent(create_student(f"single-{at}")) for at in (1, 2)]
                await registrar.history.ListEvents(PAGE)
            await asyncio.gather(first, waiting, *singles)
            found = await created(registrar)
            assert (found[0], sorted(found[1:3]), found[3]) == ("first", ["single-1", "single-2"], "waiting")

    async def test_pieces_are_small_while_single_calls_arrive(self, blocks: Blocks, database_url: str) -> None:
        """A single call may have to wait for the locks of a whole piece, so a short piece is a short wait."""
        async with registrar_on(database_url) as registrar:
            await carried_out(registrar, *(create_student(f"s-{at}") for at in range(100)))
            await registrar.add_student("single")
            await carried_out(registrar, *(create_student(f"t-{at}") for at in range(100)))
        assert blocks.sizes == [100, SMALL_PIECE, 100 - SMALL_PIECE]

    async def test_blocks_have_a_lane_of_their_own(self, postgresql_url: str, locking_engine: Engine) -> None:
        """On PostgreSQL, a block that waits for a lock does not stop calls about other courses."""
        async with registrar_on(postgresql_url, write_lanes=1) as registrar:
            courses = [create_course("c-1"), create_course("c-2")]
            await carried_out(registrar, *courses, create_student("s-1"), create_student("s-2"))
            with locking_engine.connect() as connection:
                connection.exec_driver_sql("SELECT * FROM courses WHERE course_id = 'c-1' FOR UPDATE")
                block = asyncio.ensure_future(carried_out(registrar, enroll("s-1", "c-1")))
                with locking_engine.connect() as other:
                    while not other.exec_driver_sql(LOCK_WAITS).scalar():
                        await registrar.course("c-1")  # Gives the server time.
                await registrar.enroll("s-2", "c-2")
                assert not block.done()
            assert reasons(await block) == [""]


class TestUnordered:
    """Each write of an unordered batch enters its lane like a single call."""

    async def test_no_blocks(self, blocks: Blocks, registrar: Registrar) -> None:
        """The results are in the order of the writes. Calls of the lanes gather them."""
        await carried_out(registrar, create_course("c-1", capacity=3), *(create_student(f"s-{at}") for at in range(8)))
        blocks.begun.clear()
        writes = [enroll(f"s-{at}", "c-1") for at in (1, 9, 2, 3, 4)]
        response = await carried_out(registrar, *writes, unordered=True)
        assert reasons(response) == ["", "STUDENT_NOT_FOUND", "", "", "COURSE_FULL"]
        assert response.results[2].enroll_student.enrollment.student_id == "s-2"
        assert response.refused_count == 2
        assert blocks.sizes == []

    async def test_timeouts(self, gate: Gate, database_url: str) -> None:
        """A write whose time is over before its work begins is refused alone."""
        async with registrar_on(database_url) as registrar:
            late, early = write(create_student("s-1"), timeout=1e-9), write(create_student("s-2"), timeout=600)
            response = await carried_out(registrar, late, early, create_student("s-3"), unordered=True)
            assert reasons(response) == ["DEADLINE_EXCEEDED", "", ""]
            assert sorted(await created(registrar)) == ["s-2", "s-3"]

    async def test_a_full_lane(self, gate: Gate, database_url: str) -> None:
        """A write that finds too many calls waiting is refused alone."""
        async with registrar_on(database_url, max_waiting=2, max_batch=1, write_lanes=1) as registrar:
            with gate.closed():
                single = asyncio.ensure_future(registrar.add_student("s-0"))
                await gate.holds_one()
                writes = [create_student(f"s-{at}") for at in (1, 2, 3)]
                response = asyncio.ensure_future(carried_out(registrar, *writes, unordered=True))
                await registrar.history.ListEvents(PAGE)
            assert reasons(await response) == ["", "", "OVERLOADED"]
            await single

    async def test_an_interruption(self, database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that cannot be carried out now is refused alone, and the repetition makes it."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        async with registrar_on(database_url) as registrar:
            students = [create_student(f"s-{at}") for at in (0, 1)]
            for place, one in enumerate(students):
                one.request_id = id_of(place)
            await carried_out(registrar, students[0])
            request = batch(*students, unordered=True)
            lock = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "SELECT * FROM event_counter FOR UPDATE"
            with engine.connect() as connection:
                connection.exec_driver_sql(lock)
                assert reasons(await sent(registrar, request))[1] == "CONTENTION"
            response = await sent(registrar, request)
            assert response.refused_count == 0
            assert await created(registrar) == ["s-0", "s-1"]
        assert_consistent(engine)


class TestManyAtOnce:
    """Batches that end at the same time."""

    async def test_they_leave_connections_to_others(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """All of them read the revision of the history, and previews use the same pool of connections."""
        monkeypatch.setattr(engines, "CONNECT_TIMEOUT_S", 1)
        async with registrar_on(database_url, read_lanes=1) as registrar:
            many = [carried_out(registrar, create_student(f"s-{at}"), unordered=True) for at in range(16)]
            assert max([response.revision for response in await asyncio.gather(*many)]) == 16
            response = await carried_out(registrar, create_student("s-16"), validate_only=True)
            assert reasons(response) == [""]


class TestKilledServer:
    """A server that is killed in the middle of a batch."""

    @pytest.mark.parametrize("place", [1, 17])
    async def test_the_repetition_answers_everything(
        self, database_url: str, engine: Engine, tmp_path: Path, place: int
    ) -> None:
        """Another server makes what was not made, in order."""
        students = [create_student(f"s-{at}") for at in range(20)]
        seats = [enroll(f"s-{at}", "c-1") for at in range(20)]
        request = batch(create_course("c-1", capacity=10), *students, *seats, request_id=ID)
        async with (
            server_process(database_url, tmp_path, MAX_BATCH="1") as server,
            calling(await server.address()) as registrar,
        ):
            call = sent(registrar, request)
            await server.logged("rpc", lambda line: line.get("write", 0) >= place)
            await server.kill()
            # The last piece may have been answered just then.
            assert await call.code() in (StatusCode.UNAVAILABLE, StatusCode.OK)
        async with registrar_on(database_url) as registrar:
            response = await sent(registrar, request)
            assert reasons(response) == [""] * 31 + ["COURSE_FULL"] * 10
            assert all(answer(result) is not None for result in response.results)
            found = await created(registrar)
            assert found == [f"s-{at}" for at in [*range(20), *range(10)]]
        assert_consistent(engine)
