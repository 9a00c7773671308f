"""Calls over HTTP: requests as bytes on a connection of their own, so that a test can send what no client would."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httptools
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

JSON = "application/json"


@dataclass
class HttpResponse:
    """A response: its status, its headers by their names in lower case, and its body, decompressed."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""

    @property
    def body(self) -> bytes:
        """The body without the compression."""
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def json(self) -> Any:
        """The value of the body, which must be JSON."""
        assert self.headers["content-type"] == JSON, self
        return json.loads(self.body)

    @property
    def refusal(self) -> status_pb2.Status:
        """The ``google.rpc.Status`` in the body of a call that failed."""
        assert self.status >= 400, self
        return json_format.ParseDict(self.json, status_pb2.Status())

    @property
    def reason(self) -> str:
        """The reason in the ``ErrorInfo``, which is the first detail."""
        info = error_details_pb2.ErrorInfo()
        assert self.refusal.details[0].Unpack(info)
        assert info.domain == "registrar"
        return str(info.reason)

    @property
    def faults(self) -> dict[str, str]:
        """The description of each invalid field, by its path."""
        for detail in self.refusal.details:
            found = error_details_pb2.BadRequest()
            if detail.Unpack(found):
                return {one.field: one.description for one in found.field_violations}
        return {}


class _Parser:
    """Collects the parts of one response as ``httptools`` finds them."""

    def __init__(self, *, has_body: bool) -> None:
        self.response = HttpResponse()
        self.is_complete = False
        self._has_body = has_body
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_status(self, status: bytes) -> None:
        self.response.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.response.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.response.status = self._parser.get_status_code()
        self.is_complete = not self._has_body

    def on_body(self, body: bytes) -> None:
        self.response.raw += body

    def on_message_complete(self) -> None:
        self.is_complete = True


class HttpCaller:
    """Calls a server. Each call has a connection of its own."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def call(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | list[tuple[str, Any]] | None = None,
        **headers: str,
    ) -> HttpResponse:
        """Send a request with a body in JSON, and return the response; an underscore in a header's name is a dash."""
        data = b"" if body is None else json.dumps(body).encode()
        target = f"{path}?{urlencode(query, doseq=True)}" if query else path
        return await self.send(verb, target, data, {name.replace("_", "-"): value for name, value in headers.items()})

    async def send(
        self, verb: str, target: str | bytes, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Send a request whose body are these bytes, and return the response."""
        usual = {"host": self.address, "connection": "close"}
        if verb in ("POST", "PUT", "PATCH"):
            usual["content-type"] = JSON
        if body or verb in ("POST", "PUT", "PATCH"):
            usual["content-length"] = str(len(body))
        lines = [f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items()]
        target = target.encode() if isinstance(target, str) else target
        head = verb.encode() + b" " + target + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return await self.send_bytes(head + body, has_body=verb != "HEAD")

    async def send_bytes(self, data: bytes, *, has_body: bool = True) -> HttpResponse:
        """Send bytes on a new connection, and return the one response."""
        async with self.connection() as (reader, writer):
            writer.write(data)
            return await read_response(reader, has_body=has_body)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


async def read_response(reader: asyncio.StreamReader, *, has_body: bool = True) -> HttpResponse:
    """Read one response from a connection."""
    parser = _Parser(has_body=has_body)
    while not parser.is_complete:
        data = await reader.read(65_536)
        assert data, f"the connection ended within the response: {parser.response}"
        parser.feed(data)
    return parser.response
