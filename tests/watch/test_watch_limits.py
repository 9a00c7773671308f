"""How many streams a server has, and what remains of a stream that has ended: nothing."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode

from registrar.v1.history_service_pb2 import WatchEventsRequest
from registrar_server.app import Server
from registrar_server.errors import Reason, Refusal
from registrar_server.reading.commit_poll import CommitPoll
from registrar_server.reading.feed import Feed
from registrar_server.reading.spans import Span, WatchedEvent
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.watchers import WatchTimes
from tests.support.garbage import Garbage
from tests.support.servers import OPTIONS, Log, Registrar, calling, over, registrar_on, serving
from tests.support.watching import Stream, revisions, watching, watching_live


@pytest.fixture
async def narrow(database_url: str, log: Log) -> AsyncIterator[Registrar]:
    """A server with places for two streams."""
    async with registrar_on(database_url, max_watchers=2) as registrar:
        yield registrar


class TestPlaces:
    """REGISTRAR_MAX_WATCHERS."""

    async def test_too_many(self, narrow: Registrar) -> None:
        """A further stream is refused, with the time after which another attempt makes sense; the others go on."""
        async with watching_live(narrow) as one, watching_live(narrow, student_id="s-1") as other:
            async with watching(narrow, after_revision=0) as third:
                failure = await third.failure()
            await narrow.add_student("s-1")
            assert revisions(await one.reach(1)) == revisions(await other.reach(1)) == [1]
        assert (failure.code, failure.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert failure.message == "The server has 2 watchers already, which is REGISTRAR_MAX_WATCHERS."
        assert failure.the(RetryInfo).retry_delay.seconds == 5

    async def test_refused_streams_take_no_place(self, narrow: Registrar) -> None:
        """A stream that never begins leaves its place to others."""
        for fields in ({"after_revision": -1}, {"after_revision": 9}, {"student_id": "s 1"}) * 2:
            async with watching(narrow, **fields) as refused:
                await refused.failure()
        async with watching_live(narrow), watching_live(narrow):
            pass

    @pytest.mark.parametrize("status", ["CANCELLED", "DEADLINE_EXCEEDED"])
    async def test_ended_by_the_caller(self, narrow: Registrar, status: str, log: Log) -> None:
        """A stream that is cancelled or meets its deadline leaves its place at once."""
        async with watching_live(narrow):
            for _ in range(3):
                if status == "CANCELLED":
                    async with watching_live(narrow):
                        pass
                else:
                    async with watching(narrow, timeout=0.2) as stream:
                        assert await _code_of(stream) is StatusCode.DEADLINE_EXCEEDED
                await log.one("rpc", method="WatchEvents", status=status)
                log.lines.clear()
            async with watching_live(narrow):
                pass

    async def test_lost_connection(self, sqlite_url: str, log: Log) -> None:
        """A stream whose connection is lost leaves its place at once."""
        async with serving(sqlite_url, max_watchers=1) as server:
            channel = grpc.aio.insecure_channel(server.address, OPTIONS)
            stream = Stream(over(channel).history.WatchEvents(WatchEventsRequest()))
            await stream.checkpoint()
            await channel.close()
            await log.one("rpc", method="WatchEvents", status="CANCELLED")
            async with calling(server.address) as registrar, watching_live(registrar):
                pass

    async def test_blocked_reader(self, narrow: Registrar, log: Log) -> None:
        """A stream that waits for its reader leaves its place as well when it is cancelled."""
        for number in range(40):
            await narrow.add_course(f"c-{number}", description="d" * 10_000)
        unread = narrow.history.WatchEvents(WatchEventsRequest(after_revision=0))
        async with watching(narrow, after_revision=-1) as refused:
            await refused.failure()  # Streams that came before are open by now.
        unread.cancel()
        await log.one("rpc", method="WatchEvents", status="CANCELLED")
        async with watching_live(narrow), watching_live(narrow):
            pass


async def _code_of(stream: Stream) -> StatusCode:
    """Return the code with which gRPC itself ends a stream."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.end()
    return caught.value.code()


class TestRest:
    """A server without watchers."""

    async def test_no_polls(self, database_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """It does not ask the database for new events; it did while there was one."""
        rested = asyncio.Event()
        rest = Feed.rest

        def noting_rest(feed: Feed) -> None:
            rest(feed)
            rested.set()

        monkeypatch.setattr(Feed, "rest", noting_rest)
        async with serving(database_url, times=WatchTimes(poll=0.01, poll_sqlite=0.01)) as server:
            polls = _count_polls(server)
            async with calling(server.address) as registrar, watching_live(registrar):
                await polls.reach(5)
            await rested.wait()
            tasks = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
            assert not {name for name in tasks if "Tail" in name or "SharedReads" in name or "Watchers" in name}
            if database_url.startswith("sqlite"):
                await _ended_poll(server)
            before = polls.count
            async with calling(server.address) as registrar:
                await registrar.add_student("s-1")
            assert polls.count == before

    async def test_no_events(self, sqlite_url: str, log: Log) -> None:
        """No event stays in memory when the last watcher has left."""
        async with serving(sqlite_url) as server, calling(server.address) as registrar:
            async with watching_live(registrar) as stream:
                await registrar.add_student("s-1")
                await stream.reach(1)
                assert _watched_events()
            await log.one("rpc", method="WatchEvents")
            await registrar.add_student("s-2")
            await server._queues.feed._tail_thread.run(gc.collect)  # A read that was under way ends before.
            assert not _watched_events()


async def _ended_poll(server: Server) -> None:
    """Wait for the end of the thread that looks for commits of other processes."""
    poll = server._queues.feed._lookout
    assert isinstance(poll, CommitPoll)
    assert poll._thread is not None
    await asyncio.to_thread(poll._thread.join, 30)
    assert not poll._thread.is_alive()


def _watched_events() -> list[WatchedEvent]:
    """Return the events in memory after a garbage collection."""
    gc.collect()
    spans = [found for found in gc.get_objects() if isinstance(found, Span)]
    return [event for span in spans for event in span.events]


class _Polls:
    def __init__(self) -> None:
        self.count = 0
        self._more = asyncio.Event()

    def add(self) -> None:
        """Note a poll."""
        self.count += 1
        self._more.set()

    async def reach(self, count: int) -> None:
        """Wait until there were so many polls."""
        while self.count < count:
            self._more.clear()
            await self._more.wait()


def _count_polls(server: Server) -> _Polls:
    """Count how often the tail of a server asks for the newest revision."""
    tail, polls = server._queues.feed._tail, _Polls()
    latest = tail._latest

    async def counted() -> int:
        polls.add()
        return await latest()

    tail._latest = counted
    return polls


class TestMemory:
    """Streams leave nothing in memory that waits for a garbage collection."""

    @pytest.mark.parametrize("fields", [{"after_revision": -1}, {"after_revision": 9}], ids=["invalid", "ahead"])
    async def test_refused(self, sqlite_url: str, fields: dict[str, int], garbage: Garbage, log: Log) -> None:
        """A refused stream."""
        async with registrar_on(sqlite_url) as registrar:

            async def attempt() -> None:
                async with watching(registrar, **fields) as stream:
                    await stream.failure()

            await _repeat(attempt)
            assert garbage() == []

    async def test_cancelled(self, sqlite_url: str, garbage: Garbage, log: Log) -> None:
        """A stream that was left while it waited for an event."""
        numbers = itertools.count()
        async with registrar_on(sqlite_url) as registrar:

            async def attempt() -> None:
                async with watching_live(registrar):
                    await registrar.add_student(f"s-{next(numbers)}")
                await log.one("rpc", method="WatchEvents")
                log.lines.clear()

            await _repeat(attempt)
            assert garbage() == []

    @pytest.mark.parametrize(
        ("error_type", "arguments", "code"),
        [
            (RuntimeError, ("broken",), StatusCode.INTERNAL),
            (Refusal, (Reason.DATABASE_UNAVAILABLE, "gone"), StatusCode.UNAVAILABLE),
        ],
        ids=["crash", "refusal"],
    )
    async def test_ended_by_an_error(
        self,
        sqlite_url: str,
        error_type: type[Exception],
        arguments: tuple[Any, ...],
        code: StatusCode,
        garbage: Garbage,
        log: Log,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Streams that ended because their server could not read the history, at their beginning or later."""

        def fail(*_: Any) -> None:
            raise error_type(*arguments)

        numbers = itertools.count()
        async with registrar_on(sqlite_url) as registrar:

            async def attempt() -> None:
                async with watching_live(registrar) as one, watching_live(registrar, student_id="s-1") as two:
                    with monkeypatch.context() as broken:
                        broken.setattr("registrar_server.reading.reader.Reader.list_events", fail)
                        await registrar.add_student(f"s-{next(numbers)}")
                        async with watching(registrar, after_revision=0) as three:
                            assert {(await each.failure()).code for each in (one, two, three)} == {code}

            await _repeat(attempt)
            assert garbage() == []

    async def test_calls(self, sqlite_url: str, garbage: Garbage, log: Log) -> None:
        """The call of a stream is gone when the stream has ended."""
        async with registrar_on(sqlite_url) as registrar:
            async with watching_live(registrar):
                assert _calls()
            await log.one("rpc", method="WatchEvents")
            await registrar.add_student("s-1")
            await registrar.add_student("s-2")
            assert [call.method.name for call in _calls()] in ([], ["CreateStudent"])


def _calls() -> list[Arrival]:
    return [found for found in gc.get_objects() if isinstance(found, Arrival)]


async def _repeat(attempt: Callable[[], Awaitable[None]]) -> None:
    for _ in range(5):
        await attempt()
    await asyncio.sleep(0)
