"""Streams of WatchEvents over gRPC, and a history in memory for what reads the table for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from registrar.v1.event_pb2 import Event as EventMessage
from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.reading.history import EventSearch, HistoryEntry, revision_ahead
from registrar_server.reading.spans import Span, WatchedEvent
from tests.support.batches import carried_out, create_student
from tests.support.refusals import Failure, refused
from tests.support.servers import Registrar

PATIENCE_S = 30.0
"""How long a test waits for a response that must come."""


class Stream:
    """A stream, with all that has come so far."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.events: list[EventMessage] = []
        self.revision = 0

    async def next(self) -> WatchEventsResponse:
        """Wait for the next response, whose revisions must follow those before."""
        async with asyncio.timeout(PATIENCE_S):
            response = await self._call.read()
        if response is grpc.aio.EOF:
            await self._call  # Raises the error of the call.
        revisions = [event.revision for event in response.events]
        assert revisions == sorted(set(revisions))
        assert bool(revisions) != response.checkpoint
        assert all(self.revision < revision <= response.revision for revision in revisions)
        assert self.revision <= response.revision
        self.events += response.events
        self.revision = response.revision
        return WatchEventsResponse.FromString(response.SerializeToString())

    async def reach(self, revision: int) -> list[EventMessage]:
        """Wait until the stream has reached a revision, and return all events so far."""
        while self.revision < revision:
            await self.next()
        return self.events

    async def checkpoint(self) -> int:
        """Wait for the next checkpoint, and return its revision."""
        while not (response := await self.next()).checkpoint:
            pass
        return response.revision

    async def failure(self) -> Failure:
        """Return why the stream ends."""
        return await refused(self.end())

    async def end(self) -> None:
        """Read until the stream ends. Raises the error with which it ends."""
        while True:
            await self.next()

    def cancel(self) -> None:
        """Leave the stream."""
        self._call.cancel()


@contextlib.asynccontextmanager
async def watching(registrar: Registrar, *, timeout: float | None = None, **fields: Any) -> AsyncIterator[Stream]:
    """Watch the history within the ``with`` block."""
    stream = Stream(registrar.history.WatchEvents(WatchEventsRequest(**fields), timeout=timeout))
    try:
        yield stream
    finally:
        stream.cancel()


@contextlib.asynccontextmanager
async def watching_live(registrar: Registrar, **fields: Any) -> AsyncIterator[Stream]:
    """Watch the history within the ``with`` block, from its end on."""
    async with watching(registrar, **fields) as stream:
        await stream.checkpoint()
        yield stream


def revisions(events: Sequence[Any]) -> list[int]:
    """Return the revisions of events."""
    return [event.revision for event in events]


class MemoryHistory:
    """A history in memory that is read as the table is, at most ``limit`` events at once."""

    def __init__(self, limit: int = 3) -> None:
        self._limit = limit
        self.entries: list[HistoryEntry] = []
        self.reads: list[EventSearch] = []
        """All reads so far."""
        self.read_begun = asyncio.Event()
        self.flows = asyncio.Event()
        self.flows.set()
        """Reads wait for it after they have read."""
        self.error: Exception | None = None
        """What reads raise."""
        self.polled = asyncio.Event()
        """Is set when somebody asks for the newest revision."""

    def commit(self, *student_ids: str) -> int:
        """Add an event for each student, and return the last revision."""
        for student_id in student_ids:
            event = Event("e", EventType.STUDENT_CREATED, 0, "", "", student_id=student_id)
            self.entries.append(HistoryEntry(len(self.entries) + 1, event, None))
        return len(self.entries)

    async def read(self, search: EventSearch) -> Span:
        """Return the next events after ``search.after``."""
        self.reads.append(search)
        self.read_begun.set()
        if self.error:
            raise self.error
        last = len(self.entries)
        if last < search.after:
            raise revision_ahead(search.after, last)
        read = [WatchedEvent(entry, b"%d;" % entry.revision) for entry in self.entries[search.after :]]
        fitting = [event for event in read if event.fits(search)][: self._limit]
        await self.flows.wait()
        is_last = len(fitting) < self._limit
        return Span(search.after, last if is_last else fitting[-1].revision, fitting, is_last=is_last)

    async def latest(self) -> int:
        """Return the revision of the newest event."""
        self.polled.set()
        if self.error:
            raise self.error
        return len(self.entries)


async def begun(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Return when each of these tasks has run until it waits for something else."""
    for _ in tasks:
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def add_students(registrar: Registrar, count: int, prefix: str = "s") -> None:
    """Create students with as few calls as possible."""
    for start in range(0, count, 500):
        writes = [create_student(f"{prefix}-{number}") for number in range(start, min(count, start + 500))]
        await carried_out(registrar, *writes)
