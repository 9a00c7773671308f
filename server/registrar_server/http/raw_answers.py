"""Answers as bytes: those of a connection that has no valid request, and those for callers of HTTP/1.0."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from registrar_server.http.answers import HttpAnswer

CLOSE = (b"connection", b"close")


def raw_answer(answer: HttpAnswer, others: Iterable[tuple[bytes, bytes]], *, is_head: bool) -> bytes:
    """Return an answer after which the connection closes, with ``others`` as further headers.

    The answer to a HEAD request has no body.
    """
    headers = {**dict(others), **dict(answer.encoded_headers()), **dict([CLOSE])}
    lines = (b"%b: %b\r\n" % header for header in headers.items())
    assert isinstance(answer.body, bytes)
    return b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", b"" if is_head else answer.body])


class InOnePiece:
    """Sends the answers of an application in one piece with their length, since HTTP/1.0 has no chunks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start: Message = {}
        body = bytearray()

        async def gather(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                body.clear()  # The application failed within its answer, and answers that instead.
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                await _send(start, bytes(body), send)

        await self._app(scope, receive, gather)


async def _send(start: Message, body: bytes, send: Send) -> None:
    headers = [header for header in start["headers"] if header[0] != b"content-length"]
    await send({**start, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
