"""Watchers that are killed and resumed anywhere, beside several writing servers, see exactly what ListEvents lists.

Servers are replaced meanwhile. Events come once, in order, and none is missing, whatever the filters are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from registrar.v1.event_pb2 import Event, EventType
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.app import Server, start
from registrar_server.reading import spans, tail
from registrar_server.rpc import watch_forms
from registrar_server.rpc.watchers import WatchTimes
from tests.support.batch_mixes import FOUNDATION, MIXES, named
from tests.support.batches import batch, carried_out, sent
from tests.support.comparison import clear_database, enrollment_ids
from tests.support.histories import COURSES, STUDENTS
from tests.support.properties import scaled
from tests.support.resumed_watches import Door, Life, ResumedWatch, over_grpc, over_http
from tests.support.servers import FREE_PORT, Registrar, calling, settings
from tests.support.single_calls import send

SERVERS = 3
PATIENCE_S = 60.0
TIMES = WatchTimes(checkpoint=0.1, poll=600.0)
"""Checkpoints come often, and on PostgreSQL only announcements tell of the events of other servers."""


class Step(NamedTuple):
    """What a writer does next."""

    kind: str
    requests: list[Message]

    def __repr__(self) -> str:
        """Return only the number of requests, since Hypothesis warns of long texts."""
        return f"Step({self.kind!r}, {len(self.requests)} requests)"


class Watcher(NamedTuple):
    """A watch to begin: where its first stream begins, and how each of its streams but the last one ends.

    ``begin`` is a part of the history so far; None for the events from now on.
    """

    door: Door
    filters: dict[str, Any]
    begin: float | None
    server: int
    lives: list[Life]


class Sizes(NamedTuple):
    """The most events that are read at once, that are kept in memory, and that a response has."""

    read: int
    kept: int
    sent: int


class Scenario(NamedTuple):
    """The steps of each writer, the watchers, and the sizes."""

    writers: list[list[Step]]
    watchers: list[Watcher]
    sizes: Sizes


KINDS = st.sampled_from(["one by one", "together", "batch", "batch", "atomic batch", "sweep", "replace", "stop"])
STEPS = st.builds(Step, KINDS, MIXES)
TYPES = st.lists(st.sampled_from(EventType.values()[1:]), min_size=1, max_size=6, unique=True)
FILTERS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"student_id": STUDENTS}),
    st.fixed_dictionaries({"course_id": COURSES}),
    st.fixed_dictionaries({"types": TYPES}),
    st.fixed_dictionaries({"actor": st.sampled_from(["system:sweep", "key:nobody"])}),
    st.fixed_dictionaries({}, optional={"student_id": STUDENTS, "course_id": COURSES, "types": TYPES}),
)
LIVES = st.lists(
    st.builds(Life, responses=st.integers(1, 8), bytes=st.one_of(st.none(), st.integers(0, 3_000))), max_size=6
)
BEGINS = st.one_of(st.none(), st.just(0.0), st.floats(0, 1))
WATCHERS = st.builds(
    Watcher, st.sampled_from([over_grpc, over_http]), FILTERS, BEGINS, st.integers(0, SERVERS - 1), LIVES
)
SIZES = st.sampled_from([Sizes(spans.SPAN_EVENTS, tail.KEPT_EVENTS, watch_forms.MAX_RESPONSE_EVENTS), Sizes(7, 20, 3)])
SCENARIOS = st.builds(
    Scenario,
    st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=SERVERS, max_size=SERVERS),
    st.lists(WATCHERS, min_size=4, max_size=10),
    SIZES,
)


class Fleet:
    """Servers on one database, each of which can be replaced."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._servers: list[Server] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, engine: Engine) -> AsyncIterator[Fleet]:
        """Run a fleet."""
        fleet = cls(engine)
        try:
            for _ in range(SERVERS):
                fleet._servers.append(await fleet._start())
            yield fleet
        finally:
            await asyncio.gather(*(server.stop(grace=0) for server in fleet._servers))

    async def _start(self) -> Server:
        url = self._engine.url.render_as_string(hide_password=False)
        return await start(settings(url, http_listen=FREE_PORT), times=TIMES)

    def server(self, number: int, further: int = 0) -> Server:
        """Return a server by its number, or one further on; it may be stopping."""
        return self._servers[(number + further) % SERVERS]

    async def write(self, number: int, steps: Sequence[Step]) -> None:
        """Carry out the steps of a writer, one after another, at one of the servers."""
        for step in steps:
            server = self.server(number)
            ids = enrollment_ids(self._engine)
            requests = [named(request, ids) for request in step.requests]
            match step.kind:
                case "sweep":
                    await server.sweep()
                case "replace":
                    self._servers[number] = await self._start()
                    await server.stop(grace=0)
                case "stop":
                    await server.stop(grace=0)
                    self._servers[number] = await self._start()
                case _:
                    async with calling(server.address) as registrar:
                        await make(registrar, step.kind, requests)


async def make(registrar: Registrar, kind: str, requests: Sequence[Message]) -> None:
    """Make changes, some of which may be refused."""
    match kind:
        case "one by one":
            for request in requests:
                await allow_refusal(send(registrar, request))
        case "together":
            await asyncio.gather(*(allow_refusal(send(registrar, request)) for request in requests))
        case _:
            await allow_refusal(sent(registrar, batch(*requests, atomic=kind == "atomic batch")))


async def allow_refusal(call: Any) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise


async def listed(registrar: Registrar, after: int, filters: Mapping[str, Any]) -> list[Event]:
    """Return the events after a revision as ListEvents lists them."""
    events: list[Event] = []
    request = ListEventsRequest(after_revision=after, page_size=1000, **filters)
    while True:
        page = await registrar.history.ListEvents(request)
        events += page.events
        if not page.next_page_token:
            return events
        request.page_token = page.next_page_token


async def head(registrar: Registrar) -> int:
    """Return the revision of the newest event."""
    return (await registrar.history.ListEvents(ListEventsRequest(page_size=1))).last_revision


async def play(engine: Engine, scenario: Scenario) -> None:
    """Let watchers watch while writers write, and compare what each has seen with the lists afterwards."""
    async with asyncio.timeout(PATIENCE_S), Fleet.on(engine) as fleet:
        async with calling(fleet.server(0).address) as registrar:
            await carried_out(registrar, *FOUNDATION)
            begun_at = await head(registrar)
        goal: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        watches = []
        async with asyncio.TaskGroup() as tasks:
            for watcher in scenario.watchers:
                after = None if watcher.begin is None else round(watcher.begin * begun_at)
                watches.append(ResumedWatch(watcher.door, watcher.lives, after, watcher.filters))
                tasks.create_task(watches[-1].run(partial(fleet.server, watcher.server), goal))
            await asyncio.gather(*(fleet.write(number, steps) for number, steps in enumerate(scenario.writers)))
            async with calling(fleet.server(0).address) as registrar:
                goal.set_result(await head(registrar))
        async with calling(fleet.server(0).address) as registrar:
            for watch in watches:
                assert watch.start is not None
                assert watch.events == await listed(registrar, watch.start, watch.filters)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Run coroutines in one event loop."""
    with asyncio.Runner() as runner:
        yield runner


def test_killed_and_resumed_watchers_see_what_lists_have(
    engine: Engine, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    @hypothesis_settings(
        max_examples=scaled(8),
        deadline=None,
        # Shrinking is useless, because it rarely reproduces a race.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(SCENARIOS)
    def check(scenario: Scenario) -> None:
        clear_database(engine)
        monkeypatch.setattr(spans, "SPAN_EVENTS", scenario.sizes.read)
        monkeypatch.setattr(tail, "KEPT_EVENTS", scenario.sizes.kept)
        monkeypatch.setattr(watch_forms, "MAX_RESPONSE_EVENTS", scenario.sizes.sent)
        runner.run(play(engine, scenario))

    check()
