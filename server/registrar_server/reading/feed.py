"""The history for those who watch it: from any revision on, first from the table and then from the tail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from registrar_server.reading.history import EventSearch
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.shared_reads import SharedReads
from registrar_server.reading.spans import Span
from registrar_server.reading.tail import Tail

TABLE_THREADS = 2
"""How many watchers read the table at the same time. The tail has one more thread, since it must not wait for them."""


class Lookout(Protocol):
    """Learns of the commits of other processes while it runs."""

    def start(self) -> None:
        """Begin, unless it has begun."""

    def stop(self) -> None:
        """End soon."""

    async def close(self) -> None:
        """End now."""


class Feed:
    """Gives watchers the events after any revision. It keeps no place for them: each watcher has its own.

    ``read`` blocks while it reads a span. ``latest`` returns the revision of the newest event. ``lookout`` runs while
    anybody watches, and calls ``notice``.
    """

    def __init__(
        self,
        read: Callable[[EventSearch], Span],
        latest: Callable[[], Awaitable[int]],
        *,
        interval: float,
        max_watchers: int,
        lookout: Lookout,
    ) -> None:
        self._lookout = lookout
        self.latest = latest
        # Each watcher has one read under way at most. One who leaves does not end it, and the next one has another.
        max_reads = 2 * max_watchers
        self._table_threads = QueryThreads(TABLE_THREADS, max_reads)
        self._tail_thread = QueryThreads(1, max_reads)
        self._table = SharedReads(lambda search: self._table_threads.run(read, search))
        self._tail = Tail(lambda search: self._tail_thread.run(read, search), latest, interval)

    async def next(self, search: EventSearch, after: int) -> Span:
        """Return the next events after a revision that fit a search; none if there are none yet."""
        span = self._tail.next(search, after)
        if span is None:
            span = await self._table.read(search._replace(after=after))
            if span.is_last:
                self._tail.begin(span.upto)
                self._lookout.start()
        return span

    async def wait(self, search: EventSearch, after: int, seconds: float) -> int:
        """Wait until the tail has an event that fits a search, at most some seconds.

        Returns the revision up to which none after ``after`` fits.
        """
        return await self._tail.wait(search, after, seconds)

    def notice(self) -> None:
        """Look for new events now, because there are some."""
        self._tail.notice()

    def rest(self) -> None:
        """Stop reading and keep nothing, because nobody watches any more."""
        self._tail.end()
        self._table.forget()
        self._lookout.stop()

    async def close(self) -> None:
        """End the threads."""
        self.rest()
        await self._table_threads.close()
        await self._tail_thread.close()
        await self._lookout.close()
