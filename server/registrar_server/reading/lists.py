"""The queries of lists: keyset pages, each with the rows that follow the key of the row before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal_column, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from registrar_server.core.keys import code_key, search_words, text_key
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.vocabulary import LIVE_STATES, CourseState, EnrollmentState
from registrar_server.storage import models
from registrar_server.storage.containment import HasText
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
    sort_name: str = ""
    """The text by which the student's name is sorted, in a roster by name."""


class StudentCourseFilter(NamedTuple):
    """The filters of a list of a student's courses; an empty term fits every course."""

    states: Sequence[str] = LIVE_STATES
    term: str = ""
    show_deleted: bool = False
    """Whether the student may be deleted."""


class RosterFilter(NamedTuple):
    """The filters of a roster, and its order."""

    states: Sequence[str] = LIVE_STATES
    by_name: bool = False
    """Whether the order is that of the names, instead of that of the numbers."""
    show_deleted: bool = False
    """Whether the course may be deleted."""


class StudentSearch(NamedTuple):
    """The filters of a list of students; an empty filter fits every student."""

    query: str = ""
    hold_code: str = ""
    state: str | None = None
    show_deleted: bool = False


class CourseSearch(NamedTuple):
    """The filters of a search in the catalogue; an empty filter fits every course."""

    query: str = ""
    term: str = ""
    code: str = ""
    component: str = ""
    open_only: bool = False
    waitlisted_only: bool = False
    show_deleted: bool = False


def courses_of_student(student_id: str, wanted: StudentCourseFilter, after: After, limit: int) -> Select[Any]:
    """Return the query for a student's enrollments with their courses, by (course_id, attempt)."""
    course, enrollment = models.Course, models.Enrollment
    query = (
        select(*columns(course, COURSE), *columns(enrollment, ENROLLMENT), literal_column(POSITION))
        .join_from(enrollment, course)
        .where(enrollment.student_id == student_id, enrollment.state.in_(wanted.states))
        .order_by(enrollment.course_id, enrollment.attempt)
    )
    if term := text_key(wanted.term):
        query = query.where(course.term_key == term)
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


def search_students(search: StudentSearch, after: After, limit: int) -> Select[Any]:
    """Return the query for the students that fit ``search``, by id."""
    student = models.Student
    query = select(*columns(student, STUDENT))
    query = _search(query, student, student.student_id, search.query, search.show_deleted, after)
    if hold_code := text_key(search.hold_code):
        query = query.where(models.HELD, HasText(student.hold_keys, hold_code))
    if search.state:
        query = query.where(student.state == search.state)
    return query.limit(limit)


def search_courses(search: CourseSearch, after: After, limit: int) -> Select[Any]:
    """Return the query for the courses of the catalogue that fit ``search``, by id."""
    course = models.Course
    query = select(*columns(course, COURSE))
    query = _search(query, course, course.course_id, search.query, search.show_deleted, after)
    if term := text_key(search.term):
        query = query.where(course.term_key == term)
    if code := code_key(search.code):
        query = query.where(course.code_key == code)
    if component := text_key(search.component):
        query = query.where(course.component_key == component)
    if search.open_only:
        has_seat = or_(course.capacity.is_(None), course.enrolled_count < course.capacity)
        query = query.where(course.state == CourseState.OPEN, has_seat)
    if search.waitlisted_only:
        query = query.where(course.waitlisted_count > 0)
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
