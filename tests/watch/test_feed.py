"""The feed: watchers read the table until they have caught up, and from then on share the tail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.reading.feed import Feed
from registrar_server.reading.history import EventSearch, HistoryEntry, HistoryPage
from registrar_server.reading.spans import SPAN_EVENTS, Span, WatchedEvent, read_span
from tests.support.watching import MemoryHistory, begun, revisions

ALL = EventSearch()
NEVER_S = 3600.0


class Table:
    """A table of events that threads read; a test can hold the reads."""

    def __init__(self) -> None:
        self.history = MemoryHistory()
        self.reads: list[EventSearch] = []
        self.flows = threading.Event()
        self.flows.set()
        self._read_begun = threading.Semaphore(0)

    async def one_read_begins(self) -> None:
        """Wait for the begin of one more read."""
        assert await asyncio.to_thread(self._read_begun.acquire, timeout=10)

    def read(self, search: EventSearch) -> Span:
        """Read all events after ``search.after`` that fit, and return them when the reads are not held."""
        self.reads.append(search)
        entries = self.history.entries[search.after :]
        events = [event for entry in entries if (event := WatchedEvent(entry, b"")).fits(search)]
        self._read_begun.release()
        self.flows.wait()
        return Span(search.after, search.after + len(entries), events, is_last=True)


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    """A table whose reads are not held when the test ends."""
    table = Table()
    yield table
    table.flows.set()


class Lookout:
    """Looks for nothing, and notes whether it runs."""

    runs = False

    def start(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False

    async def close(self) -> None:
        self.runs = False


def feed_of(table: Table, max_watchers: int = 10, lookout: Lookout | None = None) -> Feed:
    return Feed(
        table.read, table.history.latest, interval=NEVER_S, max_watchers=max_watchers, lookout=lookout or Lookout()
    )


async def test_the_lookout_runs_while_anybody_watches(table: Table) -> None:
    """It begins when the first watcher has caught up, and ends with the last one."""
    lookout = Lookout()
    feed = feed_of(table, lookout=lookout)
    assert not lookout.runs
    await feed.next(ALL, 0)
    assert lookout.runs
    feed.rest()
    assert not lookout.runs
    await feed.close()


async def test_watchers_who_have_caught_up_read_the_table_no_more(table: Table) -> None:
    """The tail reads it once for all of them."""
    feed = feed_of(table)
    table.history.commit("s-1", "s-1")
    assert revisions((await feed.next(ALL, 0)).events) == [1, 2]
    waiters = [asyncio.create_task(feed.wait(ALL, 2, NEVER_S)) for _ in range(5)]
    await begun(waiters)
    table.history.commit("s-1")
    feed.notice()
    assert await asyncio.gather(*waiters) == [2] * 5
    spans = [await feed.next(ALL, 2) for _ in waiters]
    assert [revisions(span.events) for span in spans] == [[3]] * 5
    assert len({id(span.events[0]) for span in spans}) == 1, "one packed event is for all"
    assert [search.after for search in table.reads] == [0, 2]
    await feed.close()


async def test_a_commit_between_the_read_of_the_table_and_the_tail_is_not_missed(table: Table) -> None:
    feed = feed_of(table)
    table.flows.clear()
    first = asyncio.create_task(feed.next(ALL, 0))
    await table.one_read_begins()
    table.history.commit("s-1")
    feed.notice()
    table.flows.set()
    assert (await first).upto == 0
    assert await feed.wait(ALL, 0, NEVER_S) == 0
    assert revisions((await feed.next(ALL, 0)).events) == [1]
    await feed.close()


async def test_a_watcher_who_comes_after_others_have_left_during_a_read_is_not_refused(table: Table) -> None:
    """A read goes on in its thread when its watcher has left. It does not take the place of the next watcher."""
    feed = feed_of(table, max_watchers=1)
    table.flows.clear()
    left = asyncio.create_task(feed.next(ALL, 0))
    await table.one_read_begins()
    left.cancel()
    feed.rest()
    reading = asyncio.create_task(feed.next(EventSearch(student_id="s-1"), 0))
    await table.one_read_begins()
    table.flows.set()
    assert (await reading).is_last
    await feed.close()


async def test_a_tail_that_begins_during_the_read_of_one_that_has_ended_goes_on(table: Table) -> None:
    feed = feed_of(table, max_watchers=1)
    await feed.next(ALL, 0)
    await table.one_read_begins()
    table.flows.clear()
    feed.notice()
    await table.one_read_begins()
    feed.rest()
    table.history.commit("s-1")
    again = asyncio.create_task(feed.next(ALL, 0))
    await table.one_read_begins()
    table.flows.set()
    assert revisions((await again).events) == [1]
    table.history.commit("s-1")
    feed.notice()
    assert await feed.wait(ALL, 1, NEVER_S) == 1
    await feed.close()


class OneReader:
    """Answers every query of the history with the same page."""

    def __init__(self, count: int, last: int) -> None:
        history = MemoryHistory()
        history.commit(*["s-1"] * count)
        self._found = history.entries
        self._last = last

    def list_events(self, _search: EventSearch, _limit: int) -> object:
        """Return the page."""
        return HistoryPage(self._found, self._last)


def pack(entry: HistoryEntry) -> bytes:
    return b"%d;" % entry.revision


@pytest.mark.parametrize(
    ("count", "last", "upto", "is_last"),
    [
        (0, 7, 7, True),
        (2, 7, 7, True),
        (SPAN_EVENTS - 1, 900, 900, True),
        (SPAN_EVENTS, 900, SPAN_EVENTS, False),
        (SPAN_EVENTS, SPAN_EVENTS, SPAN_EVENTS, False),
    ],
)
def test_a_span_reaches_the_end_of_the_history_unless_more_events_may_fit(
    count: int, last: int, upto: int, is_last: bool
) -> None:
    reader: object = OneReader(count, last)
    span = read_span(reader, pack, ALL)  # type: ignore[arg-type]
    assert (len(span.events), span.upto, span.is_last) == (count, upto, is_last)


def test_a_history_that_ends_before_the_watcher_refuses_it() -> None:
    reader: object = OneReader(0, 6)
    with pytest.raises(Refusal) as refused:
        read_span(reader, pack, EventSearch(after=7))  # type: ignore[arg-type]
    assert (refused.value.reason, refused.value.metadata) == (Reason.REVISION_AHEAD, {"revision": "6"})
