"""The health service: reports SERVING while the database answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from registrar_server.availability import Availability

PING_TIMEOUT_S = 5.0


class Health:
    """The health of the server and of each of its services, which is that of the database."""

    def __init__(self, ping: Callable[[], None], services: Iterable[str], availability: Availability) -> None:
        self._ping = ping
        self._availability = availability
        self._names = ("", *services)
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

    async def check(self) -> None:
        """Ping the database and report whether it answers."""
        # If the database hangs, the ping thread blocks and the timeout reports it.
        ping = asyncio.get_running_loop().run_in_executor(self._thread, self._ping)
        try:
            # Before Python 3.12, wait_for ignores a cancellation that coincides with the result, and stop would block.
            async with asyncio.timeout(PING_TIMEOUT_S):
                await ping
        except Exception as error:
            self._availability.failed("reading", error)
            await self.report(serving=False)
        else:
            self._availability.succeeded("reading")
            await self.report(serving=True)

    async def enter_graceful_shutdown(self) -> None:
        """Report NOT_SERVING from now on, regardless of later calls of ``report``."""
        await self._servicer.enter_graceful_shutdown()

    async def close(self) -> None:
        """Wait for the ping in progress."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
