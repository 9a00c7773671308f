"""The log lines that the end of a call writes, byte for byte but for times, and however its logger is configured."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from registrar.v1.enrollment_pb2 import Enrollment
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, EnrollStudentResponse
from registrar_server import logs
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal
from registrar_server.identity.callers import ANYONE, Caller
from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.rpc import arrival
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import BATCH_WRITE, CHANGES

HEAD = '{"time":"","level":"info","event":'
REQUEST = EnrollStudentRequest(student_id='s "1" \\ Zoë 😀', course_id="c\n\x1b\u2028", request_id="r-1")


class Context:
    """The context of a call without a deadline."""

    def peer(self) -> str:
        return "test:1"

    def time_remaining(self) -> None:
        return None


@pytest.fixture(autouse=True)
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The stream of a log of its own, with JSON lines."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", stream=stream)
    monkeypatch.setattr(arrival, "log", structlog.get_logger())
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def end_a_write(outcome: Outcome, caller: Caller = ANYONE) -> None:
    """End a write of a batch."""
    batch = Arrival(BATCH_WRITE, b"", Context(), slow_call=60)
    batch.caller = caller
    batch.write(CHANGES["enroll_student"], REQUEST, 3, None).end(outcome)


def enrolled(caller: Caller = ANYONE) -> Answer:
    """Return the answer to the request, with its event."""
    message = EnrollStudentResponse(enrollment=Enrollment(enrollment_id="e-1", student_id="s-1", course_id="c-1"))
    event = Event(
        "h-1",
        EventType.STUDENT_ENROLLED,
        time=1,
        actor=caller.actor,
        request_id="r-1",
        student_id='s "1" \\ \x00 \x7f',
        course_id="c-1",
        enrollment_id="e \udc80",
        on_behalf_of=caller.on_behalf_of,
    )
    return Answer(message.SerializeToString(), [event], message)


def lines(stream: io.StringIO) -> list[str]:
    """Return the lines without what differs from call to call."""
    text = re.sub(r'"time":"[^"]+"', '"time":""', stream.getvalue())
    return re.sub(r'"duration_ms":[\d.]+', '"duration_ms":0', text).splitlines()


IDS = r'"student_id":"s \"1\" \\ \u0000 ' + "\x7f" + r'","course_id":"c-1","enrollment_id":"e \udc80"'
CALL_IDS = r'"student_id":"s \"1\" \\ Zoë 😀","course_id":"c\\n\\x1b\\u2028","request_id":"r-1"'
END = '"duration_ms":0,"peer":"test:1"}'


def test_a_write_is_a_line_of_its_event_and_a_line_of_its_call(stream: io.StringIO) -> None:
    end_a_write(enrolled())
    assert lines(stream) == [
        f'{HEAD}"student_enrolled",{IDS}}}',
        f'{HEAD}"rpc","method":"EnrollStudent","status":"OK","write":3,{CALL_IDS},"enrollment_id":"e-1",{END}',
    ]


def test_both_lines_name_the_caller_and_the_person(stream: io.StringIO) -> None:
    caller = Caller("key:sis", frozenset(), on_behalf_of='"Ada"')
    names = r'"actor":"key:sis","on_behalf_of":"\"Ada\""'
    end_a_write(enrolled(caller), caller)
    event, call = lines(stream)
    assert event == f'{HEAD}"student_enrolled",{IDS},{names}}}'
    assert call.startswith(f'{HEAD}"rpc","method":"EnrollStudent","status":"OK",{names},"write":3,')


def test_the_values_of_a_refusal_never_replace_the_head_of_a_line(stream: io.StringIO) -> None:
    end_a_write(Refusal(Reason.COURSE_FULL, "Full.", capacity="1", time="noon", level="high"))
    status = '"status":"FAILED_PRECONDITION"'
    values = '"reason":"COURSE_FULL","capacity":"1"'
    assert lines(stream) == [f'{HEAD}"rpc","method":"EnrollStudent",{status},"write":3,{CALL_IDS},{values},{END}']


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_values_in_a_dict_are_logged_as_keywords_are(stream: io.StringIO, level: str) -> None:
    values = {"seats": 3, "name": "Zoë"}
    for log in (structlog.get_logger(), structlog.get_logger().bind(), structlog.get_logger().bind(course_id="c-1")):
        getattr(log, level)("event", **values)
        logs.add(log, level, "event", dict(values))
    written = lines(stream)
    assert written[::2] == written[1::2]
    assert len(written) == (0 if level == "debug" else 6)


def test_values_in_a_dict_follow_the_level(stream: io.StringIO) -> None:
    log = structlog.get_logger().bind()
    logs.set_level("warning")
    logs.add(log, "info", "dropped", {})
    logs.add(log, "warning", "written", {})
    logs.set_level("info")
    logs.add(log, "info", "written", {})
    assert [line.partition('"event":')[2] for line in lines(stream)] == ['"written"}', '"written"}']


def test_values_in_a_dict_can_be_captured(stream: io.StringIO) -> None:
    log = structlog.get_logger().bind()
    with structlog.testing.capture_logs() as captured:
        logs.add(log, "info", "captured", {"seats": 3})
    assert captured == [{"event": "captured", "seats": 3, "log_level": "info"}]
    assert lines(stream) == []
