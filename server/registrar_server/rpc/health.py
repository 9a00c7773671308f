"""The health service: reports SERVING while the database answers and writes do not fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PING_TIMEOUT_S = 5.0

log = structlog.get_logger()


class Health:
    """The health of the server and of each of its services, which is that of the database.

    ``ping`` reads from the database at every check. ``probe`` writes to it, only while writes have failed and none has
    succeeded since.
    """

    def __init__(self, ping: Callable[[], None], probe: Callable[[], None], services: Iterable[str]) -> None:
        self._ping = ping
        self._probe = probe
        self._names = ("", *services)
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._failed_writes = 0
        self._failed_writes_before_probe = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ping")
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the health service to a gRPC server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def report(self, *, serving: bool) -> None:
        """Set the status of the server and of every service."""
        response = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, response.SERVING if serving else response.NOT_SERVING)

    def write_failed(self) -> None:
        """Report NOT_SERVING until a probe succeeds; for any thread. The first failure starts a check immediately."""
        self._loop.call_soon_threadsafe(self._note_failed_write)

    def _note_failed_write(self) -> None:
        if self._writes_work:
            self._due.set()
        self._failed_writes += 1

    @property
    def _writes_work(self) -> bool:
        return self._failed_writes == self._failed_writes_before_probe

    async def watch(self, interval: float) -> None:
        """Check the database at once, then every ``interval`` seconds, and when writes begin to fail."""
        while True:
            self._due.clear()
            await self.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._due.wait()

    async def check(self) -> None:
        """Ping the database, probe it if writes have failed, and report whether it works."""
        failed_writes = self._failed_writes
        if self._writes_work:
            work = self._ping
        else:
            work = self._ping_and_probe
            await self.report(serving=False)
        # If the database hangs, the ping thread blocks and the timeout reports it.
        ping = self._loop.run_in_executor(self._thread, work)
        try:
            # Before Python 3.12, wait_for ignores a cancellation that coincides with the result, and stop would block.
            async with asyncio.timeout(PING_TIMEOUT_S):
                await ping
        except Exception as error:
            reason = next(iter(str(error.__cause__ or error).splitlines()), "it does not answer")
            log.warning("database_unreachable", error=reason)
            await self.report(serving=False)
        else:
            self._failed_writes_before_probe = failed_writes
            await self.report(serving=self._writes_work)

    def _ping_and_probe(self) -> None:
        self._ping()
        self._probe()

    async def enter_graceful_shutdown(self) -> None:
        """Report NOT_SERVING from now on, regardless of later calls of ``report``."""
        await self._servicer.enter_graceful_shutdown()

    async def close(self) -> None:
        """Wait for the ping in progress."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
