"""A server stops: its HTTP listener closes first, and the calls under way are answered."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine

from registrar_server.app import Server, start
from registrar_server.http.listener import HttpListener
from tests.support.databases import execute, holding_the_courses
from tests.support.raw_connections import ENDLESS, GET, RawConnection, connected, open_connection, patient, request
from tests.support.servers import FREE_PORT, Gate, Log, calling, server_process, settings

CREATE = request("POST", "/v1/students", {"student_id": "s-1"})
READY = request("GET", "/readyz")


async def no_app(_scope: object, _receive: object, _send: object) -> None:
    """Answer nothing."""


class TestGracefulStop:
    """Clients of a server that stops."""

    @pytest.fixture
    async def server(self, sqlite_url: str, gate: Gate, log: Log) -> Server:
        """A server whose calls wait at the gate; each test stops it."""
        return await start(settings(sqlite_url, http_listen=FREE_PORT), patient())

    async def test_call_under_way(self, server: Server, gate: Gate) -> None:
        """A call under way is answered, and the answer says that the connection closes."""
        async with connected(server) as client:
            with gate.closed():
                await client.send(CREATE)
                await gate.holds_one()
                stopping = asyncio.create_task(server.stop(grace=20))
                await refuses_connections(server)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.rest() == b""
            assert await stopping

    async def test_idle_connection(self, server: Server, gate: Gate) -> None:
        """An idle connection closes while a call is under way, also if it never had a request."""
        async with connected(server) as used, connected(server) as unused, connected(server) as busy:
            await used.ask(GET)
            with gate.closed():
                await busy.send(CREATE)
                await gate.holds_one()
                stopping = asyncio.create_task(server.stop(grace=20))
                assert (await used.rest(), await unused.rest()) == (b"", b"")
                assert not stopping.done()
            await stopping

    async def test_request_that_meets_the_stop(self, sqlite_url: str) -> None:
        """A request on an idle connection that the server gets after it has begun to stop is answered, not dropped."""
        server = await start(settings(sqlite_url, http_listen=FREE_PORT), patient(farewell=ENDLESS))
        async with connected(server) as used, connected(server) as unused:
            await used.ask(GET)
            stopping = asyncio.create_task(server.stop(grace=20))
            await refuses_connections(server)
            for client in (used, unused):
                answer = await client.ask(CREATE)
                assert answer.status == 200 or answer.reason in ("SHUTTING_DOWN", "ALREADY_EXISTS")
                assert answer.headers["connection"] == "close"
                assert await client.rest() == b""
            assert await stopping

    @pytest.mark.parametrize("steps", range(6))
    async def test_connection_that_meets_the_stop(self, sqlite_url: str, steps: int) -> None:
        """A connection that the listener is accepting when it closes is refused, with an answer or without one."""
        async with asyncio.timeout(10):
            received = await received_at_a_stop(sqlite_url, steps)
        assert received.split(b"\r\n")[0] in (b"", b"HTTP/1.1 503 Service Unavailable")

    async def test_stop_that_is_cancelled(self, sqlite_url: str) -> None:
        """It leaves no socket that listens and accepts nothing, at which clients would wait."""
        listener = HttpListener(no_app, settings(sqlite_url, http_listen=FREE_PORT), None, patient())
        host, _, port = (await listener.start()).rpartition(":")
        closing = asyncio.create_task(listener.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        listener.end()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5).close()

    @pytest.mark.parametrize("part", [CREATE[:20], CREATE[:-1]], ids=["head", "body"])
    async def test_request_that_still_arrives(self, server: Server, part: bytes, log: Log) -> None:
        """A request that has not arrived completely is refused, so that slow clients do not hold up the stop."""
        async with connected(server) as client:
            await client.send(part)
            async with connected(server) as other:
                await other.ask(GET)
            async with asyncio.timeout(10):
                stopping = asyncio.create_task(server.stop(grace=20))
                answer = await client.answer()
                await stopping
        assert (answer.status, answer.reason, answer.headers["connection"]) == (503, "SHUTTING_DOWN", "close")
        assert answer.headers["retry-after"] == "1"
        assert log.of("http_refused", status=503, reason="SHUTTING_DOWN")

    async def test_requests_behind(self, server: Server, gate: Gate) -> None:
        """Requests that wait behind a call under way are refused: calls, and the question whether it is ready."""
        later = request("POST", "/v1/students", {"student_id": "s-2"})
        async with connected(server) as client:
            with gate.closed():
                await client.send(CREATE + later + READY)
                await gate.holds_one()
                stopping = asyncio.create_task(server.stop(grace=20))
                await refuses_connections(server)
            answers = [await client.answer() for _ in range(3)]
            await stopping
        assert [answer.status for answer in answers] == [200, 503, 503]
        assert [answer.reason for answer in answers[1:]] == ["SHUTTING_DOWN", "SHUTTING_DOWN"]
        assert [answer.headers.get("connection") for answer in answers] == [None, None, "close"]

    async def test_end_of_grace(self, server: Server, gate: Gate) -> None:
        """A call that takes longer than the grace is cut off."""
        async with connected(server) as client:
            with gate.closed():
                await client.send(CREATE)
                await gate.holds_one()
                stopping = asyncio.create_task(server.stop(grace=0))
                assert await client.rest() == b""
            await stopping

    async def test_slow_reader(self, server: Server) -> None:
        """A client that reads slowly gets all of its answers: large ones, then refusals."""
        async with calling(server.address) as registrar:
            courses = (registrar.add_course(f"c-{number}", description="x" * 10_000) for number in range(250))
            await asyncio.gather(*courses)
        async with connected(server, receives=4096) as client:
            await client.send(request("GET", "/v1/courses?page_size=250") * 8)
            answers = [await client.answer()]
            stopping = asyncio.create_task(server.stop(grace=60))
            await refuses_connections(server)
            answers += [await client.answer() for _ in range(7)]
            assert await client.rest() == b""
            assert await stopping
        found = [len(json.loads(answer.body).get("courses", [])) for answer in answers if answer.status == 200]
        assert found == [250] * len(found) != []
        assert {answer.reason for answer in answers[len(found) :]} <= {"SHUTTING_DOWN"}


async def received_at_a_stop(url: str, steps: int) -> bytes:
    """Return what a client receives if the listener closes so many steps of the event loop after it has connected."""
    listener = HttpListener(no_app, settings(url, http_listen=FREE_PORT), None, patient())
    host, _, port = (await listener.start()).rpartition(":")
    connection = socket.create_connection((host, int(port)))
    for _ in range(steps):
        await asyncio.sleep(0)
    await listener.close()
    listener.end()
    client = RawConnection(*await asyncio.open_connection(sock=connection))
    try:
        return await client.rest()
    finally:
        await client.leave()


async def refuses_connections(server: Server) -> None:
    """Wait until the server accepts no more connections."""
    while True:
        try:
            client = await open_connection(server)
        except ConnectionError:
            return
        await client.leave()


class TestSignals:
    """A server process with HTTP."""

    async def test_call_under_way(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """At SIGTERM the server answers the call under way, and exits with 0."""
        async with server_process(database_url, tmp_path, HTTP_LISTEN=FREE_PORT) as process:
            address = str((await process.logged("server_started"))["http"])
            async with calling(await process.address()) as registrar:
                await registrar.add_student("s-1")
                await registrar.add_course("CS-101")
            async with connected(address) as client:
                with holding_the_courses(engine):
                    await client.send(request("POST", "/v1/students/s-1/enroll", {"course_id": "CS-101"}))
                    async with connected(address) as other:
                        await other.ask(request("GET", "/v1/courses/CS-101"))
                    process.signal(signal.SIGTERM)
                    await process.logged("server_stopping")
                answer = await client.answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await process.wait() == 0
            assert not process.others
        assert execute(database_url, "SELECT student_id FROM enrollments") == [("s-1",)]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_exit_status(self, sqlite_url: str, tmp_path: Path, number: signal.Signals) -> None:
        """A kept connection does not hold up the stop, and uvicorn does not handle the signal."""
        async with server_process(sqlite_url, tmp_path, HTTP_LISTEN=FREE_PORT) as process:
            address = str((await process.logged("server_started"))["http"])
            async with connected(address) as client:
                await client.ask(GET)
                process.signal(number)
                assert await client.rest() == b""
                assert await process.wait() == 0
            assert [line["event"] for line in process.lines][-2:] == ["server_stopping", "server_stopped"]
            assert not process.others
