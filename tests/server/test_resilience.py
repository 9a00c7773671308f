"""What a server does when much is asked of it at once, and when the ground it stands on moves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from sqlalchemy.engine import make_url

from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_WAITLISTED
from registrar.v1.enrollment_service_pb2 import ListCoursesRequest
from registrar.v1.student_service_pb2 import GetStudentRequest
from registrar_server import app, migrate
from registrar_server.core.records import Course
from registrar_server.errors import Reason, Refusal
from registrar_server.reading.queries import Queries
from registrar_server.rpc import convert
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields
from registrar_server.storage import failures
from tests.support.failures import refused
from tests.support.servers import Gate, Registrar, calling, registrar_on, serving, settings


async def test_a_burst_of_thousands_is_served_whole(sqlite_registrar: Registrar) -> None:
    """GRPC itself would cut it short with a bare CANCELLED."""
    made = await asyncio.gather(*(sqlite_registrar.add_student(f"s-{place}") for place in range(3_000)))
    assert len({student.student_id for student in made}) == 3_000


async def test_a_stopping_server_refuses_new_calls_and_finishes_old_ones(gate: Gate, sqlite_url: str) -> None:
    async with serving(sqlite_url) as server, calling(server.address) as registrar:
        with gate.closed():
            under_way = asyncio.create_task(registrar.add_student("s-1"))
            await gate.holds_one()
            stopping = asyncio.create_task(server.stop())
            refusal = StatusCode.NOT_FOUND
            while refusal is StatusCode.NOT_FOUND:
                refusal = await _try(registrar)
            assert refusal is StatusCode.UNAVAILABLE
        assert (await under_way).student_id == "s-1"
        assert await stopping


async def _try(registrar: Registrar) -> StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await registrar.students.GetStudent(GetStudentRequest(student_id="nobody"))
    code: StatusCode = failed.value.code()
    return code


async def test_an_open_watch_does_not_delay_the_end(sqlite_url: str) -> None:
    server = await app.start(settings(sqlite_url))
    async with grpc.aio.insecure_channel(server.address) as channel:
        health: Any = HealthStub(channel)
        watch = health.Watch(HealthCheckRequest())
        await watch.read()
        async with asyncio.timeout(20):
            assert await server.stop(grace=60)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_nothing_is_acknowledged_into_a_sqlite_file_that_is_gone(sqlite_url: str, replaced: bool) -> None:
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


async def test_lists_that_wait_are_bounded_too() -> None:
    queries = Queries(1, max_waiting=1)
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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (psycopg.errors.LockNotAvailable(), Reason.CONTENTION),
        (psycopg.errors.DeadlockDetected(), Reason.CONTENTION),
        (psycopg.errors.AdminShutdown(), Reason.DATABASE_UNAVAILABLE),
        (failures.DatabaseReplaced(), Reason.DATABASE_UNAVAILABLE),
    ],
)
def test_a_failed_read_says_whether_to_try_again(error: Exception, reason: Reason) -> None:
    told = failures.refusal_of(error)
    assert isinstance(told, Refusal)
    assert told.reason is reason


def test_an_unknown_error_stays_one() -> None:
    error = RuntimeError()
    assert failures.refusal_of(error) is error


@pytest.mark.parametrize("key", [[{"a": 1}], [10**30, 1], [None], ["\ud800", 1], ["x"], ["a b", 1], ["x", "y"], []])
def test_a_token_that_was_computed_and_not_given_is_refused(key: list[Any]) -> None:
    request = ListCoursesRequest(student_id="s-1")
    request.page_token = Page(Fields(), request, 1_000)._token_after(key)
    with pytest.raises(Refusal) as refusal:
        Page(Fields(), request, 1_000).after(str, int)
    assert refusal.value.reason is Reason.INVALID_PAGE_TOKEN


async def test_a_token_holds_for_the_same_states_however_they_are_written(sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    for place in range(3):
        await sqlite_registrar.add_course(f"c-{place}")
        await sqlite_registrar.enroll("s-1", f"c-{place}")
    first = await sqlite_registrar.enrollments.ListCourses(ListCoursesRequest(student_id="s-1", page_size=2))
    states = [ENROLLMENT_STATE_WAITLISTED, ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_WAITLISTED]
    rest = ListCoursesRequest(student_id="s-1", states=states, page_token=first.next_page_token)
    second = await sqlite_registrar.enrollments.ListCourses(rest)
    assert [entry.course.course_id for entry in second.courses] == ["c-2"]


async def test_pages_fit_into_messages_that_were_set_smaller(sqlite_url: str) -> None:
    async with registrar_on(sqlite_url, max_message_bytes=262_144) as registrar:
        await asyncio.gather(*(registrar.add_course(f"c-{place:03}", description="x" * 9_000) for place in range(60)))
        found: list[str] = []
        token = ""
        while token or not found:
            request = SearchCoursesRequest(page_size=1000, page_token=token)
            page = await registrar.courses.SearchCourses(request)
            found += [course.course_id for course in page.courses]
            token = page.next_page_token
        assert found == [f"c-{place:03}" for place in range(60)]


def test_large_courses_are_not_kept_in_memory() -> None:
    kept = convert._cached_without_counters.cache_info().currsize
    convert.course(Course("c-large", description="x" * 10_000))
    assert convert._cached_without_counters.cache_info().currsize == kept
    convert.course(Course("c-small", description="x"))
    assert convert._cached_without_counters.cache_info().currsize == kept + 1


def test_a_password_in_the_query_is_not_shown() -> None:
    url = make_url("postgresql://db/registrar?user=ada&password=hunter2")
    assert app._shown(url) == "postgresql://db/registrar"
