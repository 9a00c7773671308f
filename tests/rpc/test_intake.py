"""The intake: calls that arrive together are opened together, in order, and a caller who is alone waits one turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.endpoint import ALONE, MAX_GATHERED, MAX_WAIT_S, QUIET_TURNS, Intake


def numbered(number: int) -> Any:
    """Return a call with a number; the intake looks only at its end."""
    return SimpleNamespace(number=number, is_over=False)


class Desk:
    """An intake whose calls are numbered from 1."""

    def __init__(self) -> None:
        self.opened: list[list[int]] = []
        """The numbers of the calls that were opened together."""
        self.calls: list[Any] = []
        self.now = 0.0
        self.intake = Intake(self._open_all, clock=lambda: self.now)

    def _open_all(self, arrivals: Sequence[Arrival]) -> None:
        self.opened.append([call.number for call in arrivals])  # type: ignore[attr-defined]

    def take(self, count: int = 1) -> None:
        """Let so many calls arrive."""
        for _ in range(count):
            self.calls.append(numbered(len(self.calls) + 1))
            self.intake.take(self.calls[-1])

    def end_all(self) -> None:
        """Answer all calls."""
        for call in self.calls:
            call.is_over = True

    async def answer_one_by_one(self, count: int) -> None:
        """Let a caller make so many calls, each after the answer to the one before it."""
        for _ in range(count):
            self.take()
            await self.turns_until_opened()
            self.end_all()

    def sizes(self) -> list[int]:
        """Return how many calls were opened together since the last time."""
        opened, self.opened = self.opened, []
        return [len(one) for one in opened]

    async def turns_until_opened(self) -> int:
        """Return how many turns of the event loop it takes until the calls are opened."""
        turns, before = 0, len(self.opened)
        while len(self.opened) == before:
            turns += 1
            assert turns < 1000, "no call is opened"
            await asyncio.sleep(0)
        return turns


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def turns(count: int) -> None:
    """Let the event loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def arrive_one_by_one(desk: Desk, count: int) -> None:
    """Let so many calls arrive, one in each turn from now on; each next one is on its way when one arrives."""
    if count > 1:
        asyncio.get_running_loop().call_soon(arrive_one_by_one, desk, count - 1)
    desk.take()


class TestAlone:
    """A caller who makes one call after the other."""

    async def test_the_first_calls(self, desk: Desk) -> None:
        """A call waits some turns for others, as long as nothing is known about its caller."""
        for _ in range(ALONE):
            desk.take()
            assert await desk.turns_until_opened() == QUIET_TURNS
            desk.end_all()

    async def test_later_calls(self, desk: Desk) -> None:
        """After some calls that met no other, a call is opened in the next turn."""
        await desk.answer_one_by_one(ALONE)
        for _ in range(10):
            desk.take()
            assert await desk.turns_until_opened() == 1
            desk.end_all()

    async def test_a_second_caller(self, desk: Desk) -> None:
        """A call that comes before the answer to the last one waits for others again, and so do the next ones."""
        await desk.answer_one_by_one(ALONE)
        desk.take()
        await desk.turns_until_opened()
        for _ in range(2):
            desk.take()
            assert await desk.turns_until_opened() == QUIET_TURNS
            desk.end_all()

    async def test_two_calls_at_once(self, desk: Desk) -> None:
        """Calls that come together show that their caller is not alone."""
        await desk.answer_one_by_one(ALONE)
        desk.take(2)
        await desk.turns_until_opened()
        desk.end_all()
        desk.take()
        assert await desk.turns_until_opened() == QUIET_TURNS

    async def test_nothing_to_open(self, desk: Desk) -> None:
        """An intake without calls does nothing."""
        desk.take()
        await turns(3 * QUIET_TURNS)
        assert desk.opened == [[1]]


class TestTogether:
    """Calls that come together."""

    async def test_in_one_turn(self, desk: Desk) -> None:
        """They are opened together, in the order of their arrival."""
        desk.take(3)
        await desk.turns_until_opened()
        assert desk.opened == [[1, 2, 3]]

    async def test_in_consecutive_turns(self, desk: Desk) -> None:
        """GRPC delivers one call per turn: such calls are opened together too."""
        arrive_one_by_one(desk, 20)
        await desk.turns_until_opened()
        assert desk.opened == [list(range(1, 21))]

    async def test_with_short_gaps(self, desk: Desk) -> None:
        """Calls with a few turns between them are one group."""
        desk.take(10)
        for _ in range(5):
            await turns(QUIET_TURNS - 1)
            desk.take()
        await desk.turns_until_opened()
        assert desk.sizes() == [15]

    async def test_after_a_gap(self, desk: Desk) -> None:
        """After some turns without a new call, the next call belongs to another group."""
        desk.take(10)
        assert await desk.turns_until_opened() == QUIET_TURNS
        desk.take()
        await desk.turns_until_opened()
        assert desk.sizes() == [10, 1]

    async def test_calls_that_arrive_while_others_are_opened(self) -> None:
        """They are opened next: no call is lost, and none is opened twice."""
        opened: list[list[Any]] = []
        first, second = numbered(1), numbered(2)

        def open_all(arrivals: Sequence[Arrival]) -> None:
            opened.append(list(arrivals))
            if len(opened) == 1:
                intake.take(second)

        intake = Intake(open_all)
        intake.take(first)
        await turns(3 * QUIET_TURNS)
        assert opened == [[first], [second]]


class TestLimit:
    """Only so many calls are opened together, so that the event loop is never kept long."""

    async def test_many_in_one_turn(self, desk: Desk) -> None:
        """More calls form several groups, one in each turn, in order."""
        desk.take(2 * MAX_GATHERED + 1)
        await turns(QUIET_TURNS + 2)
        assert [number for group in desk.opened for number in group] == list(range(1, 2 * MAX_GATHERED + 2))
        assert desk.sizes() == [MAX_GATHERED, MAX_GATHERED, 1]

    async def test_they_never_stop_arriving(self, desk: Desk) -> None:
        """Calls that arrive in every turn do not delay the first ones forever."""
        arrive_one_by_one(desk, 3 * MAX_GATHERED)
        await turns(2 * MAX_GATHERED + QUIET_TURNS)
        assert desk.sizes()[:2] == [MAX_GATHERED] * 2

    async def test_they_arrive_for_a_long_time(self, desk: Desk) -> None:
        """The first call waits only so long for others, however few have come."""
        desk.take()
        await turns(1)
        desk.now += MAX_WAIT_S
        desk.take()
        assert await desk.turns_until_opened() == 1
        assert desk.opened == [[1, 2]]
