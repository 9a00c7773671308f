"""The baseline without a server: hand-written statements for one call at a time, executed through the driver.

On PostgreSQL an enrollment takes two round trips, as the server's does: one for all locks and lookups, one for all
writes and the commit. A list of courses takes one.
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import psycopg
from sqlalchemy import make_url

from bench import measurements, messages
from bench.measurements import Sample
from bench.meters import Meter
from registrar_server.ids import new_id

LOOKUPS = (
    """SELECT capacity, enrolled_count, last_number, state, delete_time FROM courses
        WHERE course_id = :course_id FOR NO KEY UPDATE""",
    """SELECT state, max_credits, delete_time FROM students
        WHERE student_id = :student_id FOR NO KEY UPDATE""",
    """SELECT enrollment_id, attempt, state FROM enrollments
        WHERE student_id = :student_id AND course_id = :course_id""",
    """SELECT fingerprint, response FROM request_ids
        WHERE caller = '' AND request_id = :request_id""",
)
WRITES = (
    """UPDATE courses SET enrolled_count = enrolled_count + 1, last_number = last_number + 1
        WHERE course_id = :course_id""",
    """INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade, bypassed_rules,
                                reason, version, create_time, update_time, last_skip)
       VALUES (:course_id, :enrollment_id, :student_id, :number, 1, 'ENROLLED', '', '[]', '', 1, :now, :now, '[]')""",
    """INSERT INTO request_ids (caller, request_id, fingerprint, response, create_time)
       VALUES ('', :request_id, :fingerprint, :response, :now)""",
    "UPDATE event_counter SET revision = revision + 1 WHERE id = 1",
    """INSERT INTO events (course_id, revision, event_id, type, time, actor, student_id, enrollment_id, state,
                           previous_state, capacity, enrolled_count, waitlisted_count, enrollment_version, reason,
                           comment, bypassed_rules, changes, request_id, grade, violations)
       SELECT :course_id, revision, :event_id, 'STUDENT_ENROLLED', :now, '', :student_id, :enrollment_id, 'ENROLLED',
              '', :capacity, :enrolled_count, 0, 1, '', '', '[]', '[]', :request_id, '', '[]'
         FROM event_counter WHERE id = 1""",
)
LISTING = (
    "SELECT state, delete_time FROM students WHERE student_id = :student_id",
    """SELECT enrollments.*, courses.* FROM enrollments JOIN courses ON courses.course_id = enrollments.course_id
        WHERE student_id = :student_id AND enrollments.state IN ('ENROLLED', 'WAITLISTED')
        ORDER BY enrollments.course_id LIMIT 101""",
)


class Connection(Protocol):
    """The operations that differ between the two databases."""

    def look_up(self, given: Mapping[str, Any]) -> list[Sequence[Any] | None]:
        """Begin a transaction, run all lookups and return the row of each, or None."""

    def write(self, given: Mapping[str, Any]) -> None:
        """Run all writes and commit."""

    def list_courses(self, given: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Look up the student and return the enrollments, each with its course, in a transaction."""


class PostgreSQL:
    """A psycopg connection in pipeline mode, with prepared statements."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._connection = psycopg.connect(
            host=parsed.host, port=parsed.port, user=parsed.username, dbname=parsed.database
        )
        self._lookups = [_psycopg(statement) for statement in LOOKUPS]
        self._writes = [_psycopg(statement) for statement in WRITES]
        self._listing = [_psycopg(statement) for statement in LISTING]

    def look_up(self, given: Mapping[str, Any]) -> list[Sequence[Any] | None]:
        with self._connection.pipeline():
            cursors = [self._connection.execute(statement, given, prepare=True) for statement in self._lookups]
        return [cursor.fetchone() for cursor in cursors]

    def write(self, given: Mapping[str, Any]) -> None:
        with self._connection.pipeline():
            for statement in self._writes:
                self._connection.execute(statement, given, prepare=True)
            self._connection.commit()

    def list_courses(self, given: Mapping[str, Any]) -> list[Sequence[Any]]:
        with self._connection.pipeline():
            student, courses = [self._connection.execute(statement, given, prepare=True) for statement in self._listing]
            self._connection.commit()
        found: list[Sequence[Any]] = list(courses.fetchall())
        return found if student.fetchone() else []


class SQLite:
    """A durable connection of the sqlite3 module."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._lookups = [statement.removesuffix("FOR NO KEY UPDATE") for statement in LOOKUPS]

    def look_up(self, given: Mapping[str, Any]) -> list[Sequence[Any] | None]:
        self._connection.execute("BEGIN IMMEDIATE")
        return [self._connection.execute(statement, given).fetchone() for statement in self._lookups]

    def write(self, given: Mapping[str, Any]) -> None:
        for statement in WRITES:
            self._connection.execute(statement, given)
        self._connection.execute("COMMIT")

    def list_courses(self, given: Mapping[str, Any]) -> list[Sequence[Any]]:
        self._connection.execute("BEGIN")
        student, courses = [self._connection.execute(statement, given).fetchall() for statement in LISTING]
        self._connection.execute("COMMIT")
        return courses if student else []


def _psycopg(statement: str) -> bytes:
    return re.sub(r":(\w+)", r"%(\1)s", statement).encode()


def run(
    *,
    url: str,
    database: int | None,
    workload: str,
    round_number: int,
    stored: int,
    response_size: int,
    warm_up: float,
    seconds: float,
) -> dict[str, Any]:
    """Run once and return the sample."""
    kind = SQLite if make_url(url).get_backend_name() == "sqlite" else PostgreSQL
    connection: Connection = kind(url)
    if workload in measurements.READING:
        requests: Iterator[Any] = messages.listings(stored)
        call: Callable[[Any], None] = partial(_list_courses, connection)
    else:
        pairing = messages.Pairing.of(workload, round_number)
        requests = messages.enrollments(pairing, messages.first_caller(stored))
        call = partial(_enroll, connection, b"\xcd" * response_size)
    meter = Meter(database=database)
    warm = _drive(call, requests, warm_up)
    meter.begin()
    latencies = _drive(call, requests, seconds)
    usage = meter.end()
    changes = 0 if workload in measurements.READING else len(warm) + len(latencies)
    return Sample.of(latencies, usage.seconds, changes=changes, **usage.per_call(len(latencies))).as_dict()


def _drive(call: Callable[[Any], None], requests: Iterator[Any], seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        call(next(requests))
        latencies.append(time.perf_counter() - begun)
    return latencies


def _list_courses(connection: Connection, request: Any) -> None:
    found = connection.list_courses({"student_id": request.student_id})
    if len(found) != messages.COURSES_EACH:
        raise RuntimeError(f"{request.student_id} has {len(found)} courses")


def _enroll(connection: Connection, response: bytes, request: Any) -> None:
    given = {name: getattr(request, name) for name in ("student_id", "course_id", "request_id")}
    course, student, attempt, stored = connection.look_up(given)
    if course is None or student is None or attempt is not None or stored is not None:
        raise RuntimeError(f"{given} cannot be enrolled: {course} {student} {attempt} {stored}")
    capacity, enrolled_count, last_number, *_ = course
    if capacity is not None and enrolled_count >= capacity:
        raise RuntimeError(f"{given} cannot be enrolled: the course is full")
    now = time.time_ns() // 1000
    made = {
        "enrollment_id": new_id(now),
        "event_id": new_id(now),
        "number": last_number + 1,
        "capacity": capacity,
        "enrolled_count": enrolled_count + 1,
        "fingerprint": blake2b(uuid.UUID(request.request_id).bytes, digest_size=32).digest(),
        "response": response,
        "now": now,
    }
    connection.write({**given, **made})
