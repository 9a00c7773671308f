"""Watches that are left or interrupted: by ``break``, by Ctrl-C, by a task that is cancelled, or by a timeout."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from registrar_client import AsyncRegistrarClient, Cancelled, Event, RegistrarClient, Watch, testing
from registrar_server.app import Server
from tests.support.client_watches import PATIENCE_S, place_is_free
from tests.support.servers import serving


@pytest.fixture
async def server(sqlite_url: str) -> AsyncIterator[Server]:
    """A real server, which is empty and has a place for one watcher."""
    async with serving(sqlite_url, max_watchers=1) as running:
        yield running


@pytest.fixture
async def asynchronous(server: Server) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of the server."""
    async with AsyncRegistrarClient(server.address) as client:
        yield client


@pytest.fixture
def blocking() -> Iterator[RegistrarClient]:
    """A client of another server, which runs in a thread of its own."""
    with testing.server() as address, RegistrarClient(address) as client:
        yield client


class TestALeftWatch:
    """It frees its place at the server, without a garbage collection."""

    @pytest.fixture(autouse=True)
    def _without_garbage_collection(self) -> Iterator[None]:
        gc.disable()
        yield
        gc.enable()

    async def test_by_break(self, server: Server) -> None:
        def first() -> str:
            with RegistrarClient(server.address) as client:
                client.students.create(student_id="s-1")
                for event in client.history.watch(after_revision=0):
                    break
                # The client is still open.
                asyncio.run_coroutine_threadsafe(place_is_free(server), loop).result(PATIENCE_S)
                return event.student_id

        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(first) == "s-1"

    async def test_by_break_for_asyncio(self, asynchronous: AsyncRegistrarClient, server: Server) -> None:
        await asynchronous.students.create(student_id="s-1")
        async for event in asynchronous.history.watch(after_revision=0):
            break
        assert event.student_id == "s-1"
        await place_is_free(server)

    async def test_by_an_error_in_its_block(self, asynchronous: AsyncRegistrarClient, server: Server) -> None:
        with pytest.raises(LookupError):
            async with asynchronous.history.watch():
                raise LookupError
        await place_is_free(server)

    async def test_by_a_cancelled_task(self, asynchronous: AsyncRegistrarClient, server: Server) -> None:
        async def follow() -> None:
            async for item in asynchronous.history.watch(checkpoints=True):
                begun.set_result(item)

        begun = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(follow())
        await begun
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await place_is_free(server)


class TestAWaitWithATimeout:
    async def test_loses_no_event(self, asynchronous: AsyncRegistrarClient) -> None:
        """The usual way to do something else every now and then."""
        seen: list[str] = []
        async with asynchronous.history.watch() as events:
            for number in range(20):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001 * (number % 3)):
                        seen.append((await anext(events)).student_id)
                await asynchronous.students.create(student_id=f"s-{number}")
            while len(seen) < 20:
                seen.append((await anext(events)).student_id)
        assert seen == [f"s-{number}" for number in range(20)]

    async def test_can_be_followed_by_the_next_one(self, asynchronous: AsyncRegistrarClient) -> None:
        async with asynchronous.history.watch() as events:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.05)
            await asynchronous.students.create(student_id="s-1")
            assert (await anext(events)).student_id == "s-1"


def is_waiting(thread: int) -> bool:
    return sys._current_frames()[thread].f_code is threading.Condition.wait.__code__


@contextlib.contextmanager
def ctrl_c_while_waiting(pressed: Callable[[int], None]) -> Iterator[None]:
    """Press Ctrl-C when this thread waits within the ``with`` block, which must end with KeyboardInterrupt."""

    def press() -> None:
        inside.wait()
        while not is_waiting(waiting):
            time.sleep(0.001)
        pressed(waiting)

    inside, waiting = threading.Event(), threading.get_ident()
    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        inside.set()
        yield
    pressing.join()


def to_the_waiting_thread(waiting: int) -> None:
    signal.pthread_kill(waiting, signal.SIGINT)


def to_another_thread(_waiting: int) -> None:
    """The signal does not interrupt the wait, as when it comes just before it."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.fixture(params=[to_the_waiting_thread, to_another_thread], ids=lambda pressed: pressed.__name__)
def pressed(request: pytest.FixtureRequest) -> Any:
    """Presses Ctrl-C."""
    return request.param


class TestCtrlC:
    def test_ends_the_wait_for_an_event(self, blocking: RegistrarClient, pressed: Callable[[int], None]) -> None:
        with blocking.history.watch() as events, ctrl_c_while_waiting(pressed):
            next(events)

    def test_loses_no_event(self, blocking: RegistrarClient, pressed: Callable[[int], None]) -> None:
        with blocking.history.watch() as events:
            for number in range(3):
                with ctrl_c_while_waiting(pressed):
                    next(events)
                blocking.students.create(student_id=f"s-{number}")
            assert [next(events).student_id for _ in range(3)] == ["s-0", "s-1", "s-2"]

    def test_ends_the_wait_for_a_server_that_is_away(self, pressed: Callable[[int], None]) -> None:
        with contextlib.ExitStack() as opened:
            with testing.server() as address:
                client = opened.enter_context(RegistrarClient(address))
                events = opened.enter_context(client.history.watch())
            with ctrl_c_while_waiting(pressed):
                next(events)


class TestATestingServer:
    def test_stops_while_somebody_watches(self) -> None:
        ended: list[BaseException | Event] = []

        def follow(watch: Watch[Event]) -> None:
            try:
                ended.extend(watch)
            except Cancelled as error:
                ended.append(error)

        with testing.server() as address:
            client = RegistrarClient(address)
            watch = client.history.watch().__enter__()
            following = threading.Thread(target=follow, args=(watch,))
            following.start()
            client.students.create(student_id="s-1")
        client.close()
        following.join(PATIENCE_S)
        assert [type(each) for each in ended] in ([Event, Cancelled], [Cancelled])

    async def test_stops_while_a_task_watches(self) -> None:
        async with testing.async_server() as address:
            client = AsyncRegistrarClient(address)
            watch = client.history.watch()
            await watch.__aenter__()
            waiting = asyncio.create_task(anext(watch))
        await client.close()
        with pytest.raises(Cancelled):
            await waiting
