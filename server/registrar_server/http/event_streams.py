"""Streams over HTTP as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The data of each event is a response as JSON, and its id is the revision, with which a client goes on in the header
``Last-Event-ID``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from google.rpc.status_pb2 import Status
from starlette.types import Send

from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.http.json_answers import write
from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.watch_forms import Form, for_students

LAST_EVENT_ID = "last-event-id"
HEARTBEAT_S = 5.0
"""How often a stream has a comment, so that no proxy takes its connection for dead."""
MAX_REVISION = 2**63 - 1

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until its buffer is full.
]


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


class EventStream:
    """The answer with a stream. It begins with the first response; before, the request can still be refused."""

    def __init__(self, send: Send, *, heartbeat: float = HEARTBEAT_S) -> None:
        self._send = send
        self._heartbeat = heartbeat
        self._beating: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the headers are sent."""
        return self._beating is not None

    async def send(self, response: bytes) -> None:
        """Send a response; waits while the client does not take what was sent before."""
        if self._beating is None:
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            self._beating = asyncio.create_task(self._beat())
        await self._write(response)

    async def fail(self, status: Status) -> None:
        """End the stream with the status for which it ends."""
        await self._write(b"event: error\ndata: %b\n\n" % write(status).rstrip(b"\n"))
        await self._send({"type": "http.response.body", "body": b""})

    def leave(self) -> None:
        """Send no more comments."""
        if self._beating:
            self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            await self._write(b": heartbeat\n\n")

    async def _write(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
