"""Watchers at the same place share what is made for them: the span, and the responses with its events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registrar.v1.history_service_pb2 import WatchEventsResponse
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.reading.history import EventSearch, HistoryEntry
from registrar_server.reading.spans import Span, WatchedEvent
from registrar_server.reading.tail import Tail
from registrar_server.rpc.watch_forms import GRPC, pack
from tests.support.watching import MemoryHistory, revisions

ALL = EventSearch()
NEVER_S = 3600.0


@pytest.fixture
async def history() -> MemoryHistory:
    return MemoryHistory()


@pytest.fixture
async def tail(history: MemoryHistory) -> AsyncIterator[Tail]:
    """A tail that learns of commits by announcements only."""
    tail = Tail(history.read, history.latest, NEVER_S)
    tail.begin(0)
    yield tail
    tail.end()


async def announced(tail: Tail, history: MemoryHistory, student_id: str) -> None:
    """Commit an event, and wait until the tail has read it."""
    before = history.commit(student_id) - 1
    tail.notice()
    await tail.wait(ALL, before, NEVER_S)


async def test_watchers_at_the_same_place_who_look_for_the_same_get_the_same_span(
    tail: Tail, history: MemoryHistory
) -> None:
    await announced(tail, history, "s-1")
    assert tail.next(ALL, 0) is tail.next(ALL, 0)
    other = tail.next(EventSearch(student_id="s-2"), 0)
    assert other is not None
    assert not other.events


async def test_a_span_is_shared_only_until_more_events_come(tail: Tail, history: MemoryHistory) -> None:
    """A watcher who comes to the same place later gets these events too."""
    await announced(tail, history, "s-1")
    first = tail.next(ALL, 0)
    await announced(tail, history, "s-1")
    later = tail.next(ALL, 0)
    assert first is not None
    assert later is not None
    assert (revisions(first.events), first.is_last) == ([1], True)
    assert (revisions(later.events), later.is_last) == ([1, 2], True)


def span() -> Span:
    """Return a span with one event, which has a comment."""
    event = Event("e-1", EventType.STUDENT_CREATED, 0, "", "", student_id="s-1", comment="as agreed")
    entry = HistoryEntry(1, event, None)
    return Span(0, 1, [WatchedEvent(entry, pack(entry))], is_last=True)


def test_the_responses_with_the_events_of_a_span_are_made_once() -> None:
    shared = span()
    assert GRPC.responses(shared, as_student=False) is GRPC.responses(shared, as_student=False)


def test_students_share_responses_with_students_only() -> None:
    shared = span()
    [whole] = GRPC.responses(shared, as_student=False)
    [part] = GRPC.responses(shared, as_student=True)
    comments = [WatchEventsResponse.FromString(response.data).events[0].comment for response in (whole, part)]
    assert comments == ["as agreed", ""]
