"""Single calls of any RPC, by their requests."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from tests.support.servers import Registrar


def method(registrar: Registrar, request: Message) -> Any:
    """Return the stub method that takes a request."""
    name = request.DESCRIPTOR.name.removesuffix("Request")
    return next(getattr(stub, name) for stub in registrar[1:] if hasattr(stub, name))


async def send(registrar: Registrar, request: Message) -> Message:
    """Send a request and return its response."""
    answer: Message = await method(registrar, request)(request)
    return answer
