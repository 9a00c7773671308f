"""The tail: the newest events in memory, which one reader reads for all watchers that have caught up."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.reading import tail as tail_module
from registrar_server.reading.history import EventSearch
from registrar_server.reading.tail import Tail
from tests.support.watching import MemoryHistory, begun, revisions

ALL = EventSearch()
NEVER_S = 3600.0
"""Nobody waits for so long: only an announcement or an event can come first."""
SOON_S = 0.001


@pytest.fixture
async def history() -> MemoryHistory:
    """A history with the events 1 to 3 of the student s-1."""
    history = MemoryHistory()
    history.commit("s-1", "s-1", "s-1")
    return history


@pytest.fixture
async def tail(history: MemoryHistory) -> AsyncIterator[Tail]:
    """A tail that learns of commits by announcements only, after the event 3."""
    tail = Tail(history.read, history.latest, NEVER_S)
    tail.begin(3)
    yield tail
    tail.end()


def waiting(tail: Tail, search: EventSearch, after: int) -> asyncio.Task[int]:
    """Begin to wait for an event that fits a search."""
    return asyncio.create_task(tail.wait(search, after, NEVER_S))


async def read_to(tail: Tail, revision: int) -> None:
    """Wait until the tail has read this revision."""
    while (span := tail.next(ALL, revision - 1)) is None or not span.events:
        await tail.wait(ALL, revision - 1, NEVER_S)


async def announced(tail: Tail, history: MemoryHistory, *student_ids: str) -> None:
    """Commit events, and wait until the tail has read them."""
    last = history.commit(*student_ids)
    tail.notice()
    await read_to(tail, last)


async def test_an_announced_event_wakes_those_who_wait_for_it(tail: Tail, history: MemoryHistory) -> None:
    woken = waiting(tail, ALL, 3)
    await begun([woken])
    await announced(tail, history, "s-1")
    assert await woken == 3
    span = tail.next(ALL, 3)
    assert span is not None
    assert (revisions(span.events), span.upto, span.is_last) == ([4], 4, True)


async def test_an_event_that_nobody_fits_wakes_nobody(tail: Tail, history: MemoryHistory) -> None:
    """Those who wait for other events need no turn of the event loop for it."""
    others = [waiting(tail, EventSearch(student_id=f"s-{number}"), 3) for number in range(2, 5)]
    await begun(others)
    await announced(tail, history, "s-1", "s-1")
    assert not any(other.done() for other in others)
    await announced(tail, history, "s-3")
    done, pending = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    assert (done, len(pending)) == ({others[1]}, 2)
    assert others[1].result() == 5, "the events before do not fit, and are not looked at again"
    for other in pending:
        other.cancel()


async def test_whoever_waits_in_vain_goes_on_after_the_events_that_do_not_fit(
    tail: Tail, history: MemoryHistory
) -> None:
    other = asyncio.create_task(tail.wait(EventSearch(student_id="s-2"), 3, 0.05))
    await begun([other])
    await announced(tail, history, "s-1", "s-1")
    assert await other == 5


async def test_an_event_that_comes_before_the_watcher_waits_is_not_missed(tail: Tail, history: MemoryHistory) -> None:
    """Between its look and its wait a watcher sends a response, and events can come meanwhile."""
    span = tail.next(ALL, 3)
    assert span is not None
    assert not span.events
    await announced(tail, history, "s-1")
    assert await tail.wait(ALL, 3, SOON_S) == 3


async def test_a_watcher_before_the_first_kept_event_is_sent_to_the_table(tail: Tail) -> None:
    assert tail.next(ALL, 2) is None
    assert tail.next(ALL, 3) is not None


async def test_a_watcher_beyond_the_last_known_event_is_sent_to_the_table(tail: Tail) -> None:
    """Only the table can tell whether the tail is late, or the history shorter than the watcher believes."""
    assert tail.next(ALL, 4) is None


async def test_the_tail_forgets_old_events(tail: Tail, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "KEPT_EVENTS", 2)
    for _ in range(4):
        await announced(tail, history, "s-1")
    assert [tail.next(ALL, after) is None for after in range(3, 8)] == [True, True, False, False, False]


async def test_the_tail_forgets_large_events(
    tail: Tail, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest events are kept in any case, so that those who have caught up never need the table."""
    monkeypatch.setattr(tail_module, "KEPT_BYTES", 1)
    await announced(tail, history, "s-1", "s-1")
    assert tail.next(ALL, 3) is not None
    await announced(tail, history, "s-1")
    assert tail.next(ALL, 3) is None
    assert tail.next(ALL, 5) is not None


async def test_a_watcher_behind_many_small_reads_gets_their_events_together(tail: Tail, history: MemoryHistory) -> None:
    """A quiet history is read event by event. A response and a search for each of them would take far too long."""
    for _ in range(4):
        await announced(tail, history, "s-1")
    span = tail.next(ALL, 4)
    assert span is not None
    assert (revisions(span.events), span.after, span.upto, span.is_last) == ([5, 6, 7], 4, 7, True)
    other = tail.next(EventSearch(student_id="s-2"), 3)
    assert other is not None
    assert (revisions(other.events), other.after, other.upto, other.is_last) == ([], 3, 7, True)


async def test_a_watcher_far_behind_gets_parts_that_are_not_too_large(
    tail: Tail, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "SPAN_EVENTS", 3)
    for _ in range(4):
        await announced(tail, history, "s-1", "s-1")
    parts, after = [], 4
    while after < 11:
        span = tail.next(ALL, after)
        assert span is not None
        parts.append((revisions(span.events), span.upto, span.is_last))
        after = span.upto
    assert parts == [([5, 6, 7], 7, False), ([8, 9], 9, False), ([10, 11], 11, True)]


async def test_what_watchers_got_is_kept_only_for_the_last_places(tail: Tail, history: MemoryHistory) -> None:
    """Any number of watchers can come to any place before the next event."""
    await announced(tail, history, "s-1")
    got = weakref.WeakSet(
        tail.next(EventSearch(student_id=f"s-{number}"), 3) for number in range(3 * tail_module.KEPT_ANSWERS)
    )
    assert len(got) <= tail_module.KEPT_ANSWERS


async def test_whoever_leaves_disturbs_nobody(tail: Tail, history: MemoryHistory) -> None:
    one, other = waiting(tail, ALL, 3), waiting(tail, ALL, 3)
    await begun([one, other])
    one.cancel()
    await announced(tail, history, "s-1")
    assert await other == 3
    assert one.cancelled()


async def test_a_filter_that_nobody_waits_for_any_more_is_forgotten(tail: Tail) -> None:
    for number in range(3):
        await tail.wait(EventSearch(student_id=f"s-{number}"), 3, 0)
    assert not tail._waiting


async def test_a_failed_read_is_the_end_of_all_who_wait(tail: Tail, history: MemoryHistory) -> None:
    """The next watcher begins again, in case that the database is back."""
    waiters = [waiting(tail, ALL, 3), waiting(tail, EventSearch(student_id="s-2"), 3)]
    await begun(waiters)
    history.error = Refusal(Reason.DATABASE_UNAVAILABLE, "gone")
    tail.notice()
    for waiter in waiters:
        with pytest.raises(Refusal, match="gone"):
            await waiter
    assert tail.next(ALL, 3) is None
    history.error = None
    tail.begin(3)
    await announced(tail, history, "s-1")


async def test_whoever_waits_for_a_tail_that_has_failed_looks_again_at_once(tail: Tail, history: MemoryHistory) -> None:
    waiter = waiting(tail, ALL, 3)
    await begun([waiter])
    history.error = Refusal(Reason.DATABASE_UNAVAILABLE, "gone")
    tail.notice()
    await asyncio.wait([waiter])
    waiter.exception()
    assert await tail.wait(ALL, 3, NEVER_S) == 3


async def test_a_commit_that_is_announced_before_the_tail_begins_is_read(history: MemoryHistory) -> None:
    """The commit may come after the read of the table that found the place where the tail begins."""
    tail = Tail(history.read, history.latest, NEVER_S)
    history.commit("s-1")
    tail.notice()
    tail.begin(3)
    await read_to(tail, 4)
    tail.end()


async def test_a_commit_that_is_announced_during_a_read_is_read(tail: Tail, history: MemoryHistory) -> None:
    history.flows.clear()
    history.commit("s-1")
    tail.notice()
    await history.read_begun.wait()
    history.commit("s-1")
    tail.notice()
    history.flows.set()
    await read_to(tail, 5)


async def test_a_commit_that_is_not_announced_is_found_by_the_poll(history: MemoryHistory) -> None:
    tail = Tail(history.read, history.latest, SOON_S)
    tail.begin(3)
    woken = waiting(tail, ALL, 3)
    history.commit("s-1")
    assert await woken == 3
    tail.end()


async def test_a_tail_that_has_ended_reads_nothing(history: MemoryHistory) -> None:
    """Neither the poll nor an announcement lets it read, and it keeps no event."""
    tail = Tail(history.read, history.latest, SOON_S)
    tail.begin(3)
    await history.polled.wait()
    await announced(tail, history, "s-1")
    running = tail._reading
    assert running is not None
    tail.end()
    await asyncio.wait([running])
    assert running.cancelled()
    reads = len(history.reads)
    history.commit("s-1")
    tail.notice()
    await asyncio.sleep(0)
    assert len(history.reads) == reads
    assert tail.next(ALL, 4) is None


async def test_a_tail_that_begins_again_does_not_take_the_read_of_before(tail: Tail, history: MemoryHistory) -> None:
    history.flows.clear()
    history.commit("s-1")
    tail.notice()
    await history.read_begun.wait()
    tail.end()
    last = history.commit("s-1")
    tail.begin(last)
    history.flows.set()
    await announced(tail, history, "s-1")
    span = tail.next(ALL, last)
    assert span is not None
    assert revisions(span.events) == [6]


async def test_a_history_that_is_shorter_than_before_ends_the_watchers(history: MemoryHistory) -> None:
    """A restored backup can lack the newest events. The poll finds the difference."""
    tail = Tail(history.read, history.latest, SOON_S)
    tail.begin(3)
    waiter = waiting(tail, ALL, 3)
    await begun([waiter])
    history.entries.pop()
    with pytest.raises(Refusal) as refused:
        await waiter
    assert refused.value.reason is Reason.REVISION_AHEAD
