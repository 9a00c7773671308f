"""Watches of both clients behind one form, so that one test with a real server in its event loop serves both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from registrar_client import AsyncRegistrarClient, Checkpoint, Event, RegistrarClient
from registrar_server.app import Server

Result = TypeVar("Result")

PATIENCE_S = 30.0
"""How long a test waits for what must come."""


class Watched:
    """A watch of either client. Everything that it returns is also in ``items``."""

    def __init__(self, watch: Any, run: Callable[..., Awaitable[Any]]) -> None:
        self._watch = watch
        self._run = run
        self.items: list[Event | Checkpoint] = []

    @property
    def revision(self) -> int | None:
        """The revision that the watch has reached."""
        revision: int | None = self._watch.revision
        return revision

    @property
    def ids(self) -> list[str]:
        """The ids of the students that the events so far are about."""
        return [item.student_id for item in self.items if isinstance(item, Event)]

    async def begin(self) -> None:
        """Enter the ``with`` block."""
        await self._run("enter")

    async def next(self) -> Event | Checkpoint | None:
        """Return the next item, None at the end of the iteration."""
        item: Event | Checkpoint | None = await self._run("next")
        if item is not None:
            self.items.append(item)
        return item

    async def take(self, count: int) -> list[str]:
        """Return the ids of the students of the next events."""
        before = len(self.ids)
        while len(self.ids) < before + count:
            assert await self.next() is not None
        return self.ids[before:]

    async def close(self) -> None:
        """Close the watch, also while another task waits for its next item."""
        await self._run("close")


def in_thread(watch: Any) -> Callable[[str], Awaitable[Any]]:
    """Return what uses a ``Watch``."""
    methods = {"enter": watch.__enter__, "next": lambda: next(watch, None), "close": watch.close}

    async def run(name: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(methods[name])

    return run


def in_task(watch: Any) -> Callable[[str], Awaitable[Any]]:
    """Return what uses an ``AsyncWatch``."""
    methods = {"enter": watch.__aenter__, "next": lambda: anext(watch, None), "close": watch.close}

    async def run(name: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await methods[name]()

    return run


class Client:
    """A client of either kind. It ends all of its watches when it is closed."""

    def __init__(self, client: RegistrarClient | AsyncRegistrarClient) -> None:
        self._client = client
        self._watched: list[Watched] = []

    def watch(self, **arguments: Any) -> Watched:
        """Return a watch that has not begun."""
        watch = self._client.history.watch(**arguments)
        watched = Watched(watch, (in_thread if isinstance(self._client, RegistrarClient) else in_task)(watch))
        self._watched.append(watched)
        return watched

    async def begin(self, **arguments: Any) -> Watched:
        """Return a watch that has begun."""
        watched = self.watch(**arguments)
        await watched.begin()
        return watched

    async def write(self, *student_ids: str) -> None:
        """Create students."""
        for student_id in student_ids:
            created = self._client.students.create
            if isinstance(self._client, RegistrarClient):
                await asyncio.to_thread(created, student_id=student_id)
            else:
                await created(student_id=student_id)  # type: ignore[misc]  # It is the method of the other client.

    def announce_pauses(self) -> asyncio.Event:
        """Return what is set when a watch waits before it tries to go on."""
        loop, pausing = asyncio.get_running_loop(), asyncio.Event()
        runner: Any = self._client._runner
        wait = runner.wait

        def announced(event: Any, seconds: float) -> Any:
            loop.call_soon_threadsafe(pausing.set)
            return wait(event, seconds)

        runner.wait = announced
        return pausing

    async def close(self) -> None:
        """Close the client, and not its watches."""
        closing = self._client.close()
        if closing is not None:
            await closing

    async def end(self) -> None:
        """Close all watches and the client."""
        for watched in self._watched:
            await watched.close()
        await self.close()


KINDS: Mapping[str, Callable[..., Any]] = {
    "sync": RegistrarClient,
    "async": AsyncRegistrarClient,
    "gathering": lambda *args, **options: AsyncRegistrarClient(*args, gather=True, **options),
}


@contextlib.asynccontextmanager
async def watching_client(kind: str, address: str, **options: Any) -> AsyncIterator[Client]:
    """Open a client of a kind."""
    client = Client(KINDS[kind](address, **options))
    try:
        yield client
    finally:
        await client.end()


async def place_is_free(server: Server) -> None:
    """Wait until nobody watches on this server."""
    async with asyncio.timeout(PATIENCE_S):
        await server._watchers._left.wait()
