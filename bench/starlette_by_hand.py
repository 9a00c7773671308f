"""The baseline of HTTP: two endpoints by hand, on Starlette and uvicorn, over the ledger and the lookups of Registrar.

They check the ids, answer with the same JSON and headers, and log the same lines, as Registrar does. Registrar's own
function writes the JSON, so that the baseline is as fast there. The endpoints know nothing of other fields, the
deadlines of callers, compression, web pages, and clients that leave.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b

import structlog
import uvicorn
import uvloop
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_server import logs, settings
from registrar_server.call_queues import CallQueues
from registrar_server.core.commands import Enroll
from registrar_server.core.seats import Enrolled
from registrar_server.errors import Refusal
from registrar_server.http.json_answers import write
from registrar_server.ledger.calls import Call
from registrar_server.ledger.event_lines import log_events
from registrar_server.reading.lookups import CoursesOfStudent, StudentCourse
from registrar_server.rpc import convert
from registrar_server.rpc.methods import LookupPlan
from registrar_server.rpc.validation import Fields
from registrar_server.storage.database import Database

TIMEOUT_S = 30.0
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

log = structlog.get_logger()


class Endpoints:
    """The endpoints, on one set of queues."""

    def __init__(self, queues: CallQueues) -> None:
        self._changes = queues.changes
        self._lookups = queues.lookups

    async def enroll(self, request: Request) -> Response:
        """Enroll a student in a course."""
        begun = time.perf_counter()
        given, body = Fields(), await request.json()
        student_id = given.id("student_id", request.path_params["student_id"])
        course_id = given.id("course_id", body["course_id"])
        request_id = given.request_id(request.headers.get("idempotency-key", ""))
        given.check()
        digest = blake2b(f"{student_id}\0{course_id}".encode(), digest_size=32).digest() if request_id else b""
        call = Call(Enroll(student_id, course_id), _enrolled, request_id, digest)
        answer = await self._changes.submit(call, timeout=TIMEOUT_S)
        log_events(answer.events)
        response = answer.message or pb.EnrollStudentResponse.FromString(answer.response)
        enrollment = response.enrollment
        log.info(
            "rpc",
            method="EnrollStudent",
            status="OK",
            enrollment_id=enrollment.enrollment_id,
            student_id=student_id,
            course_id=course_id,
            duration_ms=round((time.perf_counter() - begun) * 1000, 3),
            peer=_peer(request),
        )
        return _answer(response, {"etag": f'"{enrollment.etag}"'})

    async def list_courses(self, request: Request) -> Response:
        """List the live enrollments of a student with their courses."""
        begun = time.perf_counter()
        given = Fields()
        student_id = given.id("student_id", request.path_params["student_id"])
        given.check()
        plan = LookupPlan(CoursesOfStudent(student_id), _listed)
        answer = await self._lookups.submit(plan, timeout=TIMEOUT_S)
        log.info(
            "rpc",
            method="ListCourses",
            status="OK",
            student_id=student_id,
            duration_ms=round((time.perf_counter() - begun) * 1000, 3),
            peer=_peer(request),
        )
        return _answer(answer.message, {})


def _enrolled(result: Enrolled) -> Message:
    response = pb.EnrollStudentResponse(promoted_count=len(result.promoted))
    convert.set_enrollment(response.enrollment, result.enrollment)
    response.promoted.extend(convert.listed(result.promoted))
    return response


def _listed(rows: Sequence[StudentCourse], _max_bytes: int) -> Message:
    response = pb.ListCoursesResponse()
    for row in rows:
        entry = response.courses.add()
        convert.set_course(entry.course, row.course)
        convert.set_enrollment(entry.enrollment, row.enrollment)
    return response


def _answer(message: Message, headers: dict[str, str]) -> Response:
    return Response(write(message), headers=HEADERS | headers, media_type="application/json")


def _peer(request: Request) -> str:
    return f"ipv4:{request.client.host}:{request.client.port}" if request.client else "unknown"


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"reason": error.reason.value, "message": str(error)}, 400, HEADERS)


def make_app(url: str, address: str) -> Starlette:
    """Return the application, which logs its address when it has started."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        config = settings.load(database_url=url)
        database = Database(url, writers=config.write_lanes, readers=config.read_lanes + 2)
        queues = CallQueues(database, config)
        endpoints = Endpoints(queues)
        app.router.routes += [
            Route("/students/{student_id}/enroll", endpoints.enroll, methods=["POST"]),
            Route("/students/{student_id}/courses", endpoints.list_courses, methods=["GET"]),
        ]
        log.info("server_started", address=address, http=address)
        yield
        await queues.close()
        await queues.disconnect()
        database.close()

    return Starlette(lifespan=lifespan, exception_handlers={Refusal: _refused})


async def serve(url: str) -> None:
    """Serve on a free port until a signal."""
    # The garbage collection is that of Registrar, see `registrar_server.cli`.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = make_app(url, f"127.0.0.1:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            app, http="httptools", ws="none", access_log=False, server_header=False, log_config=None
        )
        await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    logs.configure(log_format="json")
    uvloop.run(serve(sys.argv[1]))
