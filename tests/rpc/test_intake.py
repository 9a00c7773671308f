"""The intake: calls that arrive together are opened together, in order, and a call alone waits for one turn only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.intake import MAX_GATHERED, QUIET_TURNS, Intake


class Desk:
    """An intake whose calls are numbers; the intake looks at no call."""

    def __init__(self) -> None:
        self.opened: list[list[int]] = []
        """The numbers of the calls that were opened together."""
        self.intake = Intake(self._open_all)
        self._count = 0

    def _open_all(self, arrivals: Sequence[Arrival]) -> None:
        self.opened.append(list(cast("Sequence[int]", arrivals)))

    def take(self, count: int = 1) -> None:
        """Let so many calls arrive."""
        for _ in range(count):
            self._count += 1
            self.intake.take(cast("Arrival", self._count))

    def sizes(self) -> list[int]:
        """Return how many calls were opened together since the last time."""
        opened, self.opened = self.opened, []
        return [len(one) for one in opened]

    async def turns_until_opened(self) -> int:
        """Return how many turns of the event loop it takes until the calls are opened."""
        turns, before = 0, len(self.opened)
        while len(self.opened) == before:
            turns += 1
            assert turns < 100, "no call is opened"
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
    """A call that comes alone."""

    async def test_one_turn(self, desk: Desk) -> None:
        """It is opened in the next turn."""
        desk.take()
        assert desk.opened == []
        assert await desk.turns_until_opened() == 1
        assert desk.opened == [[1]]

    async def test_one_after_the_other(self, desk: Desk) -> None:
        """A caller who waits for each answer never waits longer."""
        for _ in range(10):
            desk.take()
            assert await desk.turns_until_opened() == 1

    async def test_nothing_to_open(self, desk: Desk) -> None:
        """An intake without calls does nothing."""
        desk.take()
        await turns(2 * QUIET_TURNS)
        assert desk.opened == [[1]]


class TestTogether:
    """Calls that come together."""

    async def test_in_one_turn(self, desk: Desk) -> None:
        """They are opened together, in the order of their arrival."""
        desk.take(3)
        await desk.turns_until_opened()
        assert desk.opened == [[1, 2, 3]]

    async def test_in_consecutive_turns(self, desk: Desk) -> None:
        """Calls that gRPC delivers one by one, one per turn, are opened together too."""
        arrive_one_by_one(desk, 20)
        await desk.turns_until_opened()
        assert desk.opened == [list(range(1, 21))]

    async def test_just_too_late(self, desk: Desk) -> None:
        """A call that comes after the look at the first one is alone, until some calls have come together."""
        for _ in range(3):
            desk.take()
            await turns(1)
        assert desk.sizes() == [1, 1, 1]
        desk.take(2)
        await desk.turns_until_opened()
        for _ in range(20):
            desk.take()
            await turns(1)
        await desk.turns_until_opened()
        assert desk.sizes() == [2, 20]

    async def test_with_short_gaps(self, desk: Desk) -> None:
        """Calls with turns between them are one group, if there are many of them already."""
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
        opened: list[object] = []

        def open_all(arrivals: Sequence[Arrival]) -> None:
            opened.append(list(arrivals))
            if len(opened) == 1:
                intake.take(cast("Arrival", "b"))

        intake = Intake(open_all)
        intake.take(cast("Arrival", "a"))
        await turns(QUIET_TURNS)
        assert opened == [["a"], ["b"]]


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


class TestAdapting:
    """How long a first call waits for others depends on how many came together recently."""

    async def test_many_recently(self, desk: Desk) -> None:
        """After a large group, a call waits some turns for others that come as late."""
        desk.take(100)
        await desk.turns_until_opened()
        desk.take()
        await turns(QUIET_TURNS - 1)
        assert desk.sizes() == [100]
        desk.take()
        await desk.turns_until_opened()
        assert desk.sizes() == [2]

    async def test_fewer_and_fewer(self, desk: Desk) -> None:
        """A caller who is left alone soon waits for one turn again: each group halves what the intake expects."""
        desk.take(32)
        await desk.turns_until_opened()
        waited = []
        for _ in range(7):
            desk.take()
            waited.append(await desk.turns_until_opened())
        assert waited == [8, 8, 8, 4, 2, 1, 1]
