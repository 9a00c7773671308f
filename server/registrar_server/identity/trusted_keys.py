"""The key set that verifies tokens now: refreshed in the background, and kept while its source fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from hashlib import sha256
from typing import TypeVar

import structlog

from registrar_server.errors import shutting_down
from registrar_server.identity.key_sets import KeySet, KeySetError, read_key_set
from registrar_server.identity.key_sources import KeySource

RETRY_S = 10.0
"""How often a source that failed is read again, at least."""
UNKNOWN_KID_S = 60.0
"""Tokens with unknown kids refresh the keys at most once in this time."""
MAX_READ_S = 6.0
"""How long a refresh may take in all. Sources limit most of their work themselves, but not the search for a name."""
MAX_WAIT_S = 3.0
"""How long a call with an unknown kid waits for a refresh."""

Result = TypeVar("Result")

log = structlog.get_logger()


class TrustedKeys:
    """Has the last good key set of a source as ``current``, and calls ``on_change`` when another one replaces it.

    Belongs to an event loop, and reads the source in threads of its own. Tests may inject the clock.
    """

    def __init__(
        self,
        source: KeySource,
        algorithms: Collection[str],
        on_change: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._algorithms = algorithms
        self._on_change = on_change
        self._clock = clock
        self._seen = b""
        """The digest of what was read last."""
        self._failed = asyncio.Event()
        """Whether the last refresh failed."""
        self._refreshing: asyncio.Task[None] | None = None
        self._is_closing = False
        self._next_for_kid = float("-inf")
        self.current: KeySet | None = None
        """None until the first key set was read."""

    def load(self) -> None:
        """Read the source now, which blocks. Raises ``KeySetError``."""
        self._take(self._read())

    async def watch(self) -> None:
        """Refresh the keys again and again, until the server stops and cancels this.

        That also ends the refresh under way, and the waiting for it.
        """
        try:
            while True:
                with suppress(TimeoutError):  # Meanwhile, a refresh for an unknown kid may fail.
                    async with asyncio.timeout(self._source.interval):
                        await self._failed.wait()
                if self._failed.is_set():
                    await asyncio.sleep(min(self._source.interval, RETRY_S))
                await self.refresh()
        finally:
            self._is_closing = True
            if self._refreshing is not None:
                self._refreshing.cancel()

    async def refresh(self) -> None:
        """Read the source. If that fails, the key set stays as it is, and the log says so once."""
        await asyncio.shield(self._begin_refreshing())

    async def refresh_for_unknown_kid(self) -> None:
        """Refresh the keys, unless unknown kids did so in the last minute. Returns at the latest after 3 s.

        Raises SHUTTING_DOWN if the server stops: another one may accept the token.
        """
        if self._refreshing is None and not self._is_closing:
            if self._clock() < self._next_for_kid:
                return
            self._next_for_kid = self._clock() + UNKNOWN_KID_S
        if not self._is_closing:
            # Unlike a task that is awaited, one that is cancelled meanwhile does not cancel those that wait.
            await asyncio.wait([self._begin_refreshing()], timeout=MAX_WAIT_S)
        if self._is_closing:
            raise shutting_down()

    def _begin_refreshing(self) -> asyncio.Task[None]:
        """Return the refresh under way, for which callers that come meanwhile wait too, or a new one."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._end_refreshing)
        return self._refreshing

    def _end_refreshing(self, _task: asyncio.Task[None]) -> None:
        self._refreshing = None

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(MAX_READ_S):
                found = await _in_daemon_thread(self._read)
        except Exception as error:
            if not self._failed.is_set():
                kept = self.current is not None
                log.warning("key_set_failed", source=str(self._source), error=_problem(error), kept=kept)
            self._failed.set()
            return
        if self._failed.is_set():
            log.warning("key_set_back", source=str(self._source))
        self._failed.clear()
        self._take(found)

    def _read(self) -> tuple[bytes, KeySet | None]:
        """Read the source; return the digest of its bytes and its keys, or None if the bytes are those read last."""
        data = self._source.read()
        digest = sha256(data).digest()
        return digest, None if digest == self._seen else read_key_set(data, self._algorithms)

    def _take(self, found: tuple[bytes, KeySet | None]) -> None:
        self._seen, keys = found
        if keys is None:
            return
        before, self.current = self.current, keys
        if before is not None and before.digest != keys.digest:
            log.info("key_set_changed", source=str(self._source), keys=len(keys))
            self._on_change()


def _problem(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the source took more than {MAX_READ_S:g} s"
    return str(error) if isinstance(error, KeySetError) else type(error).__name__


async def _in_daemon_thread(work: Callable[[], Result]) -> Result:
    """Run work that blocks in a thread of its own, which does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Result] = loop.create_future()

    def end(result: Result | None, error: Exception | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type]  # Only a failure has no result.

    def run() -> None:
        result: Result | None = None
        failed: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # The loop may have been closed meanwhile.
            loop.call_soon_threadsafe(end, result, failed)

    threading.Thread(target=run, name="key-set", daemon=True).start()
    return await ended
