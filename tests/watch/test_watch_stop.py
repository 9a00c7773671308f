"""A server that stops ends all streams first, so that their readers go on at another server at once."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode

from registrar.v1.history_service_pb2 import WatchEventsRequest
from registrar_server import app
from registrar_server.app import Server, start
from tests.support.network import network_to
from tests.support.refusals import Failure
from tests.support.servers import Gate, Log, calling, settings
from tests.support.watching import Stream, watching, watching_live

GRACE_S = 60.0
SOON_S = 20.0
"""Much less than the grace, and more than anything else takes."""


def is_shutting_down(failure: Failure) -> bool:
    return (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def stopped_soon(server: Server, grace: float = GRACE_S) -> bool:
    """Stop a server, which must not use the grace up; return whether all work finished."""
    async with asyncio.timeout(SOON_S):
        return await server.stop(grace)


@pytest.mark.parametrize("grace", [0.0, GRACE_S])
async def test_every_stream_ends_as_shutting_down(database_url: str, grace: float, log: Log) -> None:
    """Also with no grace, and also a stream that filters."""
    server = await start(settings(database_url))
    async with (
        calling(server.address) as registrar,
        watching_live(registrar) as all_events,
        watching_live(registrar, student_id="s-1") as some_events,
    ):
        stopping = asyncio.create_task(stopped_soon(server, grace))
        failures = [await all_events.failure(), await some_events.failure()]
        assert await stopping
    assert all(map(is_shutting_down, failures))
    assert failures[0].the(RetryInfo)
    assert len(log.of("rpc", method="WatchEvents", status="UNAVAILABLE", reason="SHUTTING_DOWN")) == 2


async def test_streams_end_while_calls_in_progress_finish(database_url: str, gate: Gate, log: Log) -> None:
    """The streams do not wait for the calls, and the calls are not cut off."""
    server = await start(settings(database_url))
    async with calling(server.address) as registrar, watching_live(registrar) as stream:
        with gate.closed():
            call = asyncio.create_task(registrar.add_student("s-1"))
            await gate.holds_one()
            stopping = asyncio.create_task(stopped_soon(server))
            assert is_shutting_down(await stream.failure())
            assert not call.done()
        assert (await call).student_id == "s-1"
        assert await stopping


async def test_a_new_stream_is_refused_while_calls_in_progress_finish(database_url: str, gate: Gate, log: Log) -> None:
    server = await start(settings(database_url))
    async with calling(server.address) as registrar, watching_live(registrar) as stream:
        with gate.closed():
            call = asyncio.create_task(registrar.add_student("s-1"))
            await gate.holds_one()
            stopping = asyncio.create_task(stopped_soon(server))
            await stream.failure()
            async with watching(registrar) as late:
                assert is_shutting_down(await late.failure())
        await call
        await stopping


async def test_a_stream_that_is_blocked_in_a_write_does_not_hold_up_the_stop(database_url: str, log: Log) -> None:
    """Its reader takes nothing, so that its status may not reach it. The stream ends nevertheless."""
    server = await start(settings(database_url))
    async with calling(server.address) as registrar:
        for number in range(40):
            await registrar.add_course(f"c-{number}", description="d" * 10_000)
        unread = registrar.history.WatchEvents(WatchEventsRequest(after_revision=0))
        async with watching_live(registrar, after_revision=40):  # Streams that came before are open by now.
            assert await stopped_soon(server)
        unread.cancel()
    assert len(log.of("rpc", method="WatchEvents", reason="SHUTTING_DOWN")) == 2


@pytest.mark.parametrize("after_revision", [None, 0], ids=["from-now", "from-the-beginning"])
async def test_a_stream_that_waits_for_the_database_does_not_hold_up_the_stop(
    postgresql_url: str, after_revision: int | None, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The database does not answer, so that a stream that is opened does not get on. The work left is given up."""
    monkeypatch.setattr(app, "OVERTIME_S", 0.1)
    with network_to(postgresql_url) as network:
        server = await start(settings(network.url))
        async with calling(server.address) as registrar, watching_live(registrar) as live:
            network.stop()
            opened = Stream(registrar.history.WatchEvents(WatchEventsRequest(after_revision=after_revision)))
            async with watching(registrar, after_revision=-1) as refused:
                await refused.failure()  # Streams that came before wait for the database by now.
            stopping = asyncio.create_task(server.stop(0.1))
            async with asyncio.timeout(SOON_S / 2):
                assert is_shutting_down(await live.failure())
                assert is_shutting_down(await opened.failure())
                assert not await stopping
            network.resume()
            assert await server.stop(GRACE_S), "the work left finishes when the database answers"
