"""The queries of lists: keyset pages, each with the rows that follow the key of the row before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal_column, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from registrar_server.core.keys import code_key, search_words, text_key
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.vocabulary import CourseState, EnrollmentState
from registrar_server.storage import models
from registrar_server.storage.rows import Row, Selection, read_side_by_side
from registrar_server.storage.statements import ENROLLMENT_COLUMNS, POSITION

After = Sequence[Any] | None
"""The key of the row before the page; None for the first page."""

STUDENT = Selection(Student)
COURSE = Selection(Course)
ENROLLMENT = Selection(Enrollment, ENROLLMENT_COLUMNS)
PLACED_ENROLLMENT = Selection(Enrollment, (*ENROLLMENT_COLUMNS, "waitlist_position"))

read_student_course = read_side_by_side(COURSE, PLACED_ENROLLMENT)


class _Ahead(NamedTuple):
    """The number of waiters before a page of a roster."""

    waiters_ahead: int


_read_roster_row = read_side_by_side(STUDENT, ENROLLMENT, Selection(_Ahead))


class RosterEntry(NamedTuple):
    """One entry of a course's roster."""

    student: Student
    enrollment: Enrollment


class CourseSearch(NamedTuple):
    """The filters of a search in the catalogue; an empty filter fits every course."""

    query: str
    term: str
    code: str
    open_only: bool
    show_deleted: bool


def courses_of_student(student_id: str, states: Sequence[str], after: After, limit: int) -> Select[Any]:
    """Return the query for a student's enrollments with their courses, by (course_id, attempt)."""
    course, enrollment = models.Course, models.Enrollment
    query = (
        select(*columns(course, COURSE), *columns(enrollment, ENROLLMENT), literal_column(POSITION))
        .join_from(enrollment, course)
        .where(enrollment.student_id == student_id, enrollment.state.in_(states))
        .order_by(enrollment.course_id, enrollment.attempt)
    )
    if after:
        query = query.where(tuple_(enrollment.course_id, enrollment.attempt) > tuple(after))
    return query.limit(limit)


def roster(course_id: str, states: Sequence[str], after: After, limit: int) -> Select[Any]:
    """Return the query for a course's enrollments with their students, by number.

    Each row also has the number of waiters before the page.
    """
    student, enrollment = models.Student, models.Enrollment
    start = after[0] if after else 0
    of_course = enrollment.course_id == course_id
    waits = enrollment.state == EnrollmentState.WAITLISTED
    ahead = select(func.count()).where(of_course, waits, enrollment.number <= start)
    return (
        select(*columns(student, STUDENT), *columns(enrollment, ENROLLMENT), ahead.scalar_subquery())
        .join_from(enrollment, student)
        .where(of_course, enrollment.state.in_(states), enrollment.number > start)
        .order_by(enrollment.number)
        .limit(limit)
    )


def read_roster(rows: Sequence[Row]) -> list[RosterEntry]:
    """Read the rows of a page of a roster.

    A roster that shows waiters shows all of them, so their positions continue those of the pages before.
    """
    entries = []
    waiters_before = 0
    for student, enrollment, (waiters_ahead,) in map(_read_roster_row, rows):
        if enrollment.waits:
            waiters_before += 1
            enrollment.waitlist_position = waiters_ahead + waiters_before
        entries.append(RosterEntry(student, enrollment))
    return entries


def search_students(text: str, show_deleted: bool, after: After, limit: int) -> Select[Any]:
    """Return the query for the students whose id, names and e-mail address contain every word of ``text``, by id."""
    query = select(*columns(models.Student, STUDENT))
    return _search(query, models.Student, models.Student.student_id, text, show_deleted, after).limit(limit)


def search_courses(search: CourseSearch, after: After, limit: int) -> Select[Any]:
    """Return the query for the courses of the catalogue that fit ``search``, by id."""
    course = models.Course
    query = select(*columns(course, COURSE))
    query = _search(query, course, course.course_id, search.query, search.show_deleted, after)
    if term := text_key(search.term):
        query = query.where(course.term_key == term)
    if code := code_key(search.code):
        query = query.where(course.code_key == code)
    if search.open_only:
        has_seat = or_(course.capacity.is_(None), course.enrolled_count < course.capacity)
        query = query.where(course.state == CourseState.OPEN, has_seat)
    return query.limit(limit)


def columns(model: type[models.Base], selection: Selection[Any]) -> list[ColumnElement[Any]]:
    """Return the columns of a selection, with documents as their JSON text."""
    found = (model.__table__.c[name] for name in selection.names)
    return [cast(column, Text) if isinstance(column.type, JSON) else column for column in found]


def _search(
    query: Select[Any],
    model: type[models.Student] | type[models.Course],
    key: InstrumentedAttribute[str],
    text: str,
    show_deleted: bool,
    after: After,
) -> Select[Any]:
    query = query.order_by(key)
    for word in search_words(text):
        query = query.where(model.search_text.contains(word, autoescape=True))
    if not show_deleted:
        query = query.where(model.delete_time.is_(None))
    return query.where(key > after[0]) if after else query
