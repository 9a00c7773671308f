"""Any mix of writes: a batch equals the same writes one by one, all or nothing, cut anywhere, or as a preview."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from registrar.v1.batch_service_pb2 import BatchWriteRequest, BatchWriteResponse
from registrar.v1.error_reason_pb2 import BatchRefusals
from registrar_server.errors import database_unavailable
from registrar_server.ledger.calls import Block, Outcome
from registrar_server.ledger.ledger import Ledger
from registrar_server.storage import models
from tests.support.batch_mixes import FOUNDATION, MIXES, named
from tests.support.batches import answer, batch, carried_out, id_of, masked, reason, reasons, sent, status_of
from tests.support.comparison import clear_database
from tests.support.consistency import assert_consistent
from tests.support.history_calls import history
from tests.support.properties import scaled
from tests.support.servers import Registrar, registrar_on
from tests.support.single_calls import send

Run = Callable[[Awaitable[Any]], Any]
"""Runs something in the event loop of the servers, and waits for it."""

NEVER = -1
GENERATED = frozenset({"etag", "createTime", "updateTime", "endTime", "deleteTime", "placeTime"})
QUICK = settings(
    max_examples=scaled(10),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MAX_BATCHES = (1, 3, 256)


class Campus:
    """A server on an empty database, in an event loop of its own."""

    def __init__(self, url: str, run: Run, **options: Any) -> None:
        self.engine = create_engine(url)
        self._run = run
        self._stack = AsyncExitStack()
        self.registrar: Registrar = run(self._stack.enter_async_context(registrar_on(url, **options)))

    def begin(self) -> None:
        """Begin anew with some students and courses."""
        clear_database(self.engine)
        response = self.carry_out(FOUNDATION)
        assert not response.refused_count, reasons(response)

    def carry_out(self, requests: Sequence[Message], **options: Any) -> BatchWriteResponse:
        """Carry out a batch."""
        response: BatchWriteResponse = self._run(carried_out(self.registrar, *requests, **options))
        return response

    def status_of(self, requests: Sequence[Message], **options: Any) -> Status | None:
        """Carry out a batch, and return the status of its failure, or None if it succeeds."""
        status: Status | None = self._run(_status_of(self.registrar, batch(*requests, **options)))
        return status

    def one_by_one(
        self, requests: Sequence[Message], batch_id: str, *, only: Container[str] | None = None
    ) -> list[Message]:
        """Make single calls with the ids of the writes of a batch, and return their responses or errors.

        ``only`` has the ids of the calls to make.
        """
        ids = [id_of(place, batch_id) for place in range(len(requests))]
        return [
            self._run(_outcome(self.registrar, request, request_id))
            for request, request_id in zip(requests, ids, strict=True)
            if only is None or request_id in only
        ]

    def named(self, requests: Sequence[Message]) -> list[Message]:
        """Return requests with the ids that this database has for the enrollments that they name."""
        with self.engine.connect() as connection:
            row = models.Enrollment
            rows = connection.execute(select(row.course_id, row.number, row.enrollment_id))
            ids = {f"{course_id}#{number}": enrollment_id for course_id, number, enrollment_id in rows}
        return [named(request, ids) for request in requests]

    def everything(self, *, request_ids: bool = True) -> list[str]:
        """Return the events and the rows, without generated ids and times."""
        events: list[Any] = self._run(history(self.registrar))
        if not request_ids:
            for event in events:
                event.request_id = ""
        return masked([*events, *self._rows()])

    def _rows(self) -> Iterator[dict[str, Any]]:
        orders = {
            models.Student: ["student_id"],
            models.Course: ["course_id"],
            models.Enrollment: ["course_id", "number"],
        }
        with self.engine.connect() as connection:
            for model, order in orders.items():
                for row in connection.execute(select(model.__table__).order_by(*order)).mappings():
                    yield {name: value for name, value in row.items() if not name.endswith("_time") or value is None}

    def close(self) -> None:
        self._run(self._stack.aclose())
        self.engine.dispose()


async def _outcome(registrar: Registrar, request: Message, request_id: str) -> Message:
    request.request_id = request_id  # type: ignore[attr-defined]
    try:
        return await send(registrar, request)
    except grpc.aio.AioRpcError as error:
        return status_of(error)


async def _status_of(registrar: Registrar, request: BatchWriteRequest) -> Status | None:
    try:
        await sent(registrar, request)
    except grpc.aio.AioRpcError as error:
        return status_of(error)
    return None


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a coroutine in the event loop of the servers, and wait for it."""
    with asyncio.Runner() as runner:
        yield lambda awaitable: runner.run(_awaited(awaitable))


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.fixture(params=MAX_BATCHES)
def campus(database_url: str, run: Run, request: pytest.FixtureRequest) -> Iterator[Campus]:
    """A server whose batches are worked on in pieces of some size."""
    campus = Campus(database_url, run, max_batch=request.param)
    yield campus
    campus.close()


@pytest.fixture
def other_campus(other_url: str, run: Run) -> Iterator[Campus]:
    """A server on a database of its own."""
    campus = Campus(other_url, run)
    yield campus
    campus.close()


BATCH_IDS = [str(UUID(int=number + (4 << 76) + (8 << 60))) for number in range(1, 9)]


class TestOneByOne:
    """A batch equals the same writes one by one: answers, events and rows."""

    def test_in_order(self, campus: Campus, other_campus: Campus) -> None:
        """Also if later writes depend on rows that earlier ones create, in any number of pieces."""

        @QUICK
        @given(mixes=st.lists(MIXES, min_size=1, max_size=3))
        def check(mixes: list[list[Message]]) -> None:
            campus.begin()
            other_campus.begin()
            for batch_id, mix in zip(BATCH_IDS, mixes, strict=False):
                response = campus.carry_out(campus.named(mix), request_id=batch_id)
                expected = other_campus.one_by_one(other_campus.named(mix), batch_id)
                assert masked(map(answer, response.results)) == masked(expected)
                assert response.refused_count == sum(isinstance(one, Status) for one in expected)
            assert campus.everything() == other_campus.everything()
            assert_consistent(campus.engine)

        check()


class Cutter:
    """Interrupts batches: before a block is carried out, or after its commit, when the answer to that is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        self._is_after = False
        self.made: set[str] = set()
        """The ``request_id``s of the calls that were carried out since the last cut was set."""
        run_block = Ledger.run_block
        cutter = self

        async def cut_block(self: Ledger, block: Block) -> list[Outcome]:
            is_cut, cutter._left = cutter._left == 0, cutter._left - 1
            if is_cut and not cutter._is_after:
                raise database_unavailable()
            outcomes = await run_block(self, block)
            cutter.made.update(call.request_id for call in block.calls)
            if is_cut:
                raise database_unavailable(uncertain=True)
            return outcomes

        monkeypatch.setattr(Ledger, "run_block", cut_block)

    def cut(self, number: int, *, is_after: bool = False) -> None:
        """Interrupt the block with this number, counted from 0; with a negative number, none."""
        self._left, self._is_after = number, is_after
        self.made.clear()


class TestCut:
    """A batch that is cut anywhere and sent again."""

    def test_repeated(self, database_url: str, run: Run, other_campus: Campus, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was made has its first answer, and the rest follows in order; refused writes are decided anew."""
        cutter = Cutter(monkeypatch)
        campus = Campus(database_url, run, max_batch=3)

        @QUICK
        @given(mix=MIXES, cuts=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=3))
        def check(mix: list[Message], cuts: list[tuple[int, bool]]) -> None:
            cutter.cut(NEVER)
            campus.begin()
            other_campus.begin()
            requests, expected = campus.named(mix), other_campus.named(mix)
            for number, is_after in cuts:
                cutter.cut(number, is_after=is_after)
                campus.status_of(requests, request_id=BATCH_IDS[0])
                other_campus.one_by_one(expected, BATCH_IDS[0], only=cutter.made)
            cutter.cut(NEVER)
            response = campus.carry_out(requests, request_id=BATCH_IDS[0])
            answers = other_campus.one_by_one(expected, BATCH_IDS[0])
            assert masked(map(answer, response.results)) == masked(answers)
            assert campus.everything() == other_campus.everything()
            assert_consistent(campus.engine)

        check()
        campus.close()


class TestAtomic:
    """An atomic batch does all of its writes or none."""

    def test_all_or_nothing(self, campus: Campus, other_campus: Campus) -> None:
        """It succeeds like the same writes one by one, or is refused with the reasons of those that are refused."""

        @QUICK
        @given(mix=MIXES, succeeds=st.booleans())
        def check(mix: list[Message], succeeds: bool) -> None:
            campus.begin()
            other_campus.begin()
            before = campus.everything()
            expected = other_campus.one_by_one(other_campus.named(mix), BATCH_IDS[0])
            refused = {place: reason(one) for place, one in enumerate(expected) if isinstance(one, Status)}
            if succeeds and refused:
                # Without the refused writes, the others are decided as before.
                mix = [request for place, request in enumerate(mix) if place not in refused]
                expected = [one for one in expected if not isinstance(one, Status)]
                refused = {}
            if mix:
                requests = campus.named(mix)
                status = campus.status_of(requests, atomic=True)
                assert first_of(status) == next(iter(refused.items()), None)
                assert places_of(status) == list(refused)
                if status:
                    assert campus.everything() == before
                else:
                    made, expected_rows = (one.everything(request_ids=False) for one in (campus, other_campus))
                    assert made == expected_rows
            assert_consistent(campus.engine)

        check()


class TestPreview:
    """A preview answers like the batch that follows it."""

    def test_like_the_batch(self, database_url: str, run: Run) -> None:
        """Apart from ids, times and etags that the batch creates; and it changes nothing."""
        campus = Campus(database_url, run)

        @QUICK
        @given(mix=MIXES)
        def check(mix: list[Message]) -> None:
            campus.begin()
            before = campus.everything()
            requests = campus.named(mix)
            preview = campus.carry_out(requests, validate_only=True)
            assert campus.everything() == before
            assert preview.revision == 0
            response = campus.carry_out(requests)
            assert preview.refused_count == response.refused_count
            for previewed, real in zip(preview.results, response.results, strict=True):
                assert without_generated(previewed) == without_generated(real)

        check()
        campus.close()


def first_of(status: Status | None) -> tuple[int, str] | None:
    """Return the index and the reason of the refusal of an atomic batch."""
    if status is None:
        return None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return int(info.metadata["index"]), info.reason


def places_of(status: Status | None) -> list[int]:
    """Return the places of all refused writes of an atomic batch, which are too few to be left out."""
    found = BatchRefusals()
    return [one.index for one in found.refusals] if status and status.details[-1].Unpack(found) else []


def without_generated(message: Message) -> Any:
    """Return a message without the ids, times and etags that a server generates."""
    text = re.sub(r"id-\d+|\(new\)", "", masked([message])[0])
    return _emptied(json.loads(re.sub(r'etag is (?:now )?\\"[^"]*"', "etag", text)))


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        emptied = {name: _emptied(one) for name, one in value.items() if name not in GENERATED}
        return {name: one for name, one in emptied.items() if one not in ("", {}, [])}
    return [_emptied(one) for one in value] if isinstance(value, list) else value
