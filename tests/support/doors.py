"""Every RPC over gRPC and over HTTP, with any credentials, and with the same answers to compare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from registrar_server.app import Server
from registrar_server.identity.identity import Bearers
from registrar_server.rpc.methods import Method, Watch
from registrar_server.rpc.table import METHODS, SERVICES
from tests.support.http_calls import HttpCaller
from tests.support.http_forms import Style, as_http, bindings
from tests.support.identities import identifying
from tests.support.raw_connections import connected
from tests.support.raw_connections import request as get
from tests.support.refusals import DETAILS_KEY
from tests.support.server_sent import EventReader
from tests.support.servers import FREE_PORT, OPTIONS

DOORS = ("grpc", "http")
ROWS: dict[str, Method] = {name: row for rows in METHODS.values() for name, row in rows.items()}
_PATHS = {name: f"/{service}/{name}" for service, rows in METHODS.items() for name in rows}
_RPCS = {rpc.name: rpc for service in SERVICES for rpc in service.methods}
PATIENCE_S = 30.0
"""How long a test waits for what a stream must have, before it fails."""

Headers = Sequence[tuple[str, str]]


class Answered(NamedTuple):
    """The answer to a call: its response, or the status of its refusal."""

    response: Any
    status: Status

    @property
    def info(self) -> ErrorInfo:
        """The first detail of a refusal; empty for a response."""
        found = ErrorInfo()
        assert not self.status.code or self.status.details[0].Unpack(found)
        return found

    @property
    def reason(self) -> str:
        """The reason of a refusal; empty for a response."""
        return self.info.reason


class Stream:
    """The stream of a watch, as its caller reads it."""

    def __init__(self, receive: Callable[[], Awaitable[Answered]]) -> None:
        self._receive = receive

    async def next(self) -> Answered:
        """Return the next response, or the status with which the stream ends."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._receive()

    async def events(self, count: int) -> list[Any]:
        """Return the next events, so many at least."""
        found: list[Any] = []
        while len(found) < count:
            answered = await self.next()
            assert not answered.reason, answered.status
            found += answered.response.events
        return found

    async def end(self) -> Answered:
        """Return the status with which the stream ends, after all other responses."""
        async with asyncio.timeout(PATIENCE_S):
            while not (answered := await self._receive()).reason:
                pass
        return answered


class Way(Protocol):
    """A way to send the request of an RPC."""

    async def send(self, name: str, request: Message, headers: Headers) -> Answered:
        """Send a request with these headers. The answer of a stream is its first response; then the caller leaves."""

    def watch(self, request: Message, headers: Headers) -> AbstractAsyncContextManager[Stream]:
        """Send a request of WatchEvents, and leave the stream at the end of the ``with`` block."""


class Door:
    """Calls a server in one of the ways."""

    def __init__(self, way: Way, server: Server) -> None:
        self.way = way
        self.server = server

    async def call(self, bearer: str, name: str, *, behalf: str = "", **fields: Any) -> Answered:
        """Make a call with a bearer, on behalf of a person."""
        return await self.way.send(name, ROWS[name].request(**fields), _headers(bearer, behalf))

    def watch(self, bearer: str, *, behalf: str = "", **fields: Any) -> AbstractAsyncContextManager[Stream]:
        """Watch events with a bearer, on behalf of a person; without a bearer if it is empty."""
        return self.way.watch(ROWS["WatchEvents"].request(**fields), _headers(bearer, behalf))

    async def made(self, bearer: str, name: str, *, behalf: str = "", **fields: Any) -> Any:
        """Make a call that must not be refused, and return its response."""
        answered = await self.call(bearer, name, behalf=behalf, **fields)
        assert not answered.reason, answered.status
        return answered.response

    async def refused(self, bearer: str, name: str, *, behalf: str = "", **fields: Any) -> Answered:
        """Make a call that must be refused."""
        answered = await self.call(bearer, name, behalf=behalf, **fields)
        assert answered.reason, answered.response
        return answered


@contextlib.asynccontextmanager
async def entering(kind: str, database_url: str, *more: Bearers, **others: Any) -> AsyncIterator[Door]:
    """Run a server that identifies its callers, and return the door of this kind; ``more`` know other bearers."""
    others["http_listen"] = FREE_PORT
    async with identifying(database_url, *more, **others) as server, opened(kind, server) as door:
        yield door


@contextlib.asynccontextmanager
async def opened(kind: str, server: Server) -> AsyncIterator[Door]:
    """Return the door of this kind to a server."""
    if kind == "http":
        yield Door(_Http(server.http_address), server)
        return
    async with grpc.aio.insecure_channel(server.address, OPTIONS) as channel:
        yield over_grpc(channel, server)


def over_grpc(channel: grpc.aio.Channel, server: Server) -> Door:
    """Return the door that is a connection of gRPC."""
    return Door(_Grpc(channel), server)


def _headers(bearer: str, behalf: str) -> Headers:
    headers = [("authorization", f"Bearer {bearer}")] if bearer else []
    return [*headers, ("registrar-on-behalf-of", behalf)] if behalf else headers


async def _first(stream: AbstractAsyncContextManager[Stream]) -> Answered:
    async with stream as entered:
        return await entered.next()


class _Grpc:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def send(self, name: str, request: Message, headers: Headers) -> Answered:
        if isinstance(ROWS[name], Watch):
            return await _first(self.watch(request, headers))
        call: Any = self._channel.unary_unary(_PATHS[name])
        try:
            data = await call(request.SerializeToString(), metadata=tuple(headers))
        except grpc.aio.AioRpcError as error:
            return _refused(error)
        return Answered(ROWS[name].response.FromString(data), Status())

    @contextlib.asynccontextmanager
    async def watch(self, request: Message, headers: Headers) -> AsyncIterator[Stream]:
        method: Any = self._channel.unary_stream(_PATHS["WatchEvents"])
        call = method(request.SerializeToString(), metadata=tuple(headers))

        async def receive() -> Answered:
            try:
                data = await call.read()
            except grpc.aio.AioRpcError as error:
                return _refused(error)
            return Answered(ROWS["WatchEvents"].response.FromString(data), Status())

        try:
            yield Stream(receive)
        finally:
            call.cancel()


def _refused(error: grpc.aio.AioRpcError) -> Answered:
    return Answered(None, Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY]))


class _Http:
    def __init__(self, address: str) -> None:
        self._caller = HttpCaller(address)

    async def send(self, name: str, request: Message, headers: Headers) -> Answered:
        if isinstance(ROWS[name], Watch):
            return await _first(self.watch(request, headers))
        rules = bindings(_RPCS[name])
        by_id = name == "CompleteEnrollment" and request.enrollment_id  # type: ignore[attr-defined]
        form = as_http(rules[1 if by_id else 0], request, Style())
        # HttpCaller takes each header once; the end of a line within a value begins another header.
        named: dict[str, str] = {}
        for header, value in headers:
            named[header] = f"{named[header]}\r\n{header}: {value}" if header in named else value
        response = await self._caller.call(form.verb, form.path, form.body, query=form.query, **named)
        if response.status >= 400:
            return Answered(None, response.refusal)
        return Answered(json_format.ParseDict(response.json, ROWS[name].response()), Status())

    @contextlib.asynccontextmanager
    async def watch(self, request: Message, headers: Headers) -> AsyncIterator[Stream]:
        form = as_http(bindings(_RPCS["WatchEvents"])[0], request, Style())
        lines = (f"{name}: {value}" for name, value in headers)
        async with connected(self._caller.address) as client:
            await client.send(get("GET", f"{form.path}?{urlencode(form.query)}", None, *lines))
            status, answered = await client.head()
            if status == 200:
                events = EventReader(client, answered)
                yield Stream(lambda: _received(events))
            else:
                refusal = json_format.Parse(await client.body(answered), Status())
                yield Stream(lambda: asyncio.sleep(0, Answered(None, refusal)))


async def _received(events: EventReader) -> Answered:
    """Return the next response of a stream, or the status with which it ends."""
    while (event := await events.next()) is not None and event.comment:
        pass
    assert event, "the stream has ended without a status"
    if event.name == "error":
        return Answered(None, json_format.ParseDict(event.data, Status()))
    return Answered(json_format.ParseDict(event.data, ROWS["WatchEvents"].response()), Status())
