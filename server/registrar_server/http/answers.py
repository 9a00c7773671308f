"""The answers of the HTTP API: a response or a status, as JSON with its headers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from starlette.types import Send

from registrar_server.errors import Reason, shutting_down
from registrar_server.http.json_answers import write, write_in_pieces
from registrar_server.http.refusals import STATUSES, HttpReason, HttpRefusal
from registrar_server.rpc import status as rpc_status
from registrar_server.rpc.methods import Method

LARGE_BYTES = 16_384
"""A message of more bytes is written in pieces."""

HTTP_STATUSES: Mapping[int, int] = MappingProxyType(
    {
        Code.OK: 200,
        Code.CANCELLED: 499,
        Code.UNKNOWN: 500,
        Code.INVALID_ARGUMENT: 400,
        Code.DEADLINE_EXCEEDED: 504,
        Code.NOT_FOUND: 404,
        Code.ALREADY_EXISTS: 409,
        Code.PERMISSION_DENIED: 403,
        Code.UNAUTHENTICATED: 401,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.FAILED_PRECONDITION: 400,
        Code.ABORTED: 409,
        Code.OUT_OF_RANGE: 400,
        Code.UNIMPLEMENTED: 501,
        Code.INTERNAL: 500,
        Code.UNAVAILABLE: 503,
        Code.DATA_LOSS: 500,
    }
)
"""The HTTP status of each canonical code, as ``google.rpc.Code`` describes it."""
ETAG_MISMATCH_STATUS = 412
CHALLENGES: Mapping[str, str] = MappingProxyType(
    {Reason.CREDENTIALS_MISSING: "Bearer", Reason.CREDENTIALS_INVALID: 'Bearer error="invalid_token"'}
)
"""The header ``WWW-Authenticate`` of each reason of 401 (RFC 6750, 3)."""

FIXED_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer in JSON."""

    status: int
    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """Send the answer through ASGI."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.encoded_headers()})
        if isinstance(self.body, bytes):
            await send({"type": "http.response.body", "body": self.body})
            return
        async for piece in self.body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def encoded_headers(self) -> list[tuple[bytes, bytes]]:
        """Return all headers that the answer itself has."""
        headers = [*FIXED_HEADERS, *((name.encode(), value.encode("latin-1")) for name, value in self.headers.items())]
        if isinstance(self.body, bytes):
            headers.append((b"content-length", b"%d" % len(self.body)))
        return headers


def of_response(method: Method, response: bytes) -> HttpAnswer:
    """Return the answer to a call that went well, with the etag of its resource."""
    message = method.response.FromString(response)
    etag = _etag(message)
    headers = {"etag": f'"{etag}"'} if etag else {}
    return HttpAnswer(200, write_in_pieces(message) if len(response) > LARGE_BYTES else write(message), headers)


def of_status(status: Status) -> HttpAnswer:
    """Return the answer to a call that failed."""
    http_status, headers = HTTP_STATUSES[status.code], {}
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            reason = ErrorInfo.FromString(detail.value).reason
            if reason == Reason.ETAG_MISMATCH:
                http_status = ETAG_MISMATCH_STATUS
            elif reason in CHALLENGES:
                headers["www-authenticate"] = CHALLENGES[reason]
        elif detail.Is(RetryInfo.DESCRIPTOR):
            delay = RetryInfo.FromString(detail.value).retry_delay
            headers["retry-after"] = str(math.ceil(delay.seconds + delay.nanos / 1e9))
    return HttpAnswer(http_status, write(status), headers)


def of_stop() -> tuple[HttpAnswer, str]:
    """Return the answer to a request that comes when the server stops, and its reason."""
    return of_status(rpc_status.of_refusal(shutting_down()).message), Reason.SHUTTING_DOWN


def of_crowd() -> tuple[HttpAnswer, str]:
    """Return the answer to a client that finds too many connections, and its reason."""
    refusal = HttpRefusal(HttpReason.TOO_MANY_CONNECTIONS, "The server has too many connections; try again.")
    return of_refusal(refusal), refusal.reason


def of_refusal(refusal: HttpRefusal) -> HttpAnswer:
    """Return the answer to a request that is no call."""
    http_status, code = STATUSES[refusal.reason]
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=refusal.reason, domain=rpc_status.DOMAIN))
    return HttpAnswer(http_status, write(Status(code=code, message=refusal.message, details=[detail])), refusal.headers)


def _etag(message: Message) -> str:
    """Return the etag of the resource in a response, or an empty string."""
    name = resource_with_etag(message.DESCRIPTOR)
    return str(getattr(message, name).etag) if name else ""


@cache
def resource_with_etag(kind: Descriptor) -> str:
    """Return the field of a response with the resource whose etag the answer has, or an empty string."""
    singular = ((one.name, one.message_type) for one in kind.fields if not one.is_repeated)
    return next((name for name, message in singular if message and "etag" in message.fields_by_name), "")
