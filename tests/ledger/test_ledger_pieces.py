"""Large batches are decided in pieces, between which other work in the event loop goes on; the result is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine, select

from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    DeleteStudent,
    Enroll,
    PlaceHold,
    Unenroll,
    UpdateCourse,
)
from registrar_server.ledger import ledger as ledgers
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.ledger.ledger import PIECE
from registrar_server.ledger.ledger import Ledger as ServerLedger
from registrar_server.storage import models
from registrar_server.storage.database import Database
from registrar_server.storage.loop_store import LoopStore
from tests.support.comparison import clear_database
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Ledger, Receipt, call, carry_out_on
from tests.support.states import NOW, numbered_ids

STUDENTS = [f"s-{number:03}" for number in range(2 * PIECE)]

#: Each student asks for a seat; some leave, some are refused, some repeat a request, and one cannot be stored.
COMMANDS: list[Command] = [
    *map(CreateStudent, STUDENTS),
    CreateCourse("c-1", {"capacity": PIECE, "waitlist_capacity": PIECE // 2}),
    *(Enroll(student_id, "c-1") for student_id in STUDENTS),
    *(PlaceHold(student_id, "BURSAR") for student_id in STUDENTS[PIECE : PIECE + 20]),
    *(Unenroll(student_id, "c-1") for student_id in STUDENTS[::5]),
    UpdateCourse("c-1", {"capacity": PIECE + 3}),
    *(DeleteStudent(student_id, force=True) for student_id in STUDENTS[::30]),
    *(Enroll(student_id, "c-1") for student_id in reversed(STUDENTS)),
]


def calls() -> list[Call]:
    """Return the calls of the commands; the last ones repeat requests of the first ones."""
    made = [call(command, f"r-{place}") for place, command in enumerate(COMMANDS)]
    return [*made, *made[:: PIECE // 2]]


@pytest.mark.usefixtures("each_store")
class TestTheResult:
    """It does not matter how many calls a piece has."""

    @pytest.fixture
    def ledger(self, database: Database, engine: Engine) -> Iterator[Ledger]:
        """A ledger whose time stands still, and whose ids are numbered."""
        yield Ledger(database, clock=lambda: NOW, new_id=numbered_ids())
        assert_consistent(engine)

    def test_of_one_batch(
        self, ledger: Ledger, database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A batch of many pieces has the outcomes, the events and the rows of the same batch in one piece."""
        assert len(calls()) > 4 * PIECE
        in_pieces, rows_in_pieces = summary(ledger.run(calls())), all_rows(engine)
        clear_database(engine)
        monkeypatch.setattr(ledgers, "PIECE", len(calls()))
        at_once = Ledger(database, clock=lambda: NOW, new_id=numbered_ids()).run(calls())
        assert in_pieces == summary(at_once)
        assert rows_in_pieces == all_rows(engine)
        assert {type(outcome).__name__ for outcome in at_once} == {"Answer", "Refusal"}

    @pytest.mark.parametrize("place", [0, PIECE - 1, PIECE, 2 * PIECE - 1])
    def test_of_a_failure_in_one_piece(self, ledger: Ledger, engine: Engine, place: int) -> None:
        """A call that fails in a piece fails alone, and its batch leaves nothing of the pieces before it."""
        batch = [call(CreateStudent(student_id)) for student_id in STUDENTS]
        batch[place] = Call(batch[place].command, lambda result: Receipt({"result": result}))
        outcomes = ledger.run(batch)
        assert [at for at, outcome in enumerate(outcomes) if not isinstance(outcome, Answer)] == [place]
        with engine.connect() as connection:
            found = connection.scalars(select(models.Student.student_id).order_by(models.Student.student_id)).all()
        assert found == [student_id for student_id in STUDENTS if student_id != STUDENTS[place]]


def summary(outcomes: Sequence[Outcome]) -> list[object]:
    """Return what two equal outcomes have in common."""
    return [
        (outcome.response, list(outcome.events)) if isinstance(outcome, Answer) else repr(outcome)
        for outcome in outcomes
    ]


def all_rows(engine: Engine) -> list[list[Any]]:
    """Return every row of every table, in order."""
    tables = [mapper.class_.__table__ for mapper in models.Base.registry.mappers]
    with engine.connect() as connection:
        return [sorted(map(repr, connection.execute(select(*table.columns)))) for table in tables]


async def test_others_go_on_between_pieces(postgresql_url: str) -> None:
    """In the event loop, other work has a turn after each piece, and none within a piece."""
    turns = 0
    seen: list[int] = []

    def noting(result: Any) -> Receipt:
        seen.append(turns)
        return Receipt.of(result)

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    carry_out_on(postgresql_url, CreateCourse("c-1"))
    with closing(Database(postgresql_url)) as database:
        store = LoopStore(database)
        other = asyncio.create_task(work())
        outcomes = await ServerLedger(store).run([Call(CreateStudent(one), noting) for one in (*STUDENTS, "s-x")])
        other.cancel()
        await store.close()
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    pieces = [seen[first : first + PIECE] for first in range(0, len(seen), PIECE)]
    assert [(len(piece), len(set(piece))) for piece in pieces] == [(PIECE, 1), (PIECE, 1), (1, 1)]
    assert pieces[0][0] < pieces[1][0] < pieces[2][0]
