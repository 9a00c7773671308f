"""Readers of server-sent events, which read the format as browsers do, and nothing of it from the server's code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from registrar_server.app import Server
from tests.support.raw_connections import RawConnection, connected, request
from tests.support.web_requests import WebAnswer

WATCH = "/v1/events:watch"


class Sent(NamedTuple):
    """What the server sends between two blank lines: an event, or a comment alone."""

    id: str
    name: str
    text: str
    comment: str

    @property
    def data(self) -> Any:
        """The value of the text, which must be JSON."""
        return json.loads(self.text)


class EventReader:
    """The reader of one stream."""

    def __init__(self, connection: RawConnection, headers: dict[str, str]) -> None:
        self._connection = connection
        self._rest = b""
        self.headers = headers
        self.last_id = ""
        """The id of the last event, which a browser sends as Last-Event-ID when it connects again."""

    async def next(self) -> Sent | None:
        """Return the next event or comment; None if the body ends, as it must, with a last empty chunk."""
        while b"\n\n" not in self._rest:
            chunk = await self._connection.chunk()
            if not chunk:
                assert not self._rest
                return None
            self._rest += chunk
        block, _, self._rest = self._rest.partition(b"\n\n")
        sent = _parsed(block.decode())
        self.last_id = sent.id or self.last_id
        return sent

    async def event(self) -> Sent:
        """Return the next event with a response; comments are skipped."""
        while (sent := await self.next()) is not None and sent.comment:
            pass
        assert sent, "the stream has ended"
        assert not sent.name, sent
        assert sent.id == sent.data["revision"]
        return sent

    async def response(self) -> dict[str, Any]:
        """Return the next response."""
        found: dict[str, Any] = (await self.event()).data
        return found

    async def to_checkpoint(self) -> list[dict[str, Any]]:
        """Return the responses up to the next checkpoint."""
        found = [await self.response()]
        while not found[-1]["checkpoint"]:
            found.append(await self.response())
        return found

    async def revisions(self) -> list[int]:
        """Return the revisions of the events up to the next checkpoint."""
        return [int(event["revision"]) for one in await self.to_checkpoint() for event in one["events"]]

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return so many events of the history, however many responses they come in."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += (await self.response())["events"]
        return found

    async def failure(self) -> dict[str, Any]:
        """Return the status with which the stream ends; responses and comments before it are skipped."""
        while (sent := await self.next()) is not None and sent.name != "error":
            assert not sent.name, sent
        assert sent, "the stream has ended without a status"
        assert not sent.id
        assert await self.next() is None
        found: dict[str, Any] = sent.data
        return found


def _parsed(block: str) -> Sent:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        assert name not in fields, block
        fields[name] = value.removeprefix(" ")
    assert fields.keys() <= {"", "id", "event", "data"}, block
    return Sent(*(fields.get(name, "") for name in ("id", "event", "data", "")))


async def subscribe(connection: RawConnection, target: str = WATCH, *lines: str) -> EventReader:
    """Ask for a stream with further lines of the head, and return its reader."""
    await connection.send(request("GET", target, None, *lines))
    status, headers = await connection.head()
    assert status == 200, await connection.body(headers)
    assert (headers["content-type"], headers["transfer-encoding"]) == ("text/event-stream", "chunked")
    return EventReader(connection, headers)


@contextlib.asynccontextmanager
async def subscribed(
    server: Server | str, query: str = "", *lines: str, **connection: Any
) -> AsyncIterator[EventReader]:
    """Read a stream over a connection of its own within a ``with`` block."""
    async with connected(server, **connection) as client:
        yield await subscribe(client, f"{WATCH}?{query}" if query else WATCH, *lines)


async def refused(server: Server | str, query: str = "", *lines: str) -> WebAnswer:
    """Ask for a stream that the server refuses before it begins, and return the answer."""
    async with connected(server) as client:
        answer = await client.ask(request("GET", f"{WATCH}?{query}" if query else WATCH, None, *lines))
        assert answer.status != 200
        return answer
