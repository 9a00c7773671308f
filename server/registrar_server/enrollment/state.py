"""What one batch sees and changes: the loaded rows, and a note of every change to be written.

Decisions read and change records here and nowhere else. Later commands of a batch see what earlier ones decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from registrar_server.enrollment.records import (
    Change,
    Course,
    Enrollment,
    Event,
    StoredResponse,
    Student,
    encode,
)
from registrar_server.errors import course_not_found, student_not_found

SEAT_COUNTERS = {"ENROLLED": "enrolled_count", "WAITLISTED": "waitlisted_count"}


class State:
    """The rows a batch works on, at the time ``now`` (microseconds since 1970 UTC)."""

    def __init__(self, now: int, new_id: Callable[[int], str]) -> None:
        self.now = now
        self._new_id = new_id
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.responses: dict[tuple[str, str], StoredResponse] = {}
        self._attempts: dict[tuple[str, str], Enrollment] = {}
        self._live_by_student: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)
        self._live_by_course: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)

        self.actor = ""
        self.request_id = ""
        self.added_students: dict[str, Student] = {}
        self.changed_students: dict[str, Student] = {}
        self.added_courses: dict[str, Course] = {}
        self.changed_courses: dict[str, Course] = {}
        self.counted_courses: dict[str, Course] = {}
        self.added_enrollments: dict[str, Enrollment] = {}
        self.changed_enrollments: dict[str, Enrollment] = {}
        self.added_responses: list[StoredResponse] = []
        self.events: list[Event] = []

    def load(
        self,
        students: Iterable[Student],
        courses: Iterable[Course],
        enrollments: Iterable[Enrollment],
        responses: Iterable[StoredResponse],
    ) -> None:
        """Take in rows as they stand in the database."""
        self.students.update((student.student_id, student) for student in students)
        self.courses.update((course.course_id, course) for course in courses)
        self.responses.update(((stored.caller, stored.request_id), stored) for stored in responses)
        for enrollment in enrollments:
            self._remember(enrollment)

    def _remember(self, enrollment: Enrollment) -> None:
        student_id, course_id = enrollment.student_id, enrollment.course_id
        latest = self._attempts.get((student_id, course_id))
        if latest is None or latest.attempt <= enrollment.attempt:
            self._attempts[student_id, course_id] = enrollment
        if enrollment.live:
            self._live_by_student[student_id][course_id] = enrollment
            self._live_by_course[course_id][student_id] = enrollment

    def student(self, student_id: str) -> Student:
        """Return a student that is not deleted, or refuse with STUDENT_NOT_FOUND."""
        student = self.students.get(student_id)
        if student is None or student.delete_time is not None:
            raise student_not_found(student_id)
        return student

    def course(self, course_id: str) -> Course:
        """Return a course that is not deleted, or refuse with COURSE_NOT_FOUND."""
        course = self.courses.get(course_id)
        if course is None or course.delete_time is not None:
            raise course_not_found(course_id)
        return course

    def latest_attempt(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's newest enrollment in the course, live or not."""
        return self._attempts.get((student_id, course_id))

    def live_of_student(self, student_id: str) -> list[Enrollment]:
        """Return the live enrollments of a student whose enrollments were asked for, in order of course."""
        return [live for _, live in sorted(self._live_by_student[student_id].items())]

    def live_of_course(self, course_id: str) -> list[Enrollment]:
        """Return the live enrollments of a course whose enrollments were asked for, in order of their numbers."""
        return sorted(self._live_by_course[course_id].values(), key=lambda live: live.number)

    def new_id(self) -> str:
        """Make an id."""
        return self._new_id(self.now)

    def add_student(self, student: Student) -> None:
        """Note a new student."""
        self.students[student.student_id] = self.added_students[student.student_id] = student

    def add_course(self, course: Course) -> None:
        """Note a new course."""
        self.courses[course.course_id] = self.added_courses[course.course_id] = course

    def change_student(self, student: Student) -> None:
        """Note that what callers set of a student has changed."""
        student.version += 1
        student.update_time = self.now
        if student.student_id not in self.added_students:
            self.changed_students[student.student_id] = student

    def change_course(self, course: Course) -> None:
        """Note that what callers set of a course has changed."""
        course.version += 1
        course.update_time = self.now
        if course.course_id not in self.added_courses:
            self.changed_courses[course.course_id] = course

    def open_enrollment(
        self, student: Student, course: Course, state: str, bypassed_rules: tuple[str, ...]
    ) -> Enrollment:
        """Add a live enrollment at the end of the course's queue and count it."""
        before = self._attempts.get((student.student_id, course.course_id))
        course.last_number += 1
        enrollment = Enrollment(
            course_id=course.course_id,
            enrollment_id=self.new_id(),
            student_id=student.student_id,
            number=course.last_number,
            attempt=1 if before is None else before.attempt + 1,
            state=state,
            bypassed_rules=bypassed_rules,
            create_time=self.now,
            update_time=self.now,
        )
        self.added_enrollments[enrollment.enrollment_id] = enrollment
        self._remember(enrollment)
        self._count(course, state, 1)
        return enrollment

    def end_enrollment(self, enrollment: Enrollment, state: str, reason: str) -> None:
        """Turn a live enrollment into one that is not, and give its place free."""
        self._count(self.courses[enrollment.course_id], enrollment.state, -1)
        enrollment.state = state
        enrollment.reason = reason
        enrollment.version += 1
        enrollment.update_time = enrollment.end_time = self.now
        self._live_by_student[enrollment.student_id].pop(enrollment.course_id, None)
        self._live_by_course[enrollment.course_id].pop(enrollment.student_id, None)
        if enrollment.enrollment_id not in self.added_enrollments:
            self.changed_enrollments[enrollment.enrollment_id] = enrollment

    def _count(self, course: Course, state: str, step: int) -> None:
        counter = SEAT_COUNTERS[state]
        setattr(course, counter, getattr(course, counter) + step)
        if course.course_id not in self.added_courses:
            self.counted_courses[course.course_id] = course

    def record(
        self,
        type: str,
        *,
        course: Course | None = None,
        student_id: str = "",
        enrollment: Enrollment | None = None,
        previous_state: str = "",
        reason: str = "",
        comment: str = "",
        changes: tuple[Change, ...] = (),
    ) -> None:
        """Note the one event of a change, with the capacity and count in force after it."""
        self.events.append(
            Event(
                course_id=course.course_id if course else "",
                event_id=self.new_id(),
                type=type,
                time=self.now,
                actor=self.actor,
                student_id=student_id,
                enrollment_id=enrollment.enrollment_id if enrollment else "",
                state=enrollment.state if enrollment else "",
                previous_state=previous_state,
                capacity=course.capacity if course else None,
                enrolled_count=course.enrolled_count if course else None,
                reason=reason,
                comment=comment,
                bypassed_rules=encode(enrollment.bypassed_rules if enrollment else ()),
                changes=encode(changes),
                request_id=self.request_id,
            )
        )

    def answer(self, stored: StoredResponse) -> None:
        """Keep the response to a ``request_id``, for this batch's later calls and for the years to come."""
        self.responses[stored.caller, stored.request_id] = stored
        self.added_responses.append(stored)

    def forget_made(self) -> None:
        """Empty the times and versions this batch made, in the records it changed: a preview makes none."""
        added: tuple[Student | Course | Enrollment, ...] = (
            *self.added_students.values(),
            *self.added_courses.values(),
            *self.added_enrollments.values(),
        )
        changed: tuple[Student | Course | Enrollment, ...] = (
            *self.changed_students.values(),
            *self.changed_courses.values(),
            *self.changed_enrollments.values(),
        )
        for record in added:
            record.create_time = 0
        for record in (*added, *changed):
            record.version = record.update_time = 0
            if isinstance(record, Enrollment):
                record.end_time = record.end_time and 0
            else:
                record.delete_time = record.delete_time and 0
