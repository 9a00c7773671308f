"""The log: the format of its lines, one line per call, one line per enrollment action, and nothing else."""

from __future__ import annotations

import io
import json
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import structlog

from registrar.v1.enrollment_service_pb2 import RecordCompletionRequest, UnenrollRequest
from registrar_server import logs
from tests.support.servers import Log, Registrar, calling, server_process


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Restore the logging configuration of the process when the test ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the JSON lines in a stream."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_time_level_and_event() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    structlog.get_logger().info("student_enrolled", student_id="s-1", name="Zoë")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "event", "student_id", "name"]
    assert (line["level"], line["event"], line["name"]) == ("info", "student_enrolled", "Zoë")
    assert line["time"].endswith("Z")


def test_auto_selects_console_on_a_terminal_and_json_otherwise() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        structlog.reset_defaults()
        logs.configure("auto", stream=stream)
        structlog.get_logger().info("server_started", address="127.0.0.1:1")
    assert "server_started" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert lines(file)[0]["event"] == "server_started"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_lowest_that_is_logged(level: str, written: list[str]) -> None:
    stream = io.StringIO()
    logs.configure("json", level, stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)(name)
    assert [line["event"] for line in lines(stream)] == written


def test_warnings_of_libraries_are_logged_in_the_same_format() -> None:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    for name in ("sqlalchemy.engine", "psycopg", "asyncio", "yoyo.migrations"):
        logging.getLogger(name).info("SELECT 1")
    logging.getLogger("psycopg").warning("lost %s", "it")
    (line,) = lines(stream)
    assert (line["logger"], line["level"], line["event"]) == ("psycopg", "warning", "lost it")


async def test_lines_of_libraries_and_of_the_server_are_in_the_order_of_the_calls() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    structlog.get_logger().info("first")
    logging.getLogger("psycopg").warning("second")
    structlog.get_logger().info("third")
    logging.getLogger("psycopg").error("fourth")
    assert [line["event"] for line in lines(stream)] == ["first", "second", "third", "fourth"]


def test_an_error_of_a_library_has_its_traceback() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("psycopg").exception("crashed")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "event", "logger", "exception"]
    assert line["exception"][0]["exc_value"] == "broken"


def test_a_message_of_a_library_that_cannot_be_formatted_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    logging.getLogger("psycopg").warning("%s and %s", "one")
    assert stream.getvalue() == ""
    assert "not enough arguments for format string" in capsys.readouterr().err


def test_bound_values_come_first_and_arguments_are_put_into_the_event() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    structlog.get_logger().info("event %s of %d", "zero", 4)
    log = structlog.get_logger().bind(student_id="s-1", course_id="c-1")
    log.info("event %s", "one", course_id="c-2", seats=3)
    log.warning("event %s", "two", seats=4)
    log.unbind("student_id").info("plain")
    unbound, first, second, plain = (list(line.items())[2:] for line in lines(stream))
    assert unbound == [("event", "event zero of 4")]
    assert first == [("event", "event one"), ("student_id", "s-1"), ("course_id", "c-2"), ("seats", 3)]
    assert second == [("event", "event two"), ("student_id", "s-1"), ("course_id", "c-1"), ("seats", 4)]
    assert plain == [("event", "plain"), ("course_id", "c-1")]


def test_records_can_be_captured() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    log = structlog.get_logger()
    log.info("before")
    with structlog.testing.capture_logs() as captured:
        log.info("captured", seats=3)
        log.warning("captured")
    log.info("after")
    assert captured == [
        {"event": "captured", "seats": 3, "log_level": "info"},
        {"event": "captured", "log_level": "warning"},
    ]
    assert [line["event"] for line in lines(stream)] == ["before", "after"]


async def test_another_configuration_loses_no_line() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("json", stream=first)
    structlog.get_logger().info("first")
    logs.configure("json", stream=second)
    structlog.get_logger().info("second")
    logs.write_out()
    assert [line["event"] for stream in (first, second) for line in lines(stream)] == ["first", "second"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_never_shows_the_values_of_variables(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, stream=stream)
    password = "hunter" + "2"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("crashed", length=len(password))
    assert "RuntimeError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_inside_another_program_only_errors_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.stay_quiet()
    structlog.get_logger().warning("dropped")
    structlog.get_logger().error("logged")
    out = capsys.readouterr().out
    assert "logged" in out
    assert "dropped" not in out


def test_the_logging_configuration_of_another_program_is_kept() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    logs.stay_quiet()
    structlog.get_logger().info("logged")
    assert lines(stream)[0]["event"] == "logged"


async def test_every_call_writes_one_line(log: Log, sqlite_registrar: Registrar) -> None:
    request_id = str(uuid4())
    await sqlite_registrar.add_student("s-1")
    await sqlite_registrar.add_course("c-1")
    made = await sqlite_registrar.enroll("s-1", "c-1", request_id=request_id)
    assert [line["method"] for line in log.of("rpc")] == ["CreateStudent", "CreateCourse", "EnrollStudent"]
    (line,) = log.of("rpc", method="EnrollStudent")
    assert line["duration_ms"] > 0
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    expected = {
        "status": "OK",
        "student_id": "s-1",
        "course_id": "c-1",
        "enrollment_id": made.enrollment_id,
        "request_id": request_id,
    }
    assert expected.items() <= line.items()
    assert "reason" not in line


async def test_a_refused_call_is_logged_with_status_and_reason(log: Log, sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    with pytest.raises(grpc.aio.AioRpcError):
        await sqlite_registrar.enroll("s-1", "c-9")
    (line,) = log.of("rpc", method="EnrollStudent")
    assert (line["status"], line["reason"], line["course_id"]) == ("NOT_FOUND", "COURSE_NOT_FOUND", "c-9")
    (action,) = log.of("enrollment_refused")
    assert (action["student_id"], action["course_id"]) == ("s-1", "c-9")
    assert action["reasons"] == ["COURSE_NOT_FOUND"]


async def test_a_refused_completion_from_elsewhere_is_logged_too(log: Log, sqlite_registrar: Registrar) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await sqlite_registrar.enrollments.RecordCompletion(RecordCompletionRequest(student_id="s-9", course_id="c-9"))
    (action,) = log.of("enrollment_refused", student_id="s-9", course_id="c-9")
    assert action["reasons"] == ["STUDENT_NOT_FOUND"]


async def test_every_enrollment_action_writes_one_line(log: Log, sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    await sqlite_registrar.add_course("c-1")
    request_id = str(uuid4())
    made = await sqlite_registrar.enroll("s-1", "c-1", request_id=request_id)
    await sqlite_registrar.enroll("s-1", "c-1", request_id=request_id)  # A replay is not an action.
    await sqlite_registrar.enroll("s-1", "c-1", allow_existing=True)  # A call that changes nothing is not an action.
    await sqlite_registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id="c-1"))
    ids = {"student_id": "s-1", "course_id": "c-1", "enrollment_id": made.enrollment_id}
    assert len(log.of("student_enrolled", **ids)) == len(log.of("student_enrolled")) == 1
    assert len(log.of("student_unenrolled", **ids)) == len(log.of("student_unenrolled")) == 1


async def test_a_preview_is_not_logged_as_an_action(log: Log, sqlite_registrar: Registrar) -> None:
    await sqlite_registrar.add_student("s-1")
    await sqlite_registrar.add_course("c-1", capacity=0)
    with pytest.raises(grpc.aio.AioRpcError):
        await sqlite_registrar.enroll("s-1", "c-1", validate_only=True)
    assert not log.of("enrollment_refused")


async def test_a_server_process_logs_json_without_secrets(postgresql_url: str, tmp_path: Path) -> None:
    url = postgresql_url.replace("postgres@", "postgres:hunter2@")
    async with server_process(url, tmp_path, LISTN="x") as server:
        async with calling(await server.address()) as registrar:
            await registrar.add_student("s-1")
        server.signal(signal.SIGTERM)
        assert await server.wait() == 0
        events = [line["event"] for line in server.lines]
        assert events == ["setting_unknown", "server_started", "rpc", "server_stopping", "server_stopped"]
        assert "hunter2" not in json.dumps(server.lines) + "".join(server.others)


def test_a_finalizer_that_logs_while_lines_are_rendered_does_not_block_other_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Garbage may be collected at any moment, and asyncio logs the errors that nobody retrieved."""
    stream, renders, other_logs = io.StringIO(), threading.Event(), threading.Event()
    logs.configure("json", stream=stream)
    (handler,) = logging.getLogger().handlers
    emit = handler.emit

    class Garbage:
        def __str__(self) -> str:
            renders.set()
            other_logs.wait(10)
            logging.getLogger("asyncio").error("never retrieved")
            return "garbage"

    def note_and_emit(record: logging.LogRecord) -> None:
        if record.name == "other":
            other_logs.set()
        emit(record)

    monkeypatch.setattr(handler, "emit", note_and_emit)
    first = threading.Thread(target=lambda: structlog.get_logger().error("first", value=Garbage()), daemon=True)
    second = threading.Thread(target=logging.getLogger("other").error, args=("second",), daemon=True)
    first.start()
    renders.wait(10)
    second.start()
    for thread in (first, second):
        thread.join(10)
        assert not thread.is_alive()
    assert {json.loads(line)["event"] for line in stream.getvalue().splitlines()} == {
        "first",
        "never retrieved",
        "second",
    }
