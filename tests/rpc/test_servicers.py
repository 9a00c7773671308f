"""The servicers in the server of grpcio-testing, which has no connections and a clock that the test sets.

That server runs only sync handlers, and its context lacks ``peer`` and ``abort_with_status``. ``Adapted`` adds them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode

from registrar.v1 import course_service_pb2, enrollment_service_pb2, history_service_pb2, student_service_pb2
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED, ENROLLMENT_STATE_ENROLLED
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    GetEnrollmentRequest,
    ListCoursesRequest,
    ListRosterRequest,
    UnenrollRequest,
)
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest, GetStudentRequest
from registrar_server.ledger.batching import Batcher, Lanes
from registrar_server.ledger.ledger import Answer, Call, Ledger
from registrar_server.reading.lookups import Lookup
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.reader import Reader
from registrar_server.reading.reads import Reads
from registrar_server.rpc.course_service import CourseService
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.enrollment_service import EnrollmentService
from registrar_server.rpc.history_service import HistoryService
from registrar_server.rpc.student_service import StudentService
from registrar_server.rpc.twins import Twins
from registrar_server.storage.database import Database
from tests.support.refusals import DETAILS_KEY, Failure, info, resource
from tests.support.servers import Gate, Log

SERVICES = {
    module.DESCRIPTOR.services_by_name[servicer.__name__]: servicer
    for module, servicer in (
        (enrollment_service_pb2, EnrollmentService),
        (student_service_pb2, StudentService),
        (course_service_pb2, CourseService),
        (history_service_pb2, HistoryService),
    )
}
METHODS = {method.name: method for service in SERVICES for method in service.methods}
NOON = 1_543_000_000.0


class Aborted(Exception):
    """Ends a handler after its context has received the status."""


class Context:
    """The context that the servicers expect, over that of grpcio-testing."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def peer(self) -> str:
        return "test:1"

    def time_remaining(self) -> float | None:
        remaining: float | None = self._given.time_remaining()
        return remaining

    async def abort_with_status(self, status: Any) -> None:
        self._given.set_code(status.code)
        self._given.set_details(status.details)
        self._given.set_trailing_metadata(status.trailing_metadata)
        raise Aborted


class Adapted:
    """A servicer with sync methods, which run in the event loop that created it."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Callable[[Message, Any], Message | None]:
        method = getattr(self._servicer, name)

        def call(request: Message, context: Any) -> Message | None:
            running = asyncio.run_coroutine_threadsafe(method(request, Context(context)), self._loop)
            try:
                response: Message = running.result()
            except Aborted:
                return None
            return response

        return call


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


class Servicers:
    """The servicers in the server of grpcio-testing."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.clock = grpc_testing.strict_fake_time(NOON)
        adapted = {service: Adapted(servicer(dispatcher)) for service, servicer in SERVICES.items()}
        self._server = grpc_testing.server_from_dictionary(adapted, self.clock)

    def begin(self, request: Message, timeout: float | None = None) -> Any:
        """Start the call with this request."""
        method = METHODS[request.DESCRIPTOR.name.removesuffix("Request")]
        return self._server.invoke_unary_unary(method, (), request, timeout)

    async def call(self, request: Message, timeout: float | None = None) -> Answered:
        """Make the call with this request."""
        return await ended(self.begin(request, timeout))

    async def done(self, request: Message) -> Any:
        """Make the call, which must succeed, and return its response."""
        answered = await self.call(request)
        assert answered.code is StatusCode.OK, answered
        return answered.response


async def ended(rpc: Any) -> Answered:
    """Wait for the end of a call."""
    response, trailers, code, message = await asyncio.to_thread(rpc.termination)
    return Answered(response, code, message, dict(trailers))


@pytest.fixture
async def dispatcher(database_url: str, gate: Gate) -> AsyncIterator[Dispatcher]:
    """A dispatcher over a real ledger and reader, with one gated lane for changes."""
    database = Database(database_url)
    ledger, reader = Ledger(database), Reader(database)
    changes = Lanes[Call, Answer]([Batcher(ledger.run, "write")], key=lambda call: call.command.lane_key)
    lookups = Batcher[Lookup, Any](reader.look_up, "read")
    queries = QueryThreads(1, 10)
    twins, reads = Twins(changes, max_waiting=10), Reads(reader, lookups, queries)
    yield Dispatcher(ledger, twins, reads, queries, max_message_bytes=4_194_304, slow_call=1.0)
    await asyncio.gather(changes.close(), lookups.close(), queries.close())
    database.close()


@pytest.fixture
async def servicers(dispatcher: Dispatcher) -> Servicers:
    """The servicers, with a student s-1 and a course CS-101 of one seat."""
    servicers = Servicers(dispatcher)
    await servicers.done(CreateStudentRequest(student=Student(student_id="s-1")))
    await servicers.done(CreateCourseRequest(course=Course(course_id="CS-101", capacity=1)))
    return servicers


class Broken:
    """A dispatcher whose methods all fail."""

    slow_call = 1.0

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("password=s3cret")


async def test_enroll_list_unenroll(servicers: Servicers) -> None:
    """The core RPCs work one after another."""
    enroll = EnrollStudentRequest(student_id="s-1", course_id="CS-101")
    enrollment = (await servicers.done(enroll)).enrollment
    assert enrollment.state == ENROLLMENT_STATE_ENROLLED
    (entry,) = (await servicers.done(ListCoursesRequest(student_id="s-1"))).courses
    assert (entry.course.enrolled_count, entry.enrollment) == (1, enrollment)
    (row,) = (await servicers.done(ListRosterRequest(course_id="CS-101"))).entries
    assert (row.student.student_id, row.enrollment) == ("s-1", enrollment)
    assert (await servicers.done(GetEnrollmentRequest(enrollment_id=enrollment.enrollment_id))).enrollment == enrollment
    dropped = await servicers.done(UnenrollRequest(student_id="s-1", course_id="CS-101"))
    assert dropped.enrollment.state == ENROLLMENT_STATE_DROPPED


async def test_refusal(servicers: Servicers) -> None:
    """A refusal sets the code, message and details."""
    answered = await servicers.call(EnrollStudentRequest(student_id="nobody", course_id="CS-101"))
    sentence = 'There is no student "nobody".'
    assert answered.failure == Failure(
        StatusCode.NOT_FOUND,
        sentence,
        (info("STUDENT_NOT_FOUND", student_id="nobody"), resource("Student", "nobody", sentence)),
    )


@pytest.mark.parametrize("name", METHODS)
async def test_crash(name: str, log: Log) -> None:
    """An unexpected error is logged with an id, and the caller receives only the id."""
    servicers = Servicers(Broken())  # type: ignore[arg-type]
    request = _valid(name)
    failure = (await servicers.call(request)).failure
    error_id = failure.the(ErrorInfo).metadata["error_id"]
    assert failure.code is StatusCode.INTERNAL
    assert failure.message == f"Internal error; the server's log has more under error_id {error_id}."
    assert "s3cret" not in str(failure)
    (crash,) = log.of("rpc_crashed")
    assert (crash["method"], crash["error_id"]) == (name, error_id)
    (line,) = log.of("rpc")
    assert (line["method"], line["status"], line["error_id"], line["peer"]) == (name, "INTERNAL", error_id, "test:1")


@pytest.mark.parametrize("name", METHODS)
async def test_empty_request(name: str, servicers: Servicers) -> None:
    """An empty request of every RPC is answered or refused without a crash."""
    request = _request(name)()
    answered = await servicers.call(request)
    assert answered.code in (StatusCode.OK, StatusCode.INVALID_ARGUMENT)
    assert (DETAILS_KEY in answered.trailers) == (answered.code is StatusCode.INVALID_ARGUMENT)


async def test_before_deadline(servicers: Servicers) -> None:
    """A call before its deadline is answered."""
    answered = await servicers.call(GetStudentRequest(student_id="s-1"), timeout=1.0)
    assert (answered.code, answered.response.student.student_id) == (StatusCode.OK, "s-1")


async def test_after_deadline(servicers: Servicers, gate: Gate) -> None:
    """A call whose deadline passes while it waits fails with DEADLINE_EXCEEDED."""
    with gate.closed():
        rpc = servicers.begin(EnrollStudentRequest(student_id="s-1", course_id="CS-101"), timeout=2.0)
        await gate.holds_one()
        servicers.clock.sleep_for(3.0)
        answered = await ended(rpc)
    assert answered.code is StatusCode.DEADLINE_EXCEEDED


def _request(name: str) -> Callable[..., Message]:
    """Return the request class of an RPC."""
    module = {
        "registrar.v1.EnrollmentService": enrollment_service_pb2,
        "registrar.v1.StudentService": student_service_pb2,
        "registrar.v1.CourseService": course_service_pb2,
        "registrar.v1.HistoryService": history_service_pb2,
    }[METHODS[name].containing_service.full_name]
    request: Callable[..., Message] = getattr(module, f"{name}Request")
    return request


def _valid(name: str) -> Message:
    """Return a request of an RPC whose fields are all valid."""
    if name == "CompleteEnrollment":
        # It names the enrollment either by its id or by its student and course.
        return CompleteEnrollmentRequest(enrollment_id="x-1")
    request = _request(name)()
    for field in METHODS[name].input_type.fields:
        if field.name == "code" or (field.name.endswith("_id") and field.name != "request_id"):
            setattr(request, field.name, f"x-{field.number}")
    for resource_name in ("student", "course"):
        if hasattr(request, resource_name):
            setattr(getattr(request, resource_name), f"{resource_name}_id", "x-1")
    return request
