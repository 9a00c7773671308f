"""Streams whose server cannot read the history: they end with the cause, and a new stream goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from registrar_server.reading.reader import Reader
from registrar_server.rpc.watchers import WatchTimes
from tests.support.databases import execute
from tests.support.outages import database_outage
from tests.support.refusals import info
from tests.support.servers import Log, Registrar, registrar_on
from tests.support.watching import Stream, revisions, watching, watching_live

QUICK = WatchTimes(poll=0.03, poll_sqlite=0.03)


async def resumed(registrar: Registrar, revision: int) -> Stream:
    """Go on after a revision as soon as the server lets the caller."""
    async with asyncio.timeout(30):
        while True:
            async with watching(registrar, after_revision=revision) as stream:
                try:
                    await stream.checkpoint()
                except grpc.aio.AioRpcError:
                    continue
                return stream


class TestOutage:
    """A database that cannot be reached for a while."""

    async def test_running_streams(self, database_url: str, request: pytest.FixtureRequest, log: Log) -> None:
        """They end as DATABASE_UNAVAILABLE, and go on after their revision when the database is back."""
        async with registrar_on(database_url, times=QUICK) as registrar:
            async with watching_live(registrar) as one, watching_live(registrar, student_id="s-9") as other:
                await registrar.add_student("s-1")
                await one.reach(1)
                with database_outage(database_url, request):
                    failures = [await one.failure(), await other.failure()]
            for failure in failures:
                assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            stream = await resumed(registrar, 0)
            assert revisions(stream.events) == [1]
        lines = log.of("rpc", method="WatchEvents", reason="DATABASE_UNAVAILABLE")
        assert len(lines) >= 2
        assert {line["level"] for line in lines} == {"warning"}

    async def test_new_streams(self, database_url: str, request: pytest.FixtureRequest) -> None:
        """They are refused meanwhile."""
        async with registrar_on(database_url, times=QUICK) as registrar:
            await registrar.add_student("s-1")
            with database_outage(database_url, request):
                for fields in ({}, {"after_revision": 0}):
                    async with watching(registrar, **fields) as stream:
                        assert (await stream.failure()).reason == "DATABASE_UNAVAILABLE"
            assert revisions((await resumed(registrar, 0)).events) == [1]


async def test_streams_end_if_the_history_becomes_shorter(database_url: str) -> None:
    """A restored backup lacks the newest events. Readers learn it instead of missing the next ones."""
    async with registrar_on(database_url, times=QUICK) as registrar:
        for number in range(3):
            await registrar.add_student(f"s-{number}")
        async with watching_live(registrar) as one, watching_live(registrar, student_id="s-9") as other:
            execute(database_url, "DELETE FROM events WHERE revision > 1")
            execute(database_url, "UPDATE event_counter SET revision = 1")
            for failure in (await one.failure(), await other.failure()):
                assert failure.code is StatusCode.OUT_OF_RANGE
                assert failure.details == (info("REVISION_AHEAD", revision="1"),)
        async with watching(registrar, after_revision=0) as again:
            assert await again.checkpoint() == 1


class TestCrash:
    """An unexpected error on the way from the table to the streams."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every read of the history raise an error."""

        def fail(*_: Any) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Reader, "list_events", fail)

    async def test_catching_up(self, registrar: Registrar, broken: None, log: Log) -> None:
        """The stream ends as INTERNAL with the id of the logged error, and without its text."""
        async with watching(registrar, after_revision=0) as stream:
            failure = await stream.failure()
        (crash,) = log.of("rpc_crashed", method="WatchEvents")
        assert failure.code is StatusCode.INTERNAL
        assert crash["error_id"] in str(failure.details)
        assert "secret" not in str(failure)
        (line,) = log.of("rpc", method="WatchEvents")
        assert (line["status"], line["error_id"], line["level"]) == ("INTERNAL", crash["error_id"], "error")

    async def test_live(self, registrar: Registrar, log: Log, request: pytest.FixtureRequest) -> None:
        """All streams that have caught up end with the same id, and the error is logged once."""
        async with watching_live(registrar) as one, watching_live(registrar, student_id="s-9") as other:
            request.getfixturevalue("broken")
            await registrar.add_student("s-1")
            failures = [await one.failure(), await other.failure()]
        (crash,) = log.of("rpc_crashed")
        assert all(failure.code is StatusCode.INTERNAL for failure in failures)
        assert all(crash["error_id"] in str(failure.details) for failure in failures)

    async def test_next_stream(self, registrar: Registrar, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """A later stream is not affected."""
        with monkeypatch.context() as patched:
            patched.setattr(Reader, "list_events", lambda *_: 1 // 0)
            async with watching(registrar, after_revision=0) as stream:
                await stream.failure()
        await registrar.add_student("s-1")
        async with watching(registrar, after_revision=0) as stream:
            assert revisions(await stream.reach(1)) == [1]
