"""Requests and connections leave nothing in memory that waits for a garbage collection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from registrar_server.app import Server
from registrar_server.http.transcoder import Transcoder
from registrar_server.rpc.watchers import WatchTimes
from tests.support.garbage import Garbage
from tests.support.raw_connections import GET, connected, patient, request, serving_http
from tests.support.server_sent import WATCH
from tests.support.servers import Gate, Log

CREATE = request("POST", "/v1/students", {"student_id": "s-1"})
CHUNKED = request("POST", "/v1/students", None, "Content-Type: application/json", "Transfer-Encoding: chunked")

SENT: Mapping[str, bytes] = {
    "a call": request("GET", "/v1/courses"),
    "a refused call": request("GET", "/v1/courses/c-9"),
    "an invalid field": request("GET", "/v1/courses?page_size=-1"),
    "an unknown path": request("GET", "/nothing"),
    "a stream until its deadline": request("GET", WATCH, None, "Registrar-Timeout: 20ms"),
    "a refused stream": request("GET", f"{WATCH}?after_revision=99"),
    "a stream that is too late": request("GET", WATCH, None, "Registrar-Timeout: 0.000001s"),
    "a probe": GET,
    "a body that is too large": request("POST", "/v1/students", None, "Content-Length: 99999999"),
    "a body that is not JSON": CREATE.replace(b'"s-1"', b'"s-1,'),
    "no HTTP": b"hello\r\n\r\n",
    "two Hosts": GET.replace(b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n"),
    "a chunk without a size": CHUNKED + b"zz\r\n",
    "a head that is too large": GET.replace(b"\r\n\r\n", b"\r\nX-Note: " + b"a" * 70_000),
    "a broken request behind others": GET * 5 + b"hello\r\n\r\n",
    "an upgrade": GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "HTTP/1.0": GET.replace(b"1.1", b"1.0"),
}


@pytest.fixture
async def server(sqlite_url: str, log: Log, garbage: Garbage) -> AsyncIterator[Server]:
    """A server that closes a connection soon after its answer."""
    async with serving_http(sqlite_url, patient(linger=0.05, idle=0.05)) as server:
        yield server


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
async def test_an_answered_request_leaves_no_garbage(server: Server, garbage: Garbage, sent: bytes) -> None:
    async def attempt() -> None:
        async with connected(server) as client:
            await client.send(sent)
            assert await client.rest()

    await repeat(attempt)
    assert garbage() == []


async def test_a_crash_leaves_no_garbage(server: Server, garbage: Garbage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Transcoder, "_answer", crash)

    async def attempt() -> None:
        async with connected(server) as client:
            assert (await client.ask(request("GET", "/v1/courses"))).status == 500

    await repeat(attempt)
    assert garbage() == []


@pytest.mark.parametrize("part", [b"", CREATE[:20], CREATE[:-1], CHUNKED], ids=["nothing", "head", "body", "chunks"])
async def test_a_request_that_breaks_off_leaves_no_garbage(server: Server, garbage: Garbage, part: bytes) -> None:
    async def attempt() -> None:
        async with connected(server) as client:
            await client.send(part)
            await other_request(server)
        await other_request(server)

    await repeat(attempt)
    assert garbage() == []


async def test_a_call_without_its_caller_leaves_no_garbage(
    sqlite_url: str, gate: Gate, log: Log, garbage: Garbage
) -> None:
    async with serving_http(sqlite_url) as server:

        async def attempt() -> None:
            with gate.closed():
                async with connected(server) as client:
                    await client.send(CREATE * 3)
                    await gate.holds_one()
                await other_request(server)
            async with connected(server) as client:
                await client.ask(request("GET", "/v1/students/s-1"))
                await client.ask(CREATE)

        await repeat(attempt)
        assert garbage() == []


@pytest.mark.parametrize("behind", [b"", GET], ids=["alone", "with a request behind"])
async def test_a_stream_without_its_reader_leaves_no_garbage(
    sqlite_url: str, log: Log, garbage: Garbage, behind: bytes
) -> None:
    async with serving_http(sqlite_url, times=WatchTimes(heartbeat=0.01)) as server:

        async def attempt() -> None:
            before = len(log.of("rpc"))
            async with connected(server) as client:
                await client.send(request("GET", WATCH) + behind)
                await client.head()
            await log.several(before + 1, "rpc")
            await other_request(server)

        await repeat(attempt)
        assert garbage() == []
        assert log.of("rpc", method="WatchEvents", status="CANCELLED")


async def other_request(server: Server) -> None:
    """Get an answer, which comes after the server has noticed what other clients did before."""
    async with connected(server) as client:
        await client.ask(GET)


async def repeat(attempt: Callable[[], Awaitable[None]]) -> None:
    """Make some attempts, and let what they began end."""
    for _ in range(5):
        await attempt()
    await asyncio.sleep(0)
