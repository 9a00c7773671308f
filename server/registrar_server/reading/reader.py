"""Runs lists on the database, and refuses what the database cannot answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select

from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.errors import unwrap
from registrar_server.immediate import complete
from registrar_server.reading import enrollment_lists, history, lists
from registrar_server.reading.enrollment_lists import EnrollmentSearch
from registrar_server.reading.history import EventSearch, HistoryPage
from registrar_server.reading.lists import (
    After,
    CourseSearch,
    RosterEntry,
    RosterFilter,
    StudentCourseFilter,
    StudentSearch,
)
from registrar_server.reading.lookups import CourseById, Lookup, StudentById, StudentCourse, look_up
from registrar_server.storage.database import Database
from registrar_server.storage.failures import refusal_of
from registrar_server.storage.rows import Row
from registrar_server.storage.stores import BlockingStore


class Reader:
    """Reads the last committed state. Each list returns the rows after the key ``after``, at most ``limit``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._store = BlockingStore(database)

    def require(self, lookup: Lookup) -> Any:
        """Return the record of one lookup, or raise its error."""
        return unwrap(complete(look_up(self._store, [lookup]))[0])

    def list_courses(
        self, student_id: str, wanted: StudentCourseFilter, after: After, limit: int
    ) -> list[StudentCourse]:
        """Return a student's enrollments with their courses, by (course_id, attempt)."""
        self.require(StudentById(student_id, wanted.show_deleted))
        rows = self._rows(lists.courses_of_student(student_id, wanted, after, limit))
        return [StudentCourse(*lists.read_student_course(row)) for row in rows]

    def list_roster(self, course_id: str, wanted: RosterFilter, after: After, limit: int) -> list[RosterEntry]:
        """Return a course's enrollments with their students, by number or by (sort_name, number)."""
        self.require(CourseById(course_id, wanted.show_deleted))
        if wanted.by_name:
            query = enrollment_lists.roster_by_name(course_id, wanted.states, after, limit)
            return enrollment_lists.read_roster_by_name(self._rows(query))
        return lists.read_roster(self._rows(lists.roster(course_id, wanted.states, after, limit)))

    def list_enrollments(self, search: EnrollmentSearch, after: After, limit: int) -> list[Enrollment]:
        """Return the enrollments that fit ``search``, by (course_id, number)."""
        if search.student_id:
            self.require(StudentById(search.student_id, search.show_deleted))
        if search.course_id:
            self.require(CourseById(search.course_id, search.show_deleted))
        query = enrollment_lists.enrollments(search, after, limit)
        return enrollment_lists.read_enrollments(self._rows(query))

    def list_students(self, search: StudentSearch, after: After, limit: int) -> list[Student]:
        """Return the students that fit ``search``, by id."""
        return list(map(lists.STUDENT.read, self._rows(lists.search_students(search, after, limit))))

    def search_courses(self, search: CourseSearch, after: After, limit: int) -> list[Course]:
        """Return the courses of the catalogue that fit ``search``, by id."""
        return list(map(lists.COURSE.read, self._rows(lists.search_courses(search, after, limit))))

    def list_events(self, search: EventSearch, limit: int) -> HistoryPage:
        """Return the events that fit ``search``, by revision, and the last revision of all events."""
        query = history.events(search._replace(after=0), limit, lateral=not self._database.is_sqlite)
        return history.read_page(self._rows(query, {history.AFTER: search.after}))

    def _rows(self, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> Sequence[Row]:
        try:
            return self._database.rows(query, parameters)
        except Exception as error:
            raise refusal_of(error) from error
