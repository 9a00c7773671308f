"""The service ``grpc.health.v1``: answers callers who ask for a status or watch it.

The servicer of grpcio-health-checking has three faults. When a caller stops watching a service, the other watchers of
the service get no more changes. A refused Check stays in memory until a garbage collection. Bytes that are no message
fail with UNKNOWN and a traceback in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from registrar_server.rpc.methods import parse
from registrar_server.rpc.refusing import Context, refuse_bytes

_REQUEST = HealthCheckRequest.DESCRIPTOR.full_name


class HealthService:
    """Reports one status for the server, whose name is empty, and for each of its services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._names = frozenset(("", *services))
        self._status: int = HealthCheckResponse.UNKNOWN
        self._is_final = False
        self._changed = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a gRPC server."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self.check),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)])

    def report(self, *, serving: bool) -> None:
        """Change the status and wake the watchers."""
        if self._is_final:
            return
        self._status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def is_serving(self) -> bool:
        """Whether the status is SERVING."""
        return self._status == HealthCheckResponse.SERVING

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self._is_final

    def end(self) -> None:
        """Report NOT_SERVING from now on, regardless of later reports."""
        self.report(serving=False)
        self._is_final = True

    async def check(self, data: bytes, context: Context) -> bytes:
        """Return the status; an unknown service is NOT_FOUND."""
        begun, request = time.perf_counter(), parse(HealthCheckRequest, data)
        try:
            if request is None:
                await refuse_bytes(_REQUEST, "Check", begun, context)
            if request.service not in self._names:
                await context.abort(grpc.StatusCode.NOT_FOUND, "The server has no service of this name.")
            return _response(self._status)
        finally:
            # Without this, the error that abort raises keeps the request in memory, as in ``rpc/endpoint.py``.
            del data, request, context

    async def watch(self, data: bytes, context: Context) -> None:
        """Send the status at once and whenever it changes; an unknown service is SERVICE_UNKNOWN."""
        begun, request = time.perf_counter(), parse(HealthCheckRequest, data)
        try:
            if request is None:
                await refuse_bytes(_REQUEST, "Watch", begun, context)
            is_known = request.service in self._names
            sent = None
            while True:
                changed, status = self._changed, self._status if is_known else HealthCheckResponse.SERVICE_UNKNOWN
                if status != sent:
                    await context.write(_response(status))
                    sent = status
                await changed.wait()
        finally:
            del data, request, context


def _response(status: int) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()
