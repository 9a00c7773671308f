"""Clients that break the rules of HTTP, are slow, or leave: each gets an answer in JSON, or is cut off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from registrar_server.app import Server
from registrar_server.http import listener
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.connection_limits import Patience
from registrar_server.http.transcoder import Transcoder
from tests.support.raw_connections import (
    GET,
    RawConnection,
    connected,
    patient,
    request,
    serving_http,
)
from tests.support.servers import Gate, Log, calling
from tests.support.web_requests import WebAnswer

BRIEF = 0.2
HEAD = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /v1/students/s-1/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CREATE = POST.replace(b"/s-1/enroll", b"")
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

BROKEN: Mapping[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "a handshake of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 in the request line": b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "an unknown method": b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a proxy's method": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path that is not ASCII": "GET /é HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "lines that end with LF": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "no Host": HEAD + b"\r\n",
    "two Hosts": HEAD + HOST + HOST + b"\r\n",
    "a folded header": HEAD + HOST + b"X-Note: a\r\n b\r\n\r\n",
    "a NUL byte": HEAD + HOST + b"X-Note: a\0b\r\n\r\n",
    "a blank before the colon": HEAD + b"Host : localhost\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is no number": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "compressed chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0", 1) + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"zz\r\n",
}

UPGRADE = CREATE + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"
STUDENT = b'{"student_id": "s-1"}'
UPGRADES: Mapping[str, tuple[bytes, ...]] = {
    "a length": (UPGRADE + b"Content-Length: 21\r\n\r\n" + STUDENT,),
    "a body that comes later": (UPGRADE + b"Content-Length: 21\r\n\r\n", STUDENT[:9], STUDENT[9:]),
    "chunks": (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n15\r\n" + STUDENT, b"\r\n0\r\n\r\n"),
    "a request behind": (UPGRADE + b"Content-Length: 21\r\n\r\n" + STUDENT + GET,),
    "another upgrade behind": (2 * (UPGRADE + b"Content-Length: 21\r\n\r\n" + STUDENT),),
}

TOO_LARGE: Mapping[str, bytes] = {
    "a long request line": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long request line without an end": b"GET /" + b"a" * 70_000,
    "a long header": HEAD + HOST + b"X-Note: " + b"a" * 70_000 + b"\r\n\r\n",
    "a long header without an end": HEAD + HOST + b"X-Note: " + b"a" * 70_000,
    "many headers": HEAD + HOST + b"X-Note: a\r\n" * 100 + b"\r\n",
    "many blank lines": b"\r\n" * 40_000,
    "a long extension of a chunk": CHUNKED + b"1;" + b"a" * 400_000,
}


def refused(answer: WebAnswer, status: int, reason: str, log: Log) -> None:
    """Check that an answer is a refusal in JSON, which says that the connection closes, with one line in the log."""
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["connection"] == "close"
    assert "GMT" in answer.headers["date"]
    (line,) = log.of("http_refused")
    assert (line["level"], line["status"], line["reason"]) == ("info", status, reason)
    assert line["peer"].startswith("ipv4:127.0.0.1:")


async def other_request(server: Server) -> None:
    """Get an answer, which comes after the server has read what other clients sent before."""
    async with connected(server) as client:
        assert (await client.ask(GET)).status == 200


class TestBrokenRequests:
    """Requests that are not HTTP."""

    @pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
    async def test_broken_http(self, sqlite_url: str, log: Log, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """What is not HTTP is refused in JSON, and becomes no call."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            refused(await client.ask(sent), 400, "MALFORMED_HTTP", log)
            assert await client.rest() == b""
        assert not log.of("rpc")
        assert not caplog.records

    @pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
    async def test_head_too_large(self, sqlite_url: str, log: Log, sent: bytes) -> None:
        """A request line and headers of more than 64 KiB in all are refused, even before they are complete."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            refused(await client.ask(sent), 431, "HEADERS_TOO_LARGE", log)
            assert await client.rest() == b""

    async def test_large_head(self, sqlite_url: str) -> None:
        """A head of nearly 64 KiB is read, and also one that arrives behind a large body."""
        long = b"X-Note: " + b"a" * 60_000 + b"\r\n\r\n"
        unknown = request("POST", "/v1/nothing", {"text": "a" * 200_000})
        async with serving_http(sqlite_url) as server, connected(server) as client:
            assert (await client.ask(HEAD + HOST + long)).status == 200
            await client.send(unknown + HEAD + HOST + long)
            assert [(await client.answer()).status, (await client.answer()).status] == [404, 200]

    async def test_blanks_around_values(self, sqlite_url: str) -> None:
        """Blanks around the value of a header are no part of it."""
        blanks = b"Host:  localhost \t\r\nExpect: 100-continue \r\nContent-Length: 2 \r\n"
        head = b"POST /v1/students HTTP/1.1\r\nContent-Type:\tapplication/json\t\r\n"
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(head + blanks + b"\r\n")
            assert (await client.answer()).status == 100
            assert (await client.ask(b"{}")).status == 200

    async def test_refusal_of_head(self, sqlite_url: str, log: Log) -> None:
        """The refusal of a HEAD request has no body."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(b"HEAD /healthz HTTP/1.1\r\n\r\n")
            answer = await client.answer(has_body=False)
            assert (answer.status, await client.rest()) == (400, b"")

    async def test_unsupported_upgrade(self, sqlite_url: str) -> None:
        """A client that proposes another protocol gets its answer in this one."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            answer = await client.ask(HEAD + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await client.rest() == b""

    @pytest.mark.parametrize("parts", UPGRADES.values(), ids=UPGRADES)
    async def test_unsupported_upgrade_of_a_call(self, sqlite_url: str, parts: tuple[bytes, ...]) -> None:
        """A call whose client proposes another protocol, as Java's and ``curl --http2`` do, is carried out."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            for part in parts:
                await client.send(part)
                await other_request(server)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert json.loads(answer.body)["student"]["student_id"] == "s-1"
            assert await client.rest() == b""

    async def test_unsupported_upgrade_with_a_broken_body(self, sqlite_url: str, log: Log) -> None:
        """The body of a call whose client proposes another protocol is checked as any other."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            refused(await client.ask(UPGRADE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, "MALFORMED_HTTP", log)
            assert await client.rest() == b""

    async def test_trailers(self, sqlite_url: str) -> None:
        """Headers behind the body do not count: this one would name an unknown host."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            answer = await client.ask(CHUNKED + b"2\r\n{}\r\n0\r\nHost: evil.example\r\n\r\n")
            assert (answer.status, answer.reason) == (400, "INVALID_FIELD")

    async def test_broken_body_of_a_call(self, sqlite_url: str, log: Log) -> None:
        """If the body of a call breaks off, the call is not made with the part that came."""
        path = b"/v1/courses/c-1:settle"
        begin = CHUNKED.replace(b"/v1/students/s-1/enroll", path) + b"2\r\n{}\r\n"
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(begin)
            await other_request(server)
            refused(await client.ask(b"broken"), 400, "MALFORMED_HTTP", log)
        assert not log.of("rpc")


class TestPipelining:
    """Requests that do not wait for the answers before them."""

    async def test_order(self, sqlite_url: str, log: Log) -> None:
        """Requests that arrive together are answered in their order."""
        bodies = [request("POST", "/v1/students", {"student_id": f"s-{number}"}) for number in range(5)]
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(b"".join(bodies))
            found = [json.loads((await client.answer()).body)["student"]["student_id"] for _ in bodies]
        assert found == ["s-0", "s-1", "s-2", "s-3", "s-4"]

    @pytest.mark.parametrize("broken", [b"hello\r\n\r\n", HEAD + b"\r\n", CHUNKED + b"zz\r\n"])
    async def test_broken_request_behind_others(self, sqlite_url: str, log: Log, broken: bytes) -> None:
        """The refusal of a broken request does not overtake the answers to the requests before it."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(request("GET", "/v1/courses/c-1") + GET + broken + GET)
            assert [(await client.answer()).status, (await client.answer()).status] == [404, 200]
            refused(await client.answer(), 400, "MALFORMED_HTTP", log)
            assert await client.rest() == b""

    async def test_too_many(self, sqlite_url: str) -> None:
        """A client gets 101 answers, and learns from the last one that the other requests are not answered."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            await client.send(GET * 200)
            found = [await client.answer() for _ in range(101)]
            assert await client.rest() == b""
        assert [answer.headers.get("connection") for answer in found] == [None] * 100 + ["close"]


class TestSlowClients:
    """Clients that keep the server waiting. No test waits for the real limits."""

    async def test_slow_head(self, sqlite_url: str, log: Log) -> None:
        """A client whose headers do not arrive in time is refused, even if it sends a byte now and then."""
        async with serving_http(sqlite_url, patient(head=BRIEF)) as server, connected(server) as client:
            dripping = asyncio.create_task(drip(client, HEAD + HOST))
            refused(await client.answer(), 408, "REQUEST_TOO_SLOW", log)
            await dripping

    async def test_slow_head_of_a_later_request(self, sqlite_url: str, log: Log) -> None:
        """The limit also applies to the second request of a connection."""
        async with serving_http(sqlite_url, patient(head=BRIEF)) as server, connected(server) as client:
            assert (await client.ask(GET)).status == 200
            refused(await client.ask(HEAD), 408, "REQUEST_TOO_SLOW", log)

    @pytest.mark.parametrize("sent", [b"", b"\r\n"])
    async def test_silence(self, sqlite_url: str, log: Log, sent: bytes) -> None:
        """A connection without any request is closed without an answer."""
        async with serving_http(sqlite_url, patient(head=BRIEF)) as server, connected(server) as client:
            await client.send(sent)
            assert await client.rest() == b""
        assert not log.of("http_refused")

    async def test_idle_connection(self, sqlite_url: str) -> None:
        """A connection is kept for the next request, but not forever."""
        async with serving_http(sqlite_url, patient(idle=BRIEF)) as server, connected(server) as client:
            assert (await client.ask(GET)).headers.get("connection") is None
            assert (await client.ask(GET)).status == 200
            assert await client.rest() == b""

    async def test_long_call(self, sqlite_url: str, gate: Gate, log: Log) -> None:
        """No limit applies to a client that waits for its answer."""
        patience = Patience(head=BRIEF, idle=BRIEF, unread=BRIEF, linger=BRIEF)
        async with serving_http(sqlite_url, patience) as server, connected(server) as client:
            async with connected(server) as silent:
                with gate.closed():
                    await client.send(request("POST", "/v1/students", {"student_id": "s-1"}))
                    await gate.holds_one()
                    await silent.rest()
                    async with connected(server) as later:
                        await later.rest()
            assert (await client.answer()).status == 200

    async def test_unread_answers(self, sqlite_url: str, log: Log) -> None:
        """A client that does not read its answers is cut off."""
        patience = patient(unread=BRIEF)
        async with serving_http(sqlite_url, patience) as server, connected(server, receives=4096) as client:
            async with calling(server.address) as registrar:
                courses = (registrar.add_course(f"c-{number}", description="x" * 10_000) for number in range(250))
                await asyncio.gather(*courses)
            listing = request("GET", "/v1/courses?page_size=1000")
            await client.send(listing * 20)
            await log.one("http_cut_off")
            assert len(await client.rest()) < 20 * 2_500_000

    async def test_rest_of_a_refused_body(self, sqlite_url: str) -> None:
        """A client that has its answer already may send the rest of its request, but not forever."""
        async with serving_http(sqlite_url, patient(linger=BRIEF)) as server, connected(server) as client:
            answer = await client.ask(request("PATCH", "/nothing", None, "Content-Length: 9"))
            assert answer.status == 404
            assert await client.rest() == b""

    async def test_answer_to_a_large_body(self, sqlite_url: str, log: Log) -> None:
        """A client that sends all of a body that is too large still gets the answer."""
        large = request("POST", "/v1/students", {"student_id": "x" * 8_000_000})
        async with serving_http(sqlite_url) as server, connected(server) as client:
            refused(await client.ask(large), 413, "BODY_TOO_LARGE", log)

    async def test_expectation(self, sqlite_url: str) -> None:
        """A client that asks before it sends a body is told to go on, unless the body would be refused."""
        asks = ("Expect: 100-continue", "Content-Type: application/json")
        async with serving_http(sqlite_url) as server:
            async with connected(server) as client:
                await client.send(request("POST", "/v1/students", None, *asks, "Content-Length: 20"))
                assert (await client.answer()).status == 100
                assert (await client.ask(b'{"student_id": "s1"}')).status == 200
            async with connected(server) as client:
                large = request("POST", "/v1/students", None, *asks, "Content-Length: 20000000")
                assert (await client.ask(large)).status == 413


async def drip(client: RawConnection, data: bytes) -> None:
    """Send a byte in each turn of the event loop, until the server answers."""
    for place in range(len(data)):
        await client.send(data[place : place + 1])


class TestManyConnections:
    """The limit of connections."""

    async def test_limit(self, sqlite_url: str, log: Log) -> None:
        """A connection beyond the limit is refused, and a later one is served when there is room again."""
        async with serving_http(sqlite_url, http_max_connections=1) as server:
            async with connected(server) as first:
                await first.ask(GET)
                async with connected(server) as second:
                    refused(await second.answer(), 503, "TOO_MANY_CONNECTIONS", log)
                    assert await second.rest() == b""
                assert (await first.ask(GET)).status == 200
            while await self.is_refused(server):
                pass

    async def is_refused(self, server: Server) -> bool:
        async with connected(server) as client:
            return (await client.ask(GET)).status == 503


class TestAnswers:
    """What uvicorn would answer by itself, or not at all."""

    async def test_headers(self, sqlite_url: str) -> None:
        """Every answer has a date, and none names the software."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            for sent in (GET, request("GET", "/nothing")):
                answer = await client.ask(sent)
                assert "GMT" in answer.headers["date"]
                assert "server" not in answer.headers

    async def test_http_1_0(self, sqlite_url: str) -> None:
        """A large answer to HTTP/1.0 has its length, because HTTP/1.0 has no chunks."""
        async with serving_http(sqlite_url) as server, connected(server) as client:
            async with calling(server.address) as registrar:
                await asyncio.gather(*(registrar.add_course(f"c-{n}", description="x" * 9_000) for n in range(9)))
            answer = await client.ask(request("GET", "/v1/courses").replace(b"1.1", b"1.0", 1))
            assert "transfer-encoding" not in answer.headers
            assert len(json.loads(answer.body)["courses"]) == 9
            assert await client.rest() == b""

    async def test_expectation_in_http_1_0(self, sqlite_url: str) -> None:
        """A client of HTTP/1.0 is not told to go on, because it would take that for its answer."""
        asks = request("POST", "/v1/students", {"student_id": "s-1"}, "Expect: 100-continue")
        async with serving_http(sqlite_url) as server, connected(server) as client:
            assert (await client.ask(asks.replace(b"1.1", b"1.0", 1))).status == 200

    async def test_date(self, sqlite_url: str, gate: Gate, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """The date is that of the answer, also if the call waited."""
        patience = Patience(linger=BRIEF)
        async with serving_http(sqlite_url, patience) as server, connected(server) as client:
            with gate.closed():
                await client.send(request("POST", "/v1/students", {"student_id": "s-1"}))
                await gate.holds_one()
                monkeypatch.setattr(listener, "formatdate", lambda **_: "later")
                async with asyncio.timeout(10):
                    async with connected(server) as other:
                        while (await other.ask(GET)).headers["date"] != "later":
                            pass
            assert (await client.answer()).headers["date"] == "later"

    async def test_crash(self, sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unexpected error is answered in JSON, without its text, and logged with its traceback."""

        async def crash(*_: Any) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Transcoder, "_answer", crash)
        async with serving_http(sqlite_url) as server, connected(server) as client:
            answer = await client.ask(request("GET", "/v1/courses"))
            assert (await client.ask(GET)).status == 200
        assert answer.status == 500
        assert b"secret" not in answer.body
        (line,) = log.of("http_crashed")
        assert error_id(answer) == line["error_id"]
        assert (line["level"], str(line["exc_info"])) == ("error", "secret")

    async def test_crash_within_the_answer(self, sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that breaks off is cut off; HTTP/1.0 gets the error instead, since nothing was sent yet."""

        async def breaking() -> AsyncIterator[bytes]:
            yield b'{"courses":['
            raise RuntimeError("secret")

        async def answer_partly(*_: Any) -> HttpAnswer:
            return HttpAnswer(200, breaking())

        monkeypatch.setattr(Transcoder, "_answer", answer_partly)
        sent = request("GET", "/v1/courses")
        async with serving_http(sqlite_url) as server:
            async with connected(server) as client:
                await client.send(sent)
                assert (await client.rest()).endswith(b'\r\n{"courses":[\r\n')
            async with connected(server) as client:
                answer = await client.ask(sent.replace(b"1.1", b"1.0", 1))
        assert answer.status == 500
        assert [line["error_id"] for line in log.of("http_crashed")][1:] == [error_id(answer)]


def error_id(answer: WebAnswer) -> str:
    """Return the id of an unexpected error that a caller gets."""
    return str(json.loads(answer.body)["details"][0]["metadata"]["error_id"])


class TestLostConnections:
    """Clients that leave before they have their answers."""

    async def test_waiting_call(self, sqlite_url: str, gate: Gate, log: Log) -> None:
        """A call that waits for its batch is dropped, and so are the requests behind it."""
        async with serving_http(sqlite_url) as server, calling(server.address) as registrar:
            with gate.closed():
                busy = asyncio.create_task(registrar.add_student("s-0"))
                await gate.holds_one()
                async with connected(server) as client:
                    behind = request("POST", "/v1/students", {"student_id": "s-2"})
                    await client.send(request("POST", "/v1/students", {"student_id": "s-1"}) + behind)
                    await other_request(server)
                line = await log.one("rpc", method="CreateStudent", status="CANCELLED")
            await busy
            assert line["peer"].startswith("ipv4:127.0.0.1:")
            await registrar.add_student("s-1")
            await registrar.add_student("s-2")

    async def test_begun_call(self, sqlite_url: str, gate: Gate, log: Log) -> None:
        """A call whose batch has begun is carried out."""
        async with serving_http(sqlite_url) as server, calling(server.address) as registrar:
            with gate.closed():
                async with connected(server) as client:
                    await client.send(request("POST", "/v1/courses", {"course_id": "c-1"}))
                    await gate.holds_one()
                await log.one("rpc", method="CreateCourse", status="CANCELLED")
            await registrar.add_course("c-2")
            assert (await registrar.course("c-1")).course_id == "c-1"
