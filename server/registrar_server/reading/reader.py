"""Runs lookups and lists on the database, and refuses what the database cannot answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select

from registrar_server.core.records import Course, Student
from registrar_server.errors import unwrap
from registrar_server.reading import history, lists
from registrar_server.reading.history import HistoryEntry
from registrar_server.reading.lists import After, CourseSearch, RosterEntry
from registrar_server.reading.lookups import CourseById, Lookup, StudentById, StudentCourse, answer_all
from registrar_server.storage.database import Database
from registrar_server.storage.failures import refusal_of
from registrar_server.storage.rows import Row


class Reader:
    """Reads the last committed state. Each list returns the rows after the key ``after``, at most ``limit``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look_up(self, lookups: Sequence[Lookup]) -> list[Any]:
        """Return, for each lookup in order, its record or its error."""
        try:
            return self._database.look(lambda transaction: answer_all(transaction, lookups), calls=len(lookups))
        except Exception as error:
            return [refusal_of(error) for _ in lookups]

    def require(self, lookup: Lookup) -> Any:
        """Return the record of one lookup, or raise its error."""
        return unwrap(self.look_up([lookup])[0])

    def list_courses(self, student_id: str, states: Sequence[str], after: After, limit: int) -> list[StudentCourse]:
        """Return a student's enrollments with their courses, by (course_id, attempt)."""
        self.require(StudentById(student_id))
        rows = self._rows(lists.courses_of_student(student_id, states, after, limit))
        return [StudentCourse(*lists.read_student_course(row)) for row in rows]

    def list_roster(self, course_id: str, states: Sequence[str], after: After, limit: int) -> list[RosterEntry]:
        """Return a course's enrollments with their students, by number."""
        self.require(CourseById(course_id))
        return lists.read_roster(self._rows(lists.roster(course_id, states, after, limit)))

    def list_students(self, words: Iterable[str], show_deleted: bool, after: After, limit: int) -> list[Student]:
        """Return the students whose names or e-mail addresses contain every word, by id."""
        return list(map(lists.STUDENT.read, self._rows(lists.search_students(words, show_deleted, after, limit))))

    def search_courses(self, search: CourseSearch, after: After, limit: int) -> list[Course]:
        """Return the courses of the catalogue that fit ``search``, by id."""
        return list(map(lists.COURSE.read, self._rows(lists.search_courses(search, after, limit))))

    def list_events(self, student_id: str, course_id: str, after: int, limit: int) -> list[HistoryEntry]:
        """Return the events after a revision, optionally of one student or course, by revision."""
        return list(map(history.read_entry, self._rows(history.events(student_id, course_id, after, limit))))

    def _rows(self, query: Select[Any]) -> Sequence[Row]:
        try:
            return self._database.rows(query)
        except Exception as error:
            raise refusal_of(error) from error
