"""The baseline server: one ORM transaction per call, as it is usually written, on the same tables.

Every call takes the same locks in the same order as Registrar and writes the same rows: enrollment, event, request id
and counters. It does not log or return rich errors, which is to its advantage.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import grpc
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Engine, create_engine, event, make_url, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from bench.echo import serve, service_of
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED
from registrar_server.ids import new_id
from registrar_server.storage.models import Course, Enrollment, Event, EventCounter, RequestId, Student

POSTGRESQL_THREADS = 16
LOCKED = {"key_share": True}  # FOR NO KEY UPDATE


class Refused(Exception):
    """The call is refused."""


class Orm:
    """Runs every call in a thread of the pool, in a session of its own."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._session = sessionmaker(engine, expire_on_commit=False)
        self._threads = ThreadPoolExecutor(threads)

    async def enroll(self, request: pb.EnrollStudentRequest, context: Any) -> pb.EnrollStudentResponse:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._enroll, request)
        except Refused as refused:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refused))
            raise

    def _enroll(self, request: pb.EnrollStudentRequest) -> pb.EnrollStudentResponse:
        with self._session.begin() as session:
            course = session.get(Course, request.course_id, with_for_update=LOCKED)
            student = session.get(Student, request.student_id, with_for_update=LOCKED)
            fingerprint = _fingerprint(request)
            stored = session.get(RequestId, ("", request.request_id))
            if stored is not None:
                if stored.fingerprint != fingerprint:
                    raise Refused("request_id was used for another request")
                return pb.EnrollStudentResponse.FromString(stored.response)
            enrollment = _open_enrollment(session, student, course)
            response = _response(enrollment)
            session.add(
                RequestId(
                    caller="",
                    request_id=request.request_id,
                    fingerprint=fingerprint,
                    response=response.SerializeToString(),
                    create_time=enrollment.create_time,
                )
            )
            session.flush()
            _append_event(session, enrollment, course, request.request_id)
            return response


def _open_enrollment(session: Session, student: Student | None, course: Course | None) -> Enrollment:
    if student is None or student.delete_time is not None:
        raise Refused("there is no such student")
    if course is None or course.delete_time is not None:
        raise Refused("there is no such course")
    attempts = session.scalars(
        select(Enrollment).where(Enrollment.student_id == student.student_id, Enrollment.course_id == course.course_id)
    ).all()
    if any(attempt.end_time is None for attempt in attempts):
        raise Refused("already enrolled")
    if course.capacity is not None and course.enrolled_count >= course.capacity:
        raise Refused("the course is full")
    course.enrolled_count += 1
    course.last_number += 1
    now = time.time_ns() // 1000
    enrollment = Enrollment(
        course_id=course.course_id,
        enrollment_id=new_id(now),
        student_id=student.student_id,
        number=course.last_number,
        attempt=len(attempts) + 1,
        state="ENROLLED",
        version=1,
        create_time=now,
        update_time=now,
    )
    session.add(enrollment)
    return enrollment


def _append_event(session: Session, enrollment: Enrollment, course: Course | None, request_id: str) -> None:
    """Append the event last, since all transactions wait for the counter."""
    assert course is not None
    counter = update(EventCounter).values(revision=EventCounter.revision + 1).returning(EventCounter.revision)
    session.add(
        Event(
            course_id=enrollment.course_id,
            revision=session.scalars(counter).one(),
            event_id=new_id(enrollment.create_time),
            type="STUDENT_ENROLLED",
            time=enrollment.create_time,
            student_id=enrollment.student_id,
            enrollment_id=enrollment.enrollment_id,
            state=enrollment.state,
            capacity=course.capacity,
            enrolled_count=course.enrolled_count,
            waitlisted_count=course.waitlisted_count,
            enrollment_version=enrollment.version,
            request_id=request_id,
        )
    )


def _response(enrollment: Enrollment) -> pb.EnrollStudentResponse:
    seconds, rest = divmod(enrollment.create_time, 1_000_000)
    now = Timestamp(seconds=seconds, nanos=rest * 1000)
    response = pb.EnrollStudentResponse()
    response.enrollment.enrollment_id = enrollment.enrollment_id
    response.enrollment.student_id = enrollment.student_id
    response.enrollment.course_id = enrollment.course_id
    response.enrollment.state = ENROLLMENT_STATE_ENROLLED
    response.enrollment.attempt = enrollment.attempt
    response.enrollment.create_time.CopyFrom(now)
    response.enrollment.update_time.CopyFrom(now)
    response.enrollment.etag = "1"
    return response


def _fingerprint(request: pb.EnrollStudentRequest) -> bytes:
    content = pb.EnrollStudentRequest()
    content.CopyFrom(request)
    content.ClearField("request_id")
    return blake2b(content.SerializeToString(deterministic=True), digest_size=32).digest()


def _engine(url: str) -> tuple[Engine, int]:
    """Return an engine and its best number of threads, which is one for SQLite, since it has one writer."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_size=POSTGRESQL_THREADS, max_overflow=0), POSTGRESQL_THREADS
    engine = create_engine(url, pool_size=1, max_overflow=0)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", lambda connection: connection.execute(text("BEGIN IMMEDIATE")))
    return engine, 1


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


if __name__ == "__main__":
    orm = Orm(*_engine(sys.argv[1]))
    enroll = grpc.unary_unary_rpc_method_handler(
        orm.enroll,
        request_deserializer=pb.EnrollStudentRequest.FromString,
        response_serializer=pb.EnrollStudentResponse.SerializeToString,
    )
    uvloop.run(serve(service_of({"EnrollStudent": enroll})))
