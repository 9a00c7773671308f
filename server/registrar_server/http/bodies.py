"""Reads the bodies of requests, with limits on their type, size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from registrar_server.http.refusals import HttpReason, HttpRefusal

BODY_TIMEOUT_S = 30.0
"""How long a client may take to send a body."""


def check_content_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not JSON, is compressed, or has another charset than UTF-8, also if the body is empty.

    A web page cannot send JSON to another site without asking in advance, so this also refuses what a page sends.
    """
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    named = [part.partition("=") for part in parameters]
    charsets = [value.strip(' "') for name, _, value in named if name.strip() == "charset"]
    # A comma separates the values of a header that is repeated.
    several = any("," in part for part in parameters)
    if several or kind != "application/json" or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise HttpRefusal(
            HttpReason.MEDIA_TYPE_UNSUPPORTED, "The request needs the header Content-Type: application/json, in UTF-8."
        )
    if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise HttpRefusal(
            HttpReason.MEDIA_TYPE_UNSUPPORTED,
            "The body must not be compressed: the server accepts no Content-Encoding.",
            {"accept-encoding": "identity"},
        )


async def read_body(headers: Mapping[str, str], receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request, or raise BODY_TOO_LARGE, or REQUEST_TOO_SLOW if it takes too long to arrive."""
    length = int(headers.get("content-length") or 0)  # The parser of HTTP refuses what is no number.
    if not length and "transfer-encoding" not in headers:
        return b""
    if length > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _receive_all(receive, max_bytes)
    except TimeoutError:
        raise HttpRefusal(
            HttpReason.REQUEST_TOO_SLOW,
            f"The body did not arrive within {BODY_TIMEOUT_S:g} seconds.",
            {"connection": "close"},
        ) from None


async def _receive_all(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return bytes(body)


def _too_large(max_bytes: int) -> HttpRefusal:
    return HttpRefusal(
        HttpReason.BODY_TOO_LARGE, f"The body must have at most {max_bytes} bytes.", {"connection": "close"}
    )
