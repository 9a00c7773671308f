"""Databases that answer but cannot be written: health reports them, and the server recovers without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from registrar.v1.student_service_pb2 import GetStudentRequest, ListStudentsRequest
from registrar_server.storage.engines import sqlite_file
from tests.support.databases import execute
from tests.support.refusals import refused
from tests.support.servers import Registrar, ServerProcess, calling, server_process

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
# root may write to read-only files, unless it gives these capabilities up.
AS_USERS_DO = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
NextStatus = Callable[[], Awaitable[int]]


@contextlib.asynccontextmanager
async def watching(registrar: Registrar) -> AsyncIterator[NextStatus]:
    """Watch the health of the server; each call waits for the next status."""
    stub: Any = HealthStub(registrar.channel)
    watch = stub.Watch(HealthCheckRequest())

    async def next_status() -> int:
        async with asyncio.timeout(30):
            status: int = (await watch.read()).status
            return status

    yield next_status
    watch.cancel()


@contextlib.asynccontextmanager
async def process_on(
    database_url: str, folder: Path, below: tuple[str, ...] | None = None
) -> AsyncIterator[tuple[ServerProcess, Registrar, NextStatus]]:
    """Run a server process, and return it with stubs to call it and its health."""
    async with (
        server_process(database_url, folder, below=below, HEALTH_INTERVAL="50ms") as server,
        calling(await server.address()) as registrar,
        watching(registrar) as next_status,
    ):
        yield server, registrar, next_status


async def assert_write_refused(registrar: Registrar, student_id: str) -> None:
    failure = await refused(registrar.add_student(student_id))
    assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def assert_reads_work(registrar: Registrar) -> None:
    await registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))
    await registrar.students.ListStudents(ListStudentsRequest())


async def assert_stays_not_serving(registrar: Registrar) -> None:
    """Read for several health intervals, and check that reading alone does not make the server SERVING."""
    stub: Any = HealthStub(registrar.channel)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        await assert_reads_work(registrar)
        assert (await stub.Check(HealthCheckRequest())).status == NOT_SERVING


async def test_a_full_disk_makes_health_not_serving_until_a_write_succeeds(sqlite_url: str, tmp_path: Path) -> None:
    async with process_on(sqlite_url, tmp_path) as (server, registrar, next_status):
        assert await next_status() == SERVING
        await registrar.add_student("s-1")
        with no_space(server):
            await assert_write_refused(registrar, "s-2")
            assert await next_status() == NOT_SERVING
            await assert_stays_not_serving(registrar)
        assert await next_status() == SERVING
        await registrar.add_student("s-2")
        assert execute(sqlite_url, "SELECT count(*) FROM request_ids") == [(0,)]


@contextlib.contextmanager
def no_space(server: ServerProcess) -> Iterator[None]:
    """Let the process write to no file within the ``with`` block."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.skipif(bool(AS_USERS_DO) and not shutil.which("setpriv"), reason="root needs setpriv")
async def test_a_server_that_began_on_a_read_only_file_recovers_without_a_restart(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The connections of a process share what they know about a file, so all of them have to be replaced."""
    files = await leave_log_behind(sqlite_url, tmp_path)
    for file in files:
        file.chmod(0o444)
    async with process_on(sqlite_url, tmp_path, AS_USERS_DO) as (_, registrar, next_status):
        await assert_reads_work(registrar)
        await assert_write_refused(registrar, "s-2")
        # The server says SERVING until its first write fails, which may be its own housekeeping.
        while await next_status() != NOT_SERVING:
            pass
        await assert_stays_not_serving(registrar)
        async with reading_all_along(registrar):
            for file in files:
                file.chmod(0o644)
            assert await next_status() == SERVING
        await registrar.add_student("s-2")


@contextlib.asynccontextmanager
async def reading_all_along(registrar: Registrar) -> AsyncIterator[None]:
    """Keep connections in use within the ``with`` block."""

    async def read() -> None:
        while True:
            await assert_reads_work(registrar)

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read()) for _ in range(8)]
        yield
        for reader in readers:
            reader.cancel()


async def leave_log_behind(sqlite_url: str, folder: Path) -> list[Path]:
    """Add a student with a server, kill it, and return the files of the database that it leaves."""
    async with server_process(sqlite_url, folder) as server, calling(await server.address()) as registrar:
        await registrar.add_student("s-1")
        await server.kill()
    file = sqlite_file(sqlite_url)
    assert file
    return [file, *file.parent.glob(f"{file.name}-*")]


async def test_a_read_only_postgresql_makes_health_not_serving_until_a_write_succeeds(
    postgresql_url: str, tmp_path: Path
) -> None:
    name = postgresql_url.rpartition("/")[2]
    async with process_on(postgresql_url, tmp_path) as (_, registrar, next_status):
        assert await next_status() == SERVING
        await registrar.add_student("s-1")
        execute(postgresql_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        disconnect_others(postgresql_url)
        await assert_write_refused(registrar, "s-2")
        assert await next_status() == NOT_SERVING
        await assert_stays_not_serving(registrar)
        execute(f"{postgresql_url}?options=-c default_transaction_read_only=off", f"ALTER DATABASE {name} RESET ALL")
        assert await next_status() == SERVING
        await registrar.add_student("s-2")


def disconnect_others(postgresql_url: str) -> None:
    mine = "datname = current_database() AND pid <> pg_backend_pid()"
    execute(postgresql_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
