"""The revision that adds keys: old rows get the keys that the server would write, and keep their texts.

Servers of the previous version may run meanwhile: the rows that they write are completed later.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from registrar_server import migrate
from registrar_server.core.records import Course, Hold, Student
from registrar_server.ledger.rekeying import rekey
from registrar_server.storage.database import Database
from tests.support.databases import described, execute

BEFORE_KEYS = "20261124_2345"
KEYS = "20261126_1601"

COURSES = [
    ("c-1", "CS 101", "Études", "2018 Fall"),
    ("c-2", " cs\u00a0101\t", "Straße der Ökonomie", "\uff12018  fall\u200b"),
    ("c-3", "", "", ""),
    ("c-4", "ΜΑΘ\u202e 1", "ΣΊΣΥΦΟΣ und Łódź", "İstanbul ﬁrst"),
    ("c-5", "日本語 \uff12", "プログラム", "平成30"),
]
STUDENTS = [
    ("s-1", "Ada", "Byron", "Ada@Example.edu", ["Bursar", "LIBRARY\u00a0fee"]),
    ("s-2", "Zoë", "Ñandú", "", []),
    ("s-3", "\u0645\u06cc\u200c\u062e\u0648", "", "", ["ﬁnance"]),
]


def insert_course(url: str, course_id: str, code: str = "", title: str = "", term: str = "", version: int = 1) -> None:
    """Insert a course as the previous version does."""
    execute(
        url,
        "INSERT INTO courses (course_id, code, title, description, term, credits, meetings, prerequisite_course_ids,"
        " state, version, create_time, update_time, search_text, enrolled_count, waitlisted_count, last_number)"
        " VALUES (:course_id, :code, :title, '', :term, 0, '[]', '[]', 'OPEN', :version, 5, 5, 'old', 0, 0, 0)",
        **{"course_id": course_id, "code": code, "title": title, "term": term, "version": version},
    )


def insert_student(url: str, student_id: str, given: str, family: str, email: str, codes: list[str]) -> None:
    """Insert a student as the previous version does."""
    execute(
        url,
        "INSERT INTO students (student_id, given_name, family_name, email, state, holds, version, create_time,"
        " update_time, search_text)"
        " VALUES (:student_id, :given, :family, :email, 'ACTIVE', :holds, 1, 5, 5, 'old')",
        **{"student_id": student_id, "given": given, "family": family, "email": email},
        holds=json.dumps([[code, "", 5] for code in codes]),
    )


def stored_keys(url: str) -> dict[str, tuple[Any, ...]]:
    """Return the stored keys and search texts by id."""
    courses = execute(url, "SELECT course_id, code_key, term_key, component_key, search_text FROM courses")
    students = execute(url, "SELECT student_id, CAST(hold_keys AS TEXT), search_text FROM students")
    keys: dict[str, tuple[Any, ...]] = {row[0]: tuple(row[1:]) for row in courses}
    return keys | {student_id: (tuple(json.loads(codes)), words) for student_id, codes, words in map(tuple, students)}


def expected_keys() -> dict[str, tuple[Any, ...]]:
    """Return the keys that the server's records compute for the old rows."""
    courses = [Course(course_id, code, title, term=term) for course_id, code, title, term in COURSES]
    students = [
        Student(student_id, given, family, email, holds=tuple(Hold(code, "", 5) for code in codes))
        for student_id, given, family, email, codes in STUDENTS
    ]
    keys: dict[str, tuple[Any, ...]] = {
        one.course_id: (one.code_key, one.term_key, one.component_key, one.search_text) for one in courses
    }
    return keys | {one.student_id: (one.hold_keys, one.search_text) for one in students}


@pytest.fixture
def before_keys(empty_database_url: str) -> str:
    """A database of the previous version with courses and students whose texts are not canonical."""
    migrate.upgrade(empty_database_url, BEFORE_KEYS)
    for course in COURSES:
        insert_course(empty_database_url, *course)
    for student in STUDENTS:
        insert_student(empty_database_url, *student)
    return empty_database_url


def test_old_rows_get_the_keys_that_the_server_computes(before_keys: str) -> None:
    """Each stored row has the keys and the search text of its record, and its own texts are not rewritten."""
    migrate.upgrade(before_keys)
    assert stored_keys(before_keys) == expected_keys()
    assert stored_keys(before_keys)["c-2"][:2] == ("cs101", "2018 fall")
    texts = execute(before_keys, "SELECT course_id, code, title, term FROM courses ORDER BY course_id")
    assert [tuple(row) for row in texts] == COURSES


def test_a_second_upgrade_after_a_downgrade_gives_the_same_keys(before_keys: str) -> None:
    """A downgrade restores the old schema."""
    before = described(before_keys)
    migrate.upgrade(before_keys, KEYS)
    migrate.downgrade(before_keys, BEFORE_KEYS)
    assert described(before_keys) == before
    migrate.upgrade(before_keys, KEYS)
    assert stored_keys(before_keys) == expected_keys()


def test_many_rows_are_filled_page_by_page(before_keys: str) -> None:
    """Tables of more than one page are filled to the end."""
    with create_engine(before_keys, poolclass=NullPool).begin() as connection:
        names = "code, title, description, term, credits, meetings, prerequisite_course_ids, state, version,"
        names += " create_time, update_time, search_text, enrolled_count, waitlisted_count, last_number"
        copy = f"INSERT INTO courses (course_id, {names}) SELECT :id, {names} FROM courses WHERE course_id = 'c-2'"
        connection.execute(text(copy), [{"id": f"m-{number}"} for number in range(2_500)])
    migrate.upgrade(before_keys)
    found = "SELECT code_key, keys_version, count(*) FROM courses WHERE course_id LIKE 'm-%' GROUP BY 1, 2"
    assert [tuple(row) for row in execute(before_keys, found)] == [("cs101", 1, 2_500)]


def test_an_interrupted_run_continues(before_keys: str) -> None:
    """On PostgreSQL the pages are committed one by one, so a run may find columns, keys and indexes of an earlier."""
    migrate.upgrade(before_keys, KEYS)
    if before_keys.startswith("postgresql"):
        execute(before_keys, "UPDATE alembic_version SET version_num = :before", before=BEFORE_KEYS)
        execute(before_keys, "UPDATE courses SET keys_version = NULL, code_key = NULL WHERE course_id > 'c-2'")
        migrate.upgrade(before_keys, KEYS)
    assert stored_keys(before_keys) == expected_keys()


def test_rows_that_an_older_server_writes_are_completed(before_keys: str) -> None:
    """After the revision, rows that servers of the previous version write have no keys or old ones, until completed."""
    url = before_keys
    migrate.upgrade(url)
    database = Database(url)
    assert rekey(database) == 0
    insert_course(url, "new", "Math 7", "Sets", "2019 Fall")
    insert_student(url, "new-s", "Grace", "Höpper", "", ["Bursar"])
    execute(url, "UPDATE courses SET code = 'CS 999', version = 2, search_text = 'old' WHERE course_id = 'c-1'")
    holds = json.dumps([["Fee", "", 5]])
    execute(url, "UPDATE students SET holds = :holds, version = 2 WHERE student_id = 's-2'", holds=holds)

    assert rekey(database, chunk=1) == 4
    keys = stored_keys(url)
    assert keys["new"] == ("math7", "2019 fall", "", "math7 new math 7 sets")
    assert keys["new-s"] == (("bursar",), "new-s grace höpper new-s grace hopper")
    assert keys["c-1"][0] == "cs999"
    assert keys["s-2"][0] == ("fee",)
    assert rekey(database) == 0
    database.close()
