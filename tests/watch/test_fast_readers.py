"""Readers who take each response at once, as a connection of HTTP does while its buffers have room."""

from __future__ import annotations

import asyncio
import math

from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar_server.identity.credentials import read_credentials
from registrar_server.reading.spans import SPAN_EVENTS
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.history_reads import ROWS
from registrar_server.rpc.watch_forms import GRPC
from tests.support.servers import calling, serving
from tests.support.watching import add_students, watching

SPANS = 3


class Anyone:
    """The caller of a call without a deadline."""

    def peer(self) -> str:
        """Return the address of the caller."""
        return "test"

    def time_remaining(self) -> None:
        """Return that there is no deadline."""


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        """Count until this is cancelled."""
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def test_other_calls_go_on_while_a_fast_reader_catches_up_from_memory(sqlite_url: str) -> None:
    """Neither the tail nor such a reader ever waits, so the stream itself lets others go on after each span."""
    async with (
        serving(sqlite_url) as server,
        calling(server.address) as registrar,
        watching(registrar, after_revision=0) as live,
    ):
        await live.checkpoint()
        await add_students(registrar, SPANS * SPAN_EVENTS)
        await live.reach(SPANS * SPAN_EVENTS)

        turns, taken, caught_up = Turns(), list[int](), asyncio.Event()

        async def take(response: bytes) -> None:
            taken.append(turns.count)
            if WatchEventsResponse.FromString(response).checkpoint:
                caught_up.set()

        arrival = Arrival(ROWS[1], WatchEventsRequest(after_revision=0).SerializeToString(), Anyone(), math.inf)
        tasks = [
            asyncio.create_task(turns.run()),
            asyncio.create_task(server._watchers.serve(arrival, read_credentials([]), GRPC, take)),
        ]
        await caught_up.wait()
        for task in tasks:
            task.cancel()
        *of_events, _ = taken
        assert len(of_events) >= SPANS
        assert sorted(set(of_events)) == of_events, "each span has a turn of its own"
