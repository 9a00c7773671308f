"""Compares the stored keys, search texts and sort names with the texts that they stand for.

Rows whose keys belong to another version of the row are left out: a server of an older version wrote them, and the
present servers complete them.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import category, normalize

from sqlalchemy import Connection, Text, cast, select

from registrar_server.storage.models import Course, Student
from registrar_server.verify.snapshot import AnyRow, stream
from registrar_server.verify.wording import decode_document, differences

SOURCE = "its texts come to"

_COURSES = (
    select(
        Course.course_id,
        Course.code,
        Course.title,
        Course.term,
        Course.component,
        Course.code_key,
        Course.term_key,
        Course.component_key,
        Course.search_text,
    )
    .where(Course.keys_version == Course.version)
    .order_by(Course.course_id)
)
_STUDENTS = (
    select(
        Student.student_id,
        Student.given_name,
        Student.family_name,
        Student.email,
        Student.search_text,
        Student.sort_name,
        cast(Student.holds, Text).label("holds"),
        cast(Student.hold_keys, Text).label("hold_keys"),
    )
    .where(Student.keys_version == Student.version)
    .order_by(Student.student_id)
)


def disagreements(connection: Connection) -> Iterator[str]:
    """Check the keys of each course, then those of each student."""
    for course in stream(connection, _COURSES):
        yield from _course_errors(course)
    for student in stream(connection, _STUDENTS):
        yield from _student_errors(student)


def text_key(text: str) -> str:
    """Return the key of a text: case, width, invisible characters and the amount of white space do not matter."""
    folded = normalize("NFKC", normalize("NFKD", text).casefold())
    visible = "".join(character for character in folded if category(character) != "Cf")
    return " ".join(normalize("NFKC", visible.casefold()).split())


def _course_errors(course: AnyRow) -> Iterator[str]:
    name = f'Course "{course.course_id}"'
    fields = (
        ("code_key", course.code_key, normalize("NFC", text_key(course.code).replace(" ", ""))),
        ("term_key", course.term_key, text_key(course.term)),
        ("component_key", course.component_key, text_key(course.component)),
    )
    yield from differences(name, fields, SOURCE)
    yield from _search_errors(name, course.search_text, course.course_id, course.code, course.title)


def _student_errors(student: AnyRow) -> Iterator[str]:
    name = f'Student "{student.student_id}"'
    expected = _hold_keys(student.holds)
    if expected is not None:
        stored = decode_document(student.hold_keys or "null")
        yield from differences(name, [("hold_keys", stored, expected)], SOURCE)
    yield from _sort_errors(name, student)
    texts = (student.student_id, student.given_name, student.family_name, student.email)
    yield from _search_errors(name, student.search_text, *texts)


def _hold_keys(document: str) -> list[str] | None:
    """Return the keys of the holds, or None for an invalid document, which the replay of the history reports."""
    try:
        return [text_key(code) for code, _reason, _place_time in decode_document(document)]
    except (TypeError, ValueError, AttributeError):
        return None


def _sort_errors(name: str, student: AnyRow) -> Iterator[str]:
    """Check the sort name of a student whose names have no accents."""
    names = (student.family_name, student.given_name)
    if all(map(str.isascii, names)):
        expected = "  ".join(" ".join(each.lower().split()) for each in names)[:100]
        yield from differences(name, [("sort_name", student.sort_name, expected)], SOURCE)


def _search_errors(name: str, search_text: str, *texts: str) -> Iterator[str]:
    for text in texts:
        if text.casefold() not in search_text:
            yield f"{name}: a search does not find it by {text!r}."
