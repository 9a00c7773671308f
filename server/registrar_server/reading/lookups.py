"""Lookups by id: many of them are answered together, from the rows of two round trips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.errors import course_not_found, enrollment_not_found, student_not_found
from registrar_server.storage import statements
from registrar_server.storage.bulk import id_rows
from registrar_server.storage.failures import refusal_of
from registrar_server.storage.stores import Exchanges, Store


@dataclass(frozen=True, slots=True)
class StudentById:
    """Look up a student."""

    student_id: str
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class CourseById:
    """Look up a course."""

    course_id: str
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class EnrollmentById:
    """Look up an enrollment."""

    enrollment_id: str


@dataclass(frozen=True, slots=True)
class CoursesOfStudent:
    """Look up a student's live enrollments with their courses, in order of course."""

    student_id: str


Lookup = StudentById | CourseById | EnrollmentById | CoursesOfStudent


class StudentCourse(NamedTuple):
    """One of a student's courses."""

    course: Course
    enrollment: Enrollment


class _Found(NamedTuple):
    students: dict[str, Student]
    courses: dict[str, Course]
    enrollments: dict[str, Enrollment]
    live: dict[str, list[Enrollment]]


async def look_up(store: Store, lookups: Sequence[Lookup]) -> list[Any]:
    """Return, for each lookup in order, its record or its error."""
    try:
        found = await store.look(lambda snapshot: _find(snapshot, lookups), calls=len(lookups))
    except Exception as error:
        return [refusal_of(error) for _ in lookups]
    return [_answer(found, lookup) for lookup in lookups]


async def latest_revisions(store: Store, asked: Sequence[None]) -> Sequence[int | Exception]:
    """Return the revision of the newest event, or the error, once for each who asks."""
    try:
        found = await store.look(lambda snapshot: snapshot.read(statements.LATEST), calls=len(asked))
    except Exception as error:
        return [refusal_of(error) for _ in asked]
    return found[statements.REVISION] * len(asked)


async def _find(snapshot: Exchanges, lookups: Sequence[Lookup]) -> _Found:
    of_students = {lookup.student_id for lookup in lookups if isinstance(lookup, CoursesOfStudent)}
    students = {lookup.student_id for lookup in lookups if isinstance(lookup, StudentById)} | of_students
    enrollments = {lookup.enrollment_id for lookup in lookups if isinstance(lookup, EnrollmentById)}
    found = await snapshot.read(
        {
            statements.STUDENTS: id_rows(students),
            statements.ENROLLMENTS: id_rows(enrollments),
            statements.LIVE_OF_STUDENTS: id_rows(of_students),
        }
    )
    live = found[statements.LIVE_OF_STUDENTS]
    courses = {lookup.course_id for lookup in lookups if isinstance(lookup, CourseById)}
    courses.update(enrollment.course_id for enrollment in live)
    of_courses = await snapshot.read({statements.COURSES: id_rows(courses)})
    return _Found(
        {student.student_id: student for student in found[statements.STUDENTS]},
        {course.course_id: course for course in of_courses[statements.COURSES]},
        {enrollment.enrollment_id: enrollment for enrollment in found[statements.ENROLLMENTS]},
        _by_student(live),
    )


def _by_student(live: Iterable[Enrollment]) -> dict[str, list[Enrollment]]:
    by_student: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for enrollment in sorted(live, key=lambda one: one.course_id):
        by_student[enrollment.student_id].append(enrollment)
    return by_student


def _answer(found: _Found, lookup: Lookup) -> Any:
    match lookup:
        case StudentById(student_id, show_deleted):
            student = found.students.get(student_id)
            return student if _is_visible(student, show_deleted) else student_not_found(student_id)
        case CourseById(course_id, show_deleted):
            course = found.courses.get(course_id)
            return course if _is_visible(course, show_deleted) else course_not_found(course_id)
        case EnrollmentById(enrollment_id):
            return found.enrollments.get(enrollment_id) or enrollment_not_found(enrollment_id)
        case CoursesOfStudent(student_id):
            if not _is_visible(found.students.get(student_id), show_deleted=False):
                return student_not_found(student_id)
            return [StudentCourse(found.courses[live.course_id], live) for live in found.live[student_id]]


def _is_visible(record: Student | Course | None, show_deleted: bool) -> bool:
    return record is not None and (show_deleted or record.delete_time is None)
