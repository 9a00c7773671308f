"""Twins: equal calls at the same time share one execution, whoever of their callers leaves and whenever.

The lane is real. The test ends each of its batches, so every moment of a race can be held.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from registrar_server.core.commands import Enroll
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal, contention, database_unavailable, overloaded, shutting_down
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.rpc.twins import Entry, Twins
from tests.support.ledgers import call

PATIENCE_S = 10
"""After this long, what should have happened at once is taken for missing."""
MAX_WAITING = 8
EVENTS = (Event("e-1", EventType.STUDENT_ENROLLED, 1, "", ""),)
ENROLL = call(Enroll("s-1", "c-1"), "r-1")
OTHER = call(Enroll("s-2", "c-1"))
DONE = Answer(b"done", EVENTS)
SHARED = Answer(b"done")
"""The answer of a twin, without the events of the change."""


def refusal(number: int = 1) -> Refusal:
    return Refusal(Reason.COURSE_FULL, f"refusal {number}")


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Makes a call and receives its outcome; may do something with it."""

    def __init__(self, then: Callable[[Outcome], object] = lambda outcome: None) -> None:
        self.outcomes: list[Outcome] = []
        self._then = then
        self._ended = asyncio.Event()
        self._entry: Entry | None = None

    def enter(self, twins: Twins, one: Call, seconds: float | None) -> None:
        self._entry = twins.enter(one, self._receive, timeout=seconds)

    def _receive(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._ended.set()
        self._then(outcome)

    def leave(self) -> None:
        """Give the call up."""
        assert self._entry
        self._entry.leave()

    async def outcome(self) -> Outcome:
        """Wait for the outcome; there must be only one."""
        await asyncio.wait_for(self._ended.wait(), PATIENCE_S)
        (outcome,) = self.outcomes
        return outcome


class Campus:
    """Twins over one lane with two places, in which a batch has one call."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[Call] = asyncio.Queue()
        self._ends: asyncio.Queue[Outcome] = asyncio.Queue()
        self.clock = Clock()
        self.ran = 0
        batcher = Batcher[Call, Answer](self._work, Limits(max_batch=1, max_waiting=2), clock=self.clock)
        self.lanes = Lanes[Call, Answer]([batcher], key=lambda call: call.command.lane_key)
        self.twins = Twins(self.lanes, max_waiting=MAX_WAITING, clock=self.clock)

    async def _work(self, batch: Sequence[Call]) -> list[Outcome]:
        self.ran += 1
        self._begun.put_nowait(batch[0])
        return [await self._ends.get()]

    async def begun(self) -> Call:
        """Wait until the next call begins, and return it."""
        return await asyncio.wait_for(self._begun.get(), PATIENCE_S)

    def end(self, outcome: Outcome = DONE) -> None:
        """End the call that runs, by default with an answer."""
        self._ends.put_nowait(outcome)

    def start(self, one: Call = ENROLL, seconds: float | None = None, caller: Caller | None = None) -> Caller:
        """Make a call; raises its refusal if it cannot wait."""
        caller = caller or Caller()
        caller.enter(self.twins, one, seconds)
        return caller

    def start_many(self, count: int) -> list[Caller]:
        return [self.start() for _ in range(count)]


def runs(end: Outcome, callers: int) -> int:
    """Return how often equal calls of so many callers run if each run ends like this."""
    return callers if isinstance(end, Refusal) and not end.uncertain else 1


async def outcomes(callers: Sequence[Caller]) -> list[Outcome]:
    """Wait for the outcomes of calls."""
    return [await caller.outcome() for caller in callers]


@pytest.fixture
async def campus() -> AsyncIterator[Campus]:
    """A campus; after the test no call is under way, and nothing is left of the calls."""
    campus = Campus()
    yield campus
    await campus.lanes.close()
    assert campus.twins._under_way == {}
    assert campus.twins._waiting == 0


class TestSuccess:
    """Twins share a success."""

    async def test_twins_share_one_execution(self, campus: Campus) -> None:
        """Every twin gets the response. The first call gets the events, which are logged once."""
        callers = campus.start_many(3)
        assert await campus.begun() is ENROLL
        campus.end()
        assert await outcomes(callers) == [DONE, SHARED, SHARED]
        assert campus.ran == 1

    async def test_a_later_call_is_no_twin(self, campus: Campus) -> None:
        """A call that comes after the end of the first runs; the ledger knows its request_id."""
        for _ in range(2):
            caller = campus.start()
            campus.end()
            assert await caller.outcome() == DONE
        assert campus.ran == 2

    @pytest.mark.parametrize(
        "other",
        [
            call(Enroll("s-1", "c-1")),
            call(Enroll("s-1", "c-1"), "r-2"),
            call(Enroll("s-1", "c-1"), "r-1", b"other"),
            call(Enroll("s-1", "c-1"), "r-1", caller="ada"),
        ],
        ids=["no_request_id", "request_id", "content", "caller"],
    )
    async def test_calls_that_differ_are_no_twins(self, campus: Campus, other: Call) -> None:
        """Twins have the same caller, request_id and content."""
        callers = [campus.start(), campus.start(other)]
        for _ in range(2):
            campus.end()
        assert await outcomes(callers) == [DONE, DONE]
        assert campus.ran == 2

    async def test_calls_without_a_request_id_are_no_twins(self, campus: Campus) -> None:
        """Each of them runs, as far as the lane has room."""
        callers = [campus.start(OTHER)]
        assert await campus.begun() is OTHER
        callers += [campus.start(OTHER) for _ in range(2)]
        with pytest.raises(Refusal, match="2 calls are already waiting"):
            campus.start(OTHER)
        for _ in range(3):
            campus.end()
        assert await outcomes(callers) == [DONE] * 3
        assert campus.ran == 3

    async def test_many_twins(self) -> None:
        """Thousands of twins share one answer, in the order of their arrival."""
        campus = Campus()
        campus.twins = Twins(campus.lanes, max_waiting=10_000)
        order: list[int] = []
        for place in range(10_000):
            campus.start(caller=Caller(partial(_note, order, place)))
        campus.end()
        await campus.lanes.close()
        assert order == list(range(10_000))
        assert campus.ran == 1


class TestFirstLeaves:
    """The execution belongs to no caller."""

    async def test_after_its_batch_began(self, campus: Campus) -> None:
        """The twins share the outcome of a call whose caller has gone. Its receiver gets the events, for the log."""
        first, *twins = campus.start_many(3)
        await campus.begun()
        first.leave()
        campus.end()
        assert await outcomes([first, *twins]) == [DONE, SHARED, SHARED]
        assert campus.ran == 1

    async def test_a_twin_that_comes_after_the_first_has_left(self, campus: Campus) -> None:
        """A retry waits for the attempt that its caller gave up, as long as it runs."""
        first = campus.start()
        await campus.begun()
        first.leave()
        retry = campus.start()
        campus.end()
        assert await outcomes([first, retry]) == [DONE, SHARED]
        assert campus.ran == 1

    async def test_without_a_twin(self, campus: Campus) -> None:
        """The call is carried out, and the next call runs."""
        first = campus.start()
        await campus.begun()
        first.leave()
        campus.end()
        campus.end(refusal())
        assert isinstance(await campus.start(OTHER).outcome(), Refusal)
        assert await first.outcome() == DONE

    async def test_before_its_batch_began(self, campus: Campus) -> None:
        """The call never runs. The next twin is decided by itself, in its own place in the queue."""
        blocking = campus.start(OTHER)
        assert await campus.begun() is OTHER
        first, *twins = campus.start_many(3)
        between = campus.start(call(Enroll("s-3", "c-1")))
        with pytest.raises(Refusal):
            campus.start(OTHER)
        first.leave()
        for outcome in (DONE, refusal(), DONE):
            campus.end(outcome)
        assert await outcomes([blocking, between]) == [DONE, await between.outcome()]
        assert isinstance(await between.outcome(), Refusal)
        assert await outcomes(twins) == [DONE, SHARED]
        assert first.outcomes == []
        assert campus.ran == 3

    async def test_at_once(self, campus: Campus) -> None:
        """A call that its caller gives up in the turn of its arrival never runs, and its twin does."""
        first, twin = campus.start_many(2)
        first.leave()
        campus.end()
        assert await twin.outcome() == DONE
        assert first.outcomes == []
        assert campus.ran == 1

    async def test_its_deadline_passes_before_its_batch_begins(self, campus: Campus) -> None:
        """A twin does not inherit the deadline: it runs with its own."""
        blocking = campus.start(OTHER)
        await campus.begun()
        first, twin = campus.start(seconds=1), campus.start(seconds=60)
        campus.clock.now += 2
        campus.end()
        campus.end()
        assert await blocking.outcome() == DONE
        assert isinstance(await first.outcome(), TimeoutError)
        assert await twin.outcome() == DONE
        assert campus.ran == 2

    @pytest.mark.parametrize("end", [DONE, refusal(), database_unavailable(uncertain=True)], ids=repr)
    async def test_after_its_outcome(self, campus: Campus, end: Outcome) -> None:
        """A caller that leaves when its outcome is there has no effect on the next call, even if that is equal."""
        first = campus.start()
        campus.end(end)
        await first.outcome()
        following = campus.start_many(2)
        await campus.begun()
        await campus.begun()
        first.leave()
        campus.end()
        assert await outcomes(following) == [DONE, SHARED]
        assert campus.ran == 2

    async def test_after_its_deadline(self, campus: Campus) -> None:
        """A caller that leaves when its deadline has passed does not take the turn of the twin that runs."""
        blocking = campus.start(OTHER)
        await campus.begun()
        first, second, third = campus.start(seconds=1), campus.start(), campus.start()
        campus.clock.now += 1
        campus.end()
        assert isinstance(await first.outcome(), TimeoutError)
        first.leave()
        assert await campus.begun() is ENROLL
        campus.end(refusal())
        campus.end()
        assert isinstance(await second.outcome(), Refusal)
        assert await outcomes([blocking, third]) == [DONE, DONE]
        assert campus.ran == 3

    async def test_at_the_moment_of_its_deadline(self, campus: Campus) -> None:
        """If the deadline passes and the caller leaves in one turn of the event loop, each twin has one turn only."""
        others = [campus.start(OTHER)]
        await campus.begun()
        first, second, third = campus.start(seconds=1), campus.start(), campus.start()
        others.append(campus.start(OTHER))
        campus.clock.now += 1
        # The lane is full: this call drops the first, whose receiver would get the outcome in the next turn.
        others.append(campus.start(OTHER))
        first.leave()
        # The lane is full again, so it refuses the second one, and then the third.
        assert [str(one) for one in await outcomes([second, third])] == [str(overloaded(2, 0.05))] * 2
        for _ in others:
            campus.end()
        assert await outcomes(others) == [DONE] * 3
        assert first.outcomes == []


class TestOtherEnds:
    """After a refusal, or an error that says that nothing was changed, each twin is decided by itself."""

    @pytest.mark.parametrize(
        "error", [refusal(), contention(), database_unavailable(), TimeoutError(), RuntimeError()], ids=repr
    )
    async def test_twins_are_decided_one_after_the_other(self, campus: Campus, error: Exception) -> None:
        """In the order of their arrival, and only one at a time."""
        callers = campus.start_many(3)
        ends: list[Outcome] = [error, refusal(2), DONE]
        for number, end in enumerate(ends, 1):
            await campus.begun()
            assert campus.ran == number
            campus.end(end)
        assert await outcomes(callers) == ends

    async def test_a_success_ends_it(self, campus: Campus) -> None:
        """All twins that still wait share the first success."""
        callers = campus.start_many(4)
        campus.end(refusal())
        campus.end()
        first, *others = await outcomes(callers)
        assert isinstance(first, Refusal)
        assert others == [DONE, SHARED, SHARED]
        assert campus.ran == 2

    async def test_uncertainty_is_shared(self, campus: Campus) -> None:
        """If the change may have been made, no twin may be refused for another reason, so none of them runs."""
        callers = campus.start_many(3)
        campus.end(database_unavailable(uncertain=True))
        errors = await outcomes(callers)
        assert {str(error) for error in errors} == {str(database_unavailable(uncertain=True))}
        assert len({id(error) for error in errors}) == 3
        assert campus.ran == 1

    async def test_a_closing_lane(self, campus: Campus) -> None:
        """The call in progress ends, and each twin whose turn comes afterwards is refused by the lane."""
        first, *twins = campus.start_many(3)
        await campus.begun()
        closing = asyncio.create_task(campus.lanes.close())
        await asyncio.sleep(0)
        campus.end(refusal())
        assert isinstance(await first.outcome(), Refusal)
        assert [str(one) for one in await outcomes(twins)] == [str(shutting_down())] * 2
        await closing

    async def test_many_twins_of_a_closing_lane(self) -> None:
        """Thousands of twins are refused one after the other, without recursion."""
        campus = Campus()
        campus.twins = Twins(campus.lanes, max_waiting=10_000)
        first, *twins = [campus.start() for _ in range(10_001)]
        await campus.begun()
        closing = asyncio.create_task(campus.lanes.close())
        await asyncio.sleep(0)
        campus.end(refusal())
        await closing
        assert isinstance(await first.outcome(), Refusal)
        assert {str(one) for one in await outcomes(twins)} == {str(shutting_down())}


class TestReceivers:
    """The receiver of an outcome may do anything, without an effect on its twins."""

    @pytest.mark.parametrize("end", [DONE, refusal(), database_unavailable(uncertain=True)], ids=repr)
    @pytest.mark.parametrize("failing", [0, 1])
    async def test_one_that_fails(self, campus: Campus, end: Outcome, failing: int) -> None:
        """The other twins get their outcomes, and the failure is reported."""
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["message"]))
        callers = [campus.start(caller=Caller(_fail if place == failing else _accept)) for place in range(3)]
        for _ in range(runs(end, 3)):
            campus.end(end)
        assert {type(one) for one in await outcomes(callers)} == {type(end)}
        assert failures == ["a receiver of an outcome failed"]
        later = campus.start()
        campus.end()
        assert await later.outcome() == DONE

    async def test_one_that_is_refused_and_fails(self, campus: Campus) -> None:
        """If the lane refuses a twin whose receiver fails, the next one still gets its turn."""
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        callers = [campus.start(caller=Caller(_fail)) for _ in range(3)]
        await campus.begun()
        closing = asyncio.create_task(campus.lanes.close())
        await asyncio.sleep(0)
        campus.end(refusal())
        assert [str(one) for one in await outcomes(callers)] == [str(refusal()), *[str(shutting_down())] * 2]
        await closing

    async def test_one_that_repeats_its_call(self, campus: Campus) -> None:
        """A call that a receiver makes at its outcome waits for its twins, and shares their outcome."""
        repeated: list[Caller] = []
        first = campus.start(caller=Caller(lambda _outcome: repeated.append(campus.start())))
        second = campus.start()
        campus.end(refusal())
        campus.end()
        assert isinstance(await first.outcome(), Refusal)
        assert await outcomes([second, *repeated]) == [DONE, SHARED]
        assert campus.ran == 2

    async def test_one_that_repeats_its_call_after_a_twin(self, campus: Campus) -> None:
        """A call that the receiver of a shared answer makes is a new one."""
        repeated: list[Caller] = []
        first = campus.start()
        twins = [campus.start(caller=Caller(lambda _outcome: repeated.append(campus.start()))) for _ in range(2)]
        campus.end()
        assert await outcomes([first, *twins]) == [DONE, SHARED, SHARED]
        campus.end()
        assert await outcomes(repeated) == [DONE, SHARED]
        assert campus.ran == 2

    async def test_one_that_leaves_its_twin(self, campus: Campus) -> None:
        """A twin that leaves while others share an answer gets none."""
        first = campus.start(caller=Caller(lambda _outcome: second.leave()))
        second = campus.start()
        third = campus.start(caller=Caller(lambda _outcome: last.leave()))
        last = campus.start()
        campus.end()
        assert await outcomes([first, third]) == [DONE, SHARED]
        assert second.outcomes == last.outcomes == []


def _note(order: list[int], place: int, _outcome: Outcome) -> None:
    order.append(place)


def _fail(_outcome: Outcome) -> None:
    raise ValueError("a receiver failed")


def _accept(_outcome: Outcome) -> None:
    pass


class TestLimit:
    """Only so many twins can wait. They wait outside of the lanes, whose limit does not count them."""

    async def test_one_too_many(self, campus: Campus) -> None:
        """The twin beyond the limit is refused; one that leaves makes room."""
        callers = campus.start_many(1 + MAX_WAITING)
        with pytest.raises(Refusal) as refused:
            campus.start()
        assert refused.value.reason is Reason.OVERLOADED
        callers.pop().leave()
        callers.append(campus.start())
        campus.end()
        assert await outcomes(callers) == [DONE, *[SHARED] * MAX_WAITING]

    @pytest.mark.parametrize("end", [DONE, refusal(), database_unavailable(uncertain=True)], ids=repr)
    async def test_room_again(self, campus: Campus, end: Outcome) -> None:
        """Twins that have their outcomes no longer count."""
        for _ in range(2):
            callers = campus.start_many(1 + MAX_WAITING)
            for _ in range(runs(end, len(callers))):
                campus.end(end)
            await outcomes(callers)

    async def test_a_full_lane(self, campus: Campus) -> None:
        """A call that the lane refuses is not under way, so its repetition is no twin of it."""
        blocking = [campus.start(OTHER)]
        await campus.begun()
        blocking += [campus.start(OTHER) for _ in range(2)]
        for _ in range(2):
            with pytest.raises(Refusal, match="2 calls are already waiting"):
                campus.start()
        for _ in blocking:
            campus.end()
        await outcomes(blocking)


class TestTwinLeaves:
    """A call that waits for its twin is not bound to it."""

    async def test_its_deadline_passes(self, campus: Campus) -> None:
        """It fails at its own deadline, and the first call goes on."""
        first, twin, other = campus.start(), campus.start(seconds=0), campus.start(seconds=60)
        assert isinstance(await twin.outcome(), TimeoutError)
        campus.end()
        assert await outcomes([first, other]) == [DONE, SHARED]

    async def test_its_deadline_passes_after_its_turn(self, campus: Campus) -> None:
        """The time for which it waited for its twin counts."""
        first, twin = campus.start(), campus.start(seconds=60)
        await campus.begun()
        between = campus.start(OTHER)
        campus.clock.now += 50
        campus.end(refusal())
        assert isinstance(await first.outcome(), Refusal)
        campus.clock.now += 10
        campus.end()
        assert await between.outcome() == DONE
        assert isinstance(await twin.outcome(), TimeoutError)
        assert campus.ran == 2

    async def test_its_deadline_passed_before_it_arrived(self, campus: Campus) -> None:
        """A call without any time left never runs."""
        twin = campus.start(seconds=0)
        assert isinstance(await twin.outcome(), TimeoutError)
        assert campus.ran == 0

    async def test_its_caller_leaves(self, campus: Campus) -> None:
        """A call whose caller left while it waited never runs."""
        first, second, third = campus.start_many(3)
        second.leave()
        campus.end(refusal())
        campus.end()
        assert isinstance(await first.outcome(), Refusal)
        assert await third.outcome() == DONE
        assert second.outcomes == []
        assert campus.ran == 2

    async def test_it_leaves_before_its_deadline(self, campus: Campus) -> None:
        """Its deadline has no effect any more."""
        first, twin = campus.start(), campus.start(seconds=0)
        twin.leave()
        campus.end()
        assert await first.outcome() == DONE
        assert twin.outcomes == []

    async def test_it_leaves_after_its_outcome(self, campus: Campus) -> None:
        """A twin that leaves when it has shared an answer changes nothing."""
        callers = campus.start_many(3)
        campus.end()
        await outcomes(callers)
        for caller in callers:
            caller.leave()
        assert campus.twins._waiting == 0

    @pytest.mark.parametrize("has_begun", [True, False])
    async def test_all_callers_leave(self, campus: Campus, has_begun: bool) -> None:
        """An execution that has begun ends without a caller; otherwise none begins."""
        callers = campus.start_many(3)
        if has_begun:
            await campus.begun()
        for caller in callers:
            caller.leave()
        campus.end()
        await campus.lanes.close()
        assert campus.ran == has_begun

    @pytest.mark.parametrize("with_next", [True, False])
    async def test_its_caller_leaves_at_its_turn(self, campus: Campus, with_next: bool) -> None:
        """If the caller leaves just when it is the call's turn, the turn passes on."""
        loop = asyncio.get_running_loop()
        # In the next turn, the second one is in the lane, and its batch has not begun.
        first = campus.start(caller=Caller(lambda _outcome: loop.call_soon(second.leave)))
        second, *others = campus.start_many(1 + with_next)
        campus.end(refusal())
        assert isinstance(await first.outcome(), Refusal)
        for other in others:
            campus.end()
            assert await other.outcome() == DONE
        await campus.lanes.close()
        assert second.outcomes == []
        assert campus.ran == 1 + with_next


class Received(list[Outcome]):
    """The outcomes of a call."""


@pytest.mark.parametrize(
    "end",
    [lambda: DONE, refusal, lambda: database_unavailable(uncertain=True)],
    ids=["answered", "refused", "uncertain"],
)
async def test_nothing_is_left_in_memory(campus: Campus, end: Callable[[], Outcome]) -> None:
    """Twins leave no circle that keeps their requests, errors and receivers in memory until a garbage collection."""
    gc.collect()
    gc.disable()
    try:
        received = [Received() for _ in range(4)]
        entries = [campus.twins.enter(ENROLL, one.append, timeout=60) for one in received]
        entries[0].leave()
        entries[3].leave()
        for _ in range(runs(end(), 2)):
            await campus.begun()
            campus.end(end())
        await campus.lanes.close()
        assert list(map(len, received)) == [0, 1, 1, 0]
        kept: list[weakref.ref[Any]] = [weakref.ref(one) for one in received]
        kept += [weakref.ref(one) for [one] in received[1:3] if isinstance(one, Refusal)]
        del received, entries
        assert [one() for one in kept] == [None] * len(kept)
    finally:
        gc.enable()
