"""What a batch has to write: the records it added and changed, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from registrar_server.core.records import Change, Course, Enrollment, Event, StoredResponse, Student, encode
from registrar_server.errors import Violation


@dataclass
class Journal:
    """Notes of every change; what was added in this batch is written once, however often it changes afterwards."""

    now: int
    """Microseconds since 1970 UTC."""
    new_id: Callable[[int], str]
    actor: str = ""
    """On whose behalf the present command is carried out."""
    request_id: str = ""
    """The ``request_id`` of the present command."""
    added_students: dict[str, Student] = field(default_factory=dict)
    changed_students: dict[str, Student] = field(default_factory=dict)
    added_courses: dict[str, Course] = field(default_factory=dict)
    changed_courses: dict[str, Course] = field(default_factory=dict)
    counted_courses: dict[str, Course] = field(default_factory=dict)
    added_enrollments: dict[str, Enrollment] = field(default_factory=dict)
    changed_enrollments: dict[str, Enrollment] = field(default_factory=dict)
    added_responses: list[StoredResponse] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

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

    def count_course(self, course: Course) -> None:
        """Note that a counter of a course has moved."""
        if course.course_id not in self.added_courses:
            self.counted_courses[course.course_id] = course

    def change_enrollment(self, enrollment: Enrollment) -> None:
        """Note that an enrollment has changed, as its readers can see."""
        enrollment.version += 1
        enrollment.update_time = self.now
        self.touch_enrollment(enrollment)

    def touch_enrollment(self, enrollment: Enrollment) -> None:
        """Note that something of an enrollment has changed that its readers do not see."""
        if enrollment.enrollment_id not in self.added_enrollments:
            self.changed_enrollments[enrollment.enrollment_id] = enrollment

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
        changes: Iterable[Change] = (),
        violations: Iterable[Violation] = (),
    ) -> None:
        """Note the one event of a change, with the capacity and the counts in force after it."""
        self.events.append(
            Event(
                course_id=course.course_id if course else "",
                event_id=self.new_id(self.now),
                type=type,
                time=self.now,
                actor=self.actor,
                student_id=enrollment.student_id if enrollment else student_id,
                enrollment_id=enrollment.enrollment_id if enrollment else "",
                state=enrollment.state if enrollment else "",
                previous_state=previous_state,
                capacity=course.capacity if course else None,
                enrolled_count=course.enrolled_count if course else None,
                waitlisted_count=course.waitlisted_count if course else None,
                enrollment_version=enrollment.version if enrollment else None,
                grade=enrollment.grade if enrollment else "",
                passed=enrollment.passed if enrollment else None,
                reason=reason,
                comment=comment,
                bypassed_rules=encode(enrollment.bypassed_rules if enrollment else ()),
                changes=encode(tuple(changes)),
                violations=encode(tuple(violations)),
                request_id=self.request_id,
            )
        )

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
