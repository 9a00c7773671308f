"""Reads. Lookups by id gather into batches like changes do; lists are keyset queries, one page each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal_column, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from registrar_server.core.records import (
    COURSE_COLUMNS,
    STUDENT_COLUMNS,
    Course,
    Enrollment,
    Student,
)
from registrar_server.errors import (
    Reason,
    Refusal,
    course_not_found,
    student_not_found,
)
from registrar_server.reading.history import HistoryEntry, select_events
from registrar_server.storage import models, statements
from registrar_server.storage.bulk import Rows
from registrar_server.storage.database import Database, Transaction, refusal_of


@dataclass(frozen=True, slots=True)
class StudentById:
    """Look a student up."""

    student_id: str
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class CourseById:
    """Look a course up."""

    course_id: str
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class EnrollmentById:
    """Look an enrollment up."""

    enrollment_id: str


@dataclass(frozen=True, slots=True)
class CoursesOfStudent:
    """A student's live enrollments with their courses, in order of course."""

    student_id: str


Lookup = StudentById | CourseById | EnrollmentById | CoursesOfStudent


class StudentCourse(NamedTuple):
    """One entry of a student's courses."""

    course: Course
    enrollment: Enrollment


class RosterEntry(NamedTuple):
    """One entry of a course's roster."""

    student: Student
    enrollment: Enrollment


class _Found(NamedTuple):
    students: dict[str, Student]
    courses: dict[str, Course]
    enrollments: dict[str, Enrollment]
    live: dict[str, list[Enrollment]]


class Reader:
    """Answers lookups and lists from the database's last committed state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look_up(self, lookups: Sequence[Lookup]) -> list[Any]:
        """Answer a batch of lookups, each with its record or its own error."""
        try:
            found = self._database.look(lambda transaction: _find(transaction, lookups))
        except Exception as error:
            return [refusal_of(error) for _ in lookups]
        return [_answer(found, lookup) for lookup in lookups]

    def require(self, lookup: Lookup) -> Any:
        """Answer one lookup, or raise its error."""
        (found,) = self.look_up([lookup])
        if isinstance(found, Exception):
            raise found
        return found

    def list_courses(
        self, student_id: str, states: Sequence[str], after: Sequence[Any] | None, limit: int
    ) -> list[StudentCourse]:
        """Return a student's enrollments with their courses, by (course_id, attempt) after ``after``."""
        self.require(StudentById(student_id))
        course, enrollment = models.Course, models.Enrollment
        query = (
            select(*_columns(course), *_columns(enrollment), literal_column(statements.POSITION))
            .join_from(enrollment, course)
            .where(enrollment.student_id == student_id, enrollment.state.in_(states))
            .order_by(enrollment.course_id, enrollment.attempt)
        )
        if after:
            query = query.where(tuple_(enrollment.course_id, enrollment.attempt) > tuple(after))
        split = len(COURSE_COLUMNS)
        return [
            StudentCourse(Course.from_row(row[:split]), Enrollment.from_row(row[split:]))
            for row in self._rows(query.limit(limit))
        ]

    def list_roster(
        self, course_id: str, states: Sequence[str], after: Sequence[Any] | None, limit: int
    ) -> list[RosterEntry]:
        """Return a course's enrollments with their students, by number after ``after``.

        A roster that shows waiters shows all of them, so their places are counted on from those of earlier pages.
        """
        self.require(CourseById(course_id))
        student, enrollment = models.Student, models.Enrollment
        start = after[0] if after else 0
        of_course = enrollment.course_id == course_id
        ahead = select(func.count()).where(of_course, enrollment.state == "WAITLISTED", enrollment.number <= start)
        query = (
            select(*_columns(student), *_columns(enrollment), ahead.scalar_subquery())
            .join_from(enrollment, student)
            .where(of_course, enrollment.state.in_(states), enrollment.number > start)
            .order_by(enrollment.number)
        )
        split = len(STUDENT_COLUMNS)
        rows = self._rows(query.limit(limit))
        entries = [RosterEntry(Student.from_row(row[:split]), Enrollment.from_row(row[split:-1])) for row in rows]
        waiters = [entry.enrollment for entry in entries if entry.enrollment.waits]
        for position, waiter in enumerate(waiters, start=rows[0][-1] + 1 if rows else 1):
            waiter.waitlist_position = position
        return entries

    def list_students(
        self, words: Iterable[str], show_deleted: bool, after: Sequence[Any] | None, limit: int
    ) -> list[Student]:
        """Return the students whose names or e-mail contain every word, by id after ``after``."""
        query = _search(models.Student, models.Student.student_id, words, show_deleted, after)
        return [Student.from_row(row) for row in self._rows(query.limit(limit))]

    def search_courses(self, search: CourseSearch, after: Sequence[Any] | None, limit: int) -> list[Course]:
        """Return the courses of the catalogue that fit ``search``, by id after ``after``."""
        course = models.Course
        query = _search(course, course.course_id, search.words, search.show_deleted, after)
        if search.term:
            query = query.where(course.term == search.term)
        if search.code:
            query = query.where(course.code == search.code)
        if search.open_only:
            free = or_(course.capacity.is_(None), course.enrolled_count < course.capacity)
            query = query.where(course.state == "OPEN", free)
        return [Course.from_row(row) for row in self._rows(query.limit(limit))]

    def list_events(self, student_id: str, course_id: str, after: int, limit: int) -> list[HistoryEntry]:
        """Return the events, those of a student and of a course where they are named, by revision after ``after``."""
        query = select_events(student_id, course_id, after, limit)
        return [HistoryEntry.from_row(row) for row in self._rows(query)]

    def _rows(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._database.rows(query)
        except Exception as error:
            raise refusal_of(error) from error


class CourseSearch(NamedTuple):
    """What to look for in the catalogue; empty parts fit every course."""

    words: Sequence[str]
    term: str
    code: str
    open_only: bool
    show_deleted: bool


def _columns(model: type[models.Base]) -> list[ColumnElement[Any]]:
    return [cast(column, Text) if isinstance(column.type, JSON) else column for column in model.__table__.columns]


def _search(
    model: type[models.Student] | type[models.Course],
    key: InstrumentedAttribute[str],
    words: Iterable[str],
    show_deleted: bool,
    after: Sequence[Any] | None,
) -> Select[Any]:
    query = select(*_columns(model)).order_by(key)
    for word in words:
        query = query.where(model.search_text.contains(word.casefold(), autoescape=True))
    if not show_deleted:
        query = query.where(model.delete_time.is_(None))
    return query.where(key > after[0]) if after else query


def _find(transaction: Transaction, lookups: Sequence[Lookup]) -> _Found:
    of_students = {lookup.student_id for lookup in lookups if isinstance(lookup, CoursesOfStudent)}
    students, enrollments, live = transaction.read(
        (statements.STUDENTS, _keys({look.student_id for look in lookups if hasattr(look, "student_id")})),
        (
            statements.ENROLLMENTS,
            _keys({look.enrollment_id for look in lookups if isinstance(look, EnrollmentById)}),
        ),
        (statements.LIVE_OF_STUDENTS, _keys(of_students)),
    )
    wanted = {look.course_id for look in lookups if isinstance(look, CourseById)} | {row[0] for row in live}
    (courses,) = transaction.read((statements.COURSES, _keys(wanted)))
    by_student: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for row in sorted(live, key=lambda row: (str(row[2]), str(row[0]))):
        by_student[row[2]].append(Enrollment.from_row(row))
    return _Found(
        {row[0]: Student.from_row(row) for row in students},
        {row[0]: Course.from_row(row) for row in courses},
        {row[1]: Enrollment.from_row(row) for row in enrollments},
        by_student,
    )


def _keys(ids: Iterable[str]) -> Rows:
    return [(key,) for key in ids]


def _answer(found: _Found, lookup: Lookup) -> Any:
    match lookup:
        case StudentById(student_id, show_deleted):
            student = found.students.get(student_id)
            return student if _visible(student, show_deleted) else student_not_found(student_id)
        case CourseById(course_id, show_deleted):
            course = found.courses.get(course_id)
            return course if _visible(course, show_deleted) else course_not_found(course_id)
        case EnrollmentById(enrollment_id):
            return found.enrollments.get(enrollment_id) or _enrollment_not_found(enrollment_id)
        case CoursesOfStudent(student_id):
            if not _visible(found.students.get(student_id), show_deleted=False):
                return student_not_found(student_id)
            return [StudentCourse(found.courses[live.course_id], live) for live in found.live[student_id]]


def _visible(record: Student | Course | None, show_deleted: bool) -> bool:
    return record is not None and (show_deleted or record.delete_time is None)


def _enrollment_not_found(enrollment_id: str) -> Refusal:
    return Refusal(
        Reason.ENROLLMENT_NOT_FOUND,
        f'There is no enrollment "{enrollment_id}".',
        enrollment_id=enrollment_id,
    )
