"""Watches of the history that are interrupted anywhere, over gRPC or HTTP, and that go on from where they were."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import urlencode

import grpc
import httptools
from google.protobuf import json_format

from registrar.v1.event_pb2 import Event
from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.app import Server
from registrar_server.http.listener import stop_listening
from tests.support.servers import calling
from tests.support.sse_parser import Message, SseParser

Responses = AsyncGenerator[WatchEventsResponse, None]
Door = Callable[[Server, int | None, WatchEventsRequest, int | None], Responses]
"""Opens a stream of a server, and yields its responses until it is interrupted.

Its connection is lost after some bytes of the server, if a number is given. The last argument is the revision that
earlier streams have reached; None if none has begun.
"""


class Life(NamedTuple):
    """How a stream ends: its reader leaves after some responses, if its connection is not lost before."""

    responses: int | None = None
    bytes: int | None = None


class ResumedWatch:
    """A watch of several streams, each of another server than the one before."""

    def __init__(self, door: Door, lives: Sequence[Life], after: int | None, filters: Mapping[str, Any]) -> None:
        self._door = door
        self._lives = lives
        self._request = WatchEventsRequest(after_revision=after, **filters)
        self._reached: int | None = None
        self.filters = filters
        self.start = after
        """The revision after which the watch has all events; None until it is known."""
        self.events: list[Event] = []

    async def run(self, servers: Callable[[int], Server], goal: asyncio.Future[int]) -> int:
        """Watch until all lives have ended and the goal is known and reached; return the revision."""
        for number, life in enumerate(itertools.chain(self._lives, itertools.repeat(Life()))):
            if number >= len(self._lives) and self._is_at(goal):
                break
            await self._live(servers(number), life, goal)
        assert self._reached is not None
        return self._reached

    async def _live(self, server: Server, life: Life, goal: asyncio.Future[int]) -> None:
        async with aclosing(self._door(server, life.bytes, self._request, self._reached)) as responses:
            count = 0
            async for response in responses:
                self._take(response)
                count += 1
                if count == life.responses or self._is_at(goal):
                    return

    def _is_at(self, goal: asyncio.Future[int]) -> bool:
        return goal.done() and self._reached is not None and self._reached >= goal.result()

    def _take(self, response: WatchEventsResponse) -> None:
        revisions = [event.revision for event in response.events]
        assert response.checkpoint == (not revisions)
        if self.start is None:
            self.start = revisions[0] - 1 if revisions else response.revision
        before = self.start if self._reached is None else self._reached
        steps = [before, *revisions]
        assert all(one < later for one, later in itertools.pairwise(steps)), f"after {before} came {revisions}"
        assert steps[-1] <= response.revision
        self._reached = response.revision
        self.events += response.events


@contextlib.asynccontextmanager
async def lost_after(size: int | None, address: str) -> AsyncIterator[str]:
    """Return an address whose connections lead to a server, and are lost after so many bytes of the server."""
    if size is None:
        yield address
        return
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[asyncio.create_task(_join(reader, writer, address, size))] = writer

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        await stop_listening(listener)
        for connection, writer in connections.items():
            connection.cancel()
            writer.transport.abort()  # A task that is cancelled before it has begun closes nothing.
        await asyncio.gather(*connections, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, size: int) -> None:
    """Forward what a client and a server send, and cut both off after so many bytes of the server."""
    async with _cut_at_the_end(writer):
        with contextlib.suppress(OSError):
            async with _connection(address) as (answers, to_server):
                directions = [_forward(reader, to_server), _forward(answers, writer, size)]
                tasks = [asyncio.create_task(direction) for direction in directions]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _connection(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with _cut_at_the_end(writer):
        yield reader, writer


@contextlib.asynccontextmanager
async def _cut_at_the_end(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int = 2**63) -> None:
    while left and (data := await reader.read(min(left, 65_536))):
        left -= len(data)
        writer.write(data)
        await writer.drain()


async def over_grpc(server: Server, size: int | None, request: WatchEventsRequest, reached: int | None) -> Responses:
    """Yield the responses over gRPC; go on with ``after_revision``."""
    resumed = WatchEventsRequest.FromString(request.SerializeToString())
    if reached is not None:
        resumed.after_revision = reached
    async with lost_after(size, server.address) as address, calling(address) as registrar:
        call = registrar.history.WatchEvents(resumed)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            # A server that stops without grace cuts off the calls that its status has not reached in time.
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
        finally:
            call.cancel()


async def over_http(server: Server, size: int | None, request: WatchEventsRequest, reached: int | None) -> Responses:
    """Yield the responses over HTTP; go on with ``Last-Event-ID`` and the first request, as a browser does."""
    query = urlencode(json_format.MessageToDict(request), doseq=True)
    last_event_id = "" if reached is None else f"Last-Event-ID: {reached}\r\n"
    async with lost_after(size, server.http_address) as address:
        head = f"GET /v1/events:watch?{query} HTTP/1.1\r\nHost: {address}\r\n{last_event_id}\r\n"
        async with aclosing(_received(address, head.encode())) as messages:
            async for message in messages:
                if message.event == "error":
                    assert json.loads(message.data)["code"] == grpc.StatusCode.UNAVAILABLE.value[0], message
                    return
                response = json_format.Parse(message.data, WatchEventsResponse())
                assert message == Message("message", message.data, str(response.revision))
                yield response


async def _received(address: str, request: bytes) -> AsyncGenerator[Message, None]:
    """Send a request, and yield the messages of its answer until the answer ends or the connection is lost."""
    with contextlib.suppress(OSError):
        async with _connection(address) as (reader, writer):
            writer.write(request)
            answer = _Answer()
            while not answer.has_ended and (data := await reader.read(65_536)):
                for message in answer.feed(data):
                    yield message


class _Answer:
    """Reads the body of an answer as server-sent events."""

    def __init__(self) -> None:
        self.has_ended = False
        self._http = httptools.HttpResponseParser(self)
        self._parser = SseParser()
        self._body = bytearray()
        self._type = b""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with these bytes."""
        self._http.feed_data(data)
        body = bytes(self._body)
        self._body.clear()
        if self._http.get_status_code() == 503:  # The server stops.
            self.has_ended = True
            return []
        return list(self._parser.feed(body))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._type = value

    def on_headers_complete(self) -> None:
        assert (self._http.get_status_code(), self._type) in ((200, b"text/event-stream"), (503, b"application/json"))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.has_ended = True
