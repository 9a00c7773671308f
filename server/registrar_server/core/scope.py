"""What a batch locks and loads: the rows that its commands name."""

from __future__ import annotations

from dataclasses import dataclass, field

MANY = 1_000_000_000
"""More seats than any course has."""

SPARE_WAITERS = 16
"""The number of waiters loaded beyond the free seats, since the rules may keep some from being promoted."""


@dataclass(slots=True)
class Scope:
    """The rows that a batch locks and loads."""

    courses: set[str] = field(default_factory=set)
    """Locked first, in order of id."""
    students: set[str] = field(default_factory=set)
    """Locked after the courses, in order of id: students whose record or enrollments may change."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """(student, course): all attempts of the student at the course are loaded."""
    enrollments: set[str] = field(default_factory=set)
    """Enrollments that commands name by their ids: their courses and students are locked, and all attempts of such a
    student at the course are loaded."""
    seekers: set[str] = field(default_factory=set)
    """Students who ask for a seat: the values that the rules need are loaded."""
    openings: dict[str, int] = field(default_factory=dict)
    """Courses that may settle, each with the number of seats that the batch may free or add there. As many of the first
    waiters as there may be free seats are loaded too, and ``SPARE_WAITERS`` more; their students are locked with the
    others."""
    spare: dict[str, int] = field(default_factory=dict)
    """Courses that load another number of waiters than ``SPARE_WAITERS`` beyond the free seats."""
    prerequisites: set[str] = field(default_factory=set)
    """Courses that a command makes prerequisites of another course."""
    emptied_courses: set[str] = field(default_factory=set)
    """Courses whose live enrollments are loaded, with the students of those enrollments."""
    emptied_students: set[str] = field(default_factory=set)
    """Students whose live enrollments are loaded, with the courses of those enrollments."""

    def settle(self, course_id: str, openings: int) -> None:
        """Add a course that may settle, and ``openings`` seats that the batch may free or add there."""
        self.courses.add(course_id)
        self.openings[course_id] = self.openings.get(course_id, 0) + openings

    def heads(self) -> list[tuple[str, int, int]]:
        """Return the courses that may settle, each with its openings and the number of spare waiters."""
        spare = self.spare
        return [(one, openings, spare.get(one, SPARE_WAITERS)) for one, openings in self.openings.items()]
