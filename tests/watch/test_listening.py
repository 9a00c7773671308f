"""Announcements of PostgreSQL: how a server learns of the commits of others, and what happens without them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url

from registrar_server.rpc.watchers import WatchTimes
from registrar_server.storage import listening
from registrar_server.storage.listening import listen
from registrar_server.storage.statements import APPEND_EVENTS
from tests.support import pgbouncer
from tests.support.databases import execute
from tests.support.network import network_to
from tests.support.postgres import Cluster
from tests.support.servers import Log, registrar_on
from tests.support.watching import revisions, watching_live

NEVER_S = 3600.0
NO_POLL = WatchTimes(checkpoint=NEVER_S, poll=NEVER_S)
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query = :query AND datname = current_database()"
LISTEN = f"LISTEN {APPEND_EVENTS.channel}"
AT_ONCE_S = 0.01


class Notices:
    """Counts how often a listener calls it."""

    def __init__(self) -> None:
        self._some = asyncio.Semaphore(0)

    def __call__(self) -> None:
        self._some.release()

    async def one(self) -> None:
        """Wait for one more call."""
        async with asyncio.timeout(30):
            await self._some.acquire()


@contextlib.asynccontextmanager
async def listening_to(url: str, *, retry: float = AT_ONCE_S) -> AsyncIterator[Notices]:
    """Listen within the ``with`` block."""
    notices = Notices()
    task = asyncio.create_task(listen(make_url(url), notices, retry=retry))
    try:
        yield notices
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


def listeners(url: str) -> list[int]:
    """Return the sessions that listen."""
    return [pid for (pid,) in execute(url, LISTENERS, query=LISTEN)]


async def until_listening(url: str, count: int) -> None:
    """Wait until so many sessions listen."""
    async with asyncio.timeout(30):
        while len(await asyncio.to_thread(listeners, url)) != count:
            pass


def end_listeners(url: str) -> int:
    """Terminate the sessions that listen, and return how many these were."""
    found = listeners(url)
    for pid in found:
        execute(url, "SELECT pg_terminate_backend(:pid)", pid=pid)
    return len(found)


class TestListen:
    """One listener."""

    async def test_announcement(self, postgresql_url: str, log: Log) -> None:
        """Each announcement is a notice, and so is the begin, since announcements before it are lost."""
        async with listening_to(postgresql_url) as notices:
            await notices.one()
            for _ in range(3):
                execute(postgresql_url, f"NOTIFY {APPEND_EVENTS.channel}")
                await notices.one()
        assert not log.lines

    async def test_interruption(self, postgresql_url: str, log: Log) -> None:
        """A lost connection is reported once. The listener connects again, and then notices what it has missed."""
        async with listening_to(postgresql_url) as notices:
            for _ in range(2):
                await notices.one()
                assert end_listeners(postgresql_url) == 1
                await notices.one()
                execute(postgresql_url, f"NOTIFY {APPEND_EVENTS.channel}")
        interruptions = log.of("listening_interrupted")
        assert [line["level"] for line in interruptions] == ["warning"] * 2
        assert "terminat" in interruptions[0]["error"]

    async def test_long_interruption(self, postgresql_url: str, cluster: Cluster, log: Log) -> None:
        """However often the listener tries in vain, there is one line."""
        name = make_url(postgresql_url).database
        admin = cluster.url("postgres")
        async with listening_to(postgresql_url) as notices:
            await notices.one()
            attempts = _count_attempts()
            execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            execute(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
            await attempts.reach(3)
            execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await notices.one()
            attempts.end()
        assert len(log.of("listening_interrupted")) == 1

    async def test_unreachable(self, log: Log) -> None:
        """The line about a database that cannot be reached has no password."""
        async with listening_to("postgresql://ada:hunter2@127.0.0.1:1/registrar", retry=NEVER_S):
            line = await log.one("listening_interrupted")
        assert "refused" in line["error"]
        assert "hunter2" not in str(log.lines)

    async def test_invalid_option(self, log: Log) -> None:
        """An option that no connection can be made with is reported, too, and the listener goes on trying."""
        async with listening_to("postgresql://ada:hunter2@127.0.0.1:1/registrar?connect_timeout=soon", retry=NEVER_S):
            line = await log.one("listening_interrupted")
        assert "soon" in line["error"]
        assert "hunter2" not in str(log.lines)

    async def test_end(self, postgresql_url: str) -> None:
        """A listener that is cancelled closes its connection, also if the database does not answer."""
        with network_to(postgresql_url) as network:
            async with listening_to(network.url) as notices:
                await notices.one()
                assert len(listeners(postgresql_url)) == 1
                network.stop()
            network.resume()
            await until_listening(postgresql_url, 0)

    async def test_end_while_connecting(self, postgresql_url: str) -> None:
        """A listener can be cancelled before it is connected."""
        with network_to(postgresql_url) as network:
            network.stop()
            async with listening_to(network.url):
                await asyncio.sleep(0)
            network.resume()


class _Attempts:
    def __init__(self) -> None:
        self._made = asyncio.Semaphore(0)
        self._connect = listening._connect
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(listening, "_connect", self)

    async def __call__(self, *arguments: object) -> object:
        self._made.release()
        return await self._connect(*arguments)  # type: ignore[arg-type]

    async def reach(self, count: int) -> None:
        """Wait for so many attempts."""
        async with asyncio.timeout(30):
            for _ in range(count):
                await self._made.acquire()

    def end(self) -> None:
        """Count no more."""
        self._patch.undo()


def _count_attempts() -> _Attempts:
    """Count the attempts of listeners to connect."""
    return _Attempts()


class TestServers:
    """Servers with a listener."""

    async def test_one_connection(self, postgresql_url: str) -> None:
        """A server has one connection that listens, while anybody watches."""
        async with registrar_on(postgresql_url, times=NO_POLL) as registrar, registrar_on(postgresql_url) as other:
            assert not await asyncio.to_thread(listeners, postgresql_url)
            for student_id in ("s-1", "s-2"):
                async with (
                    watching_live(registrar) as one,
                    watching_live(registrar, student_id=student_id) as another,
                ):
                    await other.add_student(student_id)
                    await one.reach(1)
                    await another.reach(1)
                    await until_listening(postgresql_url, 1)
                await until_listening(postgresql_url, 0)

    async def test_a_stop(self, postgresql_url: str) -> None:
        """A server that has stopped has closed the connection."""
        async with registrar_on(postgresql_url) as registrar, watching_live(registrar) as stream:
            await registrar.add_student("s-1")
            await stream.reach(1)
            await until_listening(postgresql_url, 1)
        assert not listeners(postgresql_url)

    async def test_missed_announcements(self, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
        """What is committed while the connection is lost reaches the watchers when it is back."""
        monkeypatch.setattr(listen, "__kwdefaults__", {"retry": AT_ONCE_S})
        async with (
            registrar_on(postgresql_url) as other,
            registrar_on(postgresql_url, times=NO_POLL) as registrar,
            watching_live(registrar) as stream,
        ):
            for number in range(1, 4):
                while not await asyncio.to_thread(end_listeners, postgresql_url):
                    pass
                await other.add_student(f"s-{number}")
                assert revisions(await stream.reach(number)) == list(range(1, number + 1))
        assert log.of("listening_interrupted")

    async def test_direct_url(self, postgresql_url: str) -> None:
        """The listener uses REGISTRAR_DATABASE_DIRECT_URL, and everything else REGISTRAR_DATABASE_URL."""
        with network_to(postgresql_url) as network:
            async with (
                registrar_on(postgresql_url) as other,
                registrar_on(postgresql_url, database_direct_url=network.url, times=NO_POLL) as registrar,
                watching_live(registrar) as stream,
            ):
                await other.add_student("s-1")
                await stream.reach(1)
                network.stop()
                await registrar.add_student("s-2")
                assert revisions(await stream.reach(2)) == [1, 2]

    @pytest.mark.skipif(pgbouncer.find_binary() is None, reason="pgbouncer is not installed")
    @pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "pooled"])
    async def test_pgbouncer(self, postgresql_url: str, is_direct: bool) -> None:
        """Announcements pass PgBouncer in session pooling, and a direct URL goes around it."""
        with pgbouncer.pooled(postgresql_url, "session") as url:
            direct = {"database_direct_url": postgresql_url} if is_direct else {}
            async with (
                registrar_on(url) as other,
                registrar_on(url, times=NO_POLL, **direct) as registrar,
                watching_live(registrar) as stream,
            ):
                await other.add_student("s-1")
                assert revisions(await stream.reach(1)) == [1]


async def test_sqlite_has_no_listener(sqlite_url: str) -> None:
    """A server on SQLite starts no such task."""
    async with registrar_on(sqlite_url) as registrar, watching_live(registrar) as stream:
        await registrar.add_student("s-1")
        await stream.reach(1)
        running = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert "listen" not in running
