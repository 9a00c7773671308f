"""What the log says when something is wrong: faults, outages, slow calls, cancelled calls, misspelt settings."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import signal
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from sqlalchemy import Engine

from registrar.v1.course_service_pb2 import GetCourseRequest
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest
from registrar.v1.student_service_pb2 import GetStudentRequest, ListStudentsRequest, PlaceHoldRequest
from registrar_server import logs
from registrar_server.availability import Availability
from tests.support.certificates import Certificates
from tests.support.databases import execute, holding_the_courses
from tests.support.outages import database_outage
from tests.support.properties import scaled
from tests.support.raw_calls import HEALTH, RAW_METHODS, REFLECTION, RawMethod
from tests.support.servers import Gate, Log, Registrar, calling, registrar_on, server_process

ENROLL = EnrollStudentRequest(student_id="s-1", course_id="c-1")


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def availability(log: Log, clock: Clock) -> Availability:
    return Availability(clock)


def outage_lines(log: Log) -> list[tuple[str, int]]:
    """Return the lines about outages, each with its number of failed calls."""
    return [(line["event"], line["failed_calls"]) for line in log.lines if line["event"].startswith("database_")]


def test_a_lost_database_is_one_line_when_it_is_lost_and_one_when_it_is_back(
    log: Log, availability: Availability, clock: Clock
) -> None:
    for _ in range(5):
        clock.now += 1
        availability.failed("writing", OSError("connection refused\nmore"), calls=10)
    clock.now += 1
    availability.succeeded("writing")
    availability.succeeded("writing")
    assert outage_lines(log) == [("database_lost", 10), ("database_back", 40)]
    lost, back = log.lines
    assert (lost["level"], lost["work"], lost["error"]) == ("error", "writing", "connection refused")
    assert (back["level"], back["seconds"]) == ("warning", 5.0)


def test_a_database_that_stays_lost_is_one_line_a_minute_with_a_count(
    log: Log, availability: Availability, clock: Clock
) -> None:
    for _ in range(180):
        availability.failed("reading", OSError("refused"), calls=2)
        clock.now += 1
    assert outage_lines(log) == [("database_lost", 2), ("database_still_lost", 120), ("database_still_lost", 120)]
    assert [line["seconds"] for line in log.lines[1:]] == [60.0, 120.0]


def test_a_database_that_can_only_be_read_is_not_back(log: Log, availability: Availability) -> None:
    availability.failed("writing", OSError("disk full"), calls=1)
    availability.succeeded("reading")
    assert availability.fails("writing")
    assert not availability.fails("reading")
    availability.succeeded("writing")
    assert outage_lines(log) == [("database_lost", 1), ("database_back", 0)]


def test_calls_whose_change_may_be_committed_are_counted(log: Log, availability: Availability) -> None:
    availability.failed("writing", OSError("reset"), calls=3, uncertain=True)
    assert log.lines[0]["uncertain_calls"] == 3


async def test_an_outage_under_load_is_two_lines_and_the_calls_are_warnings(
    database_url: str, request: pytest.FixtureRequest, log: Log
) -> None:
    async with registrar_on(database_url, health_interval=3600) as registrar:
        await registrar.add_student("s-1")
        with database_outage(database_url, request):
            for _ in range(5):
                attempts: list[Any] = [registrar.add_student("s-2"), registrar.add_student("s-3")]
                attempts.append(registrar.students.GetStudent(GetStudentRequest(student_id="s-1")))
                attempts.append(registrar.students.ListStudents(ListStudentsRequest()))
                failures: list[Any] = await asyncio.gather(*attempts, return_exceptions=True)
                assert {failure.code() for failure in failures} == {grpc.StatusCode.UNAVAILABLE}
        await registrar.add_student("s-2")
        await registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))
    (_, before), (_, after) = outage_lines(log)
    assert [name for name, _ in outage_lines(log)] == ["database_lost", "database_back"]
    assert before + after == 20
    assert {line["level"] for line in log.of("rpc", reason="DATABASE_UNAVAILABLE")} == {"warning"}


async def test_the_line_of_a_call_without_fault_is_info(log: Log, sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    with pytest.raises(grpc.aio.AioRpcError):
        await sqlite_registrar.course("c-9")
    assert {line["level"] for line in log.of("rpc")} == {"info"}
    assert all("waited_ms" not in line for line in log.of("rpc"))


async def test_the_line_of_a_slow_call_says_where_the_time_went(log: Log, database_url: str) -> None:
    async with registrar_on(database_url, slow_call=0) as registrar:
        await registrar.add_student("s-1")
        await registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))
        await registrar.students.ListStudents(ListStudentsRequest())
    change, lookup, listing = log.of("rpc", level="warning")
    for line in (change, lookup, listing):
        parts = [line[f"{phase}_ms"] for phase in ("waited", "locked", "database", "packed")]
        assert sum(parts) == pytest.approx(line["duration_ms"], abs=0.01)
        assert line["database_ms"] > 0
    assert change["locked_ms"] > 0
    assert (lookup["locked_ms"], listing["locked_ms"]) == (0, 0)


async def test_the_line_of_a_slow_refusal_says_where_the_time_went(log: Log, sqlite_url: str) -> None:
    async with registrar_on(sqlite_url, slow_call=0) as registrar:
        with pytest.raises(grpc.aio.AioRpcError):
            await registrar.enroll("s-9", "c-9")
    (line,) = log.of("rpc", status="NOT_FOUND")
    assert line["locked_ms"] > 0


async def test_the_line_of_a_call_that_never_began_says_that_it_waited(gate: Gate, log: Log, sqlite_url: str) -> None:
    async with registrar_on(sqlite_url, slow_call=0) as registrar:
        with gate.closed():
            first = asyncio.ensure_future(registrar.add_student("s-1"))
            await gate.holds_one()
            waiting = asyncio.ensure_future(registrar.add_student("s-2"))
            await registrar.students.ListStudents(ListStudentsRequest())
            waiting.cancel()
            line = await log.one("rpc", status="CANCELLED")
        await first
    assert line["waited_ms"] == line["duration_ms"]
    assert "database_ms" not in line


async def test_the_line_of_a_call_that_gave_up_says_what_its_work_waited_for(
    log: Log, database_url: str, engine: Engine
) -> None:
    """The work goes on when its caller leaves, and the line counts the phase that it is in."""
    async with registrar_on(database_url, slow_call=0) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("c-1")
        with holding_the_courses(engine):
            with pytest.raises(grpc.aio.AioRpcError):
                await registrar.enrollments.EnrollStudent(ENROLL, timeout=0.3)
            line = await log.one("rpc", method="EnrollStudent")
    parts = [line[f"{phase}_ms"] for phase in ("waited", "locked", "database", "packed")]
    assert max(parts) == line["locked_ms"]
    assert sum(parts) == pytest.approx(line["duration_ms"], abs=0.01)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_shows_method_and_status_first(log_format: str) -> None:
    stream = io.StringIO()
    structlog.reset_defaults()
    logs.configure(log_format, stream=stream)
    values = {"method": "GetCourse", "status": "NOT_FOUND", "course_id": "c-1", "duration_ms": 1.5, "peer": "ipv4:1"}
    structlog.get_logger().info("rpc", **values)
    structlog.reset_defaults()
    written = stream.getvalue()
    places = [written.index(name) for name in ("rpc", *values)]
    assert places == sorted(places)


async def test_the_line_of_a_call_begins_with_method_and_status(log: Log, sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    (line,) = log.of("rpc")
    assert list(line)[:3] == ["method", "status", "student_id"]


async def test_cancelled_calls_log_no_errors(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server, calling(await server.address()) as registrar:

        async def give_up_at_some_moment() -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                request = GetCourseRequest(course_id="c-1")
                await registrar.courses.GetCourse(request, timeout=random.uniform(0.0005, 0.02))

        for _ in range(scaled(60)):
            await asyncio.gather(*(give_up_at_some_moment() for _ in range(32)))
        with pytest.raises(grpc.aio.AioRpcError):
            await registrar.course("/")
        await server.logged("rpc", lambda line: line["status"] == "INVALID_ARGUMENT")
    assert [line for line in server.lines if line["level"] not in ("info", "debug")] == []
    assert server.others == []


@pytest.mark.parametrize("method", [*HEALTH, *REFLECTION], ids=lambda method: method.path)
async def test_cancelled_streams_log_no_errors(method: RawMethod, sqlite_url: str, tmp_path: Path) -> None:
    async with server_process(sqlite_url, tmp_path) as server, calling(await server.address()) as registrar:
        stream: Any = registrar.channel.stream_stream(method.path)
        for is_begun in (False, True) * 20:
            call = stream()
            await call.write(b"")
            if is_begun:
                await call.read()
            call.cancel()
        with pytest.raises(grpc.aio.AioRpcError):
            await registrar.course("/")
        await server.logged("rpc")
    assert [line for line in server.lines if line["level"] != "info"] == []
    assert server.others == []


async def test_requests_that_are_no_messages_are_one_line_each_without_a_traceback(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with server_process(sqlite_url, tmp_path) as server:
        async with calling(await server.address()) as registrar:
            for method in RAW_METHODS:
                with pytest.raises(grpc.aio.AioRpcError):
                    await method.send(registrar.channel, b"\xff")
        server.signal(signal.SIGTERM)
        await server.wait()
    assert [line["method"] for line in server.lines if line["event"] == "rpc"] == [one.logged for one in RAW_METHODS]
    assert {line["level"] for line in server.lines} == {"info"}
    assert server.others == []


async def test_a_response_that_is_too_large_to_send_is_still_an_error(sqlite_url: str, tmp_path: Path) -> None:
    async with server_process(sqlite_url, tmp_path, MAX_MESSAGE_BYTES="262144") as server:
        async with calling(await server.address()) as registrar:
            await registrar.add_student("s-1")
            # A version without a limit of holds may have stored so many that no response can contain them.
            holds = json.dumps([[f"{place:03}", "學" * 1000, 0] for place in range(100)])
            execute(sqlite_url, "UPDATE students SET holds = :holds", holds=holds)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await registrar.students.PlaceHold(PlaceHoldRequest(student_id="s-1", code="000", reason="Paid."))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        line = await server.logged(
            "ExecuteBatchError raised in core by servicer method [/registrar.v1.StudentService/PlaceHold]"
        )
    assert line["level"] == "error"


async def test_the_core_of_grpc_writes_no_lines_of_its_own(
    sqlite_url: str, tmp_path: Path, certificates: Certificates
) -> None:
    files = {"TLS_CERT_FILE": str(certificates.server), "TLS_KEY_FILE": str(certificates.server_key)}
    async with server_process(sqlite_url, tmp_path, **files) as server:
        host, _, port = (await server.address()).rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"not TLS at all\r\n\r\n")
            assert await asyncio.to_thread(connection.recv, 1024) is not None
    assert server.others == []


async def test_a_misspelt_setting_is_warned_about_in_the_file_and_in_the_environment(
    sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REGISTRAR_LOGLEVEL=debug\nREGISTAR_MAX_BATCH=7\n")
    async with server_process(sqlite_url, tmp_path, LISTN="127.0.0.1:1") as server:
        await server.address()
    warned = {line["name"]: line["nearest"] for line in server.lines if line["event"] == "setting_unknown"}
    assert warned == {
        "REGISTRAR_LOGLEVEL": "REGISTRAR_LOG_LEVEL",
        "REGISTAR_MAX_BATCH": "REGISTRAR_MAX_BATCH",
        "REGISTRAR_LISTN": "REGISTRAR_LISTEN",
    }
