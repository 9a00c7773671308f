"""Refused and failed calls leave nothing in memory: no cycle of objects, and no request of megabytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest, GetCourseRequest, SearchCoursesRequest
from registrar.v1.enrollment_pb2 import EnrollmentState
from registrar.v1.enrollment_service_pb2 import (
    EnrollStudentRequest,
    ListCoursesRequest,
    ListRosterRequest,
    UnenrollRequest,
)
from registrar.v1.history_service_pb2 import WatchEventsRequest
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import UpdateStudentRequest
from registrar_server.ledger import ledger
from registrar_server.reading import lookups
from tests.support.garbage import Garbage
from tests.support.properties import scaled
from tests.support.raw_calls import HEALTH, OWN, RAW_METHODS, REFLECTION, RawMethod
from tests.support.servers import Registrar, ServerProcess, calling, server_process

Attempt = Callable[[Registrar], Awaitable[Any]]

LARGE = 3_900_000
"""Nearly the largest message, which has 4 MiB."""
AT_ONCE = 4
MAX_GROWTH = 200 * 2**20
ANY_STATE = EnrollmentState.ENROLLMENT_STATE_ENROLLED


def health(registrar: Registrar) -> Any:
    """Return the stub of the health service, whose methods are untyped."""
    return HealthStub(registrar.channel)


def enroll(registrar: Registrar, **fields: Any) -> Awaitable[Any]:
    return registrar.enrollments.EnrollStudent(
        EnrollStudentRequest(**{"student_id": "s-1", "course_id": "c-1"} | fields)
    )


def watch(registrar: Registrar, **fields: Any) -> Awaitable[Any]:
    """Return the first response of a stream."""
    first: Awaitable[Any] = registrar.history.WatchEvents(WatchEventsRequest(**fields)).read()
    return first


REFUSED: Mapping[str, Attempt] = {
    "INVALID_FIELD": lambda registrar: registrar.course("/"),
    "INVALID_FIELD of a change": lambda registrar: enroll(registrar, request_id="1"),
    "INVALID_PAGE_TOKEN": lambda registrar: registrar.courses.SearchCourses(SearchCoursesRequest(page_token="x")),
    "NOT_FOUND of a lookup": lambda registrar: registrar.course("c-9"),
    "NOT_FOUND of a list": lambda registrar: registrar.enrollments.ListRoster(ListRosterRequest(course_id="c-9")),
    "NOT_FOUND of a change": lambda registrar: enroll(registrar, student_id="s-9"),
    "INVALID_FIELD of a stream": lambda registrar: watch(registrar, after_revision=-1),
    "REVISION_AHEAD of a stream": lambda registrar: watch(registrar, after_revision=1_000),
    "NOT_FOUND of health": lambda registrar: health(registrar).Check(HealthCheckRequest(service="x")),
    "a violated rule": lambda registrar: enroll(registrar, request_id=str(uuid4())),
    "a violated rule in a preview": lambda registrar: enroll(registrar, validate_only=True),
}

CRASHING: Mapping[str, Attempt] = {
    "a lookup": lambda registrar: registrar.enrollments.ListCourses(ListCoursesRequest(student_id="crash")),
    "a list": lambda registrar: registrar.enrollments.ListCourses(
        ListCoursesRequest(student_id="crash", states=[ANY_STATE])
    ),
    "a change": lambda registrar: enroll(registrar, student_id="crash"),
    "a preview": lambda registrar: enroll(registrar, student_id="crash", validate_only=True),
}


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash every call about the student "crash", within its batch."""
    for module, name in ((ledger, "decide"), (lookups, "_answer")):
        monkeypatch.setattr(module, name, partial(_crash_or, getattr(module, name)))


def _crash_or(function: Callable[[Any, Any], Any], state: Any, asked: Any) -> Any:
    if getattr(asked, "student_id", "") == "crash":
        raise RuntimeError("broken")
    return function(state, asked)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.usefixtures("log")
async def test_a_refused_call_leaves_no_garbage(registrar: Registrar, garbage: Garbage, kind: str) -> None:
    await registrar.add_student("s-1")
    await registrar.add_course("c-1", capacity=0)
    await fail_repeatedly(REFUSED[kind], registrar)
    assert garbage() == []


@pytest.mark.parametrize("kind", CRASHING)
@pytest.mark.usefixtures("log", "crashing")
async def test_a_crashed_call_leaves_no_garbage(registrar: Registrar, garbage: Garbage, kind: str) -> None:
    await fail_repeatedly(CRASHING[kind], registrar)
    assert garbage() == []


@pytest.mark.parametrize("method", RAW_METHODS, ids=lambda method: method.path)
@pytest.mark.usefixtures("log")
async def test_broken_bytes_leave_no_garbage(sqlite_registrar: Registrar, garbage: Garbage, method: RawMethod) -> None:
    await fail_repeatedly(lambda registrar: method.send(registrar.channel, b"\xff"), sqlite_registrar)
    assert garbage() == []


async def fail_repeatedly(attempt: Attempt, registrar: Registrar) -> None:
    """Make ten calls that fail, and give the server the time to end them."""
    for _ in range(10):
        await failed(lambda: attempt(registrar))
    # This call succeeds, so it leaves no error.
    await registrar.courses.SearchCourses(SearchCoursesRequest())


async def failed(send: Callable[[], Awaitable[Any]]) -> grpc.StatusCode:
    """Return the status of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send()
    return refused.value.code()


def padded(request: Message) -> Any:
    """Return a request with a large field that the server does not know."""
    query = SearchCoursesRequest(query="x" * LARGE).SerializeToString()
    key_of_field_1000 = b"\xc2\x3e"
    return type(request).FromString(request.SerializeToString() + key_of_field_1000 + query[1:])


LARGE_REQUESTS: Mapping[str, tuple[str, str, Message]] = {
    "a long id": ("courses", "GetCourse", GetCourseRequest(course_id="x" * LARGE)),
    "a long request_id": ("enrollments", "Unenroll", UnenrollRequest(request_id="x" * LARGE)),
    "a long text": ("courses", "CreateCourse", CreateCourseRequest(course=Course(description="é" * (LARGE // 2)))),
    "many words": ("courses", "SearchCourses", SearchCoursesRequest(query="a " * (LARGE // 2))),
    "a long page token": ("courses", "SearchCourses", SearchCoursesRequest(page_token="x" * LARGE)),
    "many states": ("enrollments", "ListRoster", ListRosterRequest(states=[ANY_STATE] * 3_000_000)),
    "an unknown field, refused as NOT_FOUND": ("courses", "GetCourse", padded(GetCourseRequest(course_id="c-9"))),
    "an unknown field, refused in a list": ("enrollments", "ListRoster", padded(ListRosterRequest(course_id="c-9"))),
    "an unknown field, refused by a rule": (
        "enrollments",
        "EnrollStudent",
        padded(EnrollStudentRequest(student_id="s-1", course_id="c-1", request_id=str(uuid4()))),
    ),
    "an unknown field, refused in a preview": (
        "enrollments",
        "EnrollStudent",
        padded(EnrollStudentRequest(student_id="s-1", course_id="c-1", validate_only=True)),
    ),
    "a long name of a service": ("health", "Check", HealthCheckRequest(service="x" * LARGE)),
    "many paths of a mask": (
        "students",
        "UpdateStudent",
        UpdateStudentRequest(student=Student(student_id="s-1"), update_mask=FieldMask(paths=["x"] * (LARGE // 3))),
    ),
}


BROKEN = SearchCoursesRequest(query="x" * LARGE).SerializeToString() + b"\xff"
"""A message with a large text, up to the last byte, which is no field."""


@pytest.mark.long
async def test_a_server_keeps_no_large_request_that_it_refused(sqlite_url: str, tmp_path: Path) -> None:
    async with server_process(sqlite_url, tmp_path) as server, calling(await server.address()) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("c-1", capacity=0)
        sends: dict[str, Callable[[], Awaitable[Any]]] = {
            name: partial(call, registrar, *large) for name, large in LARGE_REQUESTS.items()
        }
        streams = [one for one in OWN if one.is_endless]
        for one in [OWN[0], *streams, *HEALTH, *REFLECTION]:
            sends[one.path] = partial(one.send, registrar.channel, BROKEN)
        grown = {name: await growth(server, send) for name, send in sends.items()}
    assert {name: size for name, size in grown.items() if size > MAX_GROWTH} == {}


def call(registrar: Registrar, stub: str, method: str, request: Message) -> Awaitable[Any]:
    of_stub = health(registrar) if stub == "health" else getattr(registrar, stub)
    called: Awaitable[Any] = getattr(of_stub, method)(request)
    return called


async def growth(server: ServerProcess, send: Callable[[], Awaitable[Any]]) -> int:
    """Return by how many bytes the memory of a server grows while it refuses a request many times."""
    process = psutil.Process(server.pid)
    before: int = process.memory_info().rss
    for _ in range(scaled(60) // AT_ONCE):
        statuses = await asyncio.gather(*(failed(send) for _ in range(AT_ONCE)))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED not in statuses, "gRPC refused the request before the server read it"
    return int(process.memory_info().rss) - before
