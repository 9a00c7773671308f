"""The threads for queries: how many calls they accept, and what becomes of a query whose caller has left."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.reading.query_threads import QueryThreads

PATIENCE_S = 10
"""After this long, what should have happened at once is taken for missing."""


class Blocked:
    """A query that runs until the test ends it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._error = error
        self.ran = 0

    def __call__(self) -> str:
        self.ran += 1
        self._begun.set()
        assert self._ended.wait(PATIENCE_S)
        if self._error:
            raise self._error
        return "found"

    async def begun(self) -> None:
        """Wait until a thread runs the query."""
        assert await asyncio.to_thread(self._begun.wait, PATIENCE_S)

    def end(self) -> None:
        """Let the query end."""
        self._ended.set()


class Receiver:
    """Receives the outcome of a query."""

    def __init__(self) -> None:
        self.outcomes: list[str | Exception] = []
        self._ended = asyncio.Event()

    def __call__(self, outcome: str | Exception) -> None:
        self.outcomes.append(outcome)
        self._ended.set()

    async def outcome(self) -> str | Exception:
        """Wait for the outcome; there must be only one."""
        await asyncio.wait_for(self._ended.wait(), PATIENCE_S)
        (outcome,) = self.outcomes
        return outcome


@pytest.fixture
async def threads() -> AsyncIterator[QueryThreads]:
    """One thread, for which one more query can wait."""
    threads = QueryThreads(1, max_waiting=2)
    yield threads
    await threads.close()


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    blocked = Blocked()
    yield blocked
    blocked.end()


@pytest.fixture
async def failures() -> list[str]:
    """What the event loop is told of failures."""
    failures: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["message"]))
    return failures


def found() -> str:
    """Return a result at once."""
    return "found"


async def accepts(threads: QueryThreads) -> None:
    """Wait until the threads accept a query again, and until they have run it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await threads.run(found) == "found"
                return
            except Refusal:
                await asyncio.sleep(0)


class TestOutcomes:
    """A receiver gets the result or the error of its query."""

    async def test_a_result(self, threads: QueryThreads) -> None:
        """The receiver runs in the event loop, the query in a thread."""
        receiver = Receiver()
        threads.enter(lambda: threading.current_thread().name, receiver)
        assert await receiver.outcome() == "query_0"

    async def test_an_error(self, threads: QueryThreads) -> None:
        """The receiver gets the error itself, and the thread goes on."""
        receiver, error = Receiver(), ValueError("broken")
        threads.enter(lambda: _raise(error), receiver)
        assert await receiver.outcome() is error
        assert await threads.run(found) == "found"

    async def test_an_error_that_ends_threads(self, threads: QueryThreads) -> None:
        """An error such as SystemExit does not end the server; the receiver learns of it."""
        receiver = Receiver()
        threads.enter(lambda: _raise(SystemExit(3)), receiver)
        assert str(await receiver.outcome()) == "a query ended with SystemExit(3)"
        assert await threads.run(found) == "found"

    async def test_waiting_for_it(self, threads: QueryThreads) -> None:
        """``run`` returns the result or raises the error, and passes arguments on."""
        assert await threads.run(str.upper, "a") == "A"
        with pytest.raises(ValueError, match="broken"):
            await threads.run(_raise, ValueError("broken"))

    async def test_a_receiver_that_fails(self, threads: QueryThreads, failures: list[str]) -> None:
        """Its failure is reported, and other queries are not affected."""
        threads.enter(found, _fail)
        receiver = Receiver()
        threads.enter(found, receiver)
        assert await receiver.outcome() == "found"
        assert len(failures) == 1

    async def test_a_receiver_that_enters_another_query(self) -> None:
        """A query that has its outcome no longer counts."""
        threads = QueryThreads(1, max_waiting=1)
        receiver = Receiver()

        def again(_outcome: str | Exception) -> None:
            threads.enter(found, receiver)

        threads.enter(found, again)
        assert await receiver.outcome() == "found"
        await threads.close()

    async def test_the_time_is_measured(self, threads: QueryThreads, blocked: Blocked) -> None:
        """A query that waits for a thread has not begun."""
        first, second = Receiver(), Receiver()
        running, waiting = threads.enter(blocked, first), threads.enter(found, second)
        await blocked.begun()
        assert running.stopwatch.begun is not None
        assert waiting.stopwatch.begun is None
        blocked.end()
        await second.outcome()
        assert waiting.stopwatch.begun is not None


class TestLeaving:
    """A caller that leaves gets no outcome."""

    async def test_while_it_runs(self, threads: QueryThreads, blocked: Blocked) -> None:
        """The thread finishes the query, and the query counts until then."""
        receiver = Receiver()
        running = threads.enter(blocked, receiver)
        await blocked.begun()
        running.leave()
        waiting = Receiver()
        threads.enter(found, waiting)
        with pytest.raises(Refusal, match="2 calls are already waiting"):
            threads.enter(found, Receiver())
        blocked.end()
        assert await waiting.outcome() == "found"
        await accepts(threads)
        assert receiver.outcomes == []

    async def test_before_it_runs(self, threads: QueryThreads, blocked: Blocked) -> None:
        """The query never runs, and no longer counts."""
        first, second, left = Receiver(), Receiver(), Blocked()
        threads.enter(blocked, first)
        await blocked.begun()
        threads.enter(left, second).leave()
        await _some_turns()
        waiting = Receiver()
        threads.enter(found, waiting)
        blocked.end()
        assert [await first.outcome(), await waiting.outcome()] == ["found", "found"]
        assert second.outcomes == []
        assert left.ran == 0

    async def test_it_fails_afterwards(self, threads: QueryThreads, failures: list[str]) -> None:
        """Nobody is told of the error of a query whose caller has left."""
        receiver, failing = Receiver(), Blocked(ValueError("broken"))
        running = threads.enter(failing, receiver)
        await failing.begun()
        running.leave()
        failing.end()
        await accepts(threads)
        del running
        gc.collect()
        await _some_turns()
        assert receiver.outcomes == failures == []

    async def test_a_waiting_caller(self, threads: QueryThreads, blocked: Blocked) -> None:
        """A query counts until its thread has ended it, even if the caller that awaited it is cancelled."""
        gone = asyncio.create_task(threads.run(blocked))
        await blocked.begun()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        threads.enter(found, Receiver())
        with pytest.raises(Refusal):
            threads.enter(found, Receiver())
        blocked.end()
        await accepts(threads)

    async def test_after_the_outcome(self, threads: QueryThreads) -> None:
        """It comes too late, and changes nothing."""
        receiver = Receiver()
        running = threads.enter(found, receiver)
        await receiver.outcome()
        running.leave()
        await accepts(threads)
        assert receiver.outcomes == ["found"]


class TestFull:
    """Only so many queries run or wait."""

    async def test_one_too_many(self, threads: QueryThreads, blocked: Blocked) -> None:
        """The query beyond the limit is refused, whichever way it comes."""
        receivers = [Receiver(), Receiver()]
        for receiver in receivers:
            threads.enter(blocked, receiver)
        with pytest.raises(Refusal) as refused:
            threads.enter(found, Receiver())
        assert (refused.value.reason, refused.value.retry_after) == (Reason.OVERLOADED, 1.0)
        with pytest.raises(Refusal):
            await threads.run(found)
        blocked.end()
        assert [await receiver.outcome() for receiver in receivers] == ["found", "found"]
        assert blocked.ran == 2


class TestClose:
    """Closing refuses new queries and finishes the others."""

    async def test_drains(self, threads: QueryThreads, blocked: Blocked) -> None:
        """When it returns, every receiver has its outcome."""
        receivers = [Receiver(), Receiver()]
        threads.enter(blocked, receivers[0])
        threads.enter(found, receivers[1])
        closing = asyncio.create_task(threads.close())
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            threads.enter(found, Receiver())
        assert refused.value.reason is Reason.SHUTTING_DOWN
        assert not closing.done()
        blocked.end()
        await closing
        assert [receiver.outcomes for receiver in receivers] == [["found"], ["found"]]

    async def test_twice(self, threads: QueryThreads) -> None:
        """Closed threads can be closed again."""
        await threads.close()
        await threads.close()


@pytest.mark.parametrize("query", [found, lambda: _raise(Refusal(Reason.COURSE_NOT_FOUND, "no"))], ids=["found", "not"])
async def test_nothing_is_left_in_memory(threads: QueryThreads, query: Callable[[], str]) -> None:
    """A query that has ended keeps neither its receiver nor its error, without a garbage collection."""
    gc.collect()
    gc.disable()
    try:
        receiver = Receiver()
        threads.enter(query, receiver)
        outcome = await receiver.outcome()
        kept: list[weakref.ref[object]] = [weakref.ref(receiver)]
        if isinstance(outcome, Refusal):
            kept.append(weakref.ref(outcome))
        del receiver, outcome
        await accepts(threads)
        assert [one() for one in kept] == [None] * len(kept)
    finally:
        gc.enable()


def _fail(_outcome: str | Exception) -> None:
    raise ValueError("a receiver failed")


def _raise(error: BaseException) -> str:
    try:
        raise error
    finally:
        # The error's traceback keeps this frame, which must not keep the error.
        del error


async def _some_turns() -> None:
    """Let the event loop pass on that a caller has left."""
    for _ in range(3):
        await asyncio.sleep(0)
