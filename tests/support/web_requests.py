"""HTTP requests byte by byte, as browsers and attackers send them, and the answers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterable, Mapping
from http.client import HTTPResponse
from typing import Any, NamedTuple

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class WebAnswer(NamedTuple):
    """The answer to a request. The names of headers are in lowercase."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """The reason in the details of a refusal."""
        return str(json.loads(self.body)["details"][0]["reason"])


class _Received(io.BytesIO):
    def makefile(self, *_arguments: Any, **_others: Any) -> io.BytesIO:
        """Return this, as a socket does for ``HTTPResponse``."""
        return self


def written(method: str, target: str, headers: Headers, body: bytes = b"", version: str = "1.1") -> bytes:
    """Return a request as bytes, with the headers given and no others but the length of the body."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in pairs)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


async def exchange(address: str, request: bytes, method: str = "GET") -> WebAnswer:
    """Send a request over a connection of its own, and return the answer when the server closes the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(request)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    answer = HTTPResponse(_Received(received), method=method)  # type: ignore[arg-type]
    answer.begin()
    return WebAnswer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
