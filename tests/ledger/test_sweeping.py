"""The sweep: how it settles courses through lanes that a test controls, and what it remembers of a round."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from registrar_server.core.commands import CreateCourse, Settle
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import (
    Refusal,
    contention,
    course_not_found,
    database_unavailable,
    overloaded,
    shutting_down,
)
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.ledger.sweeping import Sweep, Swept
from registrar_server.ledger.unsettled import Memory, Unsettled
from tests.support.ledgers import call
from tests.support.servers import Log

NOW = 1_000
PATIENCE_S = 10


class Lane:
    """The work of a lane, batch by batch as the test ends them; every course that settles promotes one waiter."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        """Other outcomes, by course."""
        self._batches: asyncio.Queue[list[str]] = asyncio.Queue()
        self._allowed = asyncio.Semaphore(0)
        self._over = False

    async def __call__(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        self._batches.put_nowait([name(one) for one in calls])
        if not self._over:
            await self._allowed.acquire()
        return [self.outcomes.get(name(one), Answer(b"", (promotion(name(one)),))) for one in calls]

    async def begun(self) -> list[str]:
        """Wait until the next batch begins, and return its courses; those of callers have the prefix ``caller:``."""
        return await asyncio.wait_for(self._batches.get(), PATIENCE_S)

    def end(self) -> None:
        """End a batch."""
        self._allowed.release()

    def end_all(self) -> None:
        """End this batch and every later one."""
        self._over = True
        self._allowed.release()


def name(call: Call) -> str:
    """Return the course of a command, with a prefix if it is a caller's."""
    assert isinstance(call.command, Settle | CreateCourse)
    return call.command.course_id if isinstance(call.command, Settle) else f"caller:{call.command.course_id}"


def promotion(course_id: str) -> Event:
    return Event("e", EventType.STUDENT_PROMOTED, NOW, "", "", course_id=course_id, enrollment_id=f"of-{course_id}")


@pytest.fixture
def lane() -> Lane:
    return Lane()


@pytest.fixture
async def lanes(lane: Lane) -> AsyncIterator[Lanes[Call, Answer]]:
    """One lane with batches of up to 100 calls."""
    lanes = Lanes[Call, Answer]([Batcher(lane, Limits(max_batch=100))], key=lambda one: one.command.lane_key)
    yield lanes
    lane.end_all()
    await lanes.close()


Sweeping = Callable[..., Sweep]


@pytest.fixture
def sweep_of(lanes: Lanes[Call, Answer]) -> Sweeping:
    """Make a sweep that finds so many courses, c-1, c-2 and so on, and begins with the first one."""

    def make(courses: int, *, choose: Callable[[int], int] = lambda _count: 0) -> Sweep:
        async def find(memory: Memory) -> Unsettled:
            return Unsettled(names(1, courses), memory)

        return Sweep(find, lanes, choose=choose)

    return make


def names(first: int, last: int) -> list[str]:
    """Return the ids of these courses."""
    return [f"c-{number}" for number in range(first, last + 1)]


class TestSettling:
    """The courses are settled through the lanes of callers, which come first."""

    async def test_the_caller_and_the_command(self, lanes: Lanes[Call, Answer]) -> None:
        """The sweep is the caller, keeps the seats of completed students free, and stores no response."""
        made: list[Call] = []

        async def find(memory: Memory) -> Unsettled:
            return Unsettled(["c-1"], memory)

        async def run(calls: Sequence[Call]) -> Sequence[Outcome]:
            made.extend(calls)
            return [Answer(one.pack(()).SerializeToString()) for one in calls]

        await Sweep(find, Lanes([Batcher(run)], key=name)).run()
        (one,) = made
        assert (one.command, one.caller, one.request_id) == (
            Settle("c-1", reserve_completed=True),
            "system:sweep",
            "",
        )
        assert one.pack(()).SerializeToString() == b""

    async def test_at_most_16_in_flight(
        self, lane: Lane, lanes: Lanes[Call, Answer], sweep_of: Sweeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of many courses, 16 wait or are settled at the same time, and others follow as these are done."""
        entered: list[str] = []
        submit = lanes.submit

        async def noted(item: Call, **options: Any) -> Answer:
            entered.append(name(item))
            return await submit(item, **options)

        monkeypatch.setattr(lanes, "submit", noted)
        round = asyncio.create_task(sweep_of(40).run())
        for done in range(40):
            assert await lane.begun() == names(done + 1, done + 1)
            assert entered == names(1, min(40, done + 16))
            lane.end()
        assert await round == Swept(courses=40, promoted=40)

    async def test_callers_first(self, lane: Lane, lanes: Lanes[Call, Answer], sweep_of: Sweeping) -> None:
        """Callers do not wait for the whole sweep, and no course is settled in their batch."""
        round = asyncio.create_task(sweep_of(5).run())
        assert await lane.begun() == ["c-1"]
        callers = [asyncio.create_task(lanes.submit(call(CreateCourse(f"new-{n}")))) for n in (1, 2)]
        await asyncio.sleep(0)
        lane.end()
        assert await lane.begun() == ["caller:new-1", "caller:new-2"]
        lane.end_all()
        await asyncio.gather(*callers)
        assert await round == Swept(5, 5)

    async def test_a_random_start(self, lane: Lane, sweep_of: Sweeping) -> None:
        """The round begins with a course that is chosen by chance, and reaches all of them."""
        counts: list[int] = []

        def choose(count: int) -> int:
            counts.append(count)
            return 3

        round = asyncio.create_task(sweep_of(5, choose=choose).run())
        begun: list[str] = []
        for _ in range(5):
            begun += await lane.begun()
            lane.end()
        await round
        assert (counts, begun) == ([5], ["c-4", "c-5", "c-1", "c-2", "c-3"])

    async def test_nothing_to_do(self, sweep_of: Sweeping, log: Log) -> None:
        """A round without courses sends nothing and logs nothing."""
        assert await sweep_of(0).run() == Swept(0, 0)
        assert log.lines == []

    async def test_nothing_changes(self, lane: Lane, sweep_of: Sweeping, log: Log) -> None:
        """A round in which no course promotes or skips anybody logs nothing."""
        lane.outcomes = {course_id: Answer(b"") for course_id in names(1, 3)}
        lane.end_all()
        assert await sweep_of(3).run() == Swept(0, 0)
        assert log.lines == []

    async def test_what_is_logged(self, lane: Lane, sweep_of: Sweeping, log: Log) -> None:
        """Each promotion and skip has a line, as after a call, and the round has one."""
        skip = promotion("c-2")._replace(type=EventType.PROMOTION_SKIPPED)
        lane.outcomes = {"c-2": Answer(b"", (skip, promotion("c-2"), promotion("c-2"))), "c-3": Answer(b"")}
        lane.end_all()
        assert await sweep_of(3).run() == Swept(courses=2, promoted=3)
        assert len(log.of("student_promoted")) == 3
        assert len(log.of("promotion_skipped", course_id="c-2", enrollment_id="of-c-2")) == 1
        assert log.lines[-1] == {"event": "courses_settled", "courses": 2, "promoted": 3, "level": "info"}


class TestFailures:
    """A course that cannot be settled does not end the repetition."""

    async def test_a_deleted_course(self, lane: Lane, sweep_of: Sweeping, log: Log) -> None:
        """A course that was deleted meanwhile is no failure."""
        lane.outcomes = {"c-1": course_not_found("c-1")}
        lane.end_all()
        assert await sweep_of(20).run() == Swept(19, 19)
        assert {line["level"] for line in log.lines} == {"info"}

    @pytest.mark.parametrize("refusal", [overloaded(9, 1.0), shutting_down(), database_unavailable()], ids=str)
    async def test_the_end_of_a_round(self, lane: Lane, sweep_of: Sweeping, log: Log, refusal: Refusal) -> None:
        """No further course is settled if the server is overloaded or stopping, or the database does not answer."""
        lane.outcomes = {"c-1": refusal}
        lane.end_all()
        assert await sweep_of(200).run() == Swept(15, 15)
        assert {line["level"] for line in log.lines} == {"info"}

    @pytest.mark.parametrize(
        ("error", "settled"), [(contention(), 15), (RuntimeError("It miscounts its waiters."), 199)], ids=str
    )
    async def test_other_failures(
        self, lane: Lane, sweep_of: Sweeping, log: Log, error: Exception, settled: int
    ) -> None:
        """Any other failure is logged. The round continues, unless the lane had to wait for the lock of a course."""
        lane.outcomes = {"c-1": error}
        lane.end_all()
        assert await sweep_of(200).run() == Swept(settled, settled)
        assert log.of("course_not_settled") == [
            {"event": "course_not_settled", "course_id": "c-1", "error": str(error), "level": "warning"}
        ]

    async def test_a_server_that_stops(self, lane: Lane, lanes: Lanes[Call, Answer], sweep_of: Sweeping) -> None:
        """A round that is cancelled ends, and only what has begun is settled."""
        round = asyncio.create_task(sweep_of(40).run())
        assert await lane.begun() == ["c-1"]
        round.cancel()
        with pytest.raises(asyncio.CancelledError):
            await round
        lane.end()
        last = asyncio.create_task(lanes.submit(call(CreateCourse("new"))))
        assert await lane.begun() == ["caller:new"]
        lane.end()
        await last

    async def test_a_search_that_fails(self, lanes: Lanes[Call, Answer]) -> None:
        """The round fails if the courses cannot be found."""
        attempts = itertools.count(1)

        async def find(_memory: Memory) -> Unsettled:
            next(attempts)
            raise database_unavailable()

        with pytest.raises(Refusal):
            await Sweep(find, lanes).run()
        assert next(attempts) == 2
