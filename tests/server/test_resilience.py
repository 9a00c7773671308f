"""Bursts of calls, stops under load, a replaced database file, and limits on queries and caches."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from sqlalchemy.engine import make_url

from registrar.v1.student_service_pb2 import GetStudentRequest
from registrar_server import app, migrate
from registrar_server.core.records import Course
from registrar_server.errors import Reason, Refusal
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.rpc import convert
from registrar_server.storage import failures
from tests.support.refusals import refused
from tests.support.servers import Gate, Registrar, calling, registrar_on, serving, settings


async def test_a_burst_of_thousands_of_calls_is_served(sqlite_registrar: Registrar) -> None:
    """By default gRPC would cancel some of the calls without details."""
    made = await asyncio.gather(*(sqlite_registrar.add_student(f"s-{place}") for place in range(3_000)))
    assert len({student.student_id for student in made}) == 3_000


async def test_a_stopping_server_refuses_new_calls_and_finishes_those_in_progress(gate: Gate, sqlite_url: str) -> None:
    async with serving(sqlite_url) as server, calling(server.address) as registrar:
        with gate.closed():
            in_progress = asyncio.create_task(registrar.add_student("s-1"))
            await gate.holds_one()
            stopping = asyncio.create_task(server.stop())
            refusal = StatusCode.NOT_FOUND
            while refusal is StatusCode.NOT_FOUND:
                refusal = await _try(registrar)
            assert refusal is StatusCode.UNAVAILABLE
        assert (await in_progress).student_id == "s-1"
        assert await stopping


async def _try(registrar: Registrar) -> StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await registrar.students.GetStudent(GetStudentRequest(student_id="nobody"))
    code: StatusCode = failed.value.code()
    return code


async def test_an_open_health_watch_does_not_delay_the_stop(sqlite_url: str) -> None:
    server = await app.start(settings(sqlite_url))
    async with grpc.aio.insecure_channel(server.address) as channel:
        health: Any = HealthStub(channel)
        watch = health.Watch(HealthCheckRequest())
        await watch.read()
        async with asyncio.timeout(20):
            assert await server.stop(grace=60)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_calls_are_refused_after_the_sqlite_file_is_removed_or_replaced(sqlite_url: str, replaced: bool) -> None:
    async with registrar_on(sqlite_url) as registrar:
        await registrar.add_student("s-1")
        _remove(sqlite_url)
        if replaced:
            migrate.upgrade(sqlite_url)
        for call in (registrar.add_student("s-2"), registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))):
            failure = await refused(call)
            assert (failure.code, failure.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


def _remove(sqlite_url: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(sqlite_url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)


async def test_the_number_of_waiting_lists_is_limited() -> None:
    queries = QueryThreads(1, max_waiting=1)
    first = asyncio.create_task(queries.run(lambda: "done"))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as overloaded:
        await queries.run(lambda: "late")
    assert overloaded.value.reason is Reason.OVERLOADED
    assert await first == "done"
    await queries.close()
    with pytest.raises(Refusal) as closed:
        await queries.run(lambda: "too late")
    assert closed.value.reason is Reason.SHUTTING_DOWN


class TestLeavingAList:
    """A caller leaves while a list waits for a thread, or runs in one."""

    async def test_a_list_that_waits_never_runs(self) -> None:
        """Callers who give up and repeat a list would otherwise keep the threads busy for nobody."""
        queries, ran, outcomes = QueryThreads(1, max_waiting=10), list[str](), list[Any]()
        holds = threading.Event()
        queries.enter(lambda: holds.wait(10), outcomes.append)
        queries.enter(lambda: ran.append("left"), outcomes.append).leave()
        queries.enter(lambda: ran.append("waits"), outcomes.append)
        await asyncio.sleep(0)
        holds.set()
        await queries.close()
        await asyncio.sleep(0.01)
        assert ran == ["waits"]
        assert outcomes == [True, None]

    async def test_the_error_of_a_list_that_runs_is_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nobody waits for it, and it is no fault of the server that its log should show."""
        queries, outcomes, begun, holds = (
            QueryThreads(1, max_waiting=10),
            list[Any](),
            threading.Event(),
            threading.Event(),
        )

        def fail() -> None:
            begun.set()
            holds.wait(10)
            raise Refusal(Reason.STUDENT_NOT_FOUND, "There is no such student.")

        running = queries.enter(fail, outcomes.append)
        await asyncio.to_thread(begun.wait, 10)
        running.leave()
        del running
        holds.set()
        await queries.close()
        await asyncio.sleep(0.01)
        gc.collect()
        assert outcomes == []
        assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (psycopg.errors.LockNotAvailable(), Reason.CONTENTION),
        (psycopg.errors.DeadlockDetected(), Reason.CONTENTION),
        (psycopg.errors.AdminShutdown(), Reason.DATABASE_UNAVAILABLE),
        (failures.DatabaseReplaced(), Reason.DATABASE_UNAVAILABLE),
    ],
)
def test_a_failed_read_becomes_a_refusal_that_can_be_retried(error: Exception, reason: Reason) -> None:
    refusal = failures.refusal_of(error)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason


def test_an_unknown_error_is_not_converted_to_a_refusal() -> None:
    error = RuntimeError()
    assert failures.refusal_of(error) is error


def test_large_courses_are_not_cached() -> None:
    convert._cached_without_counters.cache_clear()  # Otherwise other tests may have filled it.
    kept = convert._cached_without_counters.cache_info().currsize
    convert.course(Course("c-large", description="x" * 10_000))
    assert convert._cached_without_counters.cache_info().currsize == kept
    convert.course(Course("c-small", description="x"))
    assert convert._cached_without_counters.cache_info().currsize == kept + 1


def test_a_password_in_the_query_is_not_shown() -> None:
    url = make_url("postgresql://db/registrar?user=ada&password=hunter2")
    assert app._without_password(url) == "postgresql://db/registrar"
