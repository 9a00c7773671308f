"""Streams whose callers lose their right to them while they run, over gRPC and over HTTP.

The clock of the tests stands, so that a server looks a bearer up again only when a test moves the clock. Streams look
at their callers every few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import secure_channel

from registrar.v1.history_service_pb2 import WatchEventsResponse
from registrar_server import identity_sources
from registrar_server.app import Server, start
from registrar_server.identity.api_keys import REMEMBERED_S
from registrar_server.identity.callers import Role
from registrar_server.identity.identity import Verified
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.rpc.watchers import WATCH_TIMES
from tests.support import api_keys
from tests.support.api_keys import Clock, id_of
from tests.support.certificates import Authority
from tests.support.doors import DOORS, PATIENCE_S, Answered, Door, Stream, entering, opened
from tests.support.identities import caller_of
from tests.support.outages import database_outage
from tests.support.refusals import refused
from tests.support.servers import FREE_PORT, OPTIONS, Log, serving, settings
from tests.support.tokens import Issuer

OFTEN = WATCH_TIMES._replace(credentials=0.005)
NEVER = 3_600.0
SOON_S = 2
"""When the credentials of a test expire: late enough to begin a stream before."""
NEW_RIGHTS = "the caller has other rights than when the stream began"
CAMPUS = Issuer()

CLIENT = "URI:spiffe://campus/follower"
ENTRY = """
[[certificates]]
san = "{san}"
name = "{name}"
roles = ["{role}"]
"""
both_doors = pytest.mark.parametrize("kind", DOORS)


class Hired:
    """Knows one bearer, whose caller a test replaces. It remembers nothing, so that each look reaches it."""

    NAME = "hired"

    def __init__(self, words: str) -> None:
        self.words = words
        """The words that say what the caller may do; see ``tests/support/identities.py``."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._asked = asyncio.Semaphore(0)

    def takes(self, bearer: str) -> bool:
        return bearer == self.NAME

    async def verify(self, _bearer: str, now: float) -> Verified:
        self._asked.release()
        await self.may_answer.wait()
        if not self.words:
            return Verified(CredentialsRefused("dismissed"), now)
        return Verified(caller_of(self.words)._replace(actor=f"test:{self.NAME}"), now)

    async def is_asked(self, times: int = 1) -> None:
        """Wait until the server begins to look so many times, from now on."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._asked.locked():
                await self._asked.acquire()
            for _ in range(times):
                await self._asked.acquire()


@contextlib.asynccontextmanager
async def watched(door: Door, bearer: str, **fields: Any) -> AsyncIterator[Stream]:
    """Begin a stream."""
    async with door.watch(bearer, **fields) as stream:
        assert (await stream.next()).response.checkpoint
        yield stream


async def lost(stream: Stream, log: Log) -> str:
    """Check that a stream ends because its caller has lost the right to it, and return the cause in its line."""
    assert_lost(await stream.end())
    line = await log.one("rpc", method="WatchEvents", status="UNAUTHENTICATED", reason="CREDENTIALS_INVALID")
    assert line["level"] == "info"
    return str(line["cause"])


def assert_lost(answered: Answered) -> None:
    message = "The server does not accept these credentials; they may have expired."
    assert (answered.status.code, answered.reason, answered.status.message) == (16, "CREDENTIALS_INVALID", message)


@both_doors
class TestKeys:
    """A stream with an API key."""

    async def test_revoked(self, database_url: str, kind: str, log: Log) -> None:
        """The stream ends when the server looks the key up again. The log names the key, and has not its secret."""
        clock, key = Clock(), api_keys.add(database_url, "follower", Role.READER)
        async with (
            entering(kind, database_url, clock=clock, times=OFTEN) as door,
            watched(door, key) as stream,
        ):
            api_keys.revoke(database_url, "follower")
            await door.made("admin", "CreateStudent", student={"student_id": "s-1"})
            assert [event.student_id for event in await stream.events(1)] == ["s-1"], "the key is remembered"
            clock.now += REMEMBERED_S
            assert await lost(stream, log) == f"the key follower with the id {id_of(key)} is revoked"
            assert (await door.refused(key, "ListEvents")).reason == "CREDENTIALS_INVALID"
        (line,) = log.of("rpc", method="WatchEvents")
        assert (line["actor"], line["events"], line["revision"]) == ("key:follower", 1, 1)
        assert key.split("_")[2] not in str(log.lines)

    async def test_expired(self, database_url: str, kind: str, log: Log) -> None:
        """The stream ends when the key expires, and not at the next look that comes anyway."""
        key = api_keys.add(database_url, role=Role.READER, lifetime=SOON_S * 1_000_000)
        times = WATCH_TIMES._replace(credentials=NEVER)
        async with entering(kind, database_url, times=times) as door, watched(door, key) as stream:
            assert await lost(stream, log) == f"the key sis-sync with the id {id_of(key)} has expired"

    async def test_only_the_streams_of_the_key_end(self, database_url: str, kind: str, log: Log) -> None:
        clock = Clock()
        key, other = (api_keys.add(database_url, name, Role.READER) for name in ("one", "other"))
        async with (
            entering(kind, database_url, clock=clock, times=OFTEN) as door,
            watched(door, key) as first,
            watched(door, key, student_id="s-1") as second,
            watched(door, other) as kept,
        ):
            api_keys.revoke(database_url, id_of(key))
            clock.now += REMEMBERED_S
            assert_lost(await first.end())
            assert_lost(await second.end())
            await door.made("admin", "CreateStudent", student={"student_id": "s-1"})
            assert len(await kept.events(1)) == 1

    async def test_database_that_cannot_be_reached(
        self, database_url: str, kind: str, log: Log, request: pytest.FixtureRequest
    ) -> None:
        """The server cannot know whether the key still counts. Its reader goes on when the database is back."""
        clock, key = Clock(), api_keys.add(database_url, role=Role.READER)
        times = OFTEN._replace(poll=NEVER, poll_sqlite=NEVER)  # Nothing else notices the outage.
        async with entering(kind, database_url, clock=clock, times=times) as door:
            async with watched(door, key) as stream:
                with database_outage(database_url, request):
                    clock.now += REMEMBERED_S
                    answered = await stream.end()
                    assert (answered.status.code, answered.reason) == (14, "DATABASE_UNAVAILABLE")
            async with watched(door, key):
                pass


@both_doors
class TestTokens:
    """A stream with a token."""

    async def test_expired(self, sqlite_url: str, kind: str, log: Log, tmp_path: Path) -> None:
        """The stream ends when the token expires, and not at the next look that comes anyway."""
        keys = CAMPUS.write_keys(tmp_path / "keys.json")
        times = WATCH_TIMES._replace(credentials=NEVER)
        async with entering(kind, sqlite_url, times=times, **CAMPUS.settings(keys)) as door:
            token = CAMPUS.token(roles=["reader"], exp=int(time.time()) + SOON_S)
            async with watched(door, token) as stream:
                assert await lost(stream, log) == "the token has expired"
        assert not [part for part in token.split(".") if part in str(log.lines)]

    async def test_of_a_key_that_was_removed(self, sqlite_url: str, kind: str, log: Log, tmp_path: Path) -> None:
        """The stream ends although the token has not expired."""
        keys = CAMPUS.write_keys(tmp_path / "keys.json")
        token = CAMPUS.token(roles=["student"], student_id="s-1")
        async with (
            entering(kind, sqlite_url, times=OFTEN, **CAMPUS.settings(keys)) as door,
            watched(door, token, student_id="s-1") as stream,
        ):
            Issuer("next").write_keys(keys)
            await door.server.reload()
            assert await lost(stream, log) == "no keys with this kid fit the algorithm of the token"


class TestCertificates:
    """A stream with a client certificate, which counts over gRPC alone."""

    @pytest.mark.parametrize(
        ("entry", "cause"),
        [
            ("certificates = []", f"no entry of REGISTRAR_CERT_ROLES fits the certificate: {CLIENT}"),
            (ENTRY.format(san=CLIENT, name="other", role="reader"), NEW_RIGHTS),
        ],
        ids=["removed", "renamed"],
    )
    async def test_entry_that_changes(
        self, sqlite_url: str, authority: Authority, files: dict[str, Any], log: Log, entry: str, cause: str
    ) -> None:
        async with watched_with_certificate(sqlite_url, authority, files) as (server, call):
            files["cert_roles"].write_text(entry)
            await server.reload()
            failure = await refused(read_on(call))
        assert (failure.code, failure.reason) == (StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        assert (await log.one("rpc", method="WatchEvents"))["cause"] == cause

    async def test_entry_with_another_role_of_the_staff(
        self, sqlite_url: str, authority: Authority, files: dict[str, Any]
    ) -> None:
        """The stream goes on, and so do those of a file that is invalid for a while."""
        async with watched_with_certificate(sqlite_url, authority, files) as (server, call):
            for text in ("invalid", ENTRY.format(san=CLIENT, name="follower", role="reader")):
                files["cert_roles"].write_text(text)
                await server.reload()
                for _ in range(3):  # The stream looks at its caller more often than it sends a checkpoint.
                    assert WatchEventsResponse.FromString(await call.read()).checkpoint


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of the server's certificate and of the client's."""
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, Any]:
    """The settings of a server that knows a client by its certificate, as an admin."""
    found = {name: tmp_path / name for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "cert_roles")}
    authority.issue("DNS:localhost", "IP:127.0.0.1").write(found["tls_cert_file"], found["tls_key_file"])
    found["tls_client_ca_file"].write_bytes(authority.pem)
    found["cert_roles"].write_text(ENTRY.format(san=CLIENT, name="follower", role="admin"))
    return found


@contextlib.asynccontextmanager
async def watched_with_certificate(
    database_url: str, authority: Authority, files: dict[str, Any]
) -> AsyncIterator[tuple[Server, Any]]:
    """Begin a stream with a certificate, and return its server and its call."""
    trust = authority.as_client(authority.issue(CLIENT))
    times = OFTEN._replace(checkpoint=OFTEN.credentials * 4)
    async with (
        serving(database_url, times=times, **files) as server,
        secure_channel(server.address, trust, OPTIONS) as channel,
    ):
        method: Any = channel.unary_stream("/registrar.v1.HistoryService/WatchEvents")
        call = method(b"")
        assert WatchEventsResponse.FromString(await call.read()).checkpoint
        yield server, call
        call.cancel()


async def read_on(call: Any) -> None:
    """Read a stream until it ends with an error."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await call.read()


@both_doors
@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("reader", "", "dismissed"),
        ("reader", "nobody", "The caller may not do this: that needs the role reader."),
        ("reader", "student:s-1", NEW_RIGHTS),
        ("student:s-1", "reader", NEW_RIGHTS),
        (
            "student:s-1",
            "student:s-2",
            "Students may do this only for themselves: for others it needs the role reader.",
        ),
        ("student:s-1", "student", "The caller may not do this: that needs the role reader."),
        ("reader+student:s-1", "student:s-1", NEW_RIGHTS),
    ],
    ids=lambda value: str(value) or "none",
)
async def test_other_rights(sqlite_url: str, kind: str, log: Log, before: str, after: str, cause: str) -> None:
    """A stream ends if its caller may not begin it any more, or would see something else."""
    hired = Hired(before)
    async with (
        entering(kind, sqlite_url, hired, times=OFTEN) as door,
        watched(door, Hired.NAME, student_id="s-1") as stream,
    ):
        hired.words = after
        assert await lost(stream, log) == cause


@both_doors
async def test_a_permission_that_was_lost(sqlite_url: str, kind: str, log: Log) -> None:
    """A stream on behalf of a person ends if its caller may name nobody any more."""
    hired = Hired("reader+on_behalf_of")
    async with (
        entering(kind, sqlite_url, hired, times=OFTEN) as door,
        watched(door, Hired.NAME, behalf="the-dean") as stream,
    ):
        hired.words = "reader"
        assert "on_behalf_of" in await lost(stream, log)
    assert log.of("rpc", method="WatchEvents", actor="test:hired", on_behalf_of="the-dean")


@both_doors
@pytest.mark.parametrize("words", ["reader", "admin+student:s-1"])
async def test_a_caller_who_may_go_on_is_not_disturbed(sqlite_url: str, kind: str, words: str) -> None:
    """Neither by any number of looks, nor by a change of rights that the stream does not need."""
    hired = Hired("registrar+override")
    async with (
        entering(kind, sqlite_url, hired, times=OFTEN) as door,
        watched(door, Hired.NAME, after_revision=0) as stream,
    ):
        revisions = []
        for number in range(3):
            hired.words = words
            await hired.is_asked(times=5)
            await door.made("admin", "CreateStudent", student={"student_id": f"s-{number}"})
            revisions += [event.revision for event in await stream.events(1)]
    assert revisions == [1, 2, 3]


@both_doors
async def test_identity_that_is_switched_on(
    sqlite_url: str, kind: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The streams of unknown callers end when the server has noticed the first API key."""
    monkeypatch.setattr(identity_sources, "POLL_S", 0.01)
    async with (
        serving(sqlite_url, http_listen=FREE_PORT, times=OFTEN) as server,
        opened(kind, server) as door,
        watched(door, "") as stream,
    ):
        await door.made("", "CreateStudent", student={"student_id": "s-1"})
        assert len(await stream.events(1)) == 1
        key = api_keys.add(sqlite_url, role=Role.READER)
        assert "send a key or a token" in await lost(stream, log)
        assert (await door.call("", "WatchEvents")).reason == "CREDENTIALS_MISSING"
        async with watched(door, key):
            pass
    (line,) = log.of("rpc", method="WatchEvents", reason="CREDENTIALS_INVALID")
    assert "actor" not in line


@both_doors
async def test_a_look_that_takes_long_does_not_hold_up_the_stop(sqlite_url: str, kind: str, log: Log) -> None:
    """The stream ends as all streams do, although nobody knows yet whether it may go on."""
    hired = Hired("reader")
    server = await start(
        settings(sqlite_url, identity="required", http_listen=FREE_PORT), bearers=(hired,), times=OFTEN
    )
    async with opened(kind, server) as door, watched(door, Hired.NAME) as stream:
        hired.may_answer.clear()
        await hired.is_asked()
        stopping = asyncio.create_task(server.stop(grace=0))
        try:
            answered = await stream.end()
        finally:
            hired.may_answer.set()
            assert await stopping
        assert (answered.status.code, answered.reason) == (14, "SHUTTING_DOWN")
