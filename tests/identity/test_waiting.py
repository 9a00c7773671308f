"""Calls that wait until their callers are known: what they leave in memory, and what they get when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import psycopg
import pytest

from registrar_server.app import start
from registrar_server.identity import key_store
from registrar_server.identity.api_keys import REMEMBERED_S
from registrar_server.identity.key_format import KnownKey
from registrar_server.rpc.watchers import WATCH_TIMES
from tests.support.api_keys import Clock, add, id_of, revoke
from tests.support.doors import DOORS, Answered, entering, opened
from tests.support.garbage import Garbage
from tests.support.key_hosts import KeyHost, answering, key_host
from tests.support.servers import FREE_PORT, Log, settings
from tests.support.tokens import Issuer

CAMPUS = Issuer()
NEXT = Issuer("next")


@pytest.mark.parametrize("kind", DOORS)
async def test_a_failing_look_up_leaves_no_circle_that_keeps_its_calls(
    sqlite_url: str, kind: str, garbage: Garbage, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """An outage meets all callers, and each call would stay in memory with its request."""

    def fail(_database: object, _ids: Sequence[str]) -> Mapping[str, KnownKey]:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(key_store, "find_keys", fail)
    async with entering(kind, sqlite_url) as door:
        for _ in range(3):
            calls = (door.refused(key, "GetStudent", student_id="s-1") for key in [add(sqlite_url)] * 2)
            assert [answered.reason for answered in await asyncio.gather(*calls)] == ["DATABASE_UNAVAILABLE"] * 2
        await asyncio.sleep(0)
        assert garbage() == []


@pytest.mark.parametrize("kind", DOORS)
async def test_a_stream_that_loses_its_key_leaves_no_circle_that_keeps_it(
    sqlite_url: str, kind: str, garbage: Garbage, log: Log
) -> None:
    """Neither the call nor the error that ended it waits for a garbage collection."""
    clock, key = Clock(), add(sqlite_url)
    async with entering(kind, sqlite_url, clock=clock, times=WATCH_TIMES._replace(credentials=0.005)) as door:
        async with door.watch(key) as stream:
            assert (await stream.next()).response.checkpoint
            revoke(sqlite_url, id_of(key))
            clock.now += REMEMBERED_S
            assert (await stream.end()).reason == "CREDENTIALS_INVALID"
        await log.one("rpc", method="WatchEvents")
        assert (await door.refused(key, "ListStudents")).reason == "CREDENTIALS_INVALID"
        assert garbage() == []


@contextlib.asynccontextmanager
async def waiting_for_keys(kind: str, database_url: str, host: KeyHost) -> AsyncIterator[asyncio.Task[Answered]]:
    """Stop a server while a call waits for the keys that may fit its token."""
    host.behave = answering(CAMPUS.jwks_bytes())
    server = await start(settings(database_url, http_listen=FREE_PORT, **CAMPUS.settings(host.url)))
    async with opened(kind, server) as door:
        host.behave = host.hanging
        waiting = asyncio.create_task(door.refused(NEXT.token(), "GetStudent", student_id="s-1"))
        await host.asked()
        stopping = asyncio.create_task(server.stop(grace=5.0))
        yield waiting
        assert await stopping


@pytest.mark.parametrize("kind", DOORS)
async def test_a_stop_answers_the_calls_that_wait_for_keys(sqlite_url: str, kind: str, log: Log) -> None:
    """The keys may fit the token, so another server may accept it."""
    async with key_host() as host, waiting_for_keys(kind, sqlite_url, host) as waiting:
        assert (await waiting).reason == "SHUTTING_DOWN"
    assert log.of("rpc", reason="SHUTTING_DOWN")
