"""The newest part of the history, in memory: read once for all watchers who have caught up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice, takewhile

from registrar_server.errors import unwrap
from registrar_server.reading.history import EventSearch
from registrar_server.reading.spans import SPAN_EVENTS, Span, WatchedEvent

KEPT_EVENTS = 4_096
KEPT_BYTES = 8 * 1024 * 1024
"""The newest events are kept, at most so many. A watcher that is further behind reads the table."""
KEPT_ANSWERS = 16
"""How many of the spans that watchers got are kept for those who come to the same place a little later."""
PAUSE_PER_EVENT_S = 0.0005
MAX_PAUSE_S = 0.05
"""How long the tail waits after each read, for each event that it found. Under load, one read and one response have
the events of many commits. A commit that comes alone is read at once."""

Read = Callable[[EventSearch], Awaitable[Span]]


class Tail:
    """Reads new events while anybody watches, and wakes the watchers whose filters they fit.

    ``read`` returns the events after a revision. ``latest`` returns the revision of the newest event. It is asked every
    ``interval`` seconds, in case that ``notice`` was not called for a commit.
    """

    def __init__(self, read: Read, latest: Callable[[], Awaitable[int]], interval: float) -> None:
        self._read = read
        self._latest = latest
        self._interval = interval
        self._spans: deque[Span] = deque()
        self._start = self._head = 0
        """The revisions between which all events are in ``_spans``."""
        self._events = self._bytes = 0
        self._fitting: dict[tuple[EventSearch, int], Span] = {}
        """What watchers got since the last read. Those who are at the same place and look for the same get the same."""
        self._waiting: dict[EventSearch, _Group] = {}
        self._noticed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def notice(self) -> None:
        """Look for new events now, because there are some."""
        self._noticed.set()

    def begin(self, revision: int) -> None:
        """Keep the events after this revision, unless the tail has begun."""
        if self._reading is None:
            self._start = self._head = revision
            self._reading = asyncio.create_task(self._run())

    def end(self) -> None:
        """Forget all events, because nobody watches any more."""
        if self._reading is not None:
            self._reading.cancel()
        self._forget()

    def next(self, search: EventSearch, after: int) -> Span | None:
        """Return the next events after a revision that fit a search, or None if the tail does not know them.

        A span without events says that none up to its end fits.
        """
        # Beyond the head only the table can tell whether the tail is late or the history has become shorter.
        if self._reading is None or not self._start <= after <= self._head:
            return None
        if after == self._head:
            return Span(after, after, (), is_last=True)
        found = self._fitting.get((search, after))
        if found is None:
            found = self._fitting[search, after] = self._find(search, after)
            if len(self._fitting) > KEPT_ANSWERS:
                del self._fitting[next(iter(self._fitting))]
        return found

    def _find(self, search: EventSearch, after: int) -> Span:
        """Look for what fits in the next reads that have at most ``SPAN_EVENTS`` events together, at least in one."""
        events: list[WatchedEvent] = []
        upto = after
        for span in self._behind(after):
            if upto > after and span.upto - after > SPAN_EVENTS:
                break
            events += span.fitting(search, after)
            upto = span.upto
        return Span(after, upto, events, is_last=upto == self._head)

    def _behind(self, after: int) -> Iterator[Span]:
        """Return the spans with revisions behind this one."""
        near = takewhile(lambda span: span.upto > after, reversed(self._spans))  # Most watchers are near the end.
        return islice(self._spans, len(self._spans) - sum(1 for _ in near), None)

    async def wait(self, search: EventSearch, after: int, seconds: float) -> int:
        """Wait for an event that fits a search, at most some seconds.

        Returns the revision up to which none after ``after`` fits. Raises the refusal of a failed read.
        """
        if self._reading is None or after < self._head:  # Events have come since the watcher looked.
            return after
        group = self._waiting.get(search)
        if group is None:
            group = self._waiting[search] = _Group()
        group.size += 1
        try:
            await asyncio.wait([group.woken], timeout=seconds)
        finally:
            group.size -= 1
            if not group.size and self._waiting.get(search) is group:
                del self._waiting[search]
        reached = unwrap(group.woken.result()) if group.woken.done() else self._head
        return max(after, reached)

    async def _run(self) -> None:
        try:
            while True:
                await self._wait_for_news()
                await asyncio.sleep(min(await self._read_on() * PAUSE_PER_EVENT_S, MAX_PAUSE_S))
        except Exception as error:
            self._wake_all(error)
            self._forget()

    async def _wait_for_news(self) -> None:
        while not self._noticed.is_set():
            try:
                async with asyncio.timeout(self._interval):
                    await self._noticed.wait()
            except TimeoutError:
                if await self._latest() != self._head:
                    return

    async def _read_on(self) -> int:
        """Read to the end of the history, and return the number of new events."""
        self._noticed.clear()
        count, is_last = 0, False
        while not is_last:
            span = await self._read(EventSearch(after=self._head))
            if span.events:
                self._add(span)
                self._wake(span)
            count, is_last = count + len(span.events), span.is_last
        return count

    def _add(self, span: Span) -> None:
        self._spans.append(span)
        self._fitting.clear()
        self._head = span.upto
        self._events += len(span.events)
        self._bytes += span.size
        while len(self._spans) > 1 and (self._events > KEPT_EVENTS or self._bytes > KEPT_BYTES):
            oldest = self._spans.popleft()
            self._start = oldest.upto
            self._events -= len(oldest.events)
            self._bytes -= oldest.size

    def _wake(self, span: Span) -> None:
        for search in [search for search in self._waiting if span.has(search)]:
            self._waiting.pop(search).woken.set_result(span.after)

    def _wake_all(self, error: Exception) -> None:
        for group in self._waiting.values():
            group.woken.set_result(error)
        self._waiting.clear()

    def _forget(self) -> None:
        self._reading = None
        self._spans.clear()
        self._fitting.clear()
        self._events = self._bytes = 0


class _Group:
    """The watchers who wait for the same: how many they are, and what wakes them all."""

    def __init__(self) -> None:
        self.size = 0
        self.woken: asyncio.Future[int | Exception] = asyncio.get_running_loop().create_future()
        """The revision before the first event that fits, or why there will be none."""
