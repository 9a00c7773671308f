"""Every path that commits events wakes the watchers, of this server and of others, on both databases."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from registrar.v1.event_pb2 import EVENT_TYPE_STUDENT_PROMOTED
from registrar_client import AsyncRegistrarClient
from registrar_server.rpc.watchers import WatchTimes
from tests.support.batches import carried_out, create_student, enroll
from tests.support.history_calls import history
from tests.support.servers import Registrar, calling, registrar_on, server_process, serving
from tests.support.waiting_course import free_the_seat, hold, release
from tests.support.watching import revisions, watching, watching_live

NEVER_S = 3600.0
NO_POLL = WatchTimes(checkpoint=NEVER_S, poll=NEVER_S, poll_sqlite=NEVER_S)
"""Neither a poll nor a checkpoint lets a watcher find an event that nobody announced."""


class TestOwnCommits:
    """Commits of the watcher's own server reach it without a poll."""

    async def test_single_calls(self, database_url: str) -> None:
        """Each change wakes the watchers."""
        async with registrar_on(database_url, times=NO_POLL) as registrar, watching_live(registrar) as stream:
            for number in range(1, 6):
                await registrar.add_student(f"s-{number}")
                assert revisions(await stream.reach(number))[-1] == number

    @pytest.mark.parametrize("options", [{}, {"unordered": True}, {"atomic": True}], ids=str)
    async def test_batches(self, database_url: str, options: dict[str, bool]) -> None:
        """Batches in lanes of their own and in those of single calls wake the watchers, too."""
        async with registrar_on(database_url, times=NO_POLL) as registrar, watching_live(registrar) as stream:
            await registrar.add_course("CS-101")
            writes = [one for number in range(5) for one in (create_student(f"s-{number}"), enroll(f"s-{number}"))]
            await carried_out(registrar, *writes[::2], **options)
            await carried_out(registrar, *writes[1::2], **options)
            assert revisions(await stream.reach(11)) == list(range(1, 12))

    async def test_sweep(self, database_url: str) -> None:
        """What the sweep promotes reaches the watchers."""
        async with (
            serving(database_url, times=NO_POLL) as server,
            AsyncRegistrarClient(server.address) as client,
            calling(server.address) as registrar,
        ):
            await client.courses.create(course_id="ONE", capacity=1, waitlist_capacity=9)
            for student_id in ("s-1", "s-2"):
                await client.students.create(student_id=student_id)
                await client.enroll(student_id=student_id, course_id="ONE")
            await hold(client, "s-2")
            await free_the_seat(client)
            await release(client, "s-2")
            async with watching_live(registrar, actor="system:sweep") as stream:
                await server.sweep()
                response = await stream.next()
        assert [event.type for event in response.events] == [EVENT_TYPE_STUDENT_PROMOTED]

    async def test_previews(self, database_url: str) -> None:
        """A preview changes nothing, and the next event is that of a change."""
        async with registrar_on(database_url, times=NO_POLL) as registrar, watching_live(registrar) as stream:
            await carried_out(registrar, create_student("s-1"), atomic=True, validate_only=True)
            await registrar.add_student("s-2")
            assert [event.student_id for event in await stream.reach(1)] == ["s-2"]


class TestOtherServers:
    """Commits of other servers on the same database."""

    async def test_announced(self, postgresql_url: str) -> None:
        """PostgreSQL announces single calls, batches and atomic batches of another server, without a poll."""
        async with (
            registrar_on(postgresql_url) as other,
            registrar_on(postgresql_url, times=NO_POLL) as registrar,
            watching_live(registrar) as stream,
        ):
            await other.add_student("s-1")
            assert revisions(await stream.reach(1)) == [1]
            await carried_out(other, create_student("s-2"), create_student("s-3"))
            assert revisions(await stream.reach(3)) == [1, 2, 3]
            await carried_out(other, create_student("s-4"), create_student("s-5"), atomic=True)
            assert revisions(await stream.reach(5)) == [1, 2, 3, 4, 5]

    async def test_polled(self, database_url: str) -> None:
        """On SQLite, and where announcements do not come, the poll finds them."""
        quick = WatchTimes(checkpoint=NEVER_S, poll=0.03)
        elsewhere = {} if database_url.startswith("sqlite") else {"database_direct_url": elsewhere_of(database_url)}
        async with (
            registrar_on(database_url) as other,
            registrar_on(database_url, times=quick, **elsewhere) as registrar,
            watching_live(registrar) as stream,
        ):
            await other.add_student("s-1")
            assert revisions(await stream.reach(1)) == [1]

    async def test_several_writers(self, database_url: str, tmp_path: Path) -> None:
        """Two processes and the watcher's own server write at the same time, and a third process reads as well."""
        async with AsyncExitStack() as stack:
            watcher = await stack.enter_async_context(registrar_on(database_url))
            processes = [await stack.enter_async_context(server_process(database_url, tmp_path)) for _ in range(2)]
            others = [await stack.enter_async_context(calling(await process.address())) for process in processes]
            live = await stack.enter_async_context(watching_live(watcher))
            elsewhere = await stack.enter_async_context(watching_live(others[0], student_id="s-0-7"))

            async def write(number: int, registrar: Registrar) -> None:
                for count in range(30):
                    await registrar.add_student(f"s-{number}-{count}")

            writing = [asyncio.create_task(write(number, one)) for number, one in enumerate([watcher, *others])]
            late = await stack.enter_async_context(watching(watcher, after_revision=0))
            await asyncio.gather(*writing)
            assert revisions(await live.reach(90)) == revisions(await late.reach(90)) == list(range(1, 91))
            assert live.events == late.events == await history(watcher)
            while not elsewhere.events:
                await elsewhere.next()
            assert elsewhere.events == await history(watcher, student_id="s-0-7")


def elsewhere_of(database_url: str) -> str:
    """Return the URL of another database on the same PostgreSQL, where nobody announces anything."""
    return f"{database_url.rpartition('/')[0]}/postgres"
