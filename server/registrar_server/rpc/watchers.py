"""The streams of WatchEvents: each reads the history from its own revision on, as fast as its caller takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from registrar_server.errors import Reason, Refusal, drop_frames, shutting_down
from registrar_server.identity.callers import ANYONE
from registrar_server.identity.credentials import Credentials
from registrar_server.identity.identity import Identity
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.reading.feed import Feed
from registrar_server.reading.history import EventSearch, revision_ahead
from registrar_server.rpc.access import check_request
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.methods import Watch
from registrar_server.rpc.opening import admit
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.watch_forms import Form

Send = Callable[[bytes], Awaitable[object]]

RETRY_AFTER_S = 5.0
"""After how many seconds a caller who found too many watchers may try again."""
_LOST_RIGHTS = ("UNAUTHENTICATED", "PERMISSION_DENIED")


class WatchTimes(NamedTuple):
    """What happens how often while somebody watches, in seconds."""

    checkpoint: float = 9.5
    """Between two checkpoints of a stream, somewhat less than the 10 seconds that callers may count on."""
    credentials: float = 30.0
    """Between two looks at the credentials of a stream, unless they expire earlier."""
    poll: float = 2.0
    """Between two looks for new events, in case that an announcement was lost."""
    poll_sqlite: float = 0.04
    """Between two looks for commits of other processes on SQLite, which announces none."""
    heartbeat: float = 5.0
    """Between two comments of a stream over HTTP, so that no proxy takes its connection for dead."""


WATCH_TIMES = WatchTimes()


class Watchers:
    """Serves streams, at most ``limit`` at the same time."""

    def __init__(self, feed: Feed, identity: Identity, limit: int, times: WatchTimes = WATCH_TIMES) -> None:
        self._feed = feed
        self._identity = identity
        self._limit = limit
        self.times = times
        self._open: set[asyncio.Timeout] = set()
        """What ends the streams."""
        self._is_stopping = False
        self._left = asyncio.Event()
        self._left.set()

    async def serve(self, arrival: Arrival, credentials: Credentials, form: Form, send: Send) -> None:
        """Stream events to a caller who is known, until the stream is refused; then ``arrival`` has the outcome."""
        try:
            async with self._place():
                await self._guard(arrival, credentials, form, send)
        except Exception as error:
            arrival.end(error)
            drop_frames(error)  # Watchers share the error of a read, and its traceback keeps all of their calls.

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Run one stream within the ``with`` block, and end it with SHUTTING_DOWN when the server stops."""
        if self._is_stopping:
            raise shutting_down()
        if len(self._open) >= self._limit:
            message = f"The server has {self._limit} watchers already, which is REGISTRAR_MAX_WATCHERS."
            raise Refusal(Reason.OVERLOADED, message, retry_after=RETRY_AFTER_S)
        end = asyncio.timeout(None)
        self._open.add(end)
        self._left.clear()
        try:
            async with end:
                yield
        except TimeoutError:
            if not end.expired():
                raise
            raise shutting_down() from None
        finally:
            self._open.remove(end)
            if not self._open:
                self._feed.rest()
                self._left.set()

    async def _guard(self, arrival: Arrival, credentials: Credentials, form: Form, send: Send) -> None:
        """Run a stream, and end it when its caller has lost the right to it."""
        search, after = await self._open_stream(arrival)
        streaming = asyncio.create_task(self._stream(arrival, search, after, form, send))
        try:
            while not streaming.done():
                seconds = min(self._identity.remembers_for(credentials), self.times.credentials)
                await asyncio.wait((streaming,), timeout=seconds)
                if not streaming.done():
                    await self._check(arrival, credentials)
            streaming.result()
        finally:
            streaming.cancel()
            await asyncio.wait((streaming,))
            if not streaming.cancelled():
                streaming.exception()  # Otherwise asyncio would log that nobody has seen it.

    async def _open_stream(self, arrival: Arrival) -> tuple[EventSearch, int]:
        """Read the request; return the filters, and the revision to begin after."""
        method, given = arrival.method, Fields()
        assert isinstance(method, Watch)
        arrival.request = method.read(arrival.data)
        admit(arrival)
        plan = method.plan(given, arrival.request)
        given.check()
        last = await self._feed.latest()
        if plan.after is not None and plan.after > last:
            raise revision_ahead(plan.after, last)
        return plan.search, last if plan.after is None else plan.after

    async def _stream(self, arrival: Arrival, search: EventSearch, revision: int, form: Form, send: Send) -> None:
        """Send what the history has after a revision, and what comes; never ends by itself."""
        clock = asyncio.get_running_loop().time
        is_behind, due, sent = True, clock() + self.times.checkpoint, 0
        arrival.noted = {"events": sent, "revision": revision}
        while True:
            span = await self._feed.next(search, revision)
            for response in form.responses(span, as_student=arrival.as_student):
                await send(response.data)
                sent += response.events
                arrival.noted = {"events": sent, "revision": response.revision}
            revision = span.upto
            arrival.noted = {"events": sent, "revision": revision}
            is_behind = is_behind or not span.is_last
            if (is_behind and span.is_last) or clock() >= due:
                await send(form.join((), revision, checkpoint=True))
                is_behind, due = not span.is_last, clock() + self.times.checkpoint
            if span.is_last:
                revision = await self._feed.wait(search, revision, due - clock())
            else:
                await asyncio.sleep(0)  # If the events are in memory and the caller takes them at once, nothing waits.

    async def _check(self, arrival: Arrival, credentials: Credentials) -> None:
        """Find the caller again. Raises CREDENTIALS_INVALID if the caller may not, or not in the same way, go on."""
        try:
            caller = await self._identity.find(credentials)
            as_student = caller is not ANYONE and check_request(caller, arrival.method.name, arrival.request)
        except Refusal as refusal:
            if refusal.status not in _LOST_RIGHTS:
                raise
            cause = refusal.cause if isinstance(refusal, CredentialsRefused) else refusal.message
            raise CredentialsRefused(cause) from None
        if (caller.actor, as_student) != (arrival.caller.actor, arrival.as_student):
            raise CredentialsRefused("the caller has other rights than when the stream began")

    async def close(self) -> None:
        """End all streams with SHUTTING_DOWN, refuse new ones, and return when all have ended."""
        self._is_stopping = True
        for end in self._open:
            end.reschedule(0)
        await self._left.wait()
