"""Reads of the history that watchers at the same place share, and the spans that they get."""

from __future__ import annotations

import asyncio

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.reading.history import EventSearch
from registrar_server.reading.shared_reads import KEPT_SPANS, SharedReads
from registrar_server.reading.spans import Span, WatchedEvent
from tests.support.watching import MemoryHistory, begun, revisions

ALL = EventSearch()


@pytest.fixture
async def history() -> MemoryHistory:
    """A history with four events, three of which are read at once."""
    history = MemoryHistory(limit=3)
    history.commit("s-1", "s-2", "s-1", "s-1")
    return history


async def test_watchers_at_the_same_place_share_one_read(history: MemoryHistory) -> None:
    shared = SharedReads(history.read)
    spans = await asyncio.gather(*(shared.read(ALL) for _ in range(5)))
    assert revisions(spans[0].events) == [1, 2, 3]
    assert all(span is spans[0] for span in spans)
    assert len(history.reads) == 1


async def test_watchers_who_come_to_the_same_place_later_share_it_too(history: MemoryHistory) -> None:
    shared = SharedReads(history.read)
    assert await shared.read(ALL) is await shared.read(ALL)
    assert len(history.reads) == 1


async def test_the_end_of_the_history_is_read_anew(history: MemoryHistory) -> None:
    """More events can follow at any time."""
    shared, end = SharedReads(history.read), EventSearch(after=3)
    assert revisions((await shared.read(end)).events) == [4]
    history.commit("s-1")
    assert revisions((await shared.read(end)).events) == [4, 5]


async def test_watchers_with_other_filters_read_for_themselves(history: MemoryHistory) -> None:
    shared = SharedReads(history.read)
    spans = await asyncio.gather(*(shared.read(EventSearch(student_id=one)) for one in ("s-1", "s-2", "")))
    assert [revisions(span.events) for span in spans] == [[1, 3, 4], [2], [1, 2, 3]]


async def test_only_the_latest_spans_are_kept(history: MemoryHistory) -> None:
    history.commit(*["s-1"] * 3 * KEPT_SPANS)
    shared = SharedReads(history.read)
    for after in range(KEPT_SPANS + 1):
        await shared.read(EventSearch(after=after))
    await shared.read(EventSearch(after=KEPT_SPANS))
    assert len(history.reads) == KEPT_SPANS + 1
    await shared.read(ALL)
    assert len(history.reads) == KEPT_SPANS + 2


async def test_whoever_leaves_does_not_end_the_read_of_the_others(history: MemoryHistory) -> None:
    shared = SharedReads(history.read)
    history.flows.clear()
    leaving, staying = (asyncio.create_task(shared.read(ALL)) for _ in range(2))
    await begun([leaving, staying])
    leaving.cancel()
    history.flows.set()
    assert revisions((await staying).events) == [1, 2, 3]
    assert leaving.cancelled()
    assert len(history.reads) == 1


async def test_a_failed_read_fails_for_all_and_is_not_kept(history: MemoryHistory) -> None:
    shared = SharedReads(history.read)
    history.error = Refusal(Reason.DATABASE_UNAVAILABLE, "gone")
    failed = await asyncio.gather(*(shared.read(ALL) for _ in range(2)), return_exceptions=True)
    assert failed == [history.error] * 2
    history.error = None
    assert revisions((await shared.read(ALL)).events) == [1, 2, 3]


async def test_nothing_is_kept_when_nobody_watches(history: MemoryHistory) -> None:
    """Neither what was read before nor what a read that still runs returns: the history may be another one later."""
    shared = SharedReads(history.read)
    await shared.read(ALL)
    history.flows.clear()
    left = asyncio.create_task(shared.read(EventSearch(student_id="s-1")))
    await begun([left])
    (reading,) = shared._under_way.values()
    left.cancel()
    shared.forget()
    history.flows.set()
    await reading
    reads = len(history.reads)
    await shared.read(ALL)
    await shared.read(EventSearch(student_id="s-1"))
    assert len(history.reads) == reads + 2


def test_an_event_is_brought_into_a_form_once() -> None:
    history = MemoryHistory()
    history.commit("s-1")
    event, made = WatchedEvent(history.entries[0], b"1;"), []

    def form(packed: bytes) -> bytes:
        made.append(packed)
        return packed.upper()

    assert [event.in_form(form), event.in_form(form), event.in_form(bytes.lower)] == [b"1;"] * 3
    assert made == [b"1;"]


@pytest.mark.parametrize(
    ("search", "fitting"),
    [
        (EventSearch(), [1, 2]),
        (EventSearch(student_id="s-1"), [1]),
        (EventSearch(student_id="s-3"), []),
        (EventSearch(course_id="c-1"), []),
        (EventSearch(types=("STUDENT_CREATED",)), [1, 2]),
        (EventSearch(types=("STUDENT_DELETED",)), []),
        (EventSearch(actor="key:ada"), []),
        (EventSearch(student_id="s-2", types=("STUDENT_CREATED",)), [2]),
    ],
)
def test_a_span_knows_which_events_fit(search: EventSearch, fitting: list[int]) -> None:
    history = MemoryHistory()
    history.commit("s-1", "s-2")
    span = Span(0, 2, [WatchedEvent(entry, b"") for entry in history.entries], is_last=True)
    assert span.has(search) == bool(fitting)
    assert revisions(span.fitting(search, 0)) == fitting
    assert revisions(span.fitting(search, 1)) == [one for one in fitting if one > 1]
