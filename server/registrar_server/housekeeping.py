"""What a server does in the database from time to time, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from registrar_server.ledger.ledger import microseconds_now
from registrar_server.ledger.recounting import recount
from registrar_server.ledger.rekeying import rekey
from registrar_server.ledger.request_ids import purge_request_ids
from registrar_server.storage.database import Database
from registrar_server.storage.failures import Failure, classify

INTERVAL_S = 600.0

log = structlog.get_logger()


class Housekeeping:
    """Removes old responses to ``request_id``s, and completes what servers of an older version have written."""

    def __init__(self, database: Database, request_id_ttl: float) -> None:
        self._database = database
        self._request_id_ttl = request_id_ttl
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="housekeeping")
        self._stopping = False

    @property
    def works(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """All works, each of which is done again and again."""
        return (self.purge, self.rekey, self.recount)

    async def purge(self) -> None:
        """Remove the responses that are kept no longer."""
        before = microseconds_now() - int(self._request_id_ttl * 1_000_000)
        if deleted := await self._run(partial(purge_request_ids, before=before)):
            log.info("request_ids_purged", deleted=deleted)

    async def rekey(self) -> None:
        """Complete the rows that a server of an older version wrote meanwhile."""
        if completed := await self._run(rekey):
            log.info("rows_rekeyed", rows=completed)

    async def recount(self) -> None:
        """Count what a server of an older version completed or changed meanwhile."""
        if completed := await self._run(recount):
            log.info("rows_recounted", rows=completed)

    def stop(self) -> None:
        """End the work that goes on soon."""
        self._stopping = True

    async def close(self) -> None:
        """Return when the thread has ended."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _run(self, work: Callable[..., int]) -> int:
        """Run work on the database in the thread until the server stops; return the number of rows that it changed."""
        changes = partial(work, self._database, may_continue=lambda: not self._stopping)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, changes)
        except Exception as error:
            if classify(error) is Failure.UNAVAILABLE:
                self._database.availability.failed("writing", error)
            raise


async def repeat(seconds: float, action: Callable[[], Awaitable[object]]) -> None:
    """Run an action at once and then at this interval; a failure is logged and does not end the repetition.

    An outage of the database has log lines of its own.
    """
    while True:
        try:
            await action()
        except Exception as error:
            if classify(error) is not Failure.UNAVAILABLE:
                log.warning("housekeeping_failed", error=str(error))
        await asyncio.sleep(seconds)
