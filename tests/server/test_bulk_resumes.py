"""``bulk`` is cut anywhere, by a crash of the server or of the client, and resumes: nothing is skipped or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from registrar_client import writes
from registrar_client._request_ids import derived
from tests.support.both_clients import CALLERS
from tests.support.bulk_load import COURSES, TOTAL, term
from tests.support.client_samples import REQUEST_ID
from tests.support.consistency import assert_consistent
from tests.support.databases import execute
from tests.support.properties import scaled
from tests.support.servers import server_process, serving
from tests.support.subprocess_environment import environment_without

ROOT = Path(__file__).parents[2]
REASONS = {"WAITLIST_FULL", "ALREADY_ENROLLED", "ALREADY_WAITLISTED", "STUDENT_NOT_FOUND"}


class Found(NamedTuple):
    """What a load leaves: its events in their order, and its enrollments."""

    events: list[Any]
    enrollments: list[Any]


def found(url: str, prefix: str = "") -> Found:
    """Read everything that a load with this prefix left, without what differs between equal loads."""
    events = execute(
        url,
        "SELECT type, student_id, course_id, state, previous_state, capacity, enrolled_count, waitlisted_count,"
        " enrollment_version, reason, request_id FROM events"
        " WHERE student_id LIKE :these OR course_id LIKE :these ORDER BY revision",
        these=f"{prefix}%",
    )
    enrollments = execute(
        url,
        "SELECT course_id, student_id, number, attempt, state, version FROM enrollments"
        " WHERE student_id LIKE :these ORDER BY course_id, student_id, number",
        these=f"{prefix}%",
    )
    return Found([tuple(each) for each in events], [tuple(each) for each in enrollments])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite_file: Path) -> Found:
    """What the load leaves if nothing disturbs it."""
    file = tmp_path_factory.mktemp("undisturbed") / "registrar.db"
    file.write_bytes(_migrated_sqlite_file.read_bytes())

    async def load() -> None:
        async with serving(f"sqlite:///{file}") as server, CALLERS["sync"](server.address) as caller:
            report = await caller("bulk", term(), operation_id=REQUEST_ID)
        assert report.answered == TOTAL
        assert report.refused.keys() == REASONS

    asyncio.run(load())
    return found(f"sqlite:///{file}")


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the client."""
    return str(request.param)


async def test_a_load_outlasts_a_server_that_is_killed(
    kind: str, database_url: str, engine: Engine, tmp_path: Path, undisturbed: Found
) -> None:
    """The client sends the chunk again, and those writes of it that were made are not made twice."""
    reached, loop = asyncio.Event(), asyncio.get_running_loop()

    def report(done: int, refused: int, _total: int | None) -> None:
        if done + refused >= 400:
            loop.call_soon_threadsafe(reached.set)

    options = {"operation_id": REQUEST_ID, "chunk_size": 100, "on_progress": report, "timeout": 600}
    async with server_process(database_url, tmp_path) as server:
        address = await server.address()
        async with CALLERS[kind](address) as caller:
            loading = asyncio.create_task(caller("bulk", term(), **options))
            await reached.wait()
            server.signal(signal.SIGKILL)
            assert await server.wait() == -signal.SIGKILL
            assert not loading.done()
            async with server_process(database_url, tmp_path, LISTEN=address) as again:
                await again.address()
                answered = await loading
    assert answered.answered == TOTAL
    assert found(database_url) == undisturbed
    assert_consistent(engine)


async def test_a_client_that_is_killed_goes_on_with_other_chunks(
    kind: str, database_url: str, engine: Engine, tmp_path: Path, undisturbed: Found
) -> None:
    async with server_process(database_url, tmp_path) as server:
        async with loading(kind, await server.address()) as program:
            await answered_by(program, 400)
            program.kill()
            assert await program.wait() == -signal.SIGKILL
        async with CALLERS[kind](await server.address()) as caller:
            report = await caller("bulk", term(), operation_id=REQUEST_ID, chunk_size=333)
    assert report.answered == TOTAL
    assert report.done == TOTAL - sum(report.refused.values())
    assert found(database_url) == undisturbed
    assert_consistent(engine)


async def test_ctrl_c_ends_a_load_at_once_and_tells_how_to_go_on(kind: str, sqlite_url: str, tmp_path: Path) -> None:
    """Even if the server does not answer."""
    async with server_process(sqlite_url, tmp_path) as server:
        async with loading(kind, await server.address()) as program:
            await answered_by(program, 200)
            server.signal(signal.SIGSTOP)
            program.send_signal(signal.SIGINT)
            _, errors = await program.communicate()
        server.signal(signal.SIGCONT)
    assert program.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert b"KeyboardInterrupt" in errors
    assert b"bulk stopped after the first " in errors
    assert f"operation_id='{REQUEST_ID}'".encode() in errors


@contextlib.asynccontextmanager
async def loading(kind: str, address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program that makes the load."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.bulk_load", kind, address, REQUEST_ID),
        cwd=ROOT,
        env=environment_without("REGISTRAR_"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


async def answered_by(program: asyncio.subprocess.Process, count: int) -> None:
    """Wait until so many writes of a load are answered."""
    assert program.stdout
    while int(await program.stdout.readline()) < count:
        pass


class Cut(BaseException):
    """Ends a load as a killed process would: nothing handles it."""


def until(place: int, source: Iterator[writes.Write[Any]]) -> Iterator[writes.Write[Any]]:
    """Return the writes of a source up to a place, and cut it there."""
    yield from itertools.islice(source, place)
    raise Cut


STUDENTS = 30
CUTS = st.lists(
    st.tuples(st.integers(min_value=0, max_value=COURSES + 4 * STUDENTS), st.integers(min_value=1, max_value=200)),
    max_size=3,
)
"""Where to cut a load again and again, and the sizes of its chunks."""


async def test_a_load_that_is_cut_anywhere_leaves_what_an_undisturbed_load_leaves(
    kind: str, database_url: str, engine: Engine
) -> None:
    """The chunks differ from run to run. A chunk that is cut off may still be under way when the next run begins."""
    numbers, loop = itertools.count(), asyncio.get_running_loop()

    async with serving(database_url) as server, CALLERS[kind](server.address) as caller:

        def load(source: Iterator[writes.Write[Any]], operation: uuid.UUID, size: int) -> None:
            running = caller("bulk", source, operation_id=operation, chunk_size=size)
            asyncio.run_coroutine_threadsafe(_awaited(running), loop).result()

        def left(cuts: Sequence[tuple[int, int]], last_size: int) -> Found:
            prefix, operation = f"load-{next(numbers)}-", uuid.uuid4()
            for place, size in cuts:
                with contextlib.suppress(Cut):
                    load(until(place, term(prefix, STUDENTS)), operation, size)
            load(term(prefix, STUDENTS), operation, last_size)
            return by_place(found(database_url, prefix), prefix, operation)

        @settings(
            max_examples=scaled(10),
            deadline=None,
            phases=[Phase.generate],  # An example leaves its rows, so that it takes longer each time.
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(CUTS, st.integers(min_value=1, max_value=200))
        def cut(cuts: Sequence[tuple[int, int]], last_size: int) -> None:
            assert left(cuts, last_size) == expected

        expected = await asyncio.to_thread(left, [], 500)
        await asyncio.to_thread(cut)
    assert_consistent(engine)


async def _awaited(running: Any) -> Any:
    return await running


def by_place(left: Found, prefix: str, operation: uuid.UUID) -> Found:
    """Return what a load left with the places of its writes instead of their ids, and without its prefix."""
    places = {derived(operation, place): place for place in range(COURSES + 4 * STUDENTS)}

    def plain(row: Any) -> tuple[Any, ...]:
        return tuple(places.get(each, each.removeprefix(prefix)) if isinstance(each, str) else each for each in row)

    return Found(list(map(plain, left.events)), list(map(plain, left.enrollments)))


async def test_several_chunks_under_way_leave_the_same_enrollments(
    kind: str, database_url: str, engine: Engine
) -> None:
    """If no write depends on another one, the order of the chunks does not matter, also when the load is cut."""
    async with serving(database_url) as server, CALLERS[kind](server.address) as caller:
        names = [f"s-{number}" for number in range(400)]
        await caller("courses.create", course_id="CS-101")
        await caller("bulk", [writes.students.create(student_id=name) for name in names])
        source = [writes.enroll(student_id=name, course_id="CS-101") for name in names]
        for place in (350, 90):
            with pytest.raises(Cut):
                await caller("bulk", until(place, iter(source)), operation_id=REQUEST_ID, chunk_size=20, in_flight=4)
        report = await caller("bulk", source, operation_id=REQUEST_ID, chunk_size=30, in_flight=3)
    assert (report.done, report.refused) == (400, {})
    assert execute(database_url, "SELECT count(*), min(attempt), max(attempt) FROM enrollments") == [(400, 1, 1)]
    assert_consistent(engine)
