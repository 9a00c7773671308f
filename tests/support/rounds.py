"""Rounds of a sweep over a real ledger, in one lane, with the courses that each of them settles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from registrar_server.core.commands import Command, Settle
from registrar_server.core.records import Enrollment
from registrar_server.errors import contention
from registrar_server.ledger.batching import Batcher, Lanes
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.ledger.sweeping import SWEEPER, Sweep
from registrar_server.ledger.unsettled import Memory, Unsettled, find_unsettled
from registrar_server.storage.database import Database
from tests.support.ledgers import Ledger, Receipt, carry_out
from tests.support.states import NOW


class Rounds:
    """A ledger and its sweep. ``now`` is the time of both; ``close`` must follow ``run`` in the same event loop."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.failing: set[str] = set()
        """The courses whose settlement fails."""
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens after the search of a round, before it settles the courses."""
        self._database = database
        self.ledger = Ledger(database, clock=lambda: self.now)
        self._lanes = Lanes[Call, Answer]([Batcher(self._settle)], key=lambda one: one.command.lane_key)
        self._sweep = Sweep(self._find, self._lanes, choose=lambda _count: 0)
        self._settled: list[str] = []
        self.events = 0
        """The number of events of the last round."""

    def do(self, *commands: Command) -> None:
        """Run commands as one batch that must succeed."""
        carry_out(self.ledger, *commands)

    async def run(self) -> list[str]:
        """Run a round, and return the courses that it tried to settle."""
        self._settled, self.events = [], 0
        await self._sweep.run()
        return sorted(self._settled)

    async def close(self) -> None:
        """End the lane."""
        await self._lanes.close()

    def _find(self, memory: Memory) -> Awaitable[Unsettled]:
        return _ready(find_unsettled(self._database, self.now, memory), self.meanwhile)

    async def _settle(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        return [self._settle_one(one) for one in calls]

    def _settle_one(self, one: Call) -> Outcome:
        assert isinstance(one.command, Settle)
        self._settled.append(one.command.course_id)
        if one.command.course_id in self.failing:
            return contention()
        (outcome,) = self.ledger.run([one])
        self.events += len(outcome.events) if isinstance(outcome, Answer) else 0
        return outcome


def settlement(course_id: str) -> Call:
    """Return the call by which a sweep settles a course; its receipt names the promoted students."""
    return Call(Settle(course_id, reserve_completed=True), _promoted, caller=SWEEPER)


def _promoted(enrollments: Iterable[Enrollment]) -> Receipt:
    return Receipt({"promoted": [enrollment.student_id for enrollment in enrollments]})


async def _ready(found: Unsettled, then: Callable[[], object]) -> Unsettled:
    then()
    return found
