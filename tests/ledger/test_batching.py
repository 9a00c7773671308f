"""Batches: items that wait together are processed together, once and in order, and each gets its own outcome."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.lane_thread import LaneThread
from registrar_server.stopwatch import enter, spent

Outcomes = Sequence[str | Exception]
Submitted = list[asyncio.Task[str]]

PATIENCE_S = 10
"""After this long, what should have begun at once is taken for missing."""
TURNS = 10
"""More turns of the event loop than a batch needs to begin."""


class Work:
    """Work for a batcher that the test ends; its outcomes are the items in capitals unless the test gives others."""

    def __init__(self) -> None:
        self._over = False
        self._begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._ends: asyncio.Queue[Outcomes | Exception | None] = asyncio.Queue()

    async def __call__(self, batch: Sequence[str]) -> Outcomes:
        self._begun.put_nowait(list(batch))
        match None if self._over else await self._ends.get():
            case None:
                return [item.upper() for item in batch]
            case Exception() as error:
                raise error
            case outcomes:
                return outcomes

    async def begun(self) -> list[str]:
        """Wait until the next batch begins, and return its items."""
        return await asyncio.wait_for(self._begun.get(), PATIENCE_S)

    def end(self, outcomes: Outcomes | Exception | None = None) -> None:
        """End a batch with these outcomes, or with an error for all items."""
        self._ends.put_nowait(outcomes)

    def end_all(self) -> None:
        """End this batch and every later one, so that a test that fails does not hang."""
        self._over = True
        self.end()

    async def is_idle(self) -> bool:
        """Return whether no batch begins that the test has not seen, in as many turns of the loop as that takes."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return self._begun.empty()


class Clock:
    """A clock that stands still until it is set."""

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
    """A lane with batches of up to 3 items, in which up to 5 items can wait."""
    batcher = Batcher[str, str](work, Limits(max_batch=3, max_waiting=5), clock=clock)
    yield batcher
    work.end_all()
    await batcher.close()


class Receiver:
    """Receives the outcomes of items, and may do something with each; a failure of that is its own."""

    def __init__(self, then: Callable[[str | Exception], object] = lambda outcome: None) -> None:
        self.outcomes: list[str | Exception] = []
        self._then = then

    def __call__(self, outcome: str | Exception) -> None:
        self.outcomes.append(outcome)
        self._then(outcome)


async def submit(
    batcher: Batcher[str, str], items: str, timeout: float | None = None, *, behind: bool = False
) -> Submitted:
    """Submit each letter as an item, and return when all of them wait."""
    tasks = [asyncio.create_task(batcher.submit(item, timeout=timeout, behind=behind)) for item in items]
    await asyncio.sleep(0)  # Every task runs until it has to wait.
    return tasks


async def occupy(batcher: Batcher[str, str], work: Work) -> Submitted:
    """Give the lane an item, on which it works until ``work.end()``."""
    tasks = await submit(batcher, "x")
    assert await work.begun() == ["x"]
    return tasks


class TestGathering:
    """While one batch is processed, the next one gathers."""

    async def test_an_idle_lane_starts_at_once(self, batcher: Batcher[str, str], work: Work) -> None:
        """A single item does not wait, and is a batch of its own."""
        (task,) = await submit(batcher, "a")
        assert await work.begun() == ["a"]
        work.end()
        assert await task == "A"

    async def test_items_that_waited_are_one_batch(self, batcher: Batcher[str, str], work: Work) -> None:
        """Items that came while the lane was busy form one batch, in the order of arrival."""
        first = await occupy(batcher, work)
        later = await submit(batcher, "abc")
        assert await work.is_idle()
        work.end()
        assert await work.begun() == ["a", "b", "c"]
        work.end()
        assert await asyncio.gather(*first, *later) == ["X", "A", "B", "C"]

    async def test_a_batch_has_a_maximum_size(self, batcher: Batcher[str, str], work: Work) -> None:
        """More items than a batch can hold form several batches."""
        first = await occupy(batcher, work)
        later = await submit(batcher, "abcde")
        for _ in range(3):
            work.end()
        assert await work.begun() == ["a", "b", "c"]
        assert await work.begun() == ["d", "e"]
        assert await asyncio.gather(*first, *later) == ["X", "A", "B", "C", "D", "E"]

    async def test_idle_again(self, batcher: Batcher[str, str], work: Work) -> None:
        """An item that comes after the last batch starts at once."""
        for item in "abc":
            (task,) = await submit(batcher, item)
            assert await work.begun() == [item]
            work.end()
            assert await task == item.upper()


class TestOutcomes:
    """Each item gets its own outcome."""

    async def test_in_order(self, batcher: Batcher[str, str], work: Work) -> None:
        """Outcomes are in the order of the items; an error among them is raised to its own caller."""
        await occupy(batcher, work)
        wrong = Refusal(Reason.COURSE_FULL, "full")
        tasks = await submit(batcher, "abc")
        work.end()
        work.end(["first", wrong, "third"])
        outcomes: list[object] = list(await asyncio.gather(*tasks, return_exceptions=True))
        assert outcomes == ["first", wrong, "third"]

    async def test_an_error_of_the_work(self, batcher: Batcher[str, str], work: Work) -> None:
        """If the work itself fails, all items of the batch fail, and the lane continues."""
        first = await occupy(batcher, work)
        later = await submit(batcher, "ab")
        broken = ValueError("broken")
        work.end()
        work.end(broken)
        outcomes: list[object] = list(await asyncio.gather(*first, *later, return_exceptions=True))
        assert outcomes == ["X", broken, broken]
        (task,) = await submit(batcher, "c")
        work.end()
        assert await task == "C"

    @pytest.mark.parametrize("outcomes", [["A"], ["A", "B", "C"]], ids=["too few", "too many"])
    async def test_a_wrong_number(self, batcher: Batcher[str, str], work: Work, outcomes: list[str]) -> None:
        """Work that does not return one outcome for each item has failed: no item waits forever, nor does the lane."""
        tasks = await submit(batcher, "ab")
        work.end(outcomes)
        for task in tasks:
            with pytest.raises(RuntimeError, match=rf"^{len(outcomes)} outcomes for 2 items$"):
                await task
        (last,) = await submit(batcher, "c")
        work.end()
        assert await last == "C"


class TestDropped:
    """Items whose callers no longer wait are not processed."""

    async def test_cancelled(self, batcher: Batcher[str, str], work: Work) -> None:
        """A cancelled item leaves the queue."""
        await occupy(batcher, work)
        tasks = await submit(batcher, "abc")
        tasks[1].cancel()
        await asyncio.sleep(0)
        work.end()
        assert await work.begun() == ["a", "c"]
        work.end()
        assert [await tasks[0], await tasks[2]] == ["A", "C"]

    async def test_expired(self, batcher: Batcher[str, str], work: Work, clock: Clock) -> None:
        """An item whose timeout passes before its work begins is left out."""
        await occupy(batcher, work)
        (expired,) = await submit(batcher, "a", timeout=2)
        (timely,) = await submit(batcher, "b", timeout=3)
        clock.now += 2
        work.end()
        assert await work.begun() == ["b"]
        work.end()
        assert await timely == "B"
        with pytest.raises(TimeoutError):
            await expired

    async def test_cancelled_items_make_room(self, work: Work) -> None:
        """A queue that is full of cancelled items admits a new one."""
        batcher = Batcher[str, str](work, Limits(max_waiting=1))
        (first,) = await occupy(batcher, work)
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
        """If all waiting items are cancelled, no work begins, and the lane is idle."""
        (first,) = await occupy(batcher, work)
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
        """Work that has begun is finished, even if its caller is gone."""
        (gone,) = await submit(batcher, "a", timeout=1)
        assert await work.begun() == ["a"]
        (waiting,) = await submit(batcher, "b")
        gone.cancel()
        clock.now += 5
        work.end()
        work.end()
        assert await waiting == "B"
        assert gone.cancelled()


class TestLeaving:
    """A caller may give its item up at any time. The return value says whether this comes too late."""

    async def test_before_its_batch_begins(self, batcher: Batcher[str, str], work: Work) -> None:
        """The item never begins, and its receiver gets nothing."""
        (first,) = await occupy(batcher, work)
        receiver = Receiver()
        assert not batcher.enter("a", receiver).leave()
        work.end()
        await first
        assert await work.is_idle()
        assert receiver.outcomes == []

    async def test_before_an_idle_lane_starts(self, batcher: Batcher[str, str], work: Work) -> None:
        """An idle lane starts in the next turn of the event loop, so an item can be given up before."""
        receiver = Receiver()
        assert not batcher.enter("a", receiver).leave()
        assert await work.is_idle()
        assert receiver.outcomes == []

    async def test_while_its_batch_runs(self, batcher: Batcher[str, str], work: Work) -> None:
        """It is too late: the item is carried out, and its receiver gets the outcome."""
        receiver = Receiver()
        submission = batcher.enter("a", receiver)
        assert await work.begun() == ["a"]
        assert submission.leave()
        work.end()
        await batcher.close()
        assert receiver.outcomes == ["A"]

    async def test_after_its_batch_ended(self, batcher: Batcher[str, str], work: Work) -> None:
        """It is too late, and the receiver gets nothing more."""
        receiver = Receiver()
        submission = batcher.enter("a", receiver)
        work.end()
        await batcher.close()
        assert submission.leave()
        assert receiver.outcomes == ["A"]

    async def test_after_its_deadline(self, batcher: Batcher[str, str], work: Work, clock: Clock) -> None:
        """An item that expired has its outcome, so it is too late."""
        receiver = Receiver()
        submission = batcher.enter("a", receiver, timeout=1)
        clock.now += 1
        await batcher.close()
        assert submission.leave()
        (outcome,) = receiver.outcomes
        assert isinstance(outcome, TimeoutError)

    async def test_between_its_deadline_and_the_outcome(
        self, batcher: Batcher[str, str], work: Work, clock: Clock
    ) -> None:
        """A caller that leaves before its receiver has the TimeoutError has left in time: there is no outcome."""
        await occupy(batcher, work)
        receiver = Receiver()
        submission = batcher.enter("a", receiver, timeout=1)
        others = await submit(batcher, "bcde")
        clock.now += 1
        # The queue is full: the next item drops "a". Its receiver gets the outcome in the next turn of the loop.
        batcher.enter("f", Receiver())
        assert not submission.leave()
        work.end_all()
        await asyncio.gather(*others)
        assert receiver.outcomes == []


class TestReceivers:
    """The receiver of an outcome may do anything, without an effect on the other items."""

    @pytest.fixture
    async def failures(self) -> list[str]:
        """What the event loop is told of failures."""
        failures: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: failures.append(str(context["exception"]))
        )
        return failures

    async def test_one_that_fails(self, batcher: Batcher[str, str], work: Work, failures: list[str]) -> None:
        """The other items of the batch get their outcomes, the failure is reported, and the lane goes on."""
        await occupy(batcher, work)
        failing, other = Receiver(_fail), Receiver()
        batcher.enter("a", failing)
        batcher.enter("b", other)
        for _ in range(2):
            work.end()
        (later,) = await submit(batcher, "c")
        work.end()
        assert await later == "C"
        assert (failing.outcomes, other.outcomes, failures) == (["A"], ["B"], ["a receiver failed at A"])

    async def test_one_that_fails_at_its_deadline(
        self, batcher: Batcher[str, str], work: Work, clock: Clock, failures: list[str]
    ) -> None:
        """The other items of the queue are not affected."""
        batcher.enter("a", Receiver(_fail), timeout=1)
        other, timely = Receiver(), Receiver()
        batcher.enter("b", other, timeout=1)
        batcher.enter("c", timely)
        clock.now += 1
        work.end()
        await batcher.close()
        assert [type(outcome) for outcome in other.outcomes] == [TimeoutError]
        assert timely.outcomes == ["C"]
        assert failures == ["a receiver failed at "]

    async def test_one_that_enters_another_item(self, batcher: Batcher[str, str], work: Work) -> None:
        """The items that receivers of one batch enter are in one of the next batches."""
        last = Receiver()
        for item in "ab":
            batcher.enter(item, Receiver(lambda outcome: batcher.enter(f"after {outcome}", last)))
        assert await work.begun() == ["a", "b"]
        work.end()
        assert await work.begun() == ["after A", "after B"]
        work.end()
        await batcher.close()
        assert last.outcomes == ["AFTER A", "AFTER B"]

    async def test_one_that_enters_another_item_at_its_deadline(
        self, batcher: Batcher[str, str], work: Work, clock: Clock
    ) -> None:
        """A full queue that drops expired items keeps what their receivers enter."""
        await occupy(batcher, work)
        last = Receiver()
        for item in "abc":
            batcher.enter(item, Receiver(lambda _outcome: batcher.enter("again", last)), timeout=1)
        others = await submit(batcher, "de")
        clock.now += 1
        others += await submit(batcher, "f")
        work.end()
        assert await work.begun() == ["d", "e", "f"]
        work.end()
        assert await work.begun() == ["again", "again"]
        work.end()
        await batcher.close()
        assert await asyncio.gather(*others) == ["D", "E", "F"]
        assert last.outcomes == ["AGAIN"] * 2

    async def test_one_that_leaves_another_item(self, work: Work) -> None:
        """Of one batch all items have begun, so they keep their outcomes; an item that waits is dropped."""
        batcher = Batcher[str, str](work, Limits(max_batch=8))
        receivers = {item: Receiver() for item in "bc"}
        batcher.enter("a", Receiver(lambda _outcome: [one.leave() for one in entered]))
        entered = [batcher.enter("b", receivers["b"])]
        assert await work.begun() == ["a", "b"]
        entered.append(batcher.enter("c", receivers["c"]))
        work.end()
        await batcher.close()
        assert [one.outcomes for one in receivers.values()] == [["B"], []]


def _fail(outcome: str | Exception) -> None:
    raise ValueError(f"a receiver failed at {outcome}")


class TestMemory:
    """Nothing is left of an item after its outcome, without a garbage collection."""

    @pytest.fixture(autouse=True)
    def no_collection(self) -> Iterator[None]:
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    async def test_an_error_of_the_work(self) -> None:
        """It is freed with its last caller, although its traceback keeps the frames of the lane."""

        async def run(batch: Sequence[str]) -> Outcomes:
            raise Refusal(Reason.CONTENTION, "locked")

        batcher = Batcher[str, str](run)
        errors: list[weakref.ref[Exception]] = []
        tasks = await submit(batcher, "ab")
        for task in tasks:
            try:
                await task
            except Refusal as error:
                errors.append(weakref.ref(error))
        del tasks, task
        await batcher.close()
        assert [error() for error in errors] == [None, None]

    async def test_items_and_receivers(self) -> None:
        """An idle lane keeps neither of them, whether they were carried out, left or expired."""

        class Thing(Receiver):
            """An item that receives its own outcome."""

        async def run(batch: Sequence[Thing]) -> Outcomes:
            return ["done" for _ in batch]

        clock = Clock()
        batcher = Batcher[Thing, str](run, clock=clock)
        things = [Thing() for _ in range(3)]
        done, left, expired = (batcher.enter(thing, thing, timeout=place) for place, thing in enumerate(things, -1))
        left.leave()
        await batcher.close()
        kept = [weakref.ref(thing) for thing in things]
        del things, done, left, expired
        assert [thing() for thing in kept] == [None] * 3


class TestBehind:
    """Items behind the others let them go first."""

    async def test_after_those_that_wait(self, batcher: Batcher[str, str], work: Work) -> None:
        """It begins alone, after a batch of others that came before it."""
        (first,) = await occupy(batcher, work)
        later = await submit(batcher, "ab")
        behind = await submit(batcher, "yz", behind=True)
        work.end()
        assert await work.begun() == ["y"]
        work.end()
        assert await work.begun() == ["a", "b"]
        work.end_all()
        assert await asyncio.gather(first, *later, *behind) == list("XABYZ")

    async def test_an_idle_lane_starts_at_once(self, batcher: Batcher[str, str], work: Work) -> None:
        """An item behind the others does not wait if there are no others."""
        (behind,) = await submit(batcher, "y", behind=True)
        assert await work.begun() == ["y"]
        work.end()
        assert await behind == "Y"

    async def test_in_turn(self, batcher: Batcher[str, str], work: Work) -> None:
        """Batches of others and single such items follow each other: others wait for one only, and it never starves."""
        await occupy(batcher, work)
        behind = await submit(batcher, "vwyz", behind=True)
        later = await submit(batcher, "abcde")
        for _ in range(7):
            work.end()
        batches = [await work.begun() for _ in range(6)]
        assert batches == [["v"], ["a", "b", "c"], ["w"], ["d", "e"], ["y"], ["z"]]
        await asyncio.gather(*later, *behind)

    async def test_they_take_no_room(self, batcher: Batcher[str, str], work: Work) -> None:
        """They do not fill the queue of the others, but a full queue refuses them."""
        await occupy(batcher, work)
        behind = await submit(batcher, "vwxyz", behind=True)
        later = await submit(batcher, "abcde")
        with pytest.raises(Refusal) as refused:
            await batcher.submit("f", behind=True)
        assert refused.value.reason is Reason.OVERLOADED
        work.end_all()
        await asyncio.gather(*later, *behind)

    async def test_left(self, batcher: Batcher[str, str], work: Work) -> None:
        """If nobody waits for such an item any more, it never begins."""
        (first,) = await occupy(batcher, work)
        assert not batcher.enter("y", Receiver(), behind=True).leave()
        work.end()
        await first
        (last,) = await submit(batcher, "a")
        assert await work.begun() == ["a"]
        work.end()
        assert await last == "A"


class TestManyWait:
    """If many items wait at the end of a batch, the next one begins before the outcomes are given."""

    @pytest.fixture
    async def order(self) -> AsyncIterator[tuple[Batcher[str, str], list[str], asyncio.Event]]:
        """A lane whose batches of up to 8 items wait for the event, and the order in which things happen."""
        happened: list[str] = []
        ends = asyncio.Event()

        async def work(batch: Sequence[str]) -> Outcomes:
            happened.append(f"begin {''.join(batch)}")
            await ends.wait()
            return list(batch)

        batcher = Batcher[str, str](work, Limits(max_batch=8, max_waiting=20))
        yield batcher, happened, ends
        ends.set()
        await batcher.close()

    @pytest.mark.parametrize(
        ("waiting", "expected"),
        [("ab", ["begin x", "begin ab", "end x"]), ("a", ["begin x", "end x", "begin a"])],
        ids=["many", "few"],
    )
    async def test_order(
        self, order: tuple[Batcher[str, str], list[str], asyncio.Event], waiting: str, expected: list[str]
    ) -> None:
        """So the database works while the callers get their answers. Fewer items wait for those that come after."""
        batcher, happened, ends = order
        batcher.enter("x", lambda outcome: happened.append(f"end {outcome}"))
        while not happened:  # noqa: ASYNC110  # The batch begins in one of the next turns.
            await asyncio.sleep(0)
        others = await submit(batcher, waiting)
        ends.set()
        assert await asyncio.gather(*others) == list(waiting)
        assert happened == expected

    async def test_one_batch_at_a_time(self, work: Work) -> None:
        """The next batch begins when the work on the one before has ended."""
        batcher = Batcher[str, str](work, Limits(max_batch=4, max_waiting=20))
        await occupy(batcher, work)
        others = await submit(batcher, "abcdefgh")
        assert await work.is_idle()
        for expected in ("abcd", "efgh"):
            work.end()
            assert await work.begun() == list(expected)
            assert await work.is_idle()
        work.end()
        assert await asyncio.gather(*others) == list("ABCDEFGH")
        await batcher.close()


class TestDepth:
    """A lane with a depth has several batches at work."""

    @pytest.fixture
    async def deep(self, work: Work) -> AsyncIterator[Batcher[str, str]]:
        """A lane with two batches at work."""
        batcher = Batcher[str, str](work, Limits(max_batch=8, max_waiting=20), depth=2)
        yield batcher
        work.end_all()
        work.end()
        await batcher.close()

    async def test_beside_another_one(self, deep: Batcher[str, str], work: Work) -> None:
        """A batch begins while another one is at work."""
        first = await occupy(deep, work)
        second = await submit(deep, "a")
        assert await work.begun() == ["a"]
        work.end_all()
        work.end()
        assert await asyncio.gather(*first, *second) == ["X", "A"]

    async def test_no_more_than_the_depth(self, deep: Batcher[str, str], work: Work) -> None:
        """Others gather until one of them ends."""
        await occupy(deep, work)
        await submit(deep, "a")
        assert await work.begun() == ["a"]
        await submit(deep, "bc")
        assert await work.is_idle()
        work.end()
        assert await work.begun() == ["b", "c"]

    async def test_items_behind_others(self, deep: Batcher[str, str], work: Work) -> None:
        """Each is a batch of its own."""
        await submit(deep, "abc", behind=True)
        assert [await work.begun(), await work.begun()] == [["a"], ["b"]]
        assert await work.is_idle()
        work.end()
        assert await work.begun() == ["c"]

    async def test_close(self, deep: Batcher[str, str], work: Work) -> None:
        """It returns when all batches have ended."""
        await occupy(deep, work)
        await submit(deep, "a")
        await work.begun()
        closing = asyncio.create_task(deep.close())
        work.end()
        assert await work.is_idle()
        assert not closing.done()
        work.end()
        await closing


class TestFull:
    """A full queue refuses further items."""

    async def test_one_too_many(self, batcher: Batcher[str, str], work: Work) -> None:
        """The item beyond the limit is refused at once, with the time after which to retry."""
        first = await occupy(batcher, work)
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
    async def test_the_retry_delay_follows_the_pace(
        self, batcher: Batcher[str, str], work: Work, clock: Clock, seconds: float, expected: float
    ) -> None:
        """The delay is estimated from the time that earlier items took, within limits."""
        (first,) = await occupy(batcher, work)
        clock.now += seconds
        work.end()
        await first
        second = await occupy(batcher, work)
        later = await submit(batcher, "abcde")
        with pytest.raises(Refusal) as refused:
            await batcher.submit("f")
        assert refused.value.retry_after == expected
        for _ in range(3):
            work.end()
        await asyncio.gather(*second, *later)

    async def test_left_items_take_no_room(self, batcher: Batcher[str, str], work: Work) -> None:
        """An item that nobody waits for gives its room to another one at once, and only once."""
        first = await occupy(batcher, work)
        left = [batcher.enter(item, Receiver()) for item in "ab"]
        later = await submit(batcher, "cde")
        for one in (*left, *left):
            one.leave()
        later += await submit(batcher, "fg")
        with pytest.raises(Refusal):
            await batcher.submit("h")
        for _ in range(3):
            work.end()
        assert await asyncio.gather(*first, *later) == list("XCDEFG")

    async def test_many_left_items(self, batcher: Batcher[str, str], work: Work) -> None:
        """Items that come and leave while a batch takes long neither fill the queue nor stay in memory."""
        first = await occupy(batcher, work)
        receivers = [Receiver() for _ in range(100)]
        seen = [weakref.ref(receiver) for receiver in receivers]
        while receivers:
            batcher.enter("y", receivers.pop()).leave()
        assert sum(one() is not None for one in seen) == 0
        (last,) = await submit(batcher, "a")
        work.end()
        work.end()
        assert [await first[0], await last] == ["X", "A"]

    async def test_room_again(self, batcher: Batcher[str, str], work: Work) -> None:
        """Items that are being processed do not count as waiting."""
        first = await occupy(batcher, work)
        later = await submit(batcher, "abcde")
        work.end()
        assert await work.begun() == ["a", "b", "c"]
        later += await submit(batcher, "fgh")
        for _ in range(3):
            work.end()
        assert await asyncio.gather(*first, *later) == list("XABCDEFGH")


class TestClose:
    """Closing refuses new items and finishes those that wait."""

    async def test_drains(self, batcher: Batcher[str, str], work: Work) -> None:
        """The items that wait are processed before the batcher is closed."""
        tasks = await occupy(batcher, work) + await submit(batcher, "abcd")
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
        """An idle lane closes at once, and can be closed again."""
        await batcher.close()
        await batcher.close()
        with pytest.raises(Refusal):
            await batcher.submit("a")


class TestLanes:
    """Several lanes, where equal keys share one."""

    @pytest.fixture
    async def lanes(self) -> AsyncIterator[Lanes[str, tuple[int, str]]]:
        """Four lanes that return each item with their own number; the key is the item's first letter."""

        def lane(number: int) -> Batcher[str, tuple[int, str]]:
            return Batcher(tagged(number))

        lanes = Lanes([lane(number) for number in range(4)], key=lambda item: item[0])
        yield lanes
        await lanes.close()

    async def test_equal_keys_share_a_lane(self, lanes: Lanes[str, tuple[int, str]]) -> None:
        """All items of a key go to one lane, and different keys to several."""
        items = [key + str(number) for key in "abcdefghijklmnopqrstuvwxyz" for number in range(3)]
        answers = await asyncio.gather(*map(lanes.submit, items))
        assert [item for _, item in answers] == items
        used = {key: {lane for lane, item in answers if item[0] == key} for key in "abcdefghijklmnopqrstuvwxyz"}
        assert all(len(lane) == 1 for lane in used.values())
        assert len(set().union(*used.values())) > 1

    async def test_a_blocked_lane_does_not_block_others(self, work: Work) -> None:
        """While one lane is blocked, another one answers."""
        by_lane = {hash(f"key-{number}") % 2: f"key-{number}" for number in range(100)}
        stuck, free = by_lane[0], by_lane[1]
        lanes = Lanes([Batcher[str, str](work), Batcher[str, str](upper)], key=lambda item: item)
        waiting = asyncio.create_task(lanes.submit(stuck))
        assert await work.begun() == [stuck]
        assert await lanes.submit(free) == free.upper()
        work.end()
        assert await waiting == stuck.upper()
        await lanes.close()

    async def test_close_closes_all(self, lanes: Lanes[str, tuple[int, str]]) -> None:
        """After closing, no lane accepts an item."""
        await lanes.close()
        for item in "abcdefgh":
            with pytest.raises(Refusal) as refused:
                await lanes.submit(item)
            assert refused.value.reason is Reason.SHUTTING_DOWN


class TestLaneThread:
    """A thread that carries out batches for a driver that blocks."""

    @pytest.fixture
    def used(self) -> list[str]:
        """The names of the threads that carried out batches, in order."""
        return []

    @pytest.fixture
    async def thread(self, used: list[str]) -> AsyncIterator[LaneThread[str, str]]:
        """A thread that returns the items in capitals, and fails if one of them is ``!`` or ``?``."""

        async def run(batch: Sequence[str]) -> Outcomes:
            used.append(threading.current_thread().name)
            if "!" in batch:
                raise ValueError("broken")
            if "?" in batch:
                await asyncio.sleep(0)
            return await upper(batch)

        thread = LaneThread[str, str](run, "lane")
        yield thread
        thread.close()

    @pytest.fixture
    async def threaded(self, thread: LaneThread[str, str]) -> AsyncIterator[Batcher[str, str]]:
        """A lane that works in the thread."""
        batcher = Batcher[str, str](thread)
        yield batcher
        await batcher.close()

    async def test_one_thread(self, threaded: Batcher[str, str], used: list[str]) -> None:
        """All batches are carried out in one thread, which is named after the lane."""
        assert [await threaded.submit(item) for item in "ab"] == ["A", "B"]
        assert used == ["lane_0", "lane_0"]

    async def test_the_loop_goes_on(self) -> None:
        """The event loop and other lanes work while the thread is blocked."""
        blocked = threading.Event()

        async def block(batch: Sequence[str]) -> Outcomes:
            assert blocked.wait(PATIENCE_S)
            return await upper(batch)

        thread, other = LaneThread[str, str](block, "stuck"), LaneThread[str, str](upper, "free")
        stuck, free = Batcher[str, str](thread), Batcher[str, str](other)
        waiting = asyncio.create_task(stuck.submit("a"))
        assert await free.submit("b") == "B"
        assert not waiting.done()
        blocked.set()
        assert await waiting == "A"
        await asyncio.gather(stuck.close(), free.close())
        thread.close()
        other.close()

    async def test_an_error(self, threaded: Batcher[str, str]) -> None:
        """An error of the work reaches the callers of its batch, and the thread continues."""
        with pytest.raises(ValueError, match="broken"):
            await threaded.submit("!")
        assert await threaded.submit("a") == "A"

    async def test_work_that_waits_for_the_loop(self, threaded: Batcher[str, str]) -> None:
        """A thread has no event loop, so work that waits for one fails, and the thread continues."""
        with pytest.raises(RuntimeError, match="waits for an event loop"):
            await threaded.submit("?")
        assert await threaded.submit("a") == "A"

    async def test_a_caller_that_leaves(self) -> None:
        """The thread finishes a batch whose caller is cancelled, before it begins the next one."""
        begun, blocked, done = threading.Event(), threading.Event(), list[str]()

        async def block(batch: Sequence[str]) -> Outcomes:
            begun.set()
            assert blocked.wait(PATIENCE_S)
            done.extend(batch)
            return await upper(batch)

        thread = LaneThread[str, str](block, "lane")
        batcher = Batcher[str, str](thread)
        gone, *waiting = await submit(batcher, "ab")
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        gone.cancel()
        await asyncio.sleep(0)
        blocked.set()
        assert await asyncio.gather(*waiting) == ["B"]
        assert done == ["a", "b"]
        await batcher.close()
        thread.close()

    async def test_the_time_is_measured(self) -> None:
        """What the thread does is measured for each call of the batch."""

        async def read(batch: Sequence[str]) -> Outcomes:
            enter("database")
            return await upper(batch)

        thread = LaneThread[str, str](read, "lane")
        batcher = Batcher[str, str](thread)
        begun = time.perf_counter()
        submission = batcher.enter("a", Receiver())
        assert list(spent(submission.stopwatch, begun, time.perf_counter())) == ["waited_ms"]
        await batcher.close()
        times = spent(submission.stopwatch, begun, time.perf_counter())
        assert list(times) == ["waited_ms", "locked_ms", "database_ms", "packed_ms"]
        assert times["locked_ms"] == 0 < times["database_ms"]
        thread.close()

    async def test_it_ends(self, thread: LaneThread[str, str], used: list[str]) -> None:
        """A closed thread accepts no batch any more."""
        assert await thread("a") == ["A"]
        thread.close()
        with pytest.raises(RuntimeError):
            await thread("b")
        assert len(used) == 1


def tagged(number: int) -> Callable[[Sequence[str]], Coroutine[Any, Any, list[tuple[int, str]]]]:
    """Return work that answers each item with a number."""

    async def tag(batch: Sequence[str]) -> list[tuple[int, str]]:
        return [(number, item) for item in batch]

    return tag


async def upper(batch: Sequence[str]) -> Outcomes:
    """Return the items in capitals."""
    return [item.upper() for item in batch]
