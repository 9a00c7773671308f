"""Set-based statements: each shape does what it says, with any values, as one text that never changes."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from registrar_server.bulk import Append, Dialect, Insert, Lock, PostgreSQL, Rows, Select, SQLite, Statement, Update
from registrar_server.database import Database

STUDENT_VALUES = ("given_name", "max_credits", "holds", "delete_time")
STUDENT_DEFAULTS = ("family_name", "email", "state", "version", "create_time", "update_time", "search_text")
DEFAULTS = ("", "", "ACTIVE", 1, 0, 0, "")

INSERT_STUDENTS = Insert("students", (), ("student_id", *STUDENT_VALUES, *STUDENT_DEFAULTS))
SELECT_STUDENTS = Select("students", ("student_id",), ("student_id", *STUDENT_VALUES))
UPDATE_STUDENTS = Update("students", ("student_id",), STUDENT_VALUES)
LOCK_STUDENTS = Lock("students", ("student_id",))

RESPONSE = ("caller", "request_id", "fingerprint", "response", "create_time")
INSERT_RESPONSES = Insert("request_ids", (), RESPONSE)
SELECT_RESPONSES = Select("request_ids", ("caller", "request_id"), RESPONSE)
UPDATE_RESPONSES = Update("request_ids", ("caller", "request_id"), ("response",))

EVENT = ("course_id", "event_id", "type", "time", "changes")
EVENT_DEFAULTS = ("actor", "student_id", "enrollment_id", "state", "previous_state", "reason", "comment", "request_id")
APPEND_EVENTS = Append(
    "events", (), (*EVENT, *EVENT_DEFAULTS, "bypassed_rules"), number="revision", counter="event_counter"
)
SELECT_EVENTS = Select("events", ("course_id",), ("event_id", "revision", "changes"))


def student(student_id: str, name: str = "", max_credits: int | None = None, **fields: Any) -> tuple[Any, ...]:
    """A row of ``INSERT_STUDENTS``."""
    return (student_id, name, max_credits, fields.get("holds", "[]"), fields.get("delete_time"), *DEFAULTS)


def event(course_id: str, event_id: str, changes: str = "[]") -> tuple[Any, ...]:
    """A row of ``APPEND_EVENTS``."""
    return (course_id, event_id, "COURSE_UPDATED", 0, changes, *[""] * len(EVENT_DEFAULTS), "[]")


@dataclass
class Driver:
    """A dialect with a driver's connection, as the server prepares it, and what it said to the database so far."""

    dialect: Dialect
    connection: Any
    said: Callable[[], list[str]]

    def read(self, *requests: tuple[Statement, Rows]) -> list[list[tuple[Any, ...]]]:
        """Run selects, each with its rows in order."""
        found = [sorted(tuple(row) for row in rows) for rows in self.dialect.read(self.connection, requests)]
        self.connection.rollback()
        return found

    def write(self, *requests: tuple[Statement, Rows]) -> None:
        """Run changes and commit."""
        if isinstance(self.dialect, SQLite):
            self.connection.execute("BEGIN IMMEDIATE")
        self.dialect.write(self.connection, requests)


class Recording(sqlite3.Connection):
    """A connection that remembers the texts it was given."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.said: list[str] = []

    def execute(self, text: str, /, *parameters: Any) -> sqlite3.Cursor:
        self.said.append(text)
        return super().execute(text, *parameters)

    def executemany(self, text: str, /, *parameters: Any) -> sqlite3.Cursor:
        self.said.append(text)
        return super().executemany(text, *parameters)


def on_sqlite(url: str) -> Driver:
    connection = sqlite3.connect(str(make_url(url).database), factory=Recording, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return Driver(SQLite(), connection, lambda: sorted(connection.said))


def on_postgresql(url: str) -> Driver:
    connection = psycopg.connect(url)

    def prepared() -> list[str]:
        texts = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        connection.rollback()
        return sorted(text for (text,) in texts)

    return Driver(PostgreSQL(), connection, prepared)


@pytest.fixture
def driver(database_url: str) -> Iterator[Driver]:
    """A driver on a freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    driver = on_sqlite(database_url) if database_url.startswith("sqlite") else on_postgresql(database_url)
    yield driver
    driver.connection.close()


class TestSelect:
    """Rows by key."""

    def test_by_one_column(self, driver: Driver) -> None:
        """The rows of these keys; keys that aren't there find nothing, and keys may repeat."""
        driver.write((INSERT_STUDENTS, [student("a", "Ada"), student("b", "Bob"), student("c", "Cy")]))
        (found,) = driver.read((SELECT_STUDENTS, [("a",), ("c",), ("c",), ("z",)]))
        assert [row[:2] for row in found] == [("a", "Ada"), ("c", "Cy")]

    def test_by_a_pair(self, driver: Driver) -> None:
        """Pairs are pairs: one's first and another's second find nothing."""
        rows = [(caller, request_id, b"", b"", 0) for caller in ("a", "b") for request_id in ("1", "2")]
        driver.write((INSERT_RESPONSES, rows))
        (found,) = driver.read((SELECT_RESPONSES, [("a", "1"), ("b", "2"), ("b", "3")]))
        assert [row[:2] for row in found] == [("a", "1"), ("b", "2")]

    def test_with_a_condition(self, driver: Driver) -> None:
        """Of the rows with these keys, those that also fit."""
        driver.write((INSERT_STUDENTS, [student("a"), student("b", delete_time=5)]))
        living = Select("students", ("student_id",), ("student_id",), "delete_time IS NULL")
        assert driver.read((living, [("a",), ("b",)])) == [[("a",)]]

    def test_several_at_once(self, driver: Driver) -> None:
        """Each statement has its own rows, in the order asked."""
        driver.write((INSERT_STUDENTS, [student("a")]), (INSERT_RESPONSES, [("a", "1", b"f", b"r", 7)]))
        students, responses, none = driver.read(
            (SELECT_STUDENTS, [("a",)]), (SELECT_RESPONSES, [("a", "1")]), (SELECT_STUDENTS, [("b",)])
        )
        assert [row[0] for row in students] == ["a"]
        assert responses == [("a", "1", b"f", b"r", 7)]
        assert none == []


class TestValues:
    """What is written comes back, whatever it is."""

    TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    AWKWARD = st.sampled_from(
        ["", "NULL", "null", "None", '"', "\\", ",", "{}", "{a,b}", "\\N", "'", '","', "\n", "é🏫"]
    )
    INTEGERS = st.none() | st.integers(0, 2**63 - 1)
    HOLDS = st.lists(st.tuples(TEXT | AWKWARD, TEXT, st.integers(0, 2**53)), max_size=3)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=st.lists(st.tuples(TEXT | AWKWARD, INTEGERS, HOLDS, INTEGERS), min_size=1, max_size=6))
    def test_text_numbers_documents_and_nothing(self, driver: Driver, rows: list[tuple[Any, ...]]) -> None:
        """Inserted, selected by key, and updated to each other's values."""
        ids = [f"s-{next(_numbers)}" for _ in rows]
        written = [(name, limit, json.dumps(holds), end) for name, limit, holds, end in rows]
        driver.write((INSERT_STUDENTS, [(key, *row, *DEFAULTS) for key, row in zip(ids, written, strict=True)]))
        assert self.stored(driver, ids) == rows
        driver.write((UPDATE_STUDENTS, [(key, *row) for key, row in zip(ids, reversed(written), strict=True)]))
        assert self.stored(driver, ids) == rows[::-1]

    def stored(self, driver: Driver, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        (found,) = driver.read((SELECT_STUDENTS, [(key,) for key in ids]))
        by_id = {row[0]: row for row in found}
        decoded = [(*by_id[key][1:3], json.loads(by_id[key][3]), by_id[key][4]) for key in ids]
        return [(name, limit, [tuple(hold) for hold in holds], end) for name, limit, holds, end in decoded]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(
            st.tuples(TEXT | AWKWARD, st.uuids().map(str), st.binary(max_size=40), st.binary(max_size=40)),
            min_size=1,
            max_size=6,
            unique_by=lambda row: row[:2],
        )
    )
    def test_keys_of_text_and_bytes(self, driver: Driver, rows: list[tuple[Any, ...]]) -> None:
        """Any text is a key, and bytes are bytes."""
        rows = [(caller, f"{next(_numbers)}", *content) for caller, _, *content in rows]
        driver.write((INSERT_RESPONSES, [(*row, 1) for row in rows]))
        keys = [row[:2] for row in rows]
        (found,) = driver.read((SELECT_RESPONSES, keys))
        assert [row[:4] for row in found] == sorted(rows)
        driver.write((UPDATE_RESPONSES, [(*key, b"\\x00\0,") for key in keys]))
        (found,) = driver.read((SELECT_RESPONSES, keys))
        assert {row[3] for row in found} == {b"\\x00\0,"}

    def test_truth(self, driver: Driver) -> None:
        """True, false and unknown stay apart."""
        columns = ("course_id", "enrollment_id", "student_id", "number", "passed", "state", "attempt", "grade")
        rest = ("bypassed_rules", "reason", "version", "create_time", "update_time", "end_time")
        course = ("course_id", "code", "title", "description", "term", "credits", "meetings", "state", "version")
        times = ("create_time", "update_time", "search_text", "enrolled_count", "waitlisted_count", "last_number")
        insert_course = Insert("courses", (), (*course, "prerequisite_course_ids", *times))
        insert = Insert("enrollments", (), (*columns, *rest))
        values = [(f"e-{place}", place, passed) for place, passed in enumerate((True, False, None))]
        students = [student(f"s-{place}") for _, place, _ in values]
        ended = ("COMPLETED", 1, "", "[]", "", 1, 0, 0, 1)
        rows = [("c", key, f"s-{at}", at, passed, *ended) for key, at, passed in values]
        driver.write(
            (insert_course, [("c", "", "", "", "", 0, "[]", "OPEN", 1, "[]", 0, 0, "", 0, 0, 0)]),
            (INSERT_STUDENTS, students),
            (insert, rows),
        )
        select = Select("enrollments", ("course_id", "enrollment_id"), ("enrollment_id", "passed"))
        assert driver.read((select, [("c", key) for key, *_ in values])) == [
            [("e-0", True), ("e-1", False), ("e-2", None)]
        ]


_numbers = count(1)


class TestUpdate:
    """Columns by key."""

    def test_sets_its_columns_of_its_rows(self, driver: Driver) -> None:
        """Each row has its own values; other rows and other columns stay; an unknown key is nobody."""
        driver.write((INSERT_STUDENTS, [student(key, "old", 1) for key in "abc"]))
        rename = Update("students", ("student_id",), ("given_name",))
        driver.write((rename, [("a", "new"), ("c", "newer"), ("z", "nobody")]))
        (found,) = driver.read((SELECT_STUDENTS, [(key,) for key in "abcz"]))
        assert [row[:3] for row in found] == [("a", "new", 1), ("b", "old", 1), ("c", "newer", 1)]


class TestAppend:
    """Rows numbered by a counter that is raised with them."""

    def test_continues_the_counter(self, driver: Driver) -> None:
        """In the order given, without gaps, over several batches."""
        driver.write((APPEND_EVENTS, [event("c", "first"), event("c", "second")]))
        driver.write((APPEND_EVENTS, [event("c", "third", '[["title", null, "\\u00e9"]]')]))
        (found,) = driver.read((SELECT_EVENTS, [("c",)]))
        assert [(revision, key) for key, revision, _ in sorted(found, key=lambda row: int(row[1]))] == [
            (1, "first"),
            (2, "second"),
            (3, "third"),
        ]
        assert {key: json.loads(changes) for key, _, changes in found}["third"] == [["title", None, "é"]]

    def test_many(self, driver: Driver) -> None:
        """A thousand rows are numbered as they stand."""
        driver.write((APPEND_EVENTS, [event("c", f"{place:04}") for place in range(1, 1001)]))
        (found,) = driver.read((SELECT_EVENTS, [("c",)]))
        assert [(key, revision) for key, revision, _ in found] == [(f"{place:04}", place) for place in range(1, 1001)]


class TestText:
    """A statement is one text, however many rows it is given, so that a database prepares it once."""

    def test_is_constant(self, driver: Driver) -> None:
        """Reading and writing one row, then many, says nothing new."""
        self.say_everything(driver, 1)
        first = set(driver.said())
        self.say_everything(driver, 50)
        assert set(driver.said()) == first
        assert all(key not in text for key in ("s-0-", "s-1-") for text in first)

    def say_everything(self, driver: Driver, size: int) -> None:
        ids = [f"s-{place}-{next(_numbers)}" for place in range(size)]
        driver.write(
            (INSERT_STUDENTS, [student(key) for key in ids]),
            (UPDATE_STUDENTS, [(key, "x", None, "[]", None) for key in ids]),
            (INSERT_RESPONSES, [(key, "1", b"", b"", 0) for key in ids]),
            (APPEND_EVENTS, [event("c", key) for key in ids]),
        )
        driver.read(
            (LOCK_STUDENTS, [(key,) for key in ids]),
            (SELECT_STUDENTS, [(key,) for key in ids]),
            (SELECT_RESPONSES, [(key, "1") for key in ids]),
        )


class TestCommit:
    """A write is all or nothing."""

    def test_a_failing_statement_takes_all_with_it(self, driver: Driver, database_url: str) -> None:
        """What was written before the failure is gone, and the database is free for others."""
        database = Database(database_url)
        with pytest.raises((psycopg.errors.UniqueViolation, sqlite3.IntegrityError)), database.transaction() as broken:
            broken.commit((INSERT_STUDENTS, [student("a")]), (INSERT_STUDENTS, [student("b"), student("b")]))
        with database.transaction() as fine:
            fine.commit((INSERT_STUDENTS, [student("c")]))
        database.close()
        (found,) = driver.read((SELECT_STUDENTS, [(key,) for key in "abc"]))
        assert [row[0] for row in found] == ["c"]

    def test_left_without_a_commit(self, driver: Driver, database_url: str) -> None:
        """A transaction that is left by an error, or just left, has changed nothing."""
        database = Database(database_url)

        def leave(error: Exception | None) -> None:
            with database.transaction() as transaction:
                transaction.read((SELECT_STUDENTS, [("a",)]), (LOCK_STUDENTS, [("a",)]))
                if error:
                    raise error

        leave(None)
        with pytest.raises(ZeroDivisionError):
            leave(ZeroDivisionError())
        with database.transaction() as transaction:
            transaction.commit((INSERT_STUDENTS, [student("a")]))
        database.close()
        (found,) = driver.read((SELECT_STUDENTS, [("a",)]))
        assert len(found) == 1


class TestLock:
    """A locked row waits for nobody but other lockers; only PostgreSQL has such locks."""

    @pytest.fixture
    def locked(self, postgresql_url: str) -> Iterator[str]:
        """A database where student a is locked and student b is not."""
        driver = on_postgresql(postgresql_url)
        driver.write((INSERT_STUDENTS, [student("a"), student("b")]))
        driver.dialect.read(driver.connection, [(LOCK_STUDENTS, [("a",), ("z",)])])
        yield postgresql_url
        driver.connection.close()

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT FROM students WHERE student_id = 'a' FOR NO KEY UPDATE NOWAIT",
            "SET LOCAL lock_timeout = 20; UPDATE students SET version = 2 WHERE student_id = 'a'",
        ],
    )
    def test_keeps_others_from_changing_it(self, locked: str, statement: str) -> None:
        """Neither locked nor updated by anyone else."""
        with psycopg.connect(locked) as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(statement)

    def test_leaves_other_rows_alone(self, locked: str) -> None:
        """The neighbour is free."""
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'b' FOR UPDATE NOWAIT")
            assert found.fetchall() == [("b",)]

    def test_lets_foreign_keys_be_checked(self, locked: str) -> None:
        """Others may refer to the locked row meanwhile; FOR UPDATE would make them wait."""
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'a' FOR KEY SHARE NOWAIT")
            assert found.fetchall() == [("a",)]

    def test_ends_with_the_transaction(self, locked: str) -> None:
        """After the commit it is anyone's."""
        first = on_postgresql(locked)
        first.dialect.read(first.connection, [(LOCK_STUDENTS, [("b",)])])
        first.dialect.write(first.connection, [])
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'b' FOR UPDATE NOWAIT")
            assert found.fetchall() == [("b",)]
        first.connection.close()

    def test_is_taken_in_order_of_the_keys(self, postgresql_url: str) -> None:
        """Whatever order was asked for and however rows lie: so nobody waits in a circle."""
        first, second = on_postgresql(postgresql_url), on_postgresql(postgresql_url)
        first.write((INSERT_STUDENTS, [student("c"), student("b"), student("a")]))
        first.dialect.read(first.connection, [(LOCK_STUDENTS, [("b",)])])
        request = (LOCK_STUDENTS, [("c",), ("b",), ("a",)])
        waiting = threading.Thread(target=second.dialect.read, args=(second.connection, [request]))
        waiting.start()
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            while other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                pass
            free = other.execute("SELECT student_id FROM students FOR UPDATE SKIP LOCKED").fetchall()
        first.connection.rollback()
        waiting.join()
        assert free == [("c",)], "a is locked before b, which is held; c would come after"
        first.connection.close()
        second.connection.close()
