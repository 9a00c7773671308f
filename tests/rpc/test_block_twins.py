"""Blocks and the twins of their calls: they wait for each other and share outcomes, and a block keeps its order.

The lanes are real: one for single calls, one for blocks. The test ends each of their batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from registrar_server.core.commands import Enroll
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal, contention, database_unavailable
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.calls import Answer, Block, Call, Outcome
from registrar_server.rpc.twins import Twins
from tests.support.ledgers import call

PATIENCE_S = 10
"""After this long, what should have happened at once is taken for missing."""
EVENTS = (Event("e-1", EventType.STUDENT_ENROLLED, 1, "", ""),)
DONE = Answer(b"done", EVENTS)
SHARED = Answer(b"done")
"""The answer of a twin, without the events of the change."""
FIRST, SECOND, OTHER = (call(Enroll(f"s-{number}", "c-1"), f"r-{number}") for number in (1, 2, 3))
BLOCK = Block([FIRST, SECOND])


def refusal() -> Refusal:
    return Refusal(Reason.COURSE_FULL, "full")


class Office:
    """Twins over a lane for calls, in which a batch has one call, and a lane for blocks."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[Any] = asyncio.Queue()
        self._ends: dict[type, asyncio.Queue[Any]] = {Call: asyncio.Queue(), Block: asyncio.Queue()}
        self.now = 100.0
        limits = Limits(max_batch=1, max_waiting=10)
        self.calls = Lanes[Call, Answer]([Batcher(self._work, limits, clock=self._clock)], key=lambda _call: "")
        self.blocks = Batcher[Block, Sequence[Outcome]](self._work, limits, clock=self._clock)
        self.twins = Twins(self.calls, max_waiting=10, clock=self._clock)

    def _clock(self) -> float:
        return self.now

    async def _work(self, items: Sequence[Any]) -> list[Any]:
        self._begun.put_nowait(items[0])
        return [await self._ends[type(items[0])].get()]

    async def begun(self) -> Any:
        """Wait until a call or a block begins, and return it."""
        return await asyncio.wait_for(self._begun.get(), PATIENCE_S)

    def nothing_begins(self) -> bool:
        return self._begun.empty()

    def end_call(self, outcome: Outcome = DONE) -> None:
        """End the single call that runs."""
        self._ends[Call].put_nowait(outcome)

    def end_block(self, *outcomes: Outcome, error: Exception | None = None) -> None:
        """End the block that runs with the outcomes of its calls, or with an error."""
        self._ends[Block].put_nowait(error or list(outcomes))

    def call(self, one: Call) -> list[Outcome]:
        """Make a single call, and return the list that will contain its outcome."""
        outcomes: list[Outcome] = []
        self.twins.enter(one, outcomes.append, timeout=None)
        return outcomes

    def block(self, block: Block = BLOCK, seconds: float | None = None) -> Running:
        """Carry out a block in a task."""
        return Running(self.twins, self.blocks, block, seconds)


class Running:
    """A block under way."""

    def __init__(self, twins: Twins, lane: Batcher[Block, Sequence[Outcome]], block: Block, seconds: float | None):
        self.outcomes: list[Outcome] = []
        carrying_out = twins.carry_out(lane, block, self.outcomes.extend, timeout=seconds)
        self._task = asyncio.ensure_future(carrying_out)

    async def ended(self) -> list[Outcome]:
        """Wait until the block has ended, and return the outcomes of its calls; raises its error."""
        await asyncio.wait_for(self._task, PATIENCE_S)
        return self.outcomes

    async def error(self) -> Exception:
        """Wait until the block has failed, and return its error."""
        with pytest.raises((Refusal, TimeoutError, RuntimeError)) as failed:
            await self.ended()
        return failed.value

    async def leave(self) -> None:
        """Give the block up."""
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    """An office; after the test nothing is under way, and nothing is left of calls and blocks."""
    office = Office()
    yield office
    await office.calls.close()
    await office.blocks.close()
    assert office.twins._under_way == {}
    assert office.twins._cleared == {}
    assert office.twins._waiting == 0


async def turns() -> None:
    """Let everything happen that waits only for the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestABlockFirst:
    """A single call whose twin is in a block that is under way."""

    async def test_shares_the_answer(self, office: Office) -> None:
        """It does not run, and gets no events."""
        block = office.block()
        assert await office.begun() is BLOCK
        twin = office.call(SECOND)
        office.end_block(DONE, DONE)
        assert await block.ended() == [DONE, DONE]
        await turns()
        assert twin == [SHARED]
        assert office.nothing_begins()

    @pytest.mark.parametrize("end", [refusal(), contention(), RuntimeError()], ids=repr)
    async def test_is_decided_by_itself_after_another_end(self, office: Office, end: Exception) -> None:
        """The refusal of a write, and an interruption of the block, are not those of its twins."""
        block = office.block()
        await office.begun()
        twin = office.call(FIRST)
        office.end_block(end, DONE)
        await block.ended()
        assert await office.begun() is FIRST
        office.end_call()
        await office.calls.close()
        assert twin == [DONE]

    @pytest.mark.parametrize("error", [contention(), database_unavailable(), RuntimeError()], ids=repr)
    async def test_is_decided_by_itself_after_an_interruption(self, office: Office, error: Exception) -> None:
        block = office.block()
        await office.begun()
        twins = [office.call(one) for one in (FIRST, SECOND)]
        office.end_block(error=error)
        assert await block.error() is error
        for one in (FIRST, SECOND):
            assert await office.begun() is one
            office.end_call()
        await office.calls.close()
        assert twins == [[DONE], [DONE]]

    async def test_shares_an_uncertain_end(self, office: Office) -> None:
        """The change may have been made, so the twin must not be refused for another reason."""
        block = office.block()
        await office.begun()
        twin = office.call(FIRST)
        office.end_block(error=database_unavailable(uncertain=True))
        assert str(await block.error()) == str(database_unavailable(uncertain=True))
        await turns()
        assert list(map(str, twin)) == [str(database_unavailable(uncertain=True))]
        assert office.nothing_begins()

    async def test_shares_what_was_done_before_an_interruption(self, office: Office) -> None:
        """Of a block that is interrupted in the middle, the twins of the first calls share their answers."""
        block = office.block()
        await office.begun()
        done, interrupted = office.call(FIRST), office.call(SECOND)
        end = contention()
        office.end_block(DONE, end)
        assert await block.error() is end
        assert block.outcomes == [DONE, end]
        assert await office.begun() is SECOND
        office.end_call()
        await office.calls.close()
        assert (done, interrupted) == ([SHARED], [DONE])

    @pytest.mark.parametrize("first", [DONE, refusal()], ids=["answered", "refused"])
    async def test_waits_for_all_calls_of_the_block(self, office: Office, first: Outcome) -> None:
        """A block can contain twins. Whichever of them is answered, another twin shares the answer."""
        block = office.block(Block([FIRST, FIRST]))
        await office.begun()
        twin = office.call(FIRST)
        office.end_block(first, DONE)
        await block.ended()
        await turns()
        assert twin == [SHARED]
        assert office.nothing_begins()

    async def test_runs_if_the_block_never_begins(self, office: Office) -> None:
        """A block that its caller leaves before it begins gives its twins their turn."""
        running = office.block(Block([OTHER]))
        await office.begun()
        waiting = office.block()
        await turns()
        twin = office.call(FIRST)
        await waiting.leave()
        assert await office.begun() is FIRST
        office.end_call()
        office.end_block(DONE)
        await running.ended()
        await office.calls.close()
        assert twin == [DONE]
        assert waiting.outcomes == []

    async def test_runs_if_the_deadline_of_the_block_passes(self, office: Office) -> None:
        running = office.block(Block([OTHER]))
        await office.begun()
        waiting = office.block(seconds=1)
        await turns()
        twin = office.call(FIRST)
        office.now += 2
        office.end_block(DONE)
        assert isinstance(await waiting.error(), TimeoutError)
        assert await office.begun() is FIRST
        office.end_call()
        await running.ended()
        await office.calls.close()
        assert twin == [DONE]

    async def test_shares_the_outcome_of_a_block_whose_caller_has_left(self, office: Office) -> None:
        """The receiver of the block gets its outcomes too, for the log."""
        block = office.block()
        await office.begun()
        await block.leave()
        twin = office.call(FIRST)
        office.end_block(DONE, refusal())
        await office.blocks.close()
        assert twin == [SHARED]
        assert block.outcomes[0] == DONE


class TestACallFirst:
    """A block with the twin of a call that is under way."""

    async def test_waits_for_the_call(self, office: Office) -> None:
        """It begins as a whole and in its order when the call has ended."""
        single = office.call(SECOND)
        assert await office.begun() is SECOND
        block = office.block()
        await turns()
        assert office.nothing_begins()
        office.end_call()
        assert await office.begun() is BLOCK
        office.end_block(DONE, SHARED)
        assert await block.ended() == [DONE, SHARED]
        assert single == [DONE]

    async def test_waits_for_all_calls_and_their_twins(self, office: Office) -> None:
        """A twin that gets its turn after a refusal goes before the block."""
        singles = [office.call(one) for one in (FIRST, FIRST, SECOND)]
        block = office.block()
        for end in (refusal(), DONE, DONE):
            assert await office.begun() in (FIRST, SECOND)
            await turns()
            office.end_call(end)
        assert await office.begun() is BLOCK
        office.end_block(DONE, DONE)
        await block.ended()
        assert [type(one[0]) for one in singles] == [Refusal, Answer, Answer]

    async def test_waits_for_a_later_call_too(self, office: Office) -> None:
        """When the twin of its first call has ended, that of its second call may still be under way."""
        for one in (FIRST, SECOND):
            office.call(one)
        block = office.block()
        assert await office.begun() is FIRST
        await turns()
        office.end_call()
        assert await office.begun() is SECOND
        await turns()
        assert office.nothing_begins()
        office.end_call()
        assert await office.begun() is BLOCK
        office.end_block(SHARED, SHARED)
        assert await block.ended() == [SHARED, SHARED]

    async def test_waits_for_another_block(self, office: Office) -> None:
        """A batch that is sent again while the first attempt is under way begins after that."""
        first, again = office.block(), office.block()
        assert await office.begun() is BLOCK
        await turns()
        office.end_block(DONE, DONE)
        await first.ended()
        assert await office.begun() is BLOCK
        office.end_block(SHARED, SHARED)
        assert await again.ended() == [SHARED, SHARED]

    async def test_does_not_wait_longer_than_its_deadline(self, office: Office) -> None:
        """The time that is left when the call ends is the time that the block may wait in its lane."""
        single = office.call(FIRST)
        await office.begun()
        block = office.block(seconds=60)
        await turns()
        office.now += 61
        office.end_call()
        assert isinstance(await block.error(), TimeoutError)
        assert single == [DONE]
        assert office.nothing_begins()

    async def test_whose_deadline_has_passed(self, office: Office) -> None:
        single = office.call(FIRST)
        await office.begun()
        assert isinstance(await office.block(seconds=0).error(), TimeoutError)
        office.end_call()
        await office.calls.close()
        assert single == [DONE]

    async def test_whose_caller_leaves(self, office: Office) -> None:
        """The block never begins, and the call is not affected."""
        single = office.call(FIRST)
        await office.begun()
        block = office.block()
        await turns()
        await block.leave()
        office.end_call()
        await office.calls.close()
        assert single == [DONE]
        assert office.nothing_begins()

    async def test_in_the_queue_of_calls(self, office: Office) -> None:
        """If the caller of the single call leaves before it begins, the block need not wait for it."""
        running = office.call(OTHER)
        await office.begun()
        entry = office.twins.enter(FIRST, _ignore, timeout=None)
        block = office.block()
        await turns()
        assert not entry.leave()
        assert await office.begun() is BLOCK
        office.end_block(DONE, DONE)
        await block.ended()
        office.end_call()
        await office.calls.close()
        assert running == [DONE]


class TestReceivers:
    """The receiver of a block may do anything, without an effect on the twins of its calls."""

    @pytest.mark.parametrize("fails", [True, False])
    async def test_one_that_fails(self, office: Office, fails: bool) -> None:
        """The twins get their outcomes, the block ends, and the failure is reported."""
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["message"]))
        then: Callable[[Sequence[Outcome]], None] = _fail if fails else _ignore
        block = asyncio.ensure_future(office.twins.carry_out(office.blocks, BLOCK, then, timeout=None))
        await office.begun()
        twin = office.call(FIRST)
        office.end_block(DONE, DONE)
        await asyncio.wait_for(block, PATIENCE_S)
        await turns()
        assert twin == [SHARED]
        assert failures == (["a receiver of an outcome failed"] if fails else [])


def _ignore(_outcome: object) -> None:
    pass


def _fail(_outcomes: object) -> None:
    raise ValueError("a receiver failed")
