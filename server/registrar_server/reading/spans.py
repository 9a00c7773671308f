"""Parts of the history as those who watch it share them: events packed once, between two revisions."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from registrar_server.reading.history import EventSearch, HistoryEntry, revision_ahead
from registrar_server.reading.reader import Reader

Form = TypeVar("Form")

SPAN_EVENTS = 500
"""The most events that are read at once."""
PIECE = 64
TURN_S = 0.00005
"""Before so many events are packed, the thread sleeps for so long, in seconds. Otherwise it would keep the interpreter
for 5 ms at a time, and the event loop could not send the database its next batch meanwhile."""


class WatchedEvent:
    """An event: what the filters of watchers look at, and its bytes, which are made once for all of them."""

    __slots__ = ("_forms", "actor", "course_id", "packed", "revision", "student_id", "type")

    def __init__(self, entry: HistoryEntry, packed: bytes) -> None:
        event = entry.event
        self.revision = entry.revision
        self.type = event.type
        self.student_id = event.student_id
        self.course_id = event.course_id
        self.actor = event.actor
        self.packed = packed
        self._forms: dict[Hashable, bytes] | None = None  # Most events never have one, and a dictionary takes time.

    def in_form(self, make: Callable[[bytes], bytes]) -> bytes:
        """Return what ``make`` makes of the packed event, made once for all watchers that use the same function."""
        if self._forms is None:
            self._forms = {}
        form = self._forms.get(make)
        if form is None:
            form = self._forms[make] = make(self.packed)
        return form

    def fits(self, search: EventSearch) -> bool:
        """Return whether the event has what a watcher looks for."""
        return (
            (not search.student_id or search.student_id == self.student_id)
            and (not search.course_id or search.course_id == self.course_id)
            and (not search.types or self.type in search.types)
            and (not search.actor or search.actor == self.actor)
        )


class Span:
    """The events after one revision up to another one; all of them, or all that fit a search."""

    def __init__(self, after: int, upto: int, events: Sequence[WatchedEvent], *, is_last: bool) -> None:
        self.after = after
        self.upto = upto
        self.events = events
        self.is_last = is_last
        """Whether the history had no later revision when the span was read."""
        self._forms: dict[Hashable, Sequence[Any]] = {}

    def in_form(self, make: Callable[[Span], Sequence[Form]]) -> Sequence[Form]:
        """Return what ``make`` makes of the span, made once for all watchers that use the same function."""
        form = self._forms.get(make)
        if form is None:
            form = self._forms[make] = make(self)
        return form

    @cached_property
    def size(self) -> int:
        """The number of bytes of the packed events."""
        return sum(len(event.packed) for event in self.events)

    def has(self, search: EventSearch) -> bool:
        """Return whether an event fits a search."""
        # One look for each filter tells nearly always that there is none.
        students, courses, actors, types = self._values
        if search.student_id and search.student_id not in students:
            return False
        if search.course_id and search.course_id not in courses:
            return False
        if search.actor and search.actor not in actors:
            return False
        if search.types and types.isdisjoint(search.types):
            return False
        return any(event.fits(search) for event in self.events)

    @cached_property
    def _values(self) -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str]]:
        """The students, the courses, the actors and the types of the events."""
        return (
            frozenset([event.student_id for event in self.events]),
            frozenset([event.course_id for event in self.events]),
            frozenset([event.actor for event in self.events]),
            frozenset([event.type for event in self.events]),
        )

    def fitting(self, search: EventSearch, after: int) -> list[WatchedEvent]:
        """Return the events after a revision that fit a search."""
        return [event for event in self.events if event.revision > after and event.fits(search)]


def read_span(reader: Reader, pack: Callable[[HistoryEntry], bytes], search: EventSearch) -> Span:
    """Read the next events that fit a search, at most ``SPAN_EVENTS``.

    Raises REVISION_AHEAD if the history ends before ``search.after``, because an older backup was restored.
    """
    page = reader.list_events(search, SPAN_EVENTS)
    if page.last_revision < search.after:
        raise revision_ahead(search.after, page.last_revision)
    events: list[WatchedEvent] = []
    for first in range(0, len(page.entries), PIECE):
        time.sleep(TURN_S)
        events += [WatchedEvent(entry, pack(entry)) for entry in page.entries[first : first + PIECE]]
    is_last = len(events) < SPAN_EVENTS
    return Span(search.after, page.last_revision if is_last else events[-1].revision, events, is_last=is_last)
