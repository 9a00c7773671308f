"""Streams over HTTP: server-sent events, how a reader goes on after one, and how a stream is refused or ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.app import Server, start
from registrar_server.http.connection_limits import Patience
from registrar_server.http.json_answers import write
from registrar_server.identity.identity import Verified
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.rpc.watchers import WatchTimes
from tests.support.batches import carried_out, create_course
from tests.support.history_calls import record_every_type
from tests.support.identities import caller_of, calling_as, identifying
from tests.support.raw_connections import (
    ENDLESS,
    GET,
    connected,
    open_connection,
    patient,
    request,
    serving_http,
)
from tests.support.server_sent import WATCH, EventReader, Sent, refused, subscribe, subscribed
from tests.support.servers import FREE_PORT, Gate, Log, Registrar, calling, settings
from tests.support.web_requests import WebAnswer

PORTAL = "https://portal.example.edu"
FROM_THE_BEGINNING = "after_revision=0"
BRIEF = 0.2
LARGE = "d" * 10_000
"""A description that makes events large: a system keeps hundreds of them at most for a reader who takes none."""


def status_of(answer: WebAnswer) -> tuple[int, str]:
    """Return the status of a refusal and its reason."""
    assert answer.headers["content-type"] == "application/json"
    return answer.status, answer.reason


def faults_of(answer: WebAnswer) -> dict[str, str]:
    """Return the description of each invalid field."""
    violations = json.loads(answer.body)["details"][1]["field_violations"]
    return {one["field"]: one["description"] for one in violations}


def reason_of(status: dict[str, Any]) -> str:
    """Return the reason in the status for which a stream ended."""
    return str(status["details"][0]["reason"])


async def over_grpc(registrar: Registrar, fields: dict[str, Any], bearer: str = "") -> list[WatchEventsResponse]:
    """Return the responses of a stream of gRPC up to its first checkpoint."""
    metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
    call = registrar.history.WatchEvents(WatchEventsRequest(**fields), metadata=metadata)
    found: list[WatchEventsResponse] = []
    async for response in call:
        found.append(response)
        if response.checkpoint:
            break
    call.cancel()
    return found


async def up_to_checkpoint(reader: EventReader) -> list[Sent]:
    """Return the events of a stream up to its first checkpoint."""
    found = [await reader.event()]
    while not found[-1].data["checkpoint"]:
        found.append(await reader.event())
    return found


@pytest.fixture
async def server(sqlite_url: str, log: Log) -> AsyncIterator[Server]:
    """A server with the pages of a listed origin, and with five events."""
    async with serving_http(sqlite_url, http_origins=PORTAL) as server, calling(server.address) as registrar:
        for number in range(1, 6):
            await registrar.add_student(f"s-{number}")
        yield server


class TestResponses:
    """What a stream says."""

    async def test_the_same_as_over_grpc(self, database_url: str) -> None:
        """The data of each event is the response of gRPC as JSON, and the id its revision: old events and new ones."""
        fields: dict[str, Any] = {"after_revision": 0}
        async with serving_http(database_url) as server, calling(server.address) as registrar:
            await record_every_type(registrar)
            async with subscribed(server, FROM_THE_BEGINNING) as reader:
                sent = await up_to_checkpoint(reader)
                expected = await over_grpc(registrar, fields)
                assert [one.text.encode() for one in sent] == [write(one).rstrip(b"\n") for one in expected]
                assert [one.id for one in sent] == [str(one.revision) for one in expected]
                await registrar.add_student("s-9")
                fields["after_revision"] = expected[-1].revision
                assert (await reader.event()).text.encode() == write((await over_grpc(registrar, fields))[0]).rstrip()

    async def test_many_events(self, database_url: str) -> None:
        """A long history comes in several responses, without a gap and with one checkpoint at its end."""
        async with serving_http(database_url) as server, calling(server.address) as registrar:
            await asyncio.gather(*(registrar.add_student(f"s-{number}") for number in range(700)))
            async with subscribed(server, FROM_THE_BEGINNING) as reader:
                responses = await reader.to_checkpoint()
        revisions = [int(event["revision"]) for one in responses for event in one["events"]]
        assert revisions == list(range(1, 701))
        assert len(responses) > 2
        assert responses[-1] == {"events": [], "revision": "700", "checkpoint": True}

    async def test_line_breaks(self, server: Server) -> None:
        """A text with line breaks does not break an event in two."""
        comment = "one\n\nid: 99\n\nevent: error\ndata: {}"
        async with calling(server.address) as registrar, subscribed(server) as reader:
            await reader.to_checkpoint()
            await registrar.add_course("c-1")
            await registrar.enroll("s-1", "c-1", comment=comment)
            created, enrolled = await reader.events(2)
        assert (created["revision"], enrolled["revision"], enrolled["comment"]) == ("6", "7", comment)

    async def test_filters(self, server: Server) -> None:
        """The query has the filters, in either form of their names."""
        for query in ("student_id=s-2", "studentId=s-2&types=EVENT_TYPE_STUDENT_CREATED&types=EVENT_TYPE_HOLD_PLACED"):
            async with subscribed(server, f"{FROM_THE_BEGINNING}&{query}") as reader:
                responses = await reader.to_checkpoint()
            assert [[event["student_id"] for event in one["events"]] for one in responses] == [["s-2"], []]
            assert [one["revision"] for one in responses] == ["5", "5"]

    async def test_headers(self, server: Server) -> None:
        """No cache keeps a stream, and nginx does not hold it back."""
        async with subscribed(server) as reader:
            assert reader.headers["cache-control"] == "no-store"
            assert reader.headers["x-accel-buffering"] == "no"
            assert reader.headers["x-content-type-options"] == "nosniff"
            assert not {"content-length", "content-encoding", "etag"} & set(reader.headers)

    async def test_never_compressed(self, server: Server) -> None:
        """A compressed stream would hold events back."""
        async with subscribed(server, FROM_THE_BEGINNING, "Accept-Encoding: gzip") as reader:
            assert "content-encoding" not in reader.headers
            assert await reader.revisions() == [1, 2, 3, 4, 5]

    async def test_student(self, sqlite_url: str) -> None:
        """A student gets the own events, without what students do not see, as over gRPC."""
        fields = {"after_revision": 0, "student_id": "s-1"}
        query, line = f"{FROM_THE_BEGINNING}&student_id=s-1", "Authorization: Bearer {}"
        async with identifying(sqlite_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
            async with calling_as(server.address, "admin") as admin:
                await admin.add_student("s-1")
                await admin.add_student("s-2")
            async with subscribed(server, query, line.format("student:s-1")) as reader:
                own = await up_to_checkpoint(reader)
            async with subscribed(server, query, line.format("reader")) as reader:
                full = await up_to_checkpoint(reader)
            expected = await over_grpc(registrar, fields, "student:s-1")
            assert [one.text.encode() for one in own] == [write(one).rstrip(b"\n") for one in expected]
            assert (own[0].data["events"][0]["actor"], full[0].data["events"][0]["actor"]) == ("", "test:admin")
            answer = await refused(server, FROM_THE_BEGINNING, line.format("student:s-1"))
            assert answer.status == 403


class TestResumption:
    """Last-Event-ID, with which browsers connect again."""

    @pytest.mark.parametrize("last", range(6))
    async def test_every_id(self, server: Server, last: int) -> None:
        """The stream goes on after the event."""
        async with subscribed(server, "", f"Last-Event-ID: {last}") as reader:
            assert await reader.revisions() == list(range(last + 1, 6))

    async def test_before_after_revision(self, server: Server) -> None:
        """The header takes precedence over the parameter, which a browser repeats."""
        for query in (FROM_THE_BEGINNING, "after_revision=99", "after_revision=-1"):
            async with subscribed(server, query, "Last-Event-ID: 3") as reader:
                assert await reader.revisions() == [4, 5]

    async def test_lost_connection(self, database_url: str) -> None:
        """A reader that connects again after each event misses none and gets none twice."""
        seen, last = [], "0"
        async with serving_http(database_url) as server, calling(server.address) as registrar:
            for number in range(5):
                await registrar.add_student(f"s-{number}")
                async with subscribed(server, "", f"Last-Event-ID: {last}") as reader:
                    seen += [event["revision"] for event in (await reader.response())["events"]]
                    last = reader.last_id
        assert seen == ["1", "2", "3", "4", "5"]

    async def test_empty(self, server: Server) -> None:
        """An empty header names no event."""
        async with subscribed(server, "after_revision=2", "Last-Event-ID:") as reader:
            assert await reader.revisions() == [3, 4, 5]

    @pytest.mark.parametrize(
        "lines",
        [
            ["Last-Event-ID: five"],
            ["Last-Event-ID: -1"],
            ["Last-Event-ID: +1"],
            ["Last-Event-ID: 1.0"],
            ["Last-Event-ID: 0x1"],
            ["Last-Event-ID: 1_0"],
            ["Last-Event-ID: ²"],
            [f"Last-Event-ID: {2**63}"],
            [f"Last-Event-ID: {'0' * 20}"],
            [f"Last-Event-ID: {'9' * 5000}"],
            ["Last-Event-ID: 1", "Last-Event-ID: 1"],
        ],
        ids=lambda lines: " ".join(lines)[:40],
    )
    async def test_malformed(self, server: Server, lines: list[str]) -> None:
        """What cannot be the id of an event is refused by the name of the header."""
        answer = await refused(server, "", *lines)
        assert status_of(answer) == (400, "INVALID_FIELD")
        assert faults_of(answer)["Last-Event-ID"].startswith("must be a revision, as the id of an event has it, not ")

    @pytest.mark.parametrize("last", [6, 2**63 - 1])
    async def test_ahead(self, server: Server, last: int) -> None:
        """An id that the history has not reached belongs to another history."""
        assert status_of(await refused(server, "", f"Last-Event-ID: {last}")) == (400, "REVISION_AHEAD")
        assert status_of(await refused(server, f"after_revision={last}")) == (400, "REVISION_AHEAD")


class TestRefusals:
    """Streams that do not begin have an ordinary answer."""

    async def test_wrong_fields(self, server: Server) -> None:
        """All wrong fields are named at once."""
        answer = await refused(server, "after_revision=-1&student_id=a%20b&types=EVENT_TYPE_UNSPECIFIED")
        assert status_of(answer) == (400, "INVALID_FIELD")
        assert set(faults_of(answer)) == {"after_revision", "student_id", "types[0]"}
        answer = await refused(server, "after=1")
        assert list(faults_of(answer)) == ["after"]

    async def test_body(self, server: Server) -> None:
        """A GET has no body."""
        async with connected(server) as client:
            answer = await client.ask(request("GET", WATCH, {"after_revision": 0}))
            assert status_of(answer) == (400, "INVALID_FIELD")
            assert list(faults_of(answer)) == ["body"]
            assert (await client.ask(GET)).status == 200

    @pytest.mark.parametrize("verb", ["POST", "HEAD", "DELETE"])
    async def test_other_methods(self, server: Server, verb: str) -> None:
        """A stream needs GET, since HEAD would have to wait for its end."""
        async with connected(server) as client:
            await client.send(request(verb, WATCH, {} if verb == "POST" else None))
            answer = await client.answer(has_body=verb != "HEAD")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")

    async def test_http_1_0(self, server: Server) -> None:
        """HTTP/1.0 has no chunks, and could not tell the end of a stream from a lost connection."""
        async with connected(server) as client:
            answer = await client.ask(request("GET", WATCH).replace(b"1.1", b"1.0", 1))
            assert status_of(answer) == (405, "METHOD_NOT_ALLOWED")
            assert await client.rest() == b""

    @pytest.mark.parametrize("timeout", ["0s", "2h", "soon"])
    async def test_invalid_timeout(self, server: Server, timeout: str) -> None:
        """The deadline of a stream has the limits of every call."""
        answer = await refused(server, "", f"Registrar-Timeout: {timeout}")
        assert list(faults_of(answer)) == ["Registrar-Timeout"]

    async def test_too_many(self, sqlite_url: str, log: Log) -> None:
        """A stream beyond REGISTRAR_MAX_WATCHERS is refused, over HTTP as over gRPC, until another one ends."""
        async with serving_http(sqlite_url, max_watchers=1) as server:
            async with subscribed(server) as reader:
                await reader.to_checkpoint()
                answer = await refused(server)
                assert status_of(answer) == (429, "OVERLOADED")
                assert answer.headers["retry-after"] == "5"
            await log.one("rpc", method="WatchEvents", status="CANCELLED")
            async with subscribed(server) as reader:
                await reader.to_checkpoint()

    async def test_credentials(self, sqlite_url: str) -> None:
        """Credentials in the URL are refused, since EventSource of browsers cannot send a header."""
        async with identifying(sqlite_url, http_listen=FREE_PORT) as server:
            answer = await refused(server)
            assert status_of(answer) == (401, "CREDENTIALS_MISSING")
            assert answer.headers["www-authenticate"] == "Bearer"
            answer = await refused(server, "access_token=reader")
            assert list(faults_of(answer)) == ["access_token"]

    async def test_stop(self, sqlite_url: str, gate: Gate) -> None:
        """While the server stops, no stream begins."""
        server = await start(settings(sqlite_url, http_listen=FREE_PORT), patient(farewell=ENDLESS))
        async with connected(server) as client, connected(server) as busy:
            await client.ask(GET)
            with gate.closed():
                await busy.send(request("POST", "/v1/students", {"student_id": "s-1"}))
                await gate.holds_one()
                stopping = asyncio.create_task(server.stop(grace=20))
                await refuses_connections(server)
                answer = await client.ask(request("GET", WATCH))
                assert status_of(answer) == (503, "SHUTTING_DOWN")
                assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
            await stopping


async def refuses_connections(server: Server) -> None:
    """Wait until the server accepts no more connections."""
    while True:
        try:
            client = await open_connection(server)
        except ConnectionError:
            return
        await client.leave()


class Fickle:
    """Knows a bearer, and soon no longer."""

    def __init__(self) -> None:
        self.is_revoked = False

    def takes(self, bearer: str) -> bool:
        """Return whether this is the bearer."""
        return bearer == "fickle"

    async def verify(self, bearer: str, now: float) -> Verified:
        """Return the caller, unless the bearer is revoked."""
        return Verified(CredentialsRefused("revoked") if self.is_revoked else caller_of("reader"), now)


class TestEnd:
    """How a stream ends: with an event that says why, and with a complete body."""

    async def test_stop(self, database_url: str, log: Log) -> None:
        """When the server stops, each stream says so and its connection closes; another server goes on after its id."""
        server = await start(settings(database_url, http_listen=FREE_PORT), patient())
        async with calling(server.address) as registrar, connected(server) as client:
            await registrar.add_student("s-1")
            reader = await subscribe(client, f"{WATCH}?{FROM_THE_BEGINNING}")
            assert await reader.revisions() == [1]
            stopping = asyncio.create_task(server.stop(grace=20))
            status = await reader.failure()
            assert (status["code"], reason_of(status)) == (14, "SHUTTING_DOWN")
            assert await client.rest() == b""
            assert await stopping
        (line,) = log.of("rpc", method="WatchEvents")
        assert (line["status"], line["reason"]) == ("UNAVAILABLE", "SHUTTING_DOWN")
        async with serving_http(database_url) as other, calling(other.address) as registrar:
            await registrar.add_student("s-2")
            async with subscribed(other, "", f"Last-Event-ID: {reader.last_id}") as reader:
                assert await reader.revisions() == [2]

    async def test_deadline(self, server: Server, log: Log) -> None:
        """A stream may have a deadline; its connection is free again after it."""
        async with connected(server) as client:
            reader = await subscribe(client, f"{WATCH}?{FROM_THE_BEGINNING}", "Registrar-Timeout: 200ms")
            assert await reader.revisions() == [1, 2, 3, 4, 5]
            assert await reader.failure() == {
                "code": 4,
                "message": "The deadline of the stream has passed.",
                "details": [],
            }
            assert (await client.ask(GET)).status == 200
        (line,) = log.of("rpc", method="WatchEvents")
        assert line["status"] == "DEADLINE_EXCEEDED"

    async def test_deadline_before_the_beginning(self, server: Server, log: Log) -> None:
        """A stream whose deadline passes before its first response has an ordinary answer."""
        answer = await refused(server, FROM_THE_BEGINNING, "Registrar-Timeout: 0.000001s")
        assert (answer.status, json.loads(answer.body)["message"]) == (504, "The deadline of the stream has passed.")
        (line,) = log.of("rpc", method="WatchEvents")
        assert line["status"] == "DEADLINE_EXCEEDED"

    async def test_lost_right(self, sqlite_url: str, log: Log) -> None:
        """A stream ends when its credentials are revoked."""
        fickle = Fickle()
        chosen = settings(sqlite_url, http_listen=FREE_PORT, identity="required")
        server = await start(chosen, bearers=[fickle], times=WatchTimes(credentials=0.02))
        try:
            async with subscribed(server, "", "Authorization: Bearer fickle") as reader:
                await reader.to_checkpoint()
                fickle.is_revoked = True
                status = await reader.failure()
        finally:
            await server.stop(grace=0)
        assert (status["code"], reason_of(status)) == (16, "CREDENTIALS_INVALID")
        (line,) = log.of("rpc", method="WatchEvents")
        assert (line["status"], line["cause"]) == ("UNAUTHENTICATED", "revoked")

    async def test_reader_that_leaves(self, server: Server, log: Log) -> None:
        """The log has one line of a stream, when it ends: what it has sent, and how far it came."""
        async with subscribed(server, f"{FROM_THE_BEGINNING}&student_id=s-2") as reader:
            await reader.to_checkpoint()
            assert not log.of("rpc", method="WatchEvents")
        line = await log.one("rpc", method="WatchEvents")
        assert (line["status"], line["level"], line["student_id"]) == ("CANCELLED", "info", "s-2")
        assert (line["events"], line["revision"]) == (1, 5)
        assert line["peer"].startswith("ipv4:127.0.0.1:")

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux notices it in time")
    async def test_reader_that_vanishes(self, sqlite_url: str, log: Log) -> None:
        """A reader whose network acknowledges nothing more loses its place, although all bytes are on their way."""
        unacknowledged = Patience(unacknowledged=BRIEF)
        async with serving_http(sqlite_url, unacknowledged) as server, calling(server.address) as registrar:
            await asyncio.gather(*(registrar.add_student(f"s-{number}") for number in range(100)))
            async with connected(server, receives=1) as client:
                await client.send(request("GET", f"{WATCH}?{FROM_THE_BEGINNING}"))
                line = await log.one("rpc", method="WatchEvents")
        assert (line["status"], line["events"], line["revision"]) == ("CANCELLED", 100, 100)

    async def test_reader_that_leaves_early(self, sqlite_url: str, log: Log) -> None:
        """Events that were still to come when the reader left do not count as sent."""
        async with (
            serving_http(sqlite_url) as server,
            calling(server.address) as registrar,
            subscribed(server) as other,
        ):
            await other.to_checkpoint()
            for start in range(0, 700, 100):  # The server keeps all of them at hand, since there is a watcher.
                courses = (create_course(f"c-{start + number}", description=LARGE) for number in range(100))
                await carried_out(registrar, *courses)
            async with connected(server, receives=1) as client:
                await client.send(request("GET", f"{WATCH}?{FROM_THE_BEGINNING}"))
                await asyncio.sleep(BRIEF)
            line = await log.one("rpc", method="WatchEvents")
        assert line["status"] == "CANCELLED"
        assert line["revision"] < 700
        assert line["events"] == line["revision"]


class TestHeartbeats:
    """Comments, which readers ignore."""

    async def test_comments(self, sqlite_url: str) -> None:
        """A stream without events has a comment now and then. It has no id, so that no reader goes on after it."""
        times = WatchTimes(heartbeat=0.01)
        async with serving_http(sqlite_url, times=times) as server, subscribed(server) as reader:
            await reader.to_checkpoint()
            for _ in range(3):
                assert await reader.next() == Sent("", "", "", "heartbeat")

    async def test_checkpoints(self, sqlite_url: str) -> None:
        """A stream without events also has checkpoints, whose id is the revision that it has reached."""
        async with (
            serving_http(sqlite_url, times=WatchTimes(checkpoint=0.01)) as server,
            calling(server.address) as registrar,
            subscribed(server, "student_id=s-2") as reader,
        ):
            assert await reader.response() == {"events": [], "revision": "0", "checkpoint": True}
            await registrar.add_student("s-1")
            while (await reader.response())["revision"] == "0":
                pass
            assert await reader.response() == {"events": [], "revision": "1", "checkpoint": True}
            assert reader.last_id == "1"


class TestConnections:
    """Streams and the connections that they keep."""

    async def test_page_of_a_listed_origin(self, server: Server) -> None:
        """A page may read a stream, and also the refusal of one."""
        async with subscribed(server, "", f"Origin: {PORTAL}") as reader:
            assert reader.headers["access-control-allow-origin"] == PORTAL
        answer = await refused(server, "after=1", f"Origin: {PORTAL}")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, PORTAL)

    async def test_other_page(self, server: Server) -> None:
        """Any other page may not."""
        assert status_of(await refused(server, "", "Origin: https://evil.example")) == (403, "ORIGIN_REFUSED")
        assert status_of(await refused(server, "", "Sec-Fetch-Site: cross-site")) == (403, "ORIGIN_REFUSED")

    async def test_requests_behind(self, server: Server) -> None:
        """Requests that were sent behind a stream are answered after its end."""
        async with connected(server) as client:
            await client.send(request("GET", WATCH, None, "Registrar-Timeout: 100ms") + GET)
            status, headers = await client.head()
            assert (await EventReader(client, headers).failure())["code"] == 4
            assert (status, (await client.answer()).status) == (200, 200)

    async def test_requests_behind_of_a_client_that_leaves(self, sqlite_url: str, log: Log) -> None:
        """The server does not read on while a request waits. It learns from a comment that the client has left."""
        async with serving_http(sqlite_url, times=WatchTimes(heartbeat=0.01)) as server:
            async with connected(server) as client:
                await client.send(request("GET", WATCH) + GET)
                await client.head()
            await log.one("rpc", method="WatchEvents", status="CANCELLED")

    async def test_many_streams(self, sqlite_url: str) -> None:
        """Each stream takes one of the connections; those beyond the limit are refused, and the others go on."""
        async with serving_http(sqlite_url, http_max_connections=20) as server, calling(server.address) as registrar:
            clients = [await open_connection(server) for _ in range(20)]
            readers = [await subscribe(client) for client in clients]
            for reader in readers:
                await reader.to_checkpoint()
            async with connected(server) as client:
                assert status_of(await client.answer()) == (503, "TOO_MANY_CONNECTIONS")
            await registrar.add_student("s-1")
            assert {int((await reader.response())["revision"]) for reader in readers} == {1}
            for client in clients:
                await client.leave()


COUNT = 800
"""So many events with 10 KB each are more than the buffers of a connection take, which are 4 MB at most."""


@pytest.fixture
async def long_history(sqlite_url: str) -> str:
    """A database with these events."""
    async with serving_http(sqlite_url) as server, calling(server.address) as registrar:
        courses = (registrar.add_course(f"c-{number}", description="x" * 10_000) for number in range(COUNT))
        await asyncio.gather(*courses)
    return sqlite_url


class TestSlowReaders:
    """Readers that do not take what the server sends."""

    async def test_later(self, long_history: str) -> None:
        """A slow reader gets everything later, also what was committed meanwhile, and holds up nobody."""
        expected = list(range(1, COUNT + 1))
        async with (
            serving_http(long_history) as server,
            calling(server.address) as registrar,
            subscribed(server, FROM_THE_BEGINNING, receives=4096) as slow,
            subscribed(server, FROM_THE_BEGINNING) as quick,
        ):
            assert await quick.revisions() == expected
            await registrar.add_student("s-2")
            (last,) = await quick.events(1)
            assert last["revision"] == str(COUNT + 1)
            assert [int(event["revision"]) for event in await slow.events(COUNT + 1)] == [*expected, COUNT + 1]

    async def test_stop(self, long_history: str) -> None:
        """A slow reader does not hold up the stop, and learns of it when it reads on."""
        server = await start(settings(long_history, http_listen=FREE_PORT), patient())
        async with connected(server, receives=4096) as client:
            slow = await subscribe(client, f"{WATCH}?{FROM_THE_BEGINNING}")
            stopping = asyncio.create_task(server.stop(grace=60))
            await refuses_connections(server)
            assert reason_of(await slow.failure()) == "SHUTTING_DOWN"
            assert await client.rest() == b""
            assert await stopping
        assert int(slow.last_id) < COUNT

    async def test_never(self, long_history: str, log: Log) -> None:
        """A reader that takes nothing is cut off. It goes on after the last event that it received, without a gap."""
        async with serving_http(long_history, patient(unread=BRIEF)) as server:
            async with connected(server, receives=4096) as client:
                slow = await subscribe(client, f"{WATCH}?{FROM_THE_BEGINNING}")
                await log.one("http_cut_off")
                seen = await received(slow)
            line = await log.one("rpc", method="WatchEvents")
            assert line["status"] == "CANCELLED"
            async with subscribed(server, "", f"Last-Event-ID: {slow.last_id or 0}") as reader:
                seen += await reader.revisions()
        assert seen == list(range(1, COUNT + 1))


async def received(reader: EventReader) -> list[int]:
    """Return the revisions of the events that a reader has received before its connection broke."""
    found: list[int] = []
    try:
        while True:
            found += [int(event["revision"]) for event in (await reader.response())["events"]]
    except (ConnectionError, asyncio.IncompleteReadError):
        return found
