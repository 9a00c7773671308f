"""The service ``grpc.health.v1``: answers callers who ask for a status or watch it.

The servicer of grpcio-health-checking has two faults. When a caller stops watching a service, the other watchers of
the service get no more changes. A refused Check stays in memory until a garbage collection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

Context = grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]


class HealthService(HealthServicer):
    """Reports one status for the server, whose name is empty, and for each of its services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._names = frozenset(("", *services))
        self._status: int = HealthCheckResponse.UNKNOWN
        self._is_final = False
        self._changed = asyncio.Event()

    def report(self, *, serving: bool) -> None:
        """Change the status and wake the watchers."""
        if self._is_final:
            return
        self._status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def end(self) -> None:
        """Report NOT_SERVING from now on, regardless of later reports."""
        self.report(serving=False)
        self._is_final = True

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Return the status; an unknown service is NOT_FOUND."""
        if request.service in self._names:
            return HealthCheckResponse(status=self._status)
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "The server has no service of this name.")
        finally:
            # Without this, the error that abort raises keeps the request in memory, as in ``endpoint``.
            del request, context

    async def Watch(self, request: HealthCheckRequest, context: Context) -> AsyncIterator[HealthCheckResponse]:
        """Return the status at once and whenever it changes; an unknown service is SERVICE_UNKNOWN."""
        is_known = request.service in self._names
        sent = None
        while True:
            changed, status = self._changed, self._status if is_known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                yield HealthCheckResponse(status=status)
                sent = status
            await changed.wait()
