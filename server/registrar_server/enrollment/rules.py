"""The rules of enrolling: one pure function each, over plain values.

Every rule answers with nothing, or with a violation that says what is wrong and which values decided it. All rules
run, and every violation comes back, in the order of ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable

from registrar_server.enrollment.records import Course, Student
from registrar_server.errors import Reason, Violation


def seat_free(student: Student, course: Course, now: int) -> Violation | None:
    """A seat must be free; without a capacity there is always one."""
    if course.capacity is None or course.enrolled_count < course.capacity:
        return None
    taken = {0: "There are no seats", 1: "The only seat is taken"}
    state_of_seats = taken.get(course.capacity, f"All {course.capacity} seats are taken")
    return Violation(
        Reason.COURSE_FULL,
        f'{state_of_seats} in "{course.course_id}".',
        {"capacity": str(course.capacity), "enrolled_count": str(course.enrolled_count)},
    )


RULES: tuple[Callable[[Student, Course, int], Violation | None], ...] = (seat_free,)


def violations(student: Student, course: Course, now: int) -> list[Violation]:
    """Return every rule that this student's enrolling in this course at ``now`` would break."""
    return [violation for rule in RULES if (violation := rule(student, course, now)) is not None]
