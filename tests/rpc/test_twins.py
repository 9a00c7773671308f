"""Twins: equal calls at the same time share one execution, whoever of their callers leaves and whenever.

The lane is real. The test ends each of its batches, so every moment of a race can be held.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import pytest

from registrar_server.core.commands import Enroll
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal, contention, database_unavailable, shutting_down, unwrap
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.ledger import Answer, Call, Outcome
from registrar_server.rpc.twins import Twins
from tests.support.ledgers import call

PATIENCE_S = 10
"""After this long, a batch that should have begun is taken for missing."""
MAX_WAITING = 8
EVENTS = (Event("e-1", EventType.STUDENT_ENROLLED, 1, "", ""),)
ENROLL = call(Enroll("s-1", "c-1"), "r-1")
OTHER = call(Enroll("s-2", "c-1"))

Running = asyncio.Task[Answer]


def refusal(number: int = 1) -> Refusal:
    return Refusal(Reason.COURSE_FULL, f"refusal {number}")


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Campus:
    """Twins over one lane, in which a batch has one call."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[Call] = asyncio.Queue()
        self._ends: asyncio.Queue[Outcome] = asyncio.Queue()
        self.clock = Clock()
        self.ran = 0
        self.missed: list[Outcome] = []
        """The outcomes of calls whose callers had left."""
        self.when_answered: Callable[[], object] = lambda: None
        """What happens when a call has its outcome, before its caller goes on."""
        limits = Limits(max_batch=1, max_waiting=2)
        batcher = Batcher[Call, Answer](self._work, limits, clock=self.clock)
        self.lanes = Lanes[Call, Answer]([batcher], key=lambda call: call.command.lane_key)
        self.twins = Twins(self.lanes, max_waiting=MAX_WAITING)

    async def _work(self, batch: Sequence[Call]) -> list[Outcome]:
        self.ran += 1
        self._begun.put_nowait(batch[0])
        outcome = await self._ends.get()
        # The lane answers its callers in this turn of the event loop, and they go on in the next one.
        asyncio.get_running_loop().call_soon(self.when_answered)
        return [outcome]

    async def begun(self) -> Call:
        """Wait until the next call begins, and return it."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._begun.get()

    def end(self, outcome: Outcome | bytes = b"done") -> None:
        """End the call that runs, by default with an answer."""
        self._ends.put_nowait(Answer(outcome, EVENTS) if isinstance(outcome, bytes) else outcome)

    async def start(self, one: Call = ENROLL, seconds: float | None = None) -> Running:
        """Start a call, and return when it waits."""
        running = asyncio.create_task(self._call(one, seconds))
        await turn()
        return running

    async def _call(self, one: Call, seconds: float | None) -> Answer:
        """Make a call, as a handler does: a caller who is cancelled leaves."""
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        entry = self.twins.enter(one, partial(self._end, ended), timeout=seconds)
        try:
            return unwrap(await ended)
        except asyncio.CancelledError:
            entry.leave()
            raise
        finally:
            del ended, entry  # They refer to the error that this may raise.

    def _end(self, ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
        if ended.done():
            self.missed.append(outcome)
        else:
            ended.set_result(outcome)

    async def start_many(self, count: int) -> list[Running]:
        return [await self.start() for _ in range(count)]


async def turn() -> None:
    """Let every task run until it has to wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancel(running: Running) -> None:
    """Cancel a call, and return when its caller has left."""
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def outcome(running: Running) -> Answer | Exception:
    """Return the answer or the error of a call."""
    try:
        return await running
    except Exception as error:
        return error


@pytest.fixture
async def campus() -> AsyncIterator[Campus]:
    """A campus; after the test no call is under way, and nothing is left of the calls."""
    campus = Campus()
    yield campus
    async with asyncio.timeout(PATIENCE_S):
        await campus.lanes.close()
    await turn()
    assert campus.twins._under_way == {}


class TestSuccess:
    """Twins share a success."""

    async def test_twins_share_one_execution(self, campus: Campus) -> None:
        """Every twin gets the response. One of them gets the events, which are logged once."""
        running = await campus.start_many(3)
        assert await campus.begun() is ENROLL
        campus.end()
        answers = [await one for one in running]
        assert answers == [Answer(b"done", EVENTS), Answer(b"done"), Answer(b"done")]
        assert campus.ran == 1

    async def test_a_later_call_is_no_twin(self, campus: Campus) -> None:
        """A call that comes after the end of the first runs; the ledger knows its request_id."""
        for _ in range(2):
            running = await campus.start()
            campus.end()
            await running
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
        """Twins have the same caller, request_id and content. Calls without a request_id have no twins."""
        first, second = await campus.start(), await campus.start(other)
        for _ in range(2):
            campus.end()
        assert [await one for one in (first, second)] == [Answer(b"done", EVENTS)] * 2
        assert campus.ran == 2

    async def test_calls_without_a_request_id_are_no_twins(self, campus: Campus) -> None:
        """Each of them runs."""
        running = [await campus.start(OTHER) for _ in range(3)]
        for _ in range(3):
            campus.end()
        assert await asyncio.gather(*running) == [Answer(b"done", EVENTS)] * 3
        assert campus.ran == 3


class TestFirstLeaves:
    """The execution belongs to no caller."""

    async def test_after_its_batch_began(self, campus: Campus) -> None:
        """The twins share the outcome of a call whose caller has gone, and the next of them gets its events."""
        first, *twins = await campus.start_many(3)
        await campus.begun()
        await cancel(first)
        campus.end()
        assert [await twin for twin in twins] == [Answer(b"done"), Answer(b"done")]
        assert campus.missed == [Answer(b"done", EVENTS)]
        assert campus.ran == 1

    async def test_a_twin_that_comes_after_the_first_has_left(self, campus: Campus) -> None:
        """A retry waits for the attempt that its caller gave up, as long as it runs."""
        first = await campus.start()
        await campus.begun()
        await cancel(first)
        retry = await campus.start()
        campus.end()
        assert await retry == Answer(b"done")
        assert campus.missed == [Answer(b"done", EVENTS)]
        assert campus.ran == 1

    async def test_without_a_twin(self, campus: Campus) -> None:
        """The outcome is dropped, and the next call runs."""
        first = await campus.start()
        await campus.begun()
        await cancel(first)
        campus.end()
        campus.end(b"next")
        assert await (await campus.start(OTHER)) == Answer(b"next", EVENTS)

    async def test_before_its_batch_began(self, campus: Campus) -> None:
        """The call never runs. The next twin is decided by itself, in its own place in the queue."""
        blocking = await campus.start(OTHER)
        assert await campus.begun() is OTHER
        first, *twins = await campus.start_many(3)
        await cancel(first)
        await turn()
        campus.end()
        assert await campus.begun() is ENROLL
        campus.end(b"second")
        await blocking
        assert [await twin for twin in twins] == [Answer(b"second", EVENTS), Answer(b"second")]
        assert campus.ran == 2

    async def test_its_deadline_passes_before_its_batch_begins(self, campus: Campus) -> None:
        """A twin does not inherit the deadline: it runs with its own."""
        blocking = await campus.start(OTHER)
        await campus.begun()
        first, twin = await campus.start(seconds=1), await campus.start(seconds=60)
        campus.clock.now += 2
        campus.end()
        await blocking
        assert isinstance(await outcome(first), TimeoutError)
        assert await campus.begun() is ENROLL
        campus.end(b"second")
        assert await twin == Answer(b"second", EVENTS)

    async def test_at_the_moment_of_the_outcome(self, campus: Campus) -> None:
        """A call that is cancelled when its outcome is there already leaves the outcome to the twins."""
        first, twin = await campus.start_many(2)
        await campus.begun()
        campus.when_answered = first.cancel
        campus.end()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await twin).response == b"done"
        assert campus.ran == 1


class TestOtherEnds:
    """After a refusal, or an error that says that nothing was changed, each twin is decided by itself."""

    @pytest.mark.parametrize(
        "error", [refusal(), contention(), database_unavailable(), TimeoutError(), RuntimeError()], ids=repr
    )
    async def test_twins_are_decided_one_after_the_other(self, campus: Campus, error: Exception) -> None:
        """In the order of their arrival, and only one at a time."""
        running = await campus.start_many(3)
        ends: list[Outcome] = [error, refusal(2), Answer(b"third", EVENTS)]
        for number, end in enumerate(ends, 1):
            await campus.begun()
            assert campus.ran == number
            campus.end(end)
        assert [await outcome(one) for one in running] == ends

    async def test_a_success_ends_it(self, campus: Campus) -> None:
        """All twins that still wait share the first success."""
        running = await campus.start_many(4)
        campus.end(refusal())
        campus.end()
        assert [await outcome(one) for one in running[1:]] == [
            Answer(b"done", EVENTS),
            Answer(b"done"),
            Answer(b"done"),
        ]
        assert isinstance(await outcome(running[0]), Refusal)
        assert campus.ran == 2

    async def test_uncertainty_is_shared(self, campus: Campus) -> None:
        """If the change may have been made, no twin may be refused for another reason, so none of them runs."""
        running = await campus.start_many(3)
        campus.end(database_unavailable(uncertain=True))
        errors = [await outcome(one) for one in running]
        assert {str(error) for error in errors} == {str(database_unavailable(uncertain=True))}
        assert len({id(error) for error in errors}) == 3
        assert campus.ran == 1

    async def test_a_closing_lane(self, campus: Campus) -> None:
        """The call in progress ends, and each twin whose turn comes afterwards is refused by the lane."""
        first, *twins = await campus.start_many(3)
        await campus.begun()
        closing = asyncio.create_task(campus.lanes.close())
        await turn()
        campus.end(refusal())
        assert isinstance(await outcome(first), Refusal)
        assert [str(await outcome(twin)) for twin in twins] == [str(shutting_down())] * 2
        await closing


async def test_only_so_many_twins_can_wait(campus: Campus) -> None:
    """They wait outside of the lanes, whose limit does not count them."""
    running = await campus.start_many(1 + MAX_WAITING)
    refused = await outcome(await campus.start())
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.OVERLOADED
    await cancel(running.pop())
    running.append(await campus.start())
    await campus.begun()
    campus.end()
    assert {(await one).response for one in running} == {b"done"}


class TestTwinLeaves:
    """A call that waits for its twin is not bound to it."""

    async def test_its_deadline_passes(self, campus: Campus) -> None:
        """It fails at its own deadline, and the first call goes on."""
        first, twin = await campus.start(), await campus.start(seconds=0)
        assert isinstance(await outcome(twin), TimeoutError)
        campus.end()
        assert await first == Answer(b"done", EVENTS)

    async def test_its_caller_leaves(self, campus: Campus) -> None:
        """A call whose caller left while it waited never runs."""
        first, second, third = await campus.start_many(3)
        await cancel(second)
        campus.end(refusal())
        campus.end()
        assert isinstance(await outcome(first), Refusal)
        assert await third == Answer(b"done", EVENTS)
        assert campus.ran == 2

    async def test_all_callers_leave(self, campus: Campus) -> None:
        """The execution ends without a caller."""
        for running in await campus.start_many(3):
            await cancel(running)
        campus.end()

    @pytest.mark.parametrize("with_next", [True, False])
    async def test_its_caller_leaves_at_its_turn(self, campus: Campus, with_next: bool) -> None:
        """If the caller leaves just when it is the call's turn, the turn passes on."""
        first, second, *others = await campus.start_many(3 if with_next else 2)
        await campus.begun()
        give_turn = Twins._give_turn

        def give_turn_and_cancel(twins: Twins, key: tuple[str, str, bytes]) -> None:
            give_turn(twins, key)
            second.cancel()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Twins, "_give_turn", give_turn_and_cancel)
            campus.end(refusal())
            with pytest.raises(asyncio.CancelledError):
                await second
        if with_next:
            campus.end()
            assert await others[0] == Answer(b"done", EVENTS)
        assert isinstance(await outcome(first), Refusal)


@pytest.mark.parametrize("make", [refusal, lambda: database_unavailable(uncertain=True)], ids=["refused", "uncertain"])
async def test_an_error_is_freed_with_its_last_caller(campus: Campus, make: Callable[[], Refusal]) -> None:
    """The errors of twins leave no cycle that keeps their requests in memory until a garbage collection."""
    gc.collect()
    gc.disable()
    try:
        running = await campus.start_many(2)
        for _ in range(1 if make().uncertain else 2):
            campus.end(make())
        errors = []
        for one in running:
            try:
                await one
            except Refusal as error:
                errors.append(weakref.ref(error))
        del running, one
        # The thread of the lane refers to its last outcome until it has the next one.
        campus.end()
        await (await campus.start(OTHER))
        assert [error() for error in errors] == [None, None]
    finally:
        gc.enable()
