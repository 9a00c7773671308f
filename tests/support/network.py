"""A network between the server and PostgreSQL that a test can stop, cut, or encrypt."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sqlalchemy import make_url

from registrar_server.http.listener import stop_listening

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
END_OF_ANSWER = b"Z\x00\x00\x00\x05"
"""The message ReadyForQuery, without its last byte."""


class Network:
    """Forwards connections to a database. It has an event loop and a thread of its own."""

    def __init__(self, url: str, encryption: ssl.SSLContext | None) -> None:
        self._target = make_url(url)
        self._encryption = encryption
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = url
        """The URL of the database behind the network."""

    def run(self, ready: threading.Event) -> None:
        """Forward connections in this thread until ``end``."""
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        url = self._target.set(port=server.sockets[0].getsockname()[1])
        self.url = url.set(query={"sslmode": "require"} if self._encryption else {}).render_as_string(False)
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(stop_listening(server))
        self._flows.set()
        self._close_all()
        self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop)))
        self._loop.close()

    def end(self) -> None:
        """Close all connections, and let ``run`` return."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def stop(self) -> None:
        """Forward nothing from now on, without closing a connection."""
        self._in_loop(self._flows.clear)

    def resume(self) -> None:
        """Forward again, also what was sent meanwhile."""
        self._in_loop(self._flows.set)

    def cut(self) -> None:
        """Close all connections on both sides."""
        self._in_loop(self._close_all)

    def _in_loop(self, function: object) -> None:
        async def call() -> None:
            function()  # type: ignore[operator]

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._encryption:
            assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(self._encryption)
        target_reader, target_writer = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers |= {writer, target_writer}
        answers = _whole_answers(target_reader) if self._encryption else _parts(target_reader)
        await asyncio.gather(self._forward(_parts(reader), target_writer), self._forward(answers, writer))

    async def _forward(self, parts: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            async for part in parts:
                await self._flows.wait()
                writer.write(part)
                await writer.drain()
        writer.close()


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Return the input in parts as they come."""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            yield part


async def _whole_answers(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Return the answers of PostgreSQL in one part each, which fill records of TLS up to their limit of 16 KB."""
    answer = bytearray()
    async for part in _parts(reader):
        answer += part
        if answer[-6:-1] == END_OF_ANSWER:
            yield bytes(answer)
            answer.clear()
    yield bytes(answer)


@contextlib.contextmanager
def network_to(url: str, encryption: ssl.SSLContext | None = None) -> Iterator[Network]:
    """Run a network in front of a database on PostgreSQL; with ``encryption``, it ends the TLS of its clients."""
    network = Network(url, encryption)
    ready = threading.Event()
    thread = threading.Thread(target=network.run, args=(ready,), name="network")
    thread.start()
    ready.wait()
    yield network
    network.end()
    thread.join()


def encryption_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return how a server encrypts with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
