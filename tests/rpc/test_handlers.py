"""The handlers of all RPCs in the server of grpcio-testing, which has no connections and a clock that the test sets.

That server runs sync methods with messages, and its context lacks ``peer`` and ``abort_with_status``. ``Handlers`` and
``Context`` add what is missing. Everything else is the server's own, from the bytes of a request to those of its
response.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, NoReturn, cast

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode

from registrar.v1.batch_service_pb2 import BatchWriteRequest, Write
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest, SettleCourseRequest
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED, ENROLLMENT_STATE_ENROLLED
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    GetEnrollmentRequest,
    ListCoursesRequest,
    ListRosterRequest,
    UnenrollRequest,
)
from registrar.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest, GetStudentRequest
from registrar_server.rpc import services
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.methods import Change, Method, Read, Watch
from registrar_server.rpc.table import METHODS, SERVICES
from tests.support.refusals import DETAILS_KEY, Failure, info, resource
from tests.support.servers import Gate, Log, serving

ROWS = {name: method for methods in METHODS.values() for name, method in methods.items()}
NOON = 1_543_000_000.0

Handler = Callable[[bytes, Any], Awaitable[bytes]]


class RecordingServer:
    """Takes the place of gRPC's server: it keeps the handlers, and serves nobody."""

    def __init__(self) -> None:
        self._services: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._services += handlers

    def add_insecure_port(self, _address: str) -> int:
        return 1

    async def start(self) -> None:
        """Serve nobody."""

    async def stop(self, _grace: float) -> None:
        """End."""

    def handler(self, path: str) -> Handler:
        """Return the handler of an RPC, which must take and return bytes."""
        details: Any = CallDetails(path)
        (found,) = filter(None, (service.service(details) for service in self._services))
        assert found.request_deserializer is found.response_serializer is None
        handler: Any = found.unary_stream if found.response_streaming else found.unary_unary
        return cast("Handler", handler)


class CallDetails(NamedTuple):
    """What gRPC knows of a call before its request."""

    method: str
    invocation_metadata: tuple[()] = ()


class Aborted(Exception):
    """Ends a handler after its context has received the status."""


class Context:
    """The context that handlers expect, over that of grpcio-testing."""

    def __init__(self, given: Any, written: SimpleQueue[bytes | None] | None = None) -> None:
        self._given = given
        self._written = written

    async def write(self, response: bytes) -> None:
        assert self._written, "only a stream is written"
        self._written.put(response)

    def peer(self) -> str:
        """Return nothing after the deadline: gRPC does not know the peer of a connection that was closed then."""
        return "" if self.time_remaining() == 0 else "test:1"

    def time_remaining(self) -> float | None:
        remaining: float | None = self._given.time_remaining()
        return remaining

    async def abort_with_status(self, status: Any) -> None:
        self._given.set_code(status.code)
        self._given.set_details(status.details)
        self._given.set_trailing_metadata(status.trailing_metadata)
        raise Aborted


class Handlers:
    """The methods of a service by name, sync and with messages, over handlers that run in the event loop.

    A method with a stream returns an iterator. Its handler is cancelled when the caller has left.
    """

    def __init__(self, service: str, server: RecordingServer) -> None:
        self._service = service
        self._server = server
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Callable[[Message, Any], Any]:
        handle, row = self._server.handler(f"/{self._service}/{name}"), ROWS[name]
        return partial(self._stream if isinstance(row, Watch) else self._answer, handle, row.response)

    def _answer(self, handle: Handler, kind: type[Message], request: Message, context: Any) -> Message | None:
        async def answer() -> Message | None:
            try:
                data = await handle(request.SerializeToString(), Context(context))
            except Aborted:
                return None
            return kind.FromString(data)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()

    def _stream(self, handle: Handler, kind: type[Message], request: Message, context: Any) -> Iterator[Message]:
        written: SimpleQueue[bytes | None] = SimpleQueue()

        async def answer() -> None:
            try:
                await handle(request.SerializeToString(), Context(context, written))
            except Aborted:
                pass
            finally:
                written.put(None)

        answering = asyncio.run_coroutine_threadsafe(answer(), self._loop)
        context.add_callback(answering.cancel)
        while (data := written.get()) is not None:
            yield kind.FromString(data)
        if not answering.cancelled():
            answering.result()


class Answered(NamedTuple):
    """The result of a call."""

    response: Any
    code: StatusCode
    message: str
    trailers: dict[str, bytes]

    @property
    def failure(self) -> Failure:
        """The failure, if the call failed."""
        assert self.response is None
        metadata = grpc.aio.Metadata(*self.trailers.items())
        return Failure.read(grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), metadata, self.message))


class Registrar:
    """A server whose handlers are called by the server of grpcio-testing."""

    def __init__(self, server: RecordingServer) -> None:
        self.clock = grpc_testing.strict_fake_time(NOON)
        handlers = {service: Handlers(service.full_name, server) for service in SERVICES}
        self._server = grpc_testing.server_from_dictionary(handlers, self.clock)

    def begin(self, request: Message, timeout: float | None = None) -> Any:
        """Start the call with this request."""
        name = request.DESCRIPTOR.name.removesuffix("Request")
        (method,) = (service.methods_by_name[name] for service in SERVICES if name in service.methods_by_name)
        invoke = self._server.invoke_unary_stream if method.server_streaming else self._server.invoke_unary_unary
        return invoke(method, (), request, timeout)

    async def call(self, request: Message, timeout: float | None = None) -> Answered:
        """Make the call with this request."""
        return await ended(self.begin(request, timeout))

    async def done(self, request: Message) -> Any:
        """Make the call, which must succeed, and return its response."""
        answered = await self.call(request)
        assert answered.code is StatusCode.OK, answered
        return answered.response


async def ended(rpc: Any) -> Answered:
    """Wait for the end of a call. A stream has no response at its end."""
    *response, trailers, code, message = await asyncio.to_thread(rpc.termination)
    return Answered(response[0] if response else None, code, message, dict(trailers))


@pytest.fixture
async def registrar(database_url: str, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registrar]:
    """A gated server with a student s-1 and a course CS-101 of one seat."""
    recording = RecordingServer()
    monkeypatch.setattr(grpc.aio, "server", lambda **_options: recording)
    async with serving(database_url):
        registrar = Registrar(recording)
        await registrar.done(CreateStudentRequest(student=Student(student_id="s-1")))
        await registrar.done(CreateCourseRequest(course=Course(course_id="CS-101", capacity=1)))
        yield registrar


@pytest.fixture
async def broken(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registrar]:
    """A server whose rows all fail."""
    recording = RecordingServer()
    monkeypatch.setattr(grpc.aio, "server", lambda **_options: recording)
    rows = {service: {name: broken_row(row) for name, row in methods.items()} for service, methods in METHODS.items()}
    monkeypatch.setattr(services, "METHODS", rows)
    async with serving(sqlite_url):
        yield Registrar(recording)


def broken_row(row: Method) -> Method:
    """Return a row that fails when it reads the fields of a request."""
    if isinstance(row, Change):
        return dataclasses.replace(row, command=crash)
    if isinstance(row, Batch):
        return BrokenBatch(row.request, row.response)
    if isinstance(row, Watch):
        return dataclasses.replace(row, plan=crash)
    assert isinstance(row, Read)
    return dataclasses.replace(row, plan=crash)


def crash(*_arguments: Any) -> NoReturn:
    raise RuntimeError("password=s3cret")


class BrokenBatch(Batch):
    """A batch that fails when it is read."""

    def read(self, data: bytes) -> Any:
        crash(data)


async def test_enroll_list_unenroll(registrar: Registrar) -> None:
    """The core RPCs work one after another."""
    enroll = EnrollStudentRequest(student_id="s-1", course_id="CS-101")
    enrollment = (await registrar.done(enroll)).enrollment
    assert enrollment.state == ENROLLMENT_STATE_ENROLLED
    (entry,) = (await registrar.done(ListCoursesRequest(student_id="s-1"))).courses
    assert (entry.course.enrolled_count, entry.enrollment) == (1, enrollment)
    (row,) = (await registrar.done(ListRosterRequest(course_id="CS-101"))).entries
    assert (row.student.student_id, row.enrollment) == ("s-1", enrollment)
    assert (await registrar.done(GetEnrollmentRequest(enrollment_id=enrollment.enrollment_id))).enrollment == enrollment
    dropped = await registrar.done(UnenrollRequest(student_id="s-1", course_id="CS-101"))
    assert dropped.enrollment.state == ENROLLMENT_STATE_DROPPED


async def test_refusal(registrar: Registrar) -> None:
    """A refusal sets the code, message and details."""
    answered = await registrar.call(EnrollStudentRequest(student_id="nobody", course_id="CS-101"))
    sentence = 'There is no student "nobody".'
    assert answered.failure == Failure(
        StatusCode.NOT_FOUND,
        sentence,
        (info("STUDENT_NOT_FOUND", student_id="nobody"), resource("Student", "nobody", sentence)),
    )


@pytest.mark.parametrize("name", ROWS)
async def test_crash(name: str, broken: Registrar, log: Log) -> None:
    """An unexpected error is logged with an id, and the caller receives only the id."""
    failure = (await broken.call(_valid(name))).failure
    error_id = failure.the(ErrorInfo).metadata["error_id"]
    assert failure.code is StatusCode.INTERNAL
    assert failure.message == f"Internal error; the server's log has more under error_id {error_id}."
    assert "s3cret" not in str(failure)
    (crash,) = log.of("rpc_crashed")
    assert (crash["method"], crash["error_id"]) == (name, error_id)
    (line,) = log.of("rpc")
    assert (line["method"], line["status"], line["error_id"], line["peer"]) == (name, "INTERNAL", error_id, "test:1")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not isinstance(row, Watch)])
async def test_empty_request(name: str, registrar: Registrar) -> None:
    """An empty request of every RPC is answered or refused without a crash."""
    answered = await registrar.call(ROWS[name].request())
    assert answered.code in (StatusCode.OK, StatusCode.INVALID_ARGUMENT)
    assert (DETAILS_KEY in answered.trailers) == (answered.code is StatusCode.INVALID_ARGUMENT)


async def test_empty_request_of_a_stream(registrar: Registrar, log: Log) -> None:
    """WatchEvents streams from now on: first where that is, then what comes, until its caller leaves."""
    rpc = registrar.begin(WatchEventsRequest())
    assert await asyncio.to_thread(rpc.take_response) == WatchEventsResponse(revision=2, checkpoint=True)
    await registrar.done(EnrollStudentRequest(student_id="s-1", course_id="CS-101"))
    response = await asyncio.to_thread(rpc.take_response)
    assert [event.revision for event in response.events] == [response.revision] == [3]
    rpc.cancel()
    line = await log.one("rpc", method="WatchEvents")
    assert (line["events"], line["revision"]) == (1, 3)


async def test_before_deadline(registrar: Registrar) -> None:
    """A call before its deadline is answered."""
    answered = await registrar.call(GetStudentRequest(student_id="s-1"), timeout=1.0)
    assert (answered.code, answered.response.student.student_id) == (StatusCode.OK, "s-1")


async def test_after_the_deadline_of_a_stream(registrar: Registrar, log: Log) -> None:
    """A stream whose deadline passes ends with DEADLINE_EXCEEDED, also in the log."""
    rpc = registrar.begin(WatchEventsRequest(), timeout=2.0)
    assert (await asyncio.to_thread(rpc.take_response)).checkpoint
    registrar.clock.sleep_for(3.0)
    assert (await ended(rpc)).code is StatusCode.DEADLINE_EXCEEDED
    line = await log.one("rpc", method="WatchEvents")
    assert (line["status"], line["peer"]) == ("DEADLINE_EXCEEDED", "test:1")


async def test_after_deadline(registrar: Registrar, gate: Gate) -> None:
    """A call whose deadline passes while it waits fails with DEADLINE_EXCEEDED."""
    with gate.closed():
        rpc = registrar.begin(EnrollStudentRequest(student_id="s-1", course_id="CS-101"), timeout=2.0)
        await gate.holds_one()
        registrar.clock.sleep_for(3.0)
        answered = await ended(rpc)
    assert answered.code is StatusCode.DEADLINE_EXCEEDED


def _valid(name: str) -> Message:
    """Return a request of an RPC whose fields are all valid."""
    if name == "CompleteEnrollment":
        # It names the enrollment either by its id or by its student and course.
        return CompleteEnrollmentRequest(enrollment_id="x-1")
    if name == "BatchWrite":
        return BatchWriteRequest(writes=[Write(settle_course=SettleCourseRequest(course_id="x-1"))])
    request = ROWS[name].request()
    for field in request.DESCRIPTOR.fields:
        if field.name == "code" or (field.name.endswith("_id") and field.name != "request_id"):
            setattr(request, field.name, f"x-{field.number}")
    for resource_name in ("student", "course"):
        if hasattr(request, resource_name):
            setattr(getattr(request, resource_name), f"{resource_name}_id", "x-1")
    return request
