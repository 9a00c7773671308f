"""The refusals that only HTTP has. All others come from the methods, and have the reasons of gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from google.rpc.code_pb2 import Code


class HttpReason(StrEnum):
    """Why a request was refused before it became a call; ``ErrorInfo.reason`` has the name."""

    MALFORMED_HTTP = "MALFORMED_HTTP"
    ORIGIN_REFUSED = "ORIGIN_REFUSED"
    PATH_UNKNOWN = "PATH_UNKNOWN"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    REQUEST_TOO_SLOW = "REQUEST_TOO_SLOW"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    MEDIA_TYPE_UNSUPPORTED = "MEDIA_TYPE_UNSUPPORTED"
    HOST_UNKNOWN = "HOST_UNKNOWN"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    SCHEMA_BEHIND = "SCHEMA_BEHIND"


STATUSES: Mapping[HttpReason, tuple[int, int]] = MappingProxyType(
    {
        HttpReason.MALFORMED_HTTP: (400, Code.INVALID_ARGUMENT),
        HttpReason.ORIGIN_REFUSED: (403, Code.PERMISSION_DENIED),
        HttpReason.PATH_UNKNOWN: (404, Code.NOT_FOUND),
        HttpReason.METHOD_NOT_ALLOWED: (405, Code.UNIMPLEMENTED),
        HttpReason.REQUEST_TOO_SLOW: (408, Code.DEADLINE_EXCEEDED),
        HttpReason.BODY_TOO_LARGE: (413, Code.INVALID_ARGUMENT),
        HttpReason.MEDIA_TYPE_UNSUPPORTED: (415, Code.INVALID_ARGUMENT),
        HttpReason.HOST_UNKNOWN: (421, Code.PERMISSION_DENIED),
        HttpReason.HEADERS_TOO_LARGE: (431, Code.INVALID_ARGUMENT),
        HttpReason.TOO_MANY_CONNECTIONS: (503, Code.UNAVAILABLE),
        HttpReason.SCHEMA_BEHIND: (503, Code.UNAVAILABLE),
    }
)
"""The HTTP status and the canonical code of each reason."""


NOTHING: Mapping[str, str] = MappingProxyType({})
MAX_LOGGED = 200


class HttpRefusal(Exception):
    """A request is refused: a reason, a sentence, headers for the answer, and values for the log."""

    def __init__(
        self,
        reason: HttpReason,
        message: str,
        headers: Mapping[str, str] = NOTHING,
        *,
        logged: Mapping[str, str] = NOTHING,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.headers = headers
        self.logged = logged


def loggable(value: bytes) -> str:
    """Return a part of a request for the log: shortened, and with all but the visible ASCII characters escaped."""
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in value[:MAX_LOGGED])
