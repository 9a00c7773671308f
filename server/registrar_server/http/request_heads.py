"""The rules of HTTP for the head of a request, where the parser leaves them to the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.request_targets import has_user

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100

Header = tuple[bytes, bytes]


def fault_of_head(version: str, method: bytes, target: bytes, headers: Sequence[Header]) -> HttpRefusal | None:
    """Return the refusal of a request whose head breaks a rule, or None. The names of headers are in lowercase."""
    if len(headers) > MAX_HEADERS or _size(target, headers) > MAX_HEAD_BYTES:
        return head_too_large()
    if version not in ("1.1", "1.0"):
        return malformed("The server reads HTTP/1.1 and HTTP/1.0.")
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 and (version == "1.1" or b"host" in names):
        return malformed("The request must have exactly one Host header.")
    is_chunked = b"transfer-encoding" in names
    if is_chunked and (version == "1.0" or not _is_only_chunked(headers)):
        return malformed("The only Transfer-Encoding is chunked, and only with HTTP/1.1.")
    if method == b"CONNECT":
        return malformed("The server is no proxy: it has no CONNECT.")
    if not target.startswith(b"/") and has_user(target):
        return malformed("The URL must not contain a user or a password: send `Authorization: Bearer`.")
    return None


class EnoughError(Exception):
    """Stops a parser, since nothing more is read."""


class BodyEvents(NamedTuple):
    """What a parser tells that reads a body without the rest of its request."""

    on_body: Callable[[bytes], None]
    on_message_complete: Callable[[], None]


def head_of_body(headers: Sequence[Header]) -> bytes:
    """Return a head for the same body, with no other headers than those that say where the body ends."""
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] in (b"content-length", b"transfer-encoding")]
    return b"".join([b"POST / HTTP/1.1\r\n", *lines, b"\r\n"])


def malformed(message: str) -> HttpRefusal:
    """Return the refusal of what is not HTTP."""
    return HttpRefusal(HttpReason.MALFORMED_HTTP, message)


def head_too_large() -> HttpRefusal:
    """Return the refusal of a request whose head has too many bytes or too many headers."""
    return HttpRefusal(
        HttpReason.HEADERS_TOO_LARGE,
        f"The request line and the headers must have at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers.",
    )


def _size(target: bytes, headers: Sequence[Header]) -> int:
    return len(target) + sum([len(name) + len(value) for name, value in headers])


def _is_only_chunked(headers: Sequence[Header]) -> bool:
    return [value.strip().lower() for name, value in headers if name == b"transfer-encoding"] == [b"chunked"]
