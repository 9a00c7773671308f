"""Every RPC over gRPC and over HTTP, with any credentials, and with the same answers to compare."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from registrar_server.app import Server
from registrar_server.rpc.methods import Method
from registrar_server.rpc.table import METHODS, SERVICES
from tests.support.http_calls import HttpCaller
from tests.support.http_forms import Style, as_http, bindings
from tests.support.identities import identifying
from tests.support.refusals import DETAILS_KEY
from tests.support.servers import FREE_PORT, OPTIONS

DOORS = ("grpc", "http")
ROWS: dict[str, Method] = {name: row for rows in METHODS.values() for name, row in rows.items()}
_PATHS = {name: f"/{service}/{name}" for service, rows in METHODS.items() for name in rows}
_RPCS = {rpc.name: rpc for service in SERVICES for rpc in service.methods}


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


class Way(Protocol):
    """A way to send the request of an RPC."""

    async def send(self, name: str, request: Message, headers: Sequence[tuple[str, str]]) -> Answered:
        """Send a request with these headers."""


class Door:
    """Calls a server in one of the ways."""

    def __init__(self, way: Way, server: Server) -> None:
        self.way = way
        self.server = server

    async def call(self, bearer: str, name: str, *, behalf: str = "", **fields: Any) -> Answered:
        """Make a call with a bearer, on behalf of a person."""
        headers = [("authorization", f"Bearer {bearer}")]
        if behalf:
            headers.append(("registrar-on-behalf-of", behalf))
        return await self.way.send(name, ROWS[name].request(**fields), headers)

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
async def entering(kind: str, database_url: str, **others: Any) -> AsyncIterator[Door]:
    """Run a server that identifies its callers, and return the door of this kind."""
    async with identifying(database_url, http_listen=FREE_PORT, **others) as server, opened(kind, server) as door:
        yield door


@contextlib.asynccontextmanager
async def opened(kind: str, server: Server) -> AsyncIterator[Door]:
    """Return the door of this kind to a server."""
    if kind == "http":
        yield Door(_Http(server.http_address), server)
        return
    async with grpc.aio.insecure_channel(server.address, OPTIONS) as channel:
        yield Door(_Grpc(channel), server)


class _Grpc:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def send(self, name: str, request: Message, headers: Sequence[tuple[str, str]]) -> Answered:
        call: Any = self._channel.unary_unary(_PATHS[name])
        try:
            data = await call(request.SerializeToString(), metadata=tuple(headers))
        except grpc.aio.AioRpcError as error:
            return Answered(None, Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY]))
        return Answered(ROWS[name].response.FromString(data), Status())


class _Http:
    def __init__(self, address: str) -> None:
        self._caller = HttpCaller(address)

    async def send(self, name: str, request: Message, headers: Sequence[tuple[str, str]]) -> Answered:
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
