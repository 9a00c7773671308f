"""Every RPC that the server serves, to be called with any bytes: Registrar's own, health and reflection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from registrar_server.rpc.methods import Watch
from registrar_server.rpc.table import METHODS


class RawMethod(NamedTuple):
    """An RPC, without the types of its messages."""

    path: str
    request: type[Message]
    expected: str
    """The name of the request's type in a refusal."""
    logged: str
    """The name of the RPC in the log."""
    is_endless: bool = False
    """Whether the server sends responses until the caller leaves."""

    def reads(self, data: bytes) -> bool:
        """Return whether these bytes are a request."""
        try:
            self.request.FromString(data)
        except DecodeError:
            return False
        return True

    async def send(self, channel: grpc.aio.Channel, *messages: bytes) -> Sequence[bytes]:
        """Send messages, and return the responses; of endless ones, the first."""
        method: Any = channel.stream_stream(self.path)
        call = method(iter(messages))
        if not self.is_endless:
            return [response async for response in call]
        first = await call.read()
        if first is grpc.aio.EOF:
            return [response async for response in call]  # Raises the error of the call.
        call.cancel()
        return [first]


OWN = [
    RawMethod(
        f"/{service}/{name}", method.request, method.request.DESCRIPTOR.full_name, name, isinstance(method, Watch)
    )
    for service, methods in METHODS.items()
    for name, method in methods.items()
]
_HEALTH = "grpc.health.v1.HealthCheckRequest"
HEALTH = [
    RawMethod("/grpc.health.v1.Health/Check", HealthCheckRequest, _HEALTH, "Check"),
    RawMethod("/grpc.health.v1.Health/Watch", HealthCheckRequest, _HEALTH, "Watch", is_endless=True),
]
REFLECTION = [
    RawMethod(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest,
        f"grpc.reflection.{version}.ServerReflectionRequest",
        "ServerReflection",
    )
    for version in ("v1", "v1alpha")
]
RAW_METHODS = [*OWN, *HEALTH, *REFLECTION]
