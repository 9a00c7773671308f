"""Reads that are packed batch by batch: each lookup has its own answer or error, on both databases."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest
from google.protobuf.message import Message

from registrar.v1.student_pb2 import Student as StudentMessage
from registrar_server.core.commands import CreateStudent
from registrar_server.core.records import Student
from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.reading.lists import StudentSearch
from registrar_server.reading.lookups import StudentById
from registrar_server.rpc.methods import LookupPlan, QueryPlan
from registrar_server.rpc.packed_reads import PIECE, PackedReads
from registrar_server.storage.database import Database
from registrar_server.storage.loop_store import LoopStore
from tests.support.ledgers import Ledger, carry_out, carry_out_on, reasons
from tests.support.outages import database_outage
from tests.support.reads import packed_reads
from tests.support.running_stores import RunningStore

MAX_BYTES = 1_000
IDS = [f"s-{number:03}" for number in range(2 * PIECE + 2)]


def pack(student: Student, _max_bytes: int) -> Message:
    """Return a message with the student's id."""
    return StudentMessage(student_id=student.student_id)


def broken(_found: object, _max_bytes: int) -> Message:
    raise ValueError("broken")


def look_up(student_id: str, pack: Any = pack) -> LookupPlan:
    return LookupPlan(StudentById(student_id), pack)


def student_of(outcome: Outcome) -> str:
    """Return the student in the bytes of an answer, which are those of its message."""
    assert isinstance(outcome, Answer), outcome
    assert outcome.response == outcome.message.SerializeToString()
    return StudentMessage.FromString(outcome.response).student_id


class TestLookups:
    """A batch of lookups."""

    @pytest.fixture
    def running(self, database: Database, each_store: str) -> RunningStore:
        """A store with many students."""
        carry_out(Ledger(database), *map(CreateStudent, IDS))
        return RunningStore(database)

    @pytest.fixture
    def reads(self, running: RunningStore, database: Database) -> PackedReads:
        return packed_reads(database, running.store, MAX_BYTES)

    def test_answers_in_order(self, running: RunningStore, reads: PackedReads) -> None:
        """Answers are in the order of the lookups, also if there are more than are packed in one go."""
        asked = [*reversed(IDS), IDS[0]]
        assert [student_of(one) for one in running.run(reads.look_up([look_up(one) for one in asked]))] == asked

    @pytest.mark.parametrize("place", [0, PIECE - 1, PIECE, len(IDS) - 1])
    def test_a_response_that_cannot_be_packed(self, running: RunningStore, reads: PackedReads, place: int) -> None:
        """The error reaches its own caller, and all others get their answers."""
        plans = [look_up(one, broken if at == place else pack) for at, one in enumerate(IDS)]
        outcomes = running.run(reads.look_up(plans))
        failed = outcomes.pop(place)
        assert isinstance(failed, ValueError)
        assert [student_of(one) for one in outcomes] == [one for one in IDS if one != IDS[place]]

    def test_an_unknown_id(self, running: RunningStore, reads: PackedReads) -> None:
        """A lookup that finds nothing is refused, and is not packed."""
        unknown, known = running.run(reads.look_up([look_up("s-9", broken), look_up(IDS[0])]))
        assert isinstance(unknown, Refusal)
        assert unknown.reason is Reason.STUDENT_NOT_FOUND
        assert student_of(known) == IDS[0]

    def test_an_outage(
        self, running: RunningStore, reads: PackedReads, database_url: str, request: pytest.FixtureRequest
    ) -> None:
        """If the database cannot be reached, every lookup of the batch reports it; later ones are answered."""
        plans = [look_up(one) for one in IDS[:2]]
        with database_outage(database_url, request):
            assert reasons(running.run(reads.look_up(plans))) == [Reason.DATABASE_UNAVAILABLE] * 2
        assert [student_of(one) for one in running.run(reads.look_up(plans))] == IDS[:2]

    def test_the_size_of_a_response(self, running: RunningStore, reads: PackedReads) -> None:
        """Whatever packs a response learns how large a list may be."""
        sizes: list[int] = []

        def noting(student: Student, max_bytes: int) -> Message:
            sizes.append(max_bytes)
            return pack(student, max_bytes)

        running.run(reads.look_up([look_up(IDS[0], noting)]))
        reads.query(QueryPlan(lambda reader: reader.list_students(StudentSearch(), None, 1)[0], noting))
        assert sizes == [MAX_BYTES, MAX_BYTES]

    def test_a_query_that_cannot_be_packed(self, reads: PackedReads) -> None:
        """A query is alone, so it raises its error."""
        with pytest.raises(ValueError, match="broken"):
            reads.query(QueryPlan(lambda reader: None, broken))


async def test_a_long_batch_lets_others_go_on(postgresql_url: str) -> None:
    """In the event loop, other work has a turn after each piece of the responses, and none within a piece."""
    carry_out_on(postgresql_url, *map(CreateStudent, IDS))
    turns = 0
    seen: list[int] = []

    def noting(student: Student, max_bytes: int) -> Message:
        seen.append(turns)
        return pack(student, max_bytes)

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with closing(Database(postgresql_url)) as database:
        store = LoopStore(database)
        other = asyncio.create_task(work())
        await packed_reads(database, store).look_up([look_up(one, noting) for one in IDS])
        other.cancel()
        await store.close()
    pieces = [seen[first : first + PIECE] for first in range(0, len(seen), PIECE)]
    assert [len(set(piece)) for piece in pieces] == [1, 1, 1]
    assert pieces[0][0] < pieces[1][0] < pieces[2][0]
