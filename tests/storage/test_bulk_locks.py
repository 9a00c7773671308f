"""Set-based statements about the first rows of groups, and locks: which rows they take, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from registrar_server.storage.bulk import Rows, SQLite
from tests.support.drivers import (
    FIRST_WAITERS,
    INSERT_ENROLLMENTS,
    INSERT_STUDENTS,
    LOCK_FIRST_WAITERS,
    LOCK_STUDENTS,
    SELECT_STUDENTS,
    UPDATE_STUDENTS,
    Driver,
    enrollment_row,
    insert_courses_and_students,
    postgresql_driver,
    student_row,
)


def insert_enrollments(driver: Driver, course_id: str, waiting: str, seated: str = "") -> None:
    """Insert seats in a course, then places on its waitlist."""
    states = [
        *((student_id, "ENROLLED") for student_id in seated),
        *((student_id, "WAITLISTED") for student_id in waiting),
    ]
    rows = [
        enrollment_row(course_id, student_id, number, state) for number, (student_id, state) in enumerate(states, 1)
    ]
    driver.write((INSERT_ENROLLMENTS, rows))


class TestHeads:
    """Select the first rows of groups."""

    def heads(self, driver: Driver, *groups: tuple[str, int]) -> list[tuple[str, str]]:
        """Return the first waiters of each course, in the order of the rows."""
        (found,) = driver.dialect.read(driver.connection, [(FIRST_WAITERS, groups)])
        driver.connection.rollback()
        return [(course_id, student_id) for course_id, student_id, _number, _bypassed in found]

    def test_first_ones_in_order(self, driver: Driver) -> None:
        """The limit gives the number of rows, and the order is the one asked for, not that of the keys."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 4, "waitlisted_count": 6}})
        insert_enrollments(driver, "c-1", waiting="fedcba", seated="gh")
        assert self.heads(driver, ("c-1", 0)) == [("c-1", "f"), ("c-1", "e")]

    def test_number_given_with_the_group(self, driver: Driver) -> None:
        """The limit can use the number that is given with the group; a group with fewer rows returns them all."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 4, "waitlisted_count": 5}})
        insert_enrollments(driver, "c-1", waiting="fed")
        assert [len(self.heads(driver, ("c-1", number))) for number in (0, 1, 2, 3, 100)] == [1, 2, 3, 3, 3]

    def test_each_group_by_itself(self, driver: Driver) -> None:
        """Each group has its own limit; a group with limit 0, an empty and an unknown one return no rows."""
        limits = {"c-1": 1, "c-2": 2, "c-3": 0, "c-4": 9}
        insert_courses_and_students(
            driver, {name: {"capacity": 10, "waitlisted_count": 10 + limit} for name, limit in limits.items()}
        )
        for course_id in ("c-1", "c-2", "c-3"):
            insert_enrollments(driver, course_id, waiting="hgfe")
        found = self.heads(driver, *((course_id, 0) for course_id in (*limits, "c-9")))
        assert sorted(found) == [("c-1", "h"), ("c-2", "g"), ("c-2", "h")]

    def test_a_negative_limit(self, driver: Driver) -> None:
        """A limit below 0 returns no rows."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 7, "waitlisted_count": 2}})
        insert_enrollments(driver, "c-1", waiting="ab")
        assert self.heads(driver, ("c-1", 0)) == []

    def test_documents(self, driver: Driver) -> None:
        """Documents are returned as text."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 0, "waitlisted_count": 1}})
        driver.write((INSERT_ENROLLMENTS, [enrollment_row("c-1", "a", 1, "WAITLISTED", bypassed_rules='["X", "Y"]')]))
        assert driver.read((FIRST_WAITERS, [("c-1", 0)])) == [[("c-1", "a", 1, '["X", "Y"]')]]


class TestLock:
    """A locked row blocks only other locks and updates; only PostgreSQL has such locks."""

    @pytest.fixture
    def locked(self, postgresql_url: str) -> Iterator[str]:
        """A database where student a is locked and student b is not."""
        driver = postgresql_driver(postgresql_url)
        driver.write((INSERT_STUDENTS, [student_row("a"), student_row("b")]))
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
    def test_blocks_locks_and_updates(self, locked: str, statement: str) -> None:
        """Others can neither lock nor update the row."""
        with psycopg.connect(locked) as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(statement)

    def test_does_not_lock_other_rows(self, locked: str) -> None:
        """Another row can be locked."""
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'b' FOR UPDATE NOWAIT")
            assert found.fetchall() == [("b",)]

    def test_allows_foreign_key_checks(self, locked: str) -> None:
        """Others can refer to the locked row; FOR UPDATE would block them."""
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'a' FOR KEY SHARE NOWAIT")
            assert found.fetchall() == [("a",)]

    def test_ends_with_the_transaction(self, locked: str) -> None:
        """After the commit others can lock the row."""
        first = postgresql_driver(locked)
        first.dialect.read(first.connection, [(LOCK_STUDENTS, [("b",)])])
        first.dialect.write(first.connection, [])
        with psycopg.connect(locked) as other:
            found = other.execute("SELECT student_id FROM students WHERE student_id = 'b' FOR UPDATE NOWAIT")
            assert found.fetchall() == [("b",)]
        first.connection.close()

    def test_is_taken_in_order_of_the_keys(self, postgresql_url: str) -> None:
        """Rows are locked in the order of their keys, so that transactions do not deadlock."""
        first, second = postgresql_driver(postgresql_url), postgresql_driver(postgresql_url)
        first.write((INSERT_STUDENTS, [student_row("c"), student_row("b"), student_row("a")]))
        first.dialect.read(first.connection, [(LOCK_STUDENTS, [("b",)])])
        request = (LOCK_STUDENTS, [("c",), ("b",), ("a",)])
        waiting = threading.Thread(target=second.dialect.read, args=(second.connection, [request]))
        waiting.start()
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            while other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                pass
            unlocked = other.execute("SELECT student_id FROM students FOR UPDATE SKIP LOCKED").fetchall()
        first.connection.rollback()
        waiting.join()
        assert unlocked == [("c",)], "a is locked before b, which another transaction has locked; c comes after b"
        first.connection.close()
        second.connection.close()

    def test_returns_what_it_waited_for(self, postgresql_url: str) -> None:
        """A lock that waits returns the row as the transaction before has left it, whoever made which change."""
        first, second = postgresql_driver(postgresql_url), postgresql_driver(postgresql_url)
        first.write((INSERT_STUDENTS, [student_row(key) for key in "abc"]))
        first.dialect.read(first.connection, [(LOCK_STUDENTS, [("b",)])])
        found: list[Rows] = []
        waiting = threading.Thread(
            target=lambda: found.extend(
                second.dialect.read(second.connection, [(LOCK_STUDENTS, [("c",), ("b",), ("a",)])])
            )
        )
        waiting.start()
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            while other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                pass
            other.execute("UPDATE students SET given_name = 'Cleo' WHERE student_id = 'c'")
        update = (UPDATE_STUDENTS, [("b", "Bea", 7, "[]", None)])
        first.dialect.write(first.connection, [update, update])
        waiting.join()
        assert [row[:3] for row in found[0]] == [("a", "", None), ("b", "Bea", 7), ("c", "Cleo", None)]
        first.connection.close()
        second.connection.close()


class TestLockOfHeads:
    """Lock rows by key together with the first rows of groups."""

    def test_among_other_statements(self, driver: Driver) -> None:
        """Other statements of the same read return the same rows, whether the database has such locks or not."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 0, "waitlisted_count": 2}})
        insert_enrollments(driver, "c-1", waiting="ba")
        lock = (LOCK_FIRST_WAITERS, [("c", "", 0), ("", "c-1", 0)])
        locked, waiters, students = driver.read(lock, (FIRST_WAITERS, [("c-1", 0)]), (SELECT_STUDENTS, [("c",)]))
        assert [row[0] for row in locked] == (["c"] if isinstance(driver.dialect, SQLite) else ["a", "b", "c"])
        assert [row[1] for row in waiters] == ["a", "b"]
        assert [row[0] for row in students] == ["c"]

    def test_without_a_row(self, driver: Driver) -> None:
        """If only groups are named, SQLite returns nothing."""
        insert_courses_and_students(driver, {"c-1": {"capacity": 0, "waitlisted_count": 2}})
        insert_enrollments(driver, "c-1", waiting="ba")
        (locked,) = driver.read((LOCK_FIRST_WAITERS, [("", "c-1", 0)]))
        assert [row[0] for row in locked] == ([] if isinstance(driver.dialect, SQLite) else ["a", "b"])

    @pytest.fixture
    def course_with_waiters(self, postgresql_url: str) -> Iterator[Driver]:
        """A course c-1 where f, e, d, c and b wait in this order, and the first three may get a seat."""
        driver = postgresql_driver(postgresql_url)
        insert_courses_and_students(
            driver, {"c-1": {"capacity": 2, "waitlisted_count": 5}, "c-2": {"capacity": 0, "waitlisted_count": 1}}
        )
        insert_enrollments(driver, "c-1", waiting="fedcb")
        insert_enrollments(driver, "c-2", waiting="g")
        yield driver
        driver.connection.close()

    def unlocked(self, url: str) -> str:
        """Return the students that are not locked."""
        with psycopg.connect(url) as other:
            found = other.execute("SELECT student_id FROM students ORDER BY student_id FOR UPDATE SKIP LOCKED")
            return "".join(student_id for (student_id,) in found)

    @pytest.mark.parametrize(
        ("rows", "unlocked"),
        [
            ([("", "c-1", 0)], "abcgh"),
            ([("", "c-1", 1)], "abgh"),
            ([("a", "", 0), ("", "c-1", 0)], "bcgh"),
            ([("e", "", 0), ("h", "", 0), ("", "c-1", 0), ("", "c-2", 0)], "abc"),
            ([("h", "", 0)], "abcdefg"),
            ([("", "c-9", 7)], "abcdefgh"),
        ],
    )
    def test_first_waiters_and_no_more(
        self, course_with_waiters: Driver, postgresql_url: str, rows: list[tuple[str, str, int]], unlocked: str
    ) -> None:
        """The named students and the first waiters of the named courses are locked, and no others."""
        course_with_waiters.dialect.read(course_with_waiters.connection, [(LOCK_FIRST_WAITERS, rows)])
        assert self.unlocked(postgresql_url) == unlocked

    def test_is_taken_in_order_of_the_keys(self, course_with_waiters: Driver, postgresql_url: str) -> None:
        """Named students and waiters are locked in the order of their ids, so that transactions do not deadlock."""
        holder = postgresql_driver(postgresql_url)
        holder.dialect.read(holder.connection, [(LOCK_STUDENTS, [("e",)])])
        request = (LOCK_FIRST_WAITERS, [("h", "", 0), ("a", "", 0), ("", "c-1", 0)])
        waiting = threading.Thread(
            target=course_with_waiters.dialect.read, args=(course_with_waiters.connection, [request])
        )
        waiting.start()
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            while other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                pass
        unlocked = self.unlocked(postgresql_url)
        holder.connection.rollback()
        waiting.join()
        assert unlocked == "bcfgh", (
            "a and d are locked before e, which another transaction has locked; f and h come after e"
        )
        holder.connection.close()
