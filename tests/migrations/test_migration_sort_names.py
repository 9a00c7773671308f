"""The revision that adds sort names: old students get those that the server would write."""

from __future__ import annotations

import pytest

from registrar_server import migrate
from registrar_server.core.records import Student
from registrar_server.ledger.rekeying import rekey
from registrar_server.storage.database import Database
from tests.support.databases import execute

BEFORE = "20261126_1601"
STUDENTS = [
    Student("s-1", "Ada", "Byron"),
    Student("s-2", "Zoë", "Ñandú  y\u00a0Łódź"),
    Student("s-3", "\u0645\u06cc\u200c\u062e\u0648", "de la İstanbul"),
    Student("s-4", "x" * 200, "\ufdfa" * 200),
    Student("s-5"),
]


@pytest.fixture
def before_sort_names(empty_database_url: str) -> str:
    """A database of the revision before, with students."""
    migrate.upgrade(empty_database_url, BEFORE)
    for student in STUDENTS:
        insert(empty_database_url, student)
    return empty_database_url


def insert(url: str, student: Student) -> None:
    """Insert a student as a server without sort names does."""
    execute(
        url,
        "INSERT INTO students (student_id, given_name, family_name, email, state, holds, version, create_time,"
        " update_time, search_text, keys_version)"
        " VALUES (:id, :given, :family, '', 'ACTIVE', '[]', 1, 5, 5, '', :keys)",
        **{"id": student.student_id, "given": student.given_name, "family": student.family_name},
        keys=student.keys_version or None,
    )


def sort_names(url: str) -> list[str]:
    return [row[0] for row in execute(url, "SELECT sort_name FROM students ORDER BY student_id")]


def test_old_students_get_the_sort_names_that_the_server_computes(before_sort_names: str) -> None:
    migrate.upgrade(before_sort_names)
    assert sort_names(before_sort_names) == [student.sort_name for student in STUDENTS]
    assert sort_names(before_sort_names)[:2] == ["byron  ada", "nandu y lodz  zoe"]
    assert max(map(len, sort_names(before_sort_names))) == 100


def test_a_downgrade_and_an_upgrade_give_the_same_sort_names(before_sort_names: str) -> None:
    migrate.upgrade(before_sort_names)
    migrate.downgrade(before_sort_names, BEFORE)
    migrate.upgrade(before_sort_names)
    assert sort_names(before_sort_names) == [student.sort_name for student in STUDENTS]


def test_the_students_of_an_older_server_are_completed(before_sort_names: str) -> None:
    """A server of an older version writes no sort names; the servers of this version complete its rows."""
    migrate.upgrade(before_sort_names)
    insert(before_sort_names, Student("s-6", "Grace", "Höpper", version=0))
    database = Database(before_sort_names)
    assert rekey(database) == 1
    database.close()
    assert sort_names(before_sort_names)[-1] == "hopper  grace"
