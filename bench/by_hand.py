"""The baseline without a server: hand-written statements for one enrollment at a time, executed through the driver.

On PostgreSQL they take two round trips, as the server's do: one for all locks and lookups, one for all writes and the
commit.
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import psycopg
from sqlalchemy import make_url

from bench import messages
from bench.measurements import Sample
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


class Connection(Protocol):
    """The operations that differ between the two databases."""

    def look_up(self, given: Mapping[str, Any]) -> list[Sequence[Any] | None]:
        """Begin a transaction, run all lookups and return the row of each, or None."""

    def write(self, given: Mapping[str, Any]) -> None:
        """Run all writes and commit."""


class PostgreSQL:
    """A psycopg connection in pipeline mode, with prepared statements."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._connection = psycopg.connect(
            host=parsed.host, port=parsed.port, user=parsed.username, dbname=parsed.database
        )
        self._lookups = [_psycopg(statement) for statement in LOOKUPS]
        self._writes = [_psycopg(statement) for statement in WRITES]

    def look_up(self, given: Mapping[str, Any]) -> list[Sequence[Any] | None]:
        with self._connection.pipeline():
            cursors = [self._connection.execute(statement, given, prepare=True) for statement in self._lookups]
        return [cursor.fetchone() for cursor in cursors]

    def write(self, given: Mapping[str, Any]) -> None:
        with self._connection.pipeline():
            for statement in self._writes:
                self._connection.execute(statement, given, prepare=True)
            self._connection.commit()


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


def _psycopg(statement: str) -> bytes:
    return re.sub(r":(\w+)", r"%(\1)s", statement).encode()


def run(
    *, url: str, workload: str, round_number: int, stored: int, response_size: int, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Run once and return the sample."""
    kind = SQLite if make_url(url).get_backend_name() == "sqlite" else PostgreSQL
    requests = messages.enrollments(messages.Pairing.of(workload, round_number), messages.first_caller(stored))
    connection: Connection = kind(url)
    warm = _drive(connection, requests, b"\xcd" * response_size, warm_up)
    begun = time.perf_counter()
    latencies = _drive(connection, requests, b"\xcd" * response_size, seconds)
    took = time.perf_counter() - begun
    return Sample.of(latencies, took, changes=len(warm) + len(latencies)).as_dict()


def _drive(connection: Connection, requests: Any, response: bytes, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        request = next(requests)
        _enroll(connection, request, response)
        latencies.append(time.perf_counter() - begun)
    return latencies


def _enroll(connection: Connection, request: Any, response: bytes) -> None:
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
