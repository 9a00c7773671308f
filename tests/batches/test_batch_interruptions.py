"""Ordered batches that cannot go on: no later piece begins, the call fails, and its repetition answers everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from grpc import StatusCode
from sqlalchemy import Connection, Engine

from registrar.v1.batch_service_pb2 import BatchWriteRequest
from registrar_server.app import Server, start
from registrar_server.ledger.calls import Block, Outcome
from registrar_server.ledger.ledger import Ledger
from registrar_server.rpc.arrival import Arrival
from registrar_server.storage import engines
from tests.support.batches import ID, Blocks, batch, carried_out, create_student, enroll, id_of, reasons, sent
from tests.support.consistency import assert_consistent
from tests.support.history_calls import history
from tests.support.outages import database_outage
from tests.support.refusals import refused
from tests.support.servers import Gate, Log, Registrar, calling, registrar_on, settings

STUDENTS = [f"s-{number}" for number in range(1, 7)]
OF_STUDENTS = batch(*map(create_student, STUDENTS), request_id=ID)
WITHOUT_ID = batch(*map(create_student, STUDENTS))
REPEATABLE = "Repeat the call with the same request_id to make the other writes and to get all results."
NOT_REPEATABLE = "The call has no request_id, so read what was made before you send the other writes."


def with_own_ids(places: Collection[int]) -> BatchWriteRequest:
    """Return a batch without a ``request_id``, whose writes at these places have one of their own."""
    requests = [create_student(student_id) for student_id in STUDENTS]
    for place in places:
        requests[place].request_id = id_of(place)
    return batch(*requests)


async def created(registrar: Registrar) -> list[str]:
    """Return the students in the order of their creation."""
    return [event.student_id for event in await history(registrar)]


async def assert_repeated(registrar: Registrar, request: BatchWriteRequest = OF_STUDENTS) -> None:
    """A repetition answers every write, and each student was created once and in order."""
    response = await sent(registrar, request)
    assert [result.create_student.student.student_id for result in response.results] == STUDENTS
    assert response.refused_count == 0
    assert await created(registrar) == STUDENTS


class Held:
    """Locks of another process, which every change needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def take(self) -> None:
        self._connection = self._engine.connect()
        if self._engine.dialect.name == "sqlite":
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            self._connection.exec_driver_sql("SELECT * FROM event_counter FOR UPDATE")

    def release(self) -> None:
        assert self._connection
        self._connection.close()


class TestInterruptions:
    """A piece that cannot be carried out ends the batch."""

    async def test_contention(
        self, database_url: str, engine: Engine, blocks: Blocks, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If another process holds the locks for too long, the call fails with CONTENTION."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        held = Held(engine)
        blocks.before(2, held.take)
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await refused(sent(registrar, OF_STUDENTS))
            assert (failure.code, failure.reason) == (StatusCode.ABORTED, "CONTENTION")
            assert blocks.sizes == [2, 2]
            held.release()
            assert await created(registrar) == STUDENTS[:2]
            assert [line["status"] for line in log.of("rpc", method="CreateStudent")] == ["OK"] * 2
            await assert_repeated(registrar)
        assert_consistent(engine)

    @pytest.mark.parametrize(
        ("request_", "hint"),
        [
            (OF_STUDENTS, REPEATABLE),
            (WITHOUT_ID, NOT_REPEATABLE),
            (with_own_ids(range(6)), REPEATABLE),
            (with_own_ids(range(1, 6)), NOT_REPEATABLE),
        ],
        ids=["with_an_id", "without_one", "of_each_write", "not_of_the_first_write"],
    )
    async def test_the_message(
        self,
        database_url: str,
        engine: Engine,
        blocks: Blocks,
        monkeypatch: pytest.MonkeyPatch,
        request_: BatchWriteRequest,
        hint: str,
    ) -> None:
        """It says where the batch stopped, that the cause is that of the rest, and how to go on."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        held = Held(engine)
        blocks.before(2, held.take)
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await refused(sent(registrar, request_))
            held.release()
        assert failure.message == (
            "The batch stopped at writes[2]; the writes before it were answered. From there on: Other transactions"
            f" held the same rows for too long; nothing was changed. Try again. {hint}"
        )

    async def test_a_batch_that_has_made_nothing(
        self, database_url: str, engine: Engine, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If every write before was refused, the message is that of a call that has changed nothing."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        held = Held(engine)
        blocks.before(2, held.take)
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await refused(carried_out(registrar, enroll("/"), enroll("s-9"), create_student("s-1")))
            held.release()
        assert failure.message.startswith("Other transactions held the same rows for too long; nothing was changed.")

    async def test_a_halved_piece(self, database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """If only a part of the first piece was made, the message does not say that nothing was."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        held = Held(engine)
        run_block = Ledger.run_block

        async def broken(ledger: Ledger, block: Block) -> list[Outcome]:
            if len(block.calls) < 6:
                return await run_block(ledger, block)
            done = await run_block(ledger, replace(block, calls=block.calls[:3]))
            held.take()
            return done + await ledger._run_rest(replace(block, calls=block.calls[3:]), None)

        monkeypatch.setattr(Ledger, "run_block", broken)
        async with registrar_on(database_url) as registrar:
            failure = await refused(sent(registrar, OF_STUDENTS))
            assert failure.reason == "CONTENTION"
            assert failure.message.startswith("The batch stopped at writes[3]; the writes before it were answered.")
            held.release()
            monkeypatch.setattr(Ledger, "run_block", run_block)
            await assert_repeated(registrar)
        assert_consistent(engine)

    async def test_an_outage(
        self, database_url: str, engine: Engine, blocks: Blocks, request: pytest.FixtureRequest
    ) -> None:
        """If the database cannot be reached, the call fails with DATABASE_UNAVAILABLE."""
        outage: AbstractContextManager[None] = database_outage(database_url, request)
        blocks.before(2, outage.__enter__)
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await refused(sent(registrar, OF_STUDENTS))
            assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert blocks.sizes == [2, 2]
            outage.__exit__(None, None, None)
            assert await created(registrar) == STUDENTS[:2]
            await assert_repeated(registrar)
        assert_consistent(engine)

    @pytest.mark.parametrize("place", [0, 1, 2, 3, 5])
    async def test_the_timeout_of_a_write(self, database_url: str, blocks: Blocks, place: int) -> None:
        """A write whose time is over before its piece begins ends the batch; the pieces before it are done."""
        late = BatchWriteRequest()
        late.CopyFrom(OF_STUDENTS)
        late.writes[place].timeout.nanos = 1
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await code_of(sent(registrar, late))
            assert failure is StatusCode.DEADLINE_EXCEEDED
            done = place // 2
            assert blocks.sizes == [2] * done
            assert await created(registrar) == STUDENTS[: 2 * done]
            await assert_repeated(registrar)

    async def test_a_timeout_is_counted_from_the_arrival(self, database_url: str, blocks: Blocks, gate: Gate) -> None:
        """The time that earlier pieces take counts."""
        late = BatchWriteRequest()
        late.CopyFrom(OF_STUDENTS)
        late.writes[4].timeout.nanos = 50_000_000
        async with registrar_on(database_url, max_batch=2) as registrar:
            with gate.closed():
                call = asyncio.ensure_future(code_of(sent(registrar, late)))
                await gate.holds_one()
                await asyncio.sleep(0.06)  # Not to wait for the server: this much time passes.
            assert await call is StatusCode.DEADLINE_EXCEEDED
            assert blocks.sizes == [2, 2]

    async def test_the_deadline_of_the_call(
        self, database_url: str, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If it passes during a piece, the next one does not begin, also before the client cancels the call."""
        left = [600.0]
        monkeypatch.setattr(Arrival, "time_remaining", lambda _arrival: left[0])
        blocks.before(1, lambda: left.append(left.pop() - 601))
        async with registrar_on(database_url, max_batch=2) as registrar:
            failure = await refused(sent(registrar, OF_STUDENTS))
            assert failure.code is StatusCode.DEADLINE_EXCEEDED
            assert failure.message.startswith("The batch stopped at writes[2]; the writes before it were answered.")
            assert blocks.sizes == [2]
            left[0] = 600.0
            await assert_repeated(registrar)

    async def test_a_server_that_stops(self, database_url: str, engine: Engine, gate: Gate) -> None:
        """The piece that has begun is finished. The next one is refused with SHUTTING_DOWN."""
        server = await start(settings(database_url, max_batch=2))
        async with calling(server.address) as registrar:
            with gate.closed():
                call = asyncio.ensure_future(refused(sent(registrar, OF_STUDENTS)))
                await gate.holds_one()
                stopping = asyncio.ensure_future(server.stop(grace=30))
                await closing(server)
            failure = await call
            assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert await stopping
        async with registrar_on(database_url, max_batch=2) as registrar:
            assert await created(registrar) == STUDENTS[:2]
            await assert_repeated(registrar)
        assert_consistent(engine)

    async def test_too_many_writes_under_way(self, database_url: str, gate: Gate) -> None:
        """A batch that finds too many writes of other batches is refused, and none of it begins."""
        async with registrar_on(database_url, max_waiting=8) as registrar:
            with gate.closed():
                first = asyncio.ensure_future(sent(registrar, OF_STUDENTS))
                await gate.holds_one()
                failure = await refused(carried_out(registrar, *[create_student("s-9")] * 3))
                assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
                last = asyncio.ensure_future(carried_out(registrar, create_student("s-7")))
            await asyncio.gather(first, last)
            assert sorted(await created(registrar)) == [*STUDENTS, "s-7"]
            assert reasons(await carried_out(registrar, *map(create_student, STUDENTS))) == ["STUDENT_EXISTS"] * 6

    async def test_a_batch_larger_than_the_limit(self, database_url: str) -> None:
        """A batch that meets no other is carried out, however small the limit is."""
        async with registrar_on(database_url, max_waiting=1) as registrar:
            await assert_repeated(registrar)


async def closing(server: Server) -> None:
    """Wait until a server takes no more calls."""
    async with asyncio.timeout(30):
        while not server._queues.blocks._closing:  # noqa: ASYNC110  # It tells nobody.
            await asyncio.sleep(0)


async def code_of(call: Any) -> StatusCode:
    """Return the status of a call."""
    with contextlib.suppress(Exception):
        await call
    code: StatusCode = await call.code()
    return code


class TestPieces:
    """A block is worked on in pieces of ``REGISTRAR_MAX_BATCH``."""

    @pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (7, [6])])
    async def test_sizes(self, database_url: str, blocks: Blocks, max_batch: int, sizes: list[int]) -> None:
        async with registrar_on(database_url, max_batch=max_batch) as registrar:
            await sent(registrar, OF_STUDENTS)
        assert blocks.sizes == sizes

    async def test_without_the_refused_ones(self, database_url: str, blocks: Blocks) -> None:
        """A write that cannot be read is not part of its piece, and a piece without any other has no transaction."""
        async with registrar_on(database_url, max_batch=2) as registrar:
            response = await carried_out(
                registrar, enroll("/"), create_student("s-1"), enroll("/"), enroll("/"), create_student("s-2")
            )
            assert reasons(response) == ["INVALID_FIELD", "", "INVALID_FIELD", "INVALID_FIELD", ""]
        assert blocks.sizes == [1, 1]
