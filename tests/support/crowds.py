"""Courses with queues, for tests of the core: students are single letters, and whoever waits is a word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from registrar_server.core.records import Course, Enrollment, Hold, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import EnrollmentState
from tests.support.ledgers import NOW, given

EARLIER = NOW - 1_000_000
UNPAID = Hold("BURSAR", "Unpaid fees.", EARLIER)


def people(letters: str) -> list[Student]:
    """Students of whom nothing particular is known."""
    return [Student(letter) for letter in letters]


def held(letter: str, *holds: Hold) -> Student:
    """A student with holds, or with one for want of others."""
    return Student(letter, holds=holds or (UNPAID,))


def crowd(seated: str, waiting: str = "", course_id: str = "c-1", **fields: Any) -> list[Course | Enrollment]:
    """A course with as many seats as are taken unless there are more, and its enrollments of some time ago."""
    counts = {"enrolled_count": len(seated), "waitlisted_count": len(waiting), "last_number": len(seated + waiting)}
    sizes = {"capacity": len(seated), "waitlist_capacity": 9}
    states = [*((letter, "ENROLLED") for letter in seated), *((letter, "WAITLISTED") for letter in waiting)]
    enrollments = [
        place(letter, number, state, course_id=course_id) for number, (letter, state) in enumerate(states, start=1)
    ]
    return [Course(course_id, **counts | sizes | fields), *enrollments]


def place(letter: str, number: int, state: str = "WAITLISTED", course_id: str = "c-1", **fields: Any) -> Enrollment:
    """A student's first enrollment in a course, with an id such as ``c-1/a``."""
    times = {"create_time": EARLIER, "update_time": EARLIER}
    return Enrollment(course_id, f"{course_id}/{letter}", letter, number, 1, EnrollmentState(state), **times | fields)


def waiting_for(seats: str, queue: str, *students: Student, **fields: Any) -> State:
    """A state where some have the seats of c-1 and others wait, and z is a newcomer; of those given more is known."""
    known = {student.student_id for student in students}
    others = people("".join(letter for letter in seats + queue + "z" if letter not in known))
    return given(*students, *others, *crowd(seats, queue, **fields))


def told(state: State) -> list[str]:
    """What the events of a state say, such as ``STUDENT_PROMOTED b``; of students or courses alone just the type."""
    return [f"{event.type} {event.student_id}" if event.enrollment_id else event.type for event in state.journal.events]


def letters(enrollments: Iterable[Enrollment]) -> str:
    """Whose enrollments these are, as a word."""
    return "".join(enrollment.student_id for enrollment in enrollments)


def queue(state: State, course_id: str = "c-1") -> str:
    """Who waits for a course."""
    return letters(state.waiters(course_id))


def counts(state: State, course_id: str = "c-1") -> tuple[int, int]:
    """How many have a seat, and how many wait."""
    course = state.courses[course_id]
    return course.enrolled_count, course.waitlisted_count
