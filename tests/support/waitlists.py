"""Courses with seats and waitlists, for tests of the core. Each student's id is one letter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registrar_server.core.records import Course, Enrollment, Hold, Student
from registrar_server.core.state import State
from tests.support.states import EARLIER, enrollment, loaded_state

UNPAID = Hold("BURSAR", "Unpaid fees.", EARLIER)


def students(letters: str) -> list[Student]:
    """Return one student for each letter."""
    return [Student(letter) for letter in letters]


def student_with_hold(letter: str, **fields: Any) -> Student:
    """Return a student with the hold ``UNPAID``."""
    return Student(letter, holds=(UNPAID,), **fields)


def course_with_students(
    seated: str, waiting: str = "", course_id: str = "c-1", **fields: Any
) -> list[Course | Enrollment]:
    """Return a course and its enrollments; all seats are taken unless ``fields`` sets another capacity."""
    counts = {"enrolled_count": len(seated), "waitlisted_count": len(waiting), "last_number": len(seated + waiting)}
    sizes = {"capacity": len(seated), "waitlist_capacity": 9}
    states = [*((letter, "ENROLLED") for letter in seated), *((letter, "WAITLISTED") for letter in waiting)]
    enrollments = [enrollment(letter, state, number, course_id) for number, (letter, state) in enumerate(states, 1)]
    return [Course(course_id, **counts | sizes | fields), *enrollments]


def state_with_waitlist(seated: str, waiting: str, *known: Student, **fields: Any) -> State:
    """Return a state with the course c-1, its students and a newcomer z; ``known`` replaces plain students."""
    known_ids = {student.student_id for student in known}
    others = students("".join(letter for letter in seated + waiting + "z" if letter not in known_ids))
    return loaded_state(*known, *others, *course_with_students(seated, waiting, **fields))


def event_summaries(state: State) -> list[str]:
    """Return the events as texts such as ``STUDENT_PROMOTED b``; events without an enrollment as their types."""
    return [f"{event.type} {event.student_id}" if event.enrollment_id else event.type for event in state.journal.events]


def letters(enrollments: Iterable[Enrollment]) -> str:
    """Return the students of these enrollments, in order."""
    return "".join(enrollment.student_id for enrollment in enrollments)


def waitlist(state: State, course_id: str = "c-1") -> str:
    """Return the students who wait for a course, in order."""
    return letters(one for one in state.live_of_course(course_id) if one.waits)


def counts(state: State, course_id: str = "c-1") -> tuple[int, int]:
    """Return the enrolled count and the waitlisted count of a course."""
    course = state.courses[course_id]
    return course.enrolled_count, course.waitlisted_count
