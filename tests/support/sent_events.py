"""Server-sent events as a client reads them, one after another, from a connection of their own."""

from __future__ import annotations

import contextlib
import json
from asyncio import StreamReader
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import httptools

from tests.support.http_calls import HttpCaller, HttpResponse


class SentEvent(NamedTuple):
    """An event: its name, its id and its data."""

    name: str
    id: str
    data: Any


class EventSource:
    """The answer to a request for a stream: its events, or a response without them if the request is refused."""

    def __init__(self, reader: StreamReader) -> None:
        self.response = HttpResponse()
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._has_headers = False
        self._is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.response.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.response.status = self._parser.get_status_code()
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        self.response.raw += body

    def on_message_complete(self) -> None:
        self._is_complete = True

    async def begin(self) -> None:
        """Read the headers, and the whole body of a refusal."""
        while not self._has_headers or (self.response.status >= 400 and not self._is_complete):
            await self._read()

    async def next(self) -> SentEvent | None:
        """Return the next event without those that are only comments, or None if the stream has ended."""
        while True:
            while b"\n\n" not in self.response.raw:
                if self._is_complete:
                    return None
                await self._read()
            block, _, self.response.raw = self.response.raw.partition(b"\n\n")
            lines = [line.partition(": ") for line in block.decode().split("\n")]
            fields = {name: value for name, _, value in lines if name}
            if "data" in fields:
                return SentEvent(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))

    async def _read(self) -> None:
        data = await self._reader.read(65_536)
        assert data, f"the connection ended within the response: {self.response}"
        self._parser.feed_data(data)


@contextlib.asynccontextmanager
async def event_source(address: str, target: str, headers: Sequence[tuple[str, str]]) -> AsyncIterator[EventSource]:
    """Ask for a stream, and leave it at the end of the ``with`` block."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("host", address), *headers])
    async with HttpCaller(address).connection() as (reader, writer):
        writer.write(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        source = EventSource(reader)
        await source.begin()
        yield source
