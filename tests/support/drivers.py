"""Drivers as the server configures them, with statements and rows for tests of ``storage.bulk``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import make_url

from registrar_server.storage.bulk import (
    Append,
    Dialect,
    Heads,
    Insert,
    Lock,
    PostgreSQL,
    Query,
    Rows,
    Select,
    SQLite,
    Statement,
    Update,
)

STUDENT_VALUES = ("given_name", "max_credits", "holds", "delete_time")
STUDENT_DEFAULTS = ("family_name", "email", "state", "version", "create_time", "update_time", "search_text")
DEFAULTS = ("", "", "ACTIVE", 1, 0, 0, "")

INSERT_STUDENTS = Insert("students", (), ("student_id", *STUDENT_VALUES, *STUDENT_DEFAULTS))
SELECT_STUDENTS = Select("students", ("student_id",), ("student_id", *STUDENT_VALUES), read=tuple)
UPDATE_STUDENTS = Update("students", ("student_id",), STUDENT_VALUES)
LOCK_STUDENTS = Lock("students", ("student_id",), ("student_id", *STUDENT_VALUES), read=tuple)

RESPONSE = ("caller", "request_id", "fingerprint", "response", "create_time")
INSERT_RESPONSES = Insert("request_ids", (), RESPONSE)
SELECT_RESPONSES = Select("request_ids", ("caller", "request_id"), RESPONSE, read=tuple)
UPDATE_RESPONSES = Update("request_ids", ("caller", "request_id"), ("response",))

EVENT = ("course_id", "event_id", "type", "time", "changes")
EVENT_TEXTS = (
    "actor",
    "student_id",
    "enrollment_id",
    "state",
    "previous_state",
    "reason",
    "comment",
    "request_id",
    "grade",
)
EVENT_COLUMNS = (*EVENT, *EVENT_TEXTS, "bypassed_rules", "violations")
APPEND_EVENTS = Append("events", (), EVENT_COLUMNS, number="revision", counter="event_counter")
SELECT_EVENTS = Select("events", ("course_id",), ("event_id", "revision", "changes"), read=tuple)

COURSE: dict[str, Any] = {
    **dict.fromkeys(("code", "title", "description", "term", "search_text"), ""),
    **dict.fromkeys(("credits", "create_time", "update_time", "enrolled_count", "waitlisted_count", "last_number"), 0),
    **{"capacity": None, "meetings": "[]", "prerequisite_course_ids": "[]", "state": "OPEN", "version": 1},
}
INSERT_COURSES = Insert("courses", (), ("course_id", *COURSE))
ENROLLMENT: dict[str, Any] = {
    **dict.fromkeys(("grade", "reason"), ""),
    **dict.fromkeys(("bypassed_rules", "last_skip"), "[]"),
    **{"attempt": 1, "version": 1, "passed": None, "create_time": 0, "update_time": 0, "end_time": None},
}
INSERT_ENROLLMENTS = Insert(
    "enrollments", (), ("course_id", "enrollment_id", "student_id", "number", "state", *ENROLLMENT)
)
FIRST_WAITERS = Heads(
    "enrollments",
    ("course_id",),
    groups="courses",
    columns=("course_id", "student_id", "number", "bypassed_rules"),
    where="state = 'WAITLISTED'",
    order="number",
    limit="courses.waitlisted_count - courses.capacity + given.number",
    read=tuple,
)
LOCK_FIRST_WAITERS = Lock("students", ("student_id",), ("student_id",), heads=FIRST_WAITERS, read=tuple)


def student_row(student_id: str, name: str = "", max_credits: int | None = None, **fields: Any) -> tuple[Any, ...]:
    """Return a row for ``INSERT_STUDENTS``."""
    return (student_id, name, max_credits, fields.get("holds", "[]"), fields.get("delete_time"), *DEFAULTS)


def event_row(course_id: str, event_id: str, changes: str = "[]") -> tuple[Any, ...]:
    """Return a row for ``APPEND_EVENTS``."""
    return (course_id, event_id, "COURSE_UPDATED", 0, changes, *[""] * len(EVENT_TEXTS), "[]", "[]")


def course_row(course_id: str, **fields: Any) -> tuple[Any, ...]:
    """Return a row for ``INSERT_COURSES``."""
    return (course_id, *(fields.get(name, value) for name, value in COURSE.items()))


def enrollment_row(course_id: str, student_id: str, number: int, state: str, **fields: Any) -> tuple[Any, ...]:
    """Return a row for ``INSERT_ENROLLMENTS``."""
    end_time = None if state in ("ENROLLED", "WAITLISTED") else 1
    values = ENROLLMENT | {"end_time": end_time} | fields
    return (course_id, f"e-{course_id}-{number}", student_id, number, state, *values.values())


@dataclass
class Driver:
    """A dialect, a connection as the server configures it, and the texts of the statements executed so far."""

    dialect: Dialect
    connection: Any
    statement_texts: Callable[[], list[str]]

    def read(self, *requests: tuple[Query[Any], Rows]) -> list[list[tuple[Any, ...]]]:
        """Run selects, and return the rows of each in order."""
        results = [sorted(tuple(row) for row in rows) for rows in self.dialect.read(self.connection, requests)]
        self.connection.rollback()
        return results

    def write(self, *requests: tuple[Statement, Rows]) -> None:
        """Run changes and commit."""
        if isinstance(self.dialect, SQLite):
            self.connection.execute("BEGIN IMMEDIATE")
        self.dialect.write(self.connection, requests)


class RecordingConnection(sqlite3.Connection):
    """A connection that records the texts of its statements."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.texts: list[str] = []

    def execute(self, text: str, /, *parameters: Any) -> sqlite3.Cursor:
        self.texts.append(text)
        return super().execute(text, *parameters)

    def executemany(self, text: str, /, *parameters: Any) -> sqlite3.Cursor:
        self.texts.append(text)
        return super().executemany(text, *parameters)


def sqlite_driver(url: str) -> Driver:
    """Connect to a SQLite file."""
    connection = sqlite3.connect(str(make_url(url).database), factory=RecordingConnection, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return Driver(SQLite(), connection, lambda: sorted(connection.texts))


def postgresql_driver(url: str) -> Driver:
    """Connect to a PostgreSQL database."""
    connection = psycopg.connect(url)

    def prepared_statements() -> list[str]:
        texts = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        connection.rollback()
        return sorted(text for (text,) in texts)

    return Driver(PostgreSQL(), connection, prepared_statements)


def connect(url: str) -> Driver:
    """Connect to a database of either kind."""
    return sqlite_driver(url) if url.startswith("sqlite") else postgresql_driver(url)


def insert_courses_and_students(driver: Driver, courses: dict[str, dict[str, Any]]) -> None:
    """Insert courses, and the students a to h."""
    driver.write(
        (INSERT_COURSES, [course_row(course_id, **fields) for course_id, fields in courses.items()]),
        (INSERT_STUDENTS, [student_row(student_id) for student_id in "abcdefgh"]),
    )
