"""Batcher: what waits together is worked on together, in order, once, and each gets its own outcome."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.batching import Batcher, Lanes, Limits

Outcomes = Sequence[str | Exception]
Submitted = list[asyncio.Task[str]]

PATIENCE_S = 10
"""After this long, what should have begun at once is taken for missing."""


class Work:
    """Work that begins when a batcher begins it and ends when the test ends it; answers items in capitals."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self._over = False
        self._begun: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[Outcomes | Exception | None] = queue.SimpleQueue()

    def __call__(self, batch: Sequence[str]) -> Outcomes:
        self.threads.add(threading.current_thread().name)
        self._begun.put(list(batch))
        match None if self._over else self._ends.get():
            case None:
                return [item.upper() for item in batch]
            case Exception() as error:
                raise error
            case outcomes:
                return outcomes

    async def begun(self) -> list[str]:
        """Wait until the next batch begins, and return its items."""
        return await asyncio.to_thread(self._begun.get, timeout=PATIENCE_S)

    def end(self, outcomes: Outcomes | Exception | None = None) -> None:
        """End a batch with these outcomes, or with an error for all."""
        self._ends.put(outcomes)

    def end_all(self) -> None:
        """End this batch and every later one, so that a test that fails does not hang."""
        self._over = True
        self.end()

    @property
    def idle(self) -> bool:
        """Whether no batch has begun but those that the test knows of."""
        return self._begun.empty()


class Clock:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def batcher(work: Work, clock: Clock) -> AsyncIterator[Batcher[str, str]]:
    """A lane that takes up to 3 items at once, and lets 5 wait."""
    batcher = Batcher[str, str](work, "lane", Limits(max_batch=3, max_waiting=5), clock=clock)
    yield batcher
    work.end_all()
    await batcher.close()


async def submit(batcher: Batcher[str, str], items: str, timeout: float | None = None) -> Submitted:
    """Submit each letter as an item of its own, and return when all of them wait."""
    tasks = [asyncio.create_task(batcher.submit(item, timeout=timeout)) for item in items]
    await asyncio.sleep(0)  # Every task runs until it has to wait.
    return tasks


async def busy(batcher: Batcher[str, str], work: Work) -> Submitted:
    """Give the lane an item that it is working on until ``work.end()``."""
    tasks = await submit(batcher, "x")
    assert await work.begun() == ["x"]
    return tasks


class TestGathering:
    """While one batch is worked on, the next one gathers."""

    async def test_an_idle_lane_starts_at_once(self, batcher: Batcher[str, str], work: Work) -> None:
        """A lone item waits for nothing, and is a batch of its own."""
        (task,) = await submit(batcher, "a")
        assert await work.begun() == ["a"]
        work.end()
        assert await task == "A"

    async def test_what_came_meanwhile_is_one_batch(self, batcher: Batcher[str, str], work: Work) -> None:
        """Items that came while the lane was busy go together, in the order they came."""
        first = await busy(batcher, work)
        later = await submit(batcher, "abc")
        assert work.idle
        work.end()
        assert await work.begun() == ["a", "b", "c"]
        work.end()
        assert await asyncio.gather(*first, *later) == ["X", "A", "B", "C"]

    async def test_a_batch_has_a_greatest_size(self, batcher: Batcher[str, str], work: Work) -> None:
        """More than a batch may hold make several, one after the other."""
        first = await busy(batcher, work)
        later = await submit(batcher, "abcde")
        for _ in range(3):
            work.end()
        assert await work.begun() == ["a", "b", "c"]
        assert await work.begun() == ["d", "e"]
        assert await asyncio.gather(*first, *later) == ["X", "A", "B", "C", "D", "E"]

    async def test_idle_again(self, batcher: Batcher[str, str], work: Work) -> None:
        """After its last batch a lane begins the next item as it began the first."""
        for item in "abc":
            (task,) = await submit(batcher, item)
            assert await work.begun() == [item]
            work.end()
            assert await task == item.upper()

    async def test_one_thread(self, batcher: Batcher[str, str], work: Work) -> None:
        """All of a lane's work is done in its own thread, which is named after it."""
        for item in "ab":
            (task,) = await submit(batcher, item)
            work.end()
            await task
        assert work.threads == {"lane_0"}


class TestOutcomes:
    """Each item gets its own outcome."""

    async def test_in_order(self, batcher: Batcher[str, str], work: Work) -> None:
        """The first outcome is the first item's; an error among them is raised where it belongs."""
        await busy(batcher, work)
        wrong = Refusal(Reason.COURSE_FULL, "full")
        tasks = await submit(batcher, "abc")
        work.end()
        work.end(["first", wrong, "third"])
        outcomes: list[object] = list(await asyncio.gather(*tasks, return_exceptions=True))
        assert outcomes == ["first", wrong, "third"]

    async def test_an_error_of_the_work_reaches_all(self, batcher: Batcher[str, str], work: Work) -> None:
        """When the work itself fails, all of its batch hear of it, and the lane goes on."""
        first = await busy(batcher, work)
        later = await submit(batcher, "ab")
        broken = ValueError("broken")
        work.end()
        work.end(broken)
        outcomes: list[object] = list(await asyncio.gather(*first, *later, return_exceptions=True))
        assert outcomes == ["X", broken, broken]
        (task,) = await submit(batcher, "c")
        work.end()
        assert await task == "C"


class TestDropped:
    """What nobody waits for any more is never worked on."""

    async def test_cancelled(self, batcher: Batcher[str, str], work: Work) -> None:
        """A caller that is gone takes its item away."""
        await busy(batcher, work)
        tasks = await submit(batcher, "abc")
        tasks[1].cancel()
        await asyncio.sleep(0)
        work.end()
        assert await work.begun() == ["a", "c"]
        work.end()
        assert [await tasks[0], await tasks[2]] == ["A", "C"]

    async def test_expired(self, batcher: Batcher[str, str], work: Work, clock: Clock) -> None:
        """An item whose time is over before its work begins is left out; one with time left is not."""
        await busy(batcher, work)
        (expired,) = await submit(batcher, "a", timeout=2)
        (timely,) = await submit(batcher, "b", timeout=3)
        clock.now += 2
        work.end()
        assert await work.begun() == ["b"]
        work.end()
        assert await timely == "B"
        with pytest.raises(TimeoutError):
            await expired

    async def test_the_dead_make_room(self, work: Work) -> None:
        """Where the queue is full of calls whose callers are gone, a new one is admitted."""
        batcher = Batcher[str, str](work, "lane", Limits(max_waiting=1))
        (first,) = await busy(batcher, work)
        (gone,) = await submit(batcher, "a")
        gone.cancel()
        await asyncio.sleep(0)
        (last,) = await submit(batcher, "b")
        work.end()
        assert await work.begun() == ["b"]
        work.end()
        assert [await first, await last] == ["X", "B"]
        await batcher.close()

    async def test_all_of_them(self, batcher: Batcher[str, str], work: Work) -> None:
        """Where nothing is left to do, nothing is done, and the lane is idle."""
        (first,) = await busy(batcher, work)
        for task in await submit(batcher, "ab"):
            task.cancel()
        await asyncio.sleep(0)
        work.end()
        assert await first == "X"
        (last,) = await submit(batcher, "c")
        assert await work.begun() == ["c"]
        work.end()
        assert await last == "C"

    async def test_too_late(self, batcher: Batcher[str, str], work: Work, clock: Clock) -> None:
        """Work that has begun is finished, whether anybody waits for it or not."""
        (gone,) = await submit(batcher, "a", timeout=1)
        assert await work.begun() == ["a"]
        (waiting,) = await submit(batcher, "b")
        gone.cancel()
        clock.now += 5
        work.end()
        work.end()
        assert await waiting == "B"
        assert gone.cancelled()


class TestFull:
    """A queue that would only grow is no help to anyone."""

    async def test_one_too_many(self, batcher: Batcher[str, str], work: Work) -> None:
        """The call beyond those that may wait is refused at once, and told when to try again."""
        first = await busy(batcher, work)
        later = await submit(batcher, "abcde")
        with pytest.raises(Refusal) as refused:
            await batcher.submit("f")
        assert (refused.value.reason, refused.value.status) == (Reason.OVERLOADED, "RESOURCE_EXHAUSTED")
        assert refused.value.message == "5 calls are already waiting; try again in 0.05 s."
        assert refused.value.retry_after == 0.05
        for _ in range(3):
            work.end()
        assert await asyncio.gather(*first, *later) == list("XABCDE")

    @pytest.mark.parametrize(("seconds", "expected"), [(0.001, 0.05), (0.25, 1.25), (60, 5.0)])
    async def test_the_wait_follows_the_pace(
        self, batcher: Batcher[str, str], work: Work, clock: Clock, seconds: float, expected: float
    ) -> None:
        """How long the items before took tells how long five will take, within reason."""
        (first,) = await busy(batcher, work)
        clock.now += seconds
        work.end()
        await first
        second = await busy(batcher, work)
        later = await submit(batcher, "abcde")
        with pytest.raises(Refusal) as refused:
            await batcher.submit("f")
        assert refused.value.retry_after == expected
        for _ in range(3):
            work.end()
        await asyncio.gather(*second, *later)

    async def test_room_again(self, batcher: Batcher[str, str], work: Work) -> None:
        """What is being worked on does not wait any more."""
        first = await busy(batcher, work)
        later = await submit(batcher, "abcde")
        work.end()
        assert await work.begun() == ["a", "b", "c"]
        later += await submit(batcher, "fgh")
        for _ in range(3):
            work.end()
        assert await asyncio.gather(*first, *later) == list("XABCDEFGH")


class TestClose:
    """Closing takes no more calls and lets nobody down."""

    async def test_drains(self, batcher: Batcher[str, str], work: Work) -> None:
        """What waited is worked on before closing is over; what comes now is refused."""
        tasks = await busy(batcher, work) + await submit(batcher, "abcd")
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await batcher.submit("e")
        assert (refused.value.reason, refused.value.status) == (Reason.SHUTTING_DOWN, "UNAVAILABLE")
        assert not closing.done()
        for _ in range(3):
            work.end()
        await closing
        assert await asyncio.gather(*tasks) == list("XABCD")

    async def test_idle(self, batcher: Batcher[str, str]) -> None:
        """A lane that has nothing to do is closed at once, as often as one likes."""
        await batcher.close()
        await batcher.close()
        with pytest.raises(Refusal):
            await batcher.submit("a")


class TestLanes:
    """Several lanes, where equal keys meet in one."""

    @pytest.fixture
    async def lanes(self) -> AsyncIterator[Lanes[str, tuple[int, str]]]:
        """Four lanes that answer items with their own number; the key is an item's first letter."""

        def lane(number: int) -> Batcher[str, tuple[int, str]]:
            return Batcher(tagged(number), f"lane-{number}")

        lanes = Lanes([lane(number) for number in range(4)], key=lambda item: item[0])
        yield lanes
        await lanes.close()

    async def test_equal_keys_meet(self, lanes: Lanes[str, tuple[int, str]]) -> None:
        """All items of a key are answered by one lane, and different keys are spread."""
        items = [key + str(number) for key in "abcdefghijklmnopqrstuvwxyz" for number in range(3)]
        answers = await asyncio.gather(*map(lanes.submit, items))
        assert [item for _, item in answers] == items
        used = {key: {lane for lane, item in answers if item[0] == key} for key in "abcdefghijklmnopqrstuvwxyz"}
        assert all(len(lane) == 1 for lane in used.values())
        assert len(set().union(*used.values())) > 1

    async def test_a_stalled_lane_does_not_stall_the_rest(self, work: Work) -> None:
        """While one lane is stuck, another one answers."""
        by_lane = {hash(f"key-{number}") % 2: f"key-{number}" for number in range(100)}
        stuck, free = by_lane[0], by_lane[1]
        lanes = Lanes([Batcher[str, str](work, "stuck"), Batcher[str, str](upper, "free")], key=lambda item: item)
        waiting = asyncio.create_task(lanes.submit(stuck))
        assert await work.begun() == [stuck]
        assert await lanes.submit(free) == free.upper()
        work.end()
        assert await waiting == stuck.upper()
        await lanes.close()

    async def test_close_closes_all(self, lanes: Lanes[str, tuple[int, str]]) -> None:
        """Afterwards no lane takes anything."""
        await lanes.close()
        for item in "abcdefgh":
            with pytest.raises(Refusal) as refused:
                await lanes.submit(item)
            assert refused.value.reason is Reason.SHUTTING_DOWN


def tagged(number: int) -> Callable[[Sequence[str]], list[tuple[int, str]]]:
    """Work that answers each item with a number."""
    return lambda batch: [(number, item) for item in batch]


def upper(batch: Sequence[str]) -> list[str]:
    """Work that answers items in capitals."""
    return [item.upper() for item in batch]
