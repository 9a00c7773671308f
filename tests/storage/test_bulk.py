"""Set-based statements: each shape reads or writes the right rows, with any values, as one constant text."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registrar_server.storage.bulk import Select, Update
from registrar_server.storage.database import Database
from tests.support.drivers import (
    APPEND_EVENTS,
    DEFAULTS,
    FIRST_WAITERS,
    INSERT_COURSES,
    INSERT_ENROLLMENTS,
    INSERT_RESPONSES,
    INSERT_STUDENTS,
    LOCK_FIRST_WAITERS,
    LOCK_STUDENTS,
    SELECT_EVENTS,
    SELECT_RESPONSES,
    SELECT_STUDENTS,
    UPDATE_RESPONSES,
    UPDATE_STUDENTS,
    Driver,
    course_row,
    enrollment_row,
    event_row,
    insert_courses_and_students,
    student_row,
)


class TestSelect:
    """Select rows by key."""

    def test_by_one_column(self, driver: Driver) -> None:
        """Each existing key gives one row; unknown keys give none, and keys can be repeated."""
        driver.write((INSERT_STUDENTS, [student_row("a", "Ada"), student_row("b", "Bob"), student_row("c", "Cy")]))
        (found,) = driver.read((SELECT_STUDENTS, [("a",), ("c",), ("c",), ("z",)]))
        assert [row[:2] for row in found] == [("a", "Ada"), ("c", "Cy")]

    def test_by_a_pair(self, driver: Driver) -> None:
        """A key of two columns matches only rows with both values."""
        rows = [(caller, request_id, b"", b"", 0) for caller in ("a", "b") for request_id in ("1", "2")]
        driver.write((INSERT_RESPONSES, rows))
        (found,) = driver.read((SELECT_RESPONSES, [("a", "1"), ("b", "2"), ("b", "3")]))
        assert [row[:2] for row in found] == [("a", "1"), ("b", "2")]

    def test_with_a_condition(self, driver: Driver) -> None:
        """A condition restricts the rows with these keys."""
        driver.write((INSERT_STUDENTS, [student_row("a"), student_row("b", delete_time=5)]))
        living = Select("students", ("student_id",), ("student_id",), "delete_time IS NULL", read=tuple)
        assert driver.read((living, [("a",), ("b",)])) == [[("a",)]]

    def test_of_two_tables(self, driver: Driver) -> None:
        """Each row is joined with its row of the other table, and columns of both can be selected."""
        insert_courses_and_students(driver, {"c-1": {"term": "fall", "meetings": "[1]"}, "c-2": {}})
        driver.write(
            (INSERT_ENROLLMENTS, [enrollment_row("c-1", "a", 1, "ENROLLED"), enrollment_row("c-2", "b", 1, "ENROLLED")])
        )
        columns = ("student_id", "term", "meetings", "state")
        where = "enrollments.state = 'ENROLLED'"
        joined = Select("enrollments", ("student_id",), columns[:3], where, "courses", "course_id", read=tuple)
        assert driver.read((joined, [("a",), ("b",), ("c",)])) == [[("a", "fall", "[1]"), ("b", "", "[]")]]

    def test_with_computed_columns(self, driver: Driver) -> None:
        """Computed columns follow the others."""
        driver.write((INSERT_STUDENTS, [student_row("a", "Ada", 5), student_row("b", "Bob", 7)]))
        computed = {"next": "max_credits + 1", "count": "(SELECT count(*) FROM students AS all_of_them)"}
        select = Select("students", ("student_id",), ("student_id",), computed=computed, read=tuple)
        assert driver.read((select, [("a",), ("b",)])) == [[("a", 6, 2), ("b", 8, 2)]]

    def test_several_at_once(self, driver: Driver) -> None:
        """Several statements return their rows in the order of the statements."""
        driver.write((INSERT_STUDENTS, [student_row("a")]), (INSERT_RESPONSES, [("a", "1", b"f", b"r", 7)]))
        students, responses, none = driver.read(
            (SELECT_STUDENTS, [("a",)]), (SELECT_RESPONSES, [("a", "1")]), (SELECT_STUDENTS, [("b",)])
        )
        assert [row[0] for row in students] == ["a"]
        assert responses == [("a", "1", b"f", b"r", 7)]
        assert none == []


class TestValues:
    """Every value is read as it was written."""

    TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    AWKWARD = st.sampled_from(
        ["", "NULL", "null", "None", '"', "\\", ",", "{}", "{a,b}", "\\N", "'", '","', "\n", "é🏫"]
    )
    INTEGERS = st.none() | st.integers(0, 2**63 - 1)
    HOLDS = st.lists(st.tuples(TEXT | AWKWARD, TEXT, st.integers(0, 2**53)), max_size=3)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=st.lists(st.tuples(TEXT | AWKWARD, INTEGERS, HOLDS, INTEGERS), min_size=1, max_size=6))
    def test_texts_numbers_documents_and_nulls(self, driver: Driver, rows: list[tuple[Any, ...]]) -> None:
        """Rows are inserted, selected by key, and updated to each other's values."""
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
        """Keys can be any text, and bytes stay as they are."""
        rows = [(caller, f"{next(_numbers)}", *content) for caller, _, *content in rows]
        driver.write((INSERT_RESPONSES, [(*row, 1) for row in rows]))
        keys = [row[:2] for row in rows]
        (found,) = driver.read((SELECT_RESPONSES, keys))
        assert [row[:4] for row in found] == sorted(rows)
        driver.write((UPDATE_RESPONSES, [(*key, b"\\x00\0,") for key in keys]))
        (found,) = driver.read((SELECT_RESPONSES, keys))
        assert {row[3] for row in found} == {b"\\x00\0,"}

    def test_booleans(self, driver: Driver) -> None:
        """True, false and null are distinct."""
        values = {"e-c-1": True, "e-c-2": False, "e-c-3": None}
        rows = [
            enrollment_row("c", f"s-{number}", number, "COMPLETED", passed=passed)
            for number, passed in enumerate(values.values(), start=1)
        ]
        driver.write(
            (INSERT_COURSES, [course_row("c")]),
            (INSERT_STUDENTS, [student_row(f"s-{number}") for number in (1, 2, 3)]),
            (INSERT_ENROLLMENTS, rows),
        )
        select = Select("enrollments", ("course_id", "enrollment_id"), ("enrollment_id", "passed"), read=tuple)
        assert driver.read((select, [("c", key) for key in values])) == [list(values.items())]


_numbers = count(1)


class TestUpdate:
    """Update columns by key."""

    def test_sets_columns_of_the_rows_with_these_keys(self, driver: Driver) -> None:
        """Each row gets its own values; other rows and columns stay, and unknown keys are ignored."""
        driver.write((INSERT_STUDENTS, [student_row(key, "old", 1) for key in "abc"]))
        rename = Update("students", ("student_id",), ("given_name",))
        driver.write((rename, [("a", "new"), ("c", "newer"), ("z", "nobody")]))
        (found,) = driver.read((SELECT_STUDENTS, [(key,) for key in "abcz"]))
        assert [row[:3] for row in found] == [("a", "new", 1), ("b", "old", 1), ("c", "newer", 1)]


class TestAppend:
    """Append rows that are numbered by a counter."""

    def test_continues_the_counter(self, driver: Driver) -> None:
        """Numbers continue in the order of the rows, without gaps, over several batches."""
        driver.write((APPEND_EVENTS, [event_row("c", "first"), event_row("c", "second")]))
        driver.write((APPEND_EVENTS, [event_row("c", "third", '[["title", null, "\\u00e9"]]')]))
        (found,) = driver.read((SELECT_EVENTS, [("c",)]))
        assert [(revision, key) for key, revision, _ in sorted(found, key=lambda row: int(row[1]))] == [
            (1, "first"),
            (2, "second"),
            (3, "third"),
        ]
        assert {key: json.loads(changes) for key, _, changes in found}["third"] == [["title", None, "é"]]

    def test_many(self, driver: Driver) -> None:
        """A thousand rows are numbered in order."""
        driver.write((APPEND_EVENTS, [event_row("c", f"{place:04}") for place in range(1, 1001)]))
        (found,) = driver.read((SELECT_EVENTS, [("c",)]))
        assert [(key, revision) for key, revision, _ in found] == [(f"{place:04}", place) for place in range(1, 1001)]


class TestText:
    """A statement is one text for any number of rows above one, so that the database prepares it once."""

    def test_is_constant(self, driver: Driver) -> None:
        """A few rows and many rows use the same texts, and one row always uses the same."""
        self.run_every_statement(driver, 1)
        self.run_every_statement(driver, 2)
        texts = set(driver.statement_texts())
        self.run_every_statement(driver, 50)
        self.run_every_statement(driver, 1)
        assert set(driver.statement_texts()) == texts
        assert all(key not in text for key in ("s-0-", "s-1-") for text in texts)

    def run_every_statement(self, driver: Driver, size: int) -> None:
        ids = [f"s-{place}-{next(_numbers)}" for place in range(size)]
        driver.write(
            (INSERT_STUDENTS, [student_row(key) for key in ids]),
            (INSERT_COURSES, [course_row(key, waitlisted_count=1, capacity=0) for key in ids]),
            (INSERT_ENROLLMENTS, [enrollment_row(key, key, 1, "WAITLISTED") for key in ids]),
            (UPDATE_STUDENTS, [(key, "x", None, "[]", None) for key in ids]),
            (INSERT_RESPONSES, [(key, "1", b"", b"", 0) for key in ids]),
            (APPEND_EVENTS, [event_row("c", key) for key in ids]),
        )
        driver.read(
            (LOCK_STUDENTS, [(key,) for key in ids]),
            (LOCK_FIRST_WAITERS, [(key, "", 0) for key in ids] + [("", key, 0) for key in ids]),
            (FIRST_WAITERS, [(key, 0) for key in ids]),
            (SELECT_STUDENTS, [(key,) for key in ids]),
            (SELECT_RESPONSES, [(key, "1") for key in ids]),
        )


class TestCommit:
    """A write changes everything or nothing."""

    def test_a_failing_statement_rolls_back(self, driver: Driver, database_url: str) -> None:
        """A failing statement rolls back the earlier ones and releases the locks."""
        database = Database(database_url)
        with pytest.raises((psycopg.errors.UniqueViolation, sqlite3.IntegrityError)), database.transaction() as broken:
            broken.commit(
                (INSERT_STUDENTS, [student_row("a")]), (INSERT_STUDENTS, [student_row("b"), student_row("b")])
            )
        with database.transaction() as fine:
            fine.commit((INSERT_STUDENTS, [student_row("c")]))
        database.close()
        (found,) = driver.read((SELECT_STUDENTS, [(key,) for key in "abc"]))
        assert [row[0] for row in found] == ["c"]

    def test_a_transaction_without_a_commit(self, driver: Driver, database_url: str) -> None:
        """A transaction that ends without a commit, with or without an error, changes nothing."""
        database = Database(database_url)

        def leave(error: Exception | None) -> None:
            with database.transaction() as transaction:
                transaction.read({SELECT_STUDENTS: [("a",)], LOCK_STUDENTS: [("a",)]})
                if error:
                    raise error

        leave(None)
        with pytest.raises(ZeroDivisionError):
            leave(ZeroDivisionError())
        with database.transaction() as transaction:
            transaction.commit((INSERT_STUDENTS, [student_row("a")]))
        database.close()
        (found,) = driver.read((SELECT_STUDENTS, [("a",)]))
        assert len(found) == 1
