"""Deadlines of calls over HTTP, and clients that leave or are slow."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from registrar_server.http import bodies, transcoder
from registrar_server.http.json_requests import read_request
from tests.support.http_calls import HttpCaller, read_response
from tests.support.servers import FREE_PORT, Gate, Log, Registrar, calling, serving

ENROLL = "/v1/students/s-1/enroll"
COURSE = {"course_id": "CS-101"}
LARGE = json.dumps(COURSE).encode() + b" " * transcoder.LARGE_REQUEST_BYTES


class SlowReading:
    """Keeps the thread that reads a large request until it may end."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self._read = read_request

    def read(self, *arguments: Any) -> Any:
        self.has_begun.set()
        assert self.may_end.wait(timeout=60)
        return self._read(*arguments)


@pytest.fixture
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowReading]:
    """Requests are read slowly until the end of the test."""
    slow = SlowReading()
    monkeypatch.setattr(transcoder, "read_request", slow.read)
    yield slow
    slow.may_end.set()


async def prepared(registrar: Registrar) -> None:
    await registrar.add_student("s-1")
    await registrar.add_course("CS-101")


@pytest.mark.parametrize("timeout", ["5s", "500ms", "1m", "1h", "0.5s"])
async def test_timeout(http: HttpCaller, timeout: str) -> None:
    """A call may have a deadline."""
    assert (await http.call("GET", "/v1/courses/CS-101", registrar_timeout=timeout)).status == 200


@pytest.mark.parametrize("timeout", ["", "5", "0s", "-1s", "61m", "2h", "5 s", "five", "1e3s", "9" * 5000 + "s"])
async def test_invalid_timeout(http: HttpCaller, log: Log, timeout: str) -> None:
    """Another value is refused by the name of the header."""
    answer = await http.call("GET", "/v1/courses/CS-101", registrar_timeout=timeout)
    assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
    expected = "must be a duration of more than 0s and at most 1h, such as 500ms, 5s or 2m, not "
    assert answer.faults["Registrar-Timeout"].startswith(expected)
    assert [line["reason"] for line in log.of("rpc")] == ["INVALID_FIELD"]


async def test_change_that_waits(gate: Gate, database_url: str, log: Log) -> None:
    """A change that waits for its batch when its deadline passes is never made, and the answer says so."""
    async with (
        serving(database_url, http_listen=FREE_PORT, write_lanes=1) as server,
        calling(server.address) as registrar,
    ):
        await prepared(registrar)
        http = HttpCaller(server.http_address)
        with gate.closed():
            busy = asyncio.create_task(registrar.add_student("s-2"))
            await gate.holds_one()
            answer = await http.call("POST", ENROLL, COURSE, registrar_timeout="50ms")
        await busy
        assert (answer.status, answer.json["code"]) == (504, 4)
        assert answer.json["message"] == "The deadline passed before the work began; nothing was changed."
        assert [line["status"] for line in log.of("rpc", method="EnrollStudent")] == ["DEADLINE_EXCEEDED"]
        assert (await registrar.course("CS-101")).enrolled_count == 0


async def test_change_that_has_begun(gate: Gate, database_url: str, log: Log) -> None:
    """A change whose batch has begun when its deadline passes is answered with 504 and logged once."""
    async with serving(database_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await prepared(registrar)
        http = HttpCaller(server.http_address)
        with gate.closed():
            answer = await http.call("POST", ENROLL, COURSE, registrar_timeout="50ms")
        assert (answer.status, answer.json["code"]) == (504, 4)
        assert answer.json["message"].startswith("The deadline passed before the answer. A change may have been made")
        lines = log.of("rpc", method="EnrollStudent")
        assert [line["status"] for line in lines] == ["DEADLINE_EXCEEDED"]


async def test_default_timeout(gate: Gate, sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without the header has a deadline too."""
    assert transcoder.DEFAULT_TIMEOUT_S == 30
    monkeypatch.setattr(transcoder, "DEFAULT_TIMEOUT_S", 0.05)
    async with serving(sqlite_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await prepared(registrar)
        with gate.closed():
            answer = await HttpCaller(server.http_address).call("POST", ENROLL, COURSE)
    assert answer.status == 504
    assert [line["status"] for line in log.of("rpc", method="EnrollStudent")] == ["DEADLINE_EXCEEDED"]


async def test_client_that_leaves(gate: Gate, database_url: str, log: Log) -> None:
    """The call of a client that has closed its connection is logged as CANCELLED."""
    async with serving(database_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await prepared(registrar)
        http = HttpCaller(server.http_address)
        with gate.closed():
            async with http.connection() as (_, writer):
                writer.write(post(http, b'{"course_id": "CS-101"}'))
                await gate.holds_one()
            line = await log.one("rpc", method="EnrollStudent")
        assert line["status"] == "CANCELLED"
        assert (line["student_id"], line["course_id"]) == ("s-1", "CS-101")


async def test_client_that_leaves_a_large_request(http: HttpCaller, log: Log, slow_reading: SlowReading) -> None:
    """The call of a client that leaves while its large request is being read is logged as CANCELLED, too."""
    async with http.connection() as (_, writer):
        writer.write(post(http, LARGE))
        assert await asyncio.to_thread(slow_reading.has_begun.wait, timeout=10)
    assert (await log.one("rpc", method="EnrollStudent"))["status"] == "CANCELLED"


async def test_deadline_of_a_large_request(http: HttpCaller, log: Log, slow_reading: SlowReading) -> None:
    """The deadline also holds while a large request is being read."""
    answer = await http.send("POST", ENROLL, LARGE, {"registrar-timeout": "50ms"})
    assert (answer.status, answer.json["code"]) == (504, 4)
    assert answer.json["message"] == "The deadline passed before the work began; nothing was changed."
    assert [line["status"] for line in log.of("rpc", method="EnrollStudent")] == ["DEADLINE_EXCEEDED"]


async def test_slow_body(http: HttpCaller, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time is refused and its connection closed, whether it has begun or not."""
    assert bodies.BODY_TIMEOUT_S == 30
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    for begun in (b"", b'{"course_id"'):
        async with http.connection() as (reader, writer):
            writer.write(post(http, begun, length=23))
            answer = await read_response(reader)
            assert (answer.status, answer.reason) == (408, "REQUEST_TOO_SLOW")
            assert await reader.read() == b""
    assert not log.of("rpc", method="EnrollStudent")


async def test_client_that_leaves_within_the_body(http: HttpCaller, log: Log) -> None:
    """A body that ends early is no call."""
    async with http.connection() as (_, writer):
        writer.write(post(http, b'{"course_id"', length=23))
        await writer.drain()
    assert (await http.call("GET", "/v1/courses/CS-101")).status == 200
    assert not log.of("rpc", method="EnrollStudent")


def post(http: HttpCaller, body: bytes, length: int | None = None) -> bytes:
    lines = [
        f"POST {ENROLL} HTTP/1.1",
        f"Host: {http.address}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
