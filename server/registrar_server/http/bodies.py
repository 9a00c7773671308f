"""Reads the bodies of requests, with limits on their type, size and time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive

from registrar_server.http.refusals import HttpReason, HttpRefusal

BODY_TIMEOUT_S = 30.0
"""How long a client may take to send a body."""


def check_content_type(headers: Headers) -> None:
    """Refuse a body that is not JSON, is compressed, or has another charset than UTF-8, also if the body is empty.

    A web page cannot send JSON to another site without asking in advance, so this also refuses what a page sends.
    """
    kinds = headers.getlist("content-type")
    kind, *parameters = (part.strip().lower() for part in (kinds[0] if len(kinds) == 1 else "").split(";"))
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    if kind != "application/json" or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise HttpRefusal(
            HttpReason.MEDIA_TYPE_UNSUPPORTED, "The request needs the header Content-Type: application/json, in UTF-8."
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpRefusal(
            HttpReason.MEDIA_TYPE_UNSUPPORTED,
            "The body must not be compressed: the server accepts no Content-Encoding.",
            {"accept-encoding": "identity"},
        )


async def read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request, or raise BODY_TOO_LARGE, or REQUEST_TOO_SLOW after 30 seconds."""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read_rest(bytearray(body), receive, max_bytes)
        except TimeoutError:
            raise HttpRefusal(
                HttpReason.REQUEST_TOO_SLOW, "The body did not arrive within 30 seconds.", {"connection": "close"}
            ) from None
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return bytes(body)


async def _read_rest(body: bytearray, receive: Receive, max_bytes: int) -> bytes:
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
