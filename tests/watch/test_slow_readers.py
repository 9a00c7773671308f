"""Readers cost the server no buffer: each takes what it can, and those at the same place share one read."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from registrar.v1.history_service_pb2 import WatchEventsRequest
from registrar_server.reading import tail as tail_module
from registrar_server.reading.history import EventSearch, HistoryPage
from registrar_server.reading.reader import Reader
from registrar_server.reading.spans import SPAN_EVENTS
from registrar_server.rpc import watch_forms
from tests.support.batches import carried_out, create_course
from tests.support.servers import OPTIONS, Registrar, over, registrar_on, serving
from tests.support.watching import Stream, revisions, watching, watching_live

SMALL_WINDOW = [*OPTIONS, ("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]
"""A client that takes few bytes before it reads them."""
LARGE = "d" * 10_000
"""A description that makes events large."""


async def add_large_events(registrar: Registrar, first: int, last: int) -> None:
    """Create courses whose events have 10 KB each."""
    for start in range(first, last + 1, 100):
        numbers = range(start, min(start + 100, last + 1))
        await carried_out(registrar, *(create_course(f"c-{number}", description=LARGE) for number in numbers))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[EventSearch]:
    """All queries of the history by servers of this process so far."""
    noted: list[EventSearch] = []
    list_events = Reader.list_events

    def noting(reader: Reader, search: EventSearch, limit: int) -> HistoryPage:
        noted.append(search)
        return list_events(reader, search, limit)

    monkeypatch.setattr(Reader, "list_events", noting)
    return noted


class TestSlowReaders:
    """A reader that does not read."""

    async def test_memory(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Many idle readers of a history of 4 MB retain a part of it only, and each gets all of it in the end."""
        count, readers = 400, 20
        monkeypatch.setattr(tail_module, "KEPT_EVENTS", 0)
        async with serving(database_url) as server, AsyncExitStack() as stack:
            writer = over(await stack.enter_async_context(grpc.aio.insecure_channel(server.address, OPTIONS)))
            await add_large_events(writer, 1, count)
            tracemalloc.start()
            try:
                streams = []
                for _ in range(readers):
                    channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address, SMALL_WINDOW))
                    streams.append(Stream(over(channel).history.WatchEvents(WatchEventsRequest(after_revision=0))))
                for stream in streams:
                    await stream.next()
                retained = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            assert retained < readers * count * len(LARGE) / 3
            for stream in streams:
                assert revisions(await stream.reach(count)) == list(range(1, count + 1))
                stream.cancel()

    async def test_forgotten_place(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader reads on where it was, though the newest events in memory begin far behind its place."""
        monkeypatch.setattr(tail_module, "KEPT_EVENTS", 10)
        async with (
            serving(database_url) as server,
            grpc.aio.insecure_channel(server.address, SMALL_WINDOW) as channel,
            grpc.aio.insecure_channel(server.address, OPTIONS) as other_channel,
            watching_live(over(channel)) as slow,
            watching_live(over(other_channel)) as fast,
        ):
            for last in (100, 200, 300):
                await add_large_events(over(other_channel), last - 99, last)
                assert revisions(await fast.reach(last)) == list(range(1, last + 1))
            assert slow.revision == 0
            assert revisions(await slow.reach(300)) == list(range(1, 301))
            await add_large_events(over(other_channel), 301, 301)
            assert revisions(await slow.reach(301))[-1] == 301

    async def test_size_of_responses(self, registrar: Registrar) -> None:
        """A response has at most 256 KB and 500 events, so that a reader that does not read on costs no more."""
        await add_large_events(registrar, 1, 60)
        async with watching(registrar, after_revision=0) as stream:
            sizes = []
            while stream.revision < 60:
                response = await stream.next()
                sizes.append(response.ByteSize())
                assert response.checkpoint or response.revision == response.events[-1].revision
        assert max(sizes) <= watch_forms.MAX_RESPONSE_BYTES + 100
        assert len(sizes) >= 3

    async def test_many_small_events(self, registrar: Registrar) -> None:
        """A response has all events of a span if these are small."""
        for start in range(0, 1000, 500):
            await carried_out(registrar, *(create_course(f"c-{start + number}") for number in range(500)))
        async with watching(registrar, after_revision=0) as stream:
            assert len((await stream.next()).events) == watch_forms.MAX_RESPONSE_EVENTS == SPAN_EVENTS


class TestSharedReads:
    """What is read, and how often, for many readers."""

    @pytest.fixture
    async def open_streams(self, registrar: Registrar) -> AsyncIterator[Callable[..., Awaitable[list[Stream]]]]:
        """Opens a number of streams with these fields, and waits until all have caught up."""
        async with AsyncExitStack() as stack:

            async def opened(count: int, **fields: Any) -> list[Stream]:
                streams = [await stack.enter_async_context(watching(registrar, **fields)) for _ in range(count)]
                await asyncio.gather(*(stream.checkpoint() for stream in streams))
                return streams

            yield opened

    async def test_live(self, registrar: Registrar, open_streams: Any, reads: list[EventSearch]) -> None:
        """Each new event is read once for all who have caught up, whatever they filter."""
        streams = await open_streams(10)
        filtered = await open_streams(5, student_id="s-2")
        reads.clear()
        for number in range(1, 4):
            await registrar.add_student(f"s-{number}")
            for stream in streams:
                await stream.reach(number)
        assert revisions(await filtered[0].reach(2)) == [2]
        assert set(reads) <= {EventSearch(after=after) for after in range(4)}
        assert len(reads) <= 6, "a read for each event, and perhaps one after it that finds nothing"

    async def test_catching_up(self, registrar: Registrar, open_streams: Any, reads: list[EventSearch]) -> None:
        """Those who begin at the same place together share the reads, whether they come at once or a little later."""
        for start in range(0, 1200, 400):
            await carried_out(registrar, *(create_course(f"c-{start + number}") for number in range(400)))
        streams = await open_streams(10, after_revision=0)
        assert all(revisions(stream.events) == list(range(1, 1201)) for stream in streams)
        assert len([search for search in reads if search.after in (0, SPAN_EVENTS)]) == 2

    async def test_other_filters_sleep(
        self, registrar: Registrar, open_streams: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event that a watcher's filters do not let through gives it nothing to do."""
        watcher = await open_streams(1)
        await open_streams(5, student_id="s-9")
        looks: list[EventSearch] = []
        look = tail_module.Tail.next
        monkeypatch.setattr(
            tail_module.Tail, "next", lambda tail, search, after: (looks.append(search), look(tail, search, after))[1]
        )
        await registrar.add_student("s-1")
        await watcher[0].reach(1)
        assert set(looks) == {EventSearch()}

    async def test_nobody_watches(self, registrar: Registrar, open_streams: Any, reads: list[EventSearch]) -> None:
        """Commits are read for watchers only."""
        await registrar.add_student("s-1")
        assert not reads
        (stream,) = await open_streams(1)
        await registrar.add_student("s-2")
        await stream.reach(2)
        assert reads


async def test_the_tail_is_read_once_by_servers_with_many_filters(database_url: str) -> None:
    """Each of a hundred students watches the own events, and gets exactly these."""
    async with registrar_on(database_url) as registrar, AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(watching_live(registrar, student_id=f"s-{number}")) for number in range(100)
        ]
        for number in range(100):
            await registrar.add_student(f"s-{number}")
        for number, stream in enumerate(streams):
            while not stream.events:
                await stream.next()
            assert [event.student_id for event in stream.events] == [f"s-{number}"]
