"""Streams over HTTP as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The data of each event is a response as JSON, and its id is the revision, with which a client goes on in the header
``Last-Event-ID``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from google.rpc.status_pb2 import Status
from starlette.types import Receive, Scope, Send

from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.http import answers
from registrar_server.http.incoming import Incoming, incoming
from registrar_server.http.json_answers import write
from registrar_server.http.json_requests import read_request
from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.routes import Match
from registrar_server.identity.identity import Identity
from registrar_server.rpc import status
from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.watch_forms import Form, for_students
from registrar_server.rpc.watchers import Watchers

LAST_EVENT_ID = "last-event-id"
MAX_REVISION = 2**63 - 1

_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until its buffer is full.
)


def _event_as_json(packed: bytes) -> bytes:
    return write(WatchEventsResponse.FromString(packed).events[0]).rstrip(b"\n")


def _event_as_json_for_students(packed: bytes) -> bytes:
    return _event_as_json(for_students(packed))


def _join(events: Sequence[bytes], revision: int, *, checkpoint: bool = False) -> bytes:
    """Return a response as JSON in a server-sent event."""
    value = b"true" if checkpoint else b"false"
    data = b'{"events":[%b],"revision":"%d","checkpoint":%b}' % (b",".join(events), revision, value)
    return b"id: %d\ndata: %b\n\n" % (revision, data)


EVENT_STREAM = Form(_event_as_json, _event_as_json_for_students, _join)


def resume(request: WatchEventsRequest, headers: Mapping[str, str]) -> None:
    """Let a request begin after the last event that its client has received, if it names one.

    A browser that connects again sends the header with the first URL, so the header takes precedence.
    """
    value = headers.get(LAST_EVENT_ID, "")
    if not value:
        return
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= MAX_REVISION):
        expected = f"must be a revision, as the id of an event has it, not {shown(value)}"
        raise invalid_fields([FieldViolation("Last-Event-ID", expected)])
    request.after_revision = int(value)


class EventStreams:
    """Answers each request with a stream, which has no deadline unless its caller sets one."""

    def __init__(self, watchers: Watchers, identity: Identity, max_bytes: int) -> None:
        self._watchers = watchers
        self._identity = identity
        self._max_bytes = max_bytes

    async def answer(self, match: Match, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; returns when its stream has ended."""
        if scope["http_version"] == "1.0":  # It has no chunks, and so no way to tell an end from a lost connection.
            raise HttpRefusal(HttpReason.METHOD_NOT_ALLOWED, "A stream needs HTTP/1.1.", {"allow": "GET"})
        call = incoming(match, scope, math.inf)
        await call.name_caller(self._identity, None)
        stream = EventStream(send, self._watchers.times.heartbeat)
        if not call.arrival.is_over:
            body = await call.read_body(receive, self._max_bytes)
            await self._run(call, body, stream)
        assert call.arrival.refused is not None
        refused = call.arrival.refused.message
        await (stream.fail(refused) if stream.has_begun else answers.of_status(refused).send(send))

    async def _run(self, call: Incoming, body: bytes, stream: EventStream) -> None:
        """Stream until the stream is refused, its deadline passes or its client leaves."""
        arrival = call.arrival
        try:
            async with asyncio.timeout_at(call.caller.deadline):
                request = read_request(call.match, call.query, call.headers, body)
                assert isinstance(request, WatchEventsRequest)
                resume(request, call.headers)
                arrival.data = request.SerializeToString()
                await self._watchers.serve(arrival, call.credentials, EVENT_STREAM, stream.send)
        except TimeoutError:
            arrival.leave()
            arrival.refused = status.of_deadline("The deadline of the stream has passed.")
        except asyncio.CancelledError:
            arrival.leave()
            raise
        except Exception as error:
            arrival.end(error)
        finally:
            stream.leave()


class EventStream:
    """The answer with a stream. It begins with the first response; before, the request can still be refused."""

    def __init__(self, send: Send, heartbeat: float) -> None:
        self._send = send
        self._heartbeat = heartbeat
        self._beating: asyncio.Task[None] | None = None
        self.has_begun = False
        """Whether the headers are sent."""

    async def send(self, response: bytes) -> None:
        """Send a response; waits while the client does not take what was sent before."""
        if not self.has_begun:
            await self._send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            self.has_begun = True
            self._beating = asyncio.create_task(self._beat())
        await self._write(response)
        # What is sent to a client who has left is dropped without a sign. Now the stream can be cancelled before it
        # takes the response for sent and goes on with the next ones.
        await asyncio.sleep(0)

    async def fail(self, status: Status) -> None:
        """End the stream with the status for which it ends."""
        await self._write(b"event: error\ndata: %b\n\n" % write(status).rstrip(b"\n"))
        await self._send({"type": "http.response.body", "body": b""})

    def leave(self) -> None:
        """Send no more comments."""
        if self._beating:
            self._beating.cancel()
            self._beating = None  # It refers to this. Both would stay in memory until a garbage collection.

    async def _beat(self) -> None:
        """Send a comment now and then, so that no proxy takes the connection for dead."""
        while True:
            await asyncio.sleep(self._heartbeat)
            await self._write(b": heartbeat\n\n")

    async def _write(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
