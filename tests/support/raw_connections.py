"""Connections to the HTTP listener of a server, byte by byte, and answers as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

from registrar_server.app import Server, start
from registrar_server.http.connection_limits import Patience
from registrar_server.rpc.watchers import WATCH_TIMES, WatchTimes
from tests.support.servers import FREE_PORT, settings
from tests.support.web_requests import WebAnswer

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
ENDLESS = 3600.0


class RawConnection:
    """A connection of a client that decides about every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, *, has_body: bool = True) -> WebAnswer:
        """Read one answer."""
        status, headers = await self.head()
        return WebAnswer(status, headers, await self.body(headers) if has_body else b"")

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers

    async def body(self, headers: dict[str, str]) -> bytes:
        """Read the body of an answer with these headers."""
        if headers.get("transfer-encoding") != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while chunk := await self.chunk():
            body += chunk
        return body

    async def chunk(self) -> bytes:
        """Read one chunk of a body; the last one is empty."""
        size = int(await self._reader.readline(), 16)
        chunk = await self._reader.readexactly(size)
        assert await self._reader.readline() == b"\r\n"
        return chunk

    async def ask(self, request: bytes) -> WebAnswer:
        """Send a request and read its answer."""
        await self.send(request)
        return await self.answer()

    async def rest(self) -> bytes:
        """Return what comes until the server closes the connection, or cuts it off."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65_536):
                received += data
        return received

    @property
    def tls(self) -> ssl.SSLObject:
        """The encryption of the connection."""
        found = self._writer.get_extra_info("ssl_object")
        assert found
        return cast("ssl.SSLObject", found)

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


async def open_connection(
    server: Server | str, *, host: str = "", tls: ssl.SSLContext | None = None, receives: int = 0
) -> RawConnection:
    """Connect to a server or an address, at one of its hosts; at most ``receives`` bytes wait for the client."""
    own_host, _, port = (server if isinstance(server, str) else server.http_address).rpartition(":")
    host = host or own_host.strip("[]")
    plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    plain.setblocking(False)
    if receives:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    try:
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    except OSError:
        plain.close()
        raise
    reader, writer = await asyncio.open_connection(
        sock=plain, ssl=tls, server_hostname="localhost" if tls else None, limit=receives or 2**20
    )
    return RawConnection(reader, writer)


@contextlib.asynccontextmanager
async def connected(server: Server | str, **others: Any) -> AsyncIterator[RawConnection]:
    """Keep a connection within a ``with`` block; the arguments are those of ``open_connection``."""
    connection = await open_connection(server, **others)
    try:
        yield connection
    finally:
        await connection.leave()


@contextlib.asynccontextmanager
async def serving_http(
    url: str, patience: Patience | None = None, times: WatchTimes = WATCH_TIMES, **others: Any
) -> AsyncIterator[Server]:
    """Run a server with HTTP in this event loop, whose clients get all the time they need by default."""
    server = await start(settings(url, **{"http_listen": FREE_PORT, **others}), patience or patient(), times=times)
    try:
        yield server
    finally:
        await server.stop(grace=0)


def patient(**limits: float) -> Patience:
    """Return endless limits but for these."""
    names = ("handshake", "head", "idle", "unread", "linger")
    return Patience(**{**dict.fromkeys(names, ENDLESS), **limits})


def request(method: str, path: str, body: Any = None, *lines: str) -> bytes:
    """Return a request to this machine, with a body in JSON if there is one, and with further lines of the head."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *lines]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*head, "", ""]).encode() + content
