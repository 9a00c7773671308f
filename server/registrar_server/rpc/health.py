"""The health service: reports SERVING while the database answers and writes do not fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc

from registrar_server.availability import Availability, Work
from registrar_server.errors import Reason, Refusal, shutting_down
from registrar_server.rpc.health_service import HealthService

PING_TIMEOUT_S = 5.0

Found = TypeVar("Found")


class Health:
    """The health of the server and of each of its services, which is that of the database.

    ``ping`` reads from the database at every check. ``probe`` writes to it, only while writes fail.
    """

    def __init__(
        self,
        ping: Callable[[], None],
        probe: Callable[[], None],
        services: Iterable[str],
        availability: Availability,
    ) -> None:
        self._ping = ping
        self._probe = probe
        self._availability = availability
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ping")
        self._other_thread = ThreadPoolExecutor(1, thread_name_prefix="schema")
        self._service = HealthService(services)
        availability.when_writes_begin_to_fail(self._check_soon)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the health service to a gRPC server."""
        self._service.add_to(server)

    def report(self, *, serving: bool) -> None:
        """Set the status of the server and of every service."""
        self._service.report(serving=serving)

    def _check_soon(self) -> None:
        self._loop.call_soon_threadsafe(self._due.set)

    async def watch(self, interval: float) -> None:
        """Check the database at once, then every ``interval`` seconds, and when writes begin to fail."""
        while True:
            self._due.clear()
            await self.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._due.wait()

    async def check(self) -> None:
        """Ping the database, probe it if writes fail, and report whether it works."""
        if self._availability.fails("writing"):
            self.report(serving=False)
        works = await self._attempt("reading", self._ping)
        if works and self._availability.fails("writing"):
            works = await self._attempt("writing", self._probe)
        self.report(serving=works and not self._availability.fails("writing"))

    async def _attempt(self, work: Work, function: Callable[[], None]) -> bool:
        """Read or write, note whether it succeeded, and return it."""
        failures = self._availability.failures(work)
        # If the database hangs, the thread blocks and the timeout reports it.
        running = self._loop.run_in_executor(self._thread, function)
        try:
            # Before Python 3.12, wait_for ignores a cancellation that coincides with the result, and stop would block.
            async with asyncio.timeout(PING_TIMEOUT_S):
                await running
        except Exception as error:
            self._availability.failed(work, error)
            return False
        # If a call failed in the meantime, its failure is newer.
        if self._availability.failures(work) == failures:
            self._availability.succeeded(work)
        return True

    @property
    def problem(self) -> Refusal | None:
        """Why the server does not serve; None if it does."""
        if self._service.has_ended:
            return shutting_down()
        return None if self._service.is_serving else database_fails()

    def beside(self, function: Callable[[], Found]) -> asyncio.Future[Found]:
        """Run a function in a thread of its own, so that the checks do not wait for it; ``close`` does."""
        return self._loop.run_in_executor(self._other_thread, function)

    def end(self) -> None:
        """Report NOT_SERVING from now on, regardless of later calls of ``report``."""
        self._service.end()

    async def close(self) -> None:
        """Wait for the work in progress."""
        for thread in (self._thread, self._other_thread):
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)


def database_fails() -> Refusal:
    """Return why a server does not serve without its database."""
    message = "The database does not answer, or cannot be written."
    return Refusal(Reason.DATABASE_UNAVAILABLE, message, retry_after=1.0)
