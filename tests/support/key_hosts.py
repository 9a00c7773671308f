"""A web server in the event loop of a test, in the place of an identity provider that publishes its keys."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from registrar_server.http.listener import stop_listening

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answering(body: bytes, status: str = "200 OK", **headers: str) -> Behaviour:
    """Answer with a body; an underscore in a header's name is a dash."""
    named = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


def raw(data: bytes) -> Behaviour:
    """Send these bytes as the answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Send an answer that never ends, a few bytes at a time, until the caller leaves."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n{")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


class KeyHost:
    """Answers every request as ``behave`` does, and notes the first lines of the requests."""

    def __init__(self) -> None:
        self.behave: Behaviour = answering(b"{}")
        self.requests: list[str] = []
        self.url = ""
        self._asked = asyncio.Event()
        self._released = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def hanging(self, _writer: asyncio.StreamWriter) -> None:
        """Answer nothing until the test releases the call."""
        await self._released.wait()

    async def silent_until_released(self, writer: asyncio.StreamWriter, then: Behaviour) -> None:
        """Answer after the release."""
        await self._released.wait()
        await then(writer)

    def release(self) -> None:
        """Let the calls that hang go on."""
        self._released.set()

    async def asked(self) -> None:
        """Wait for the next request."""
        self._asked.clear()
        await self._asked.wait()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection in a task."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def end(self) -> None:
        """Leave the callers that still wait for an answer."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode().splitlines()[0])
            self._asked.set()
            await self.behave(writer)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The caller has left.
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def key_host(tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyHost]:
    """Run a web server on this machine."""
    host = KeyHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    host.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/jwks.json"
    try:
        yield host
    finally:
        await stop_listening(server)
        await host.end()
