"""The results of calls that change several resources at once. They are frozen dataclasses, like those of ``_types``.

Their lists have at most 100 entries, and a count of all entries beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter

from registrar_client._docstrings import documented
from registrar_client._types import Course, Enrollment, Student

_values_of_enrollment = attrgetter(*(each.name for each in fields(Enrollment)))


@documented
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolled(Enrollment):
    """The result of ``enroll``: the student's enrollment, and the other students who were promoted.

    It is equal to every ``Enrollment`` with the same values. ``promoted`` and ``promoted_count`` do not count.
    """

    promoted: tuple[Enrollment, ...] = field(default=(), compare=False)
    """The enrollments of other students that the same transaction promoted from the waitlist, in order: at most the
    first 100."""
    promoted_count: int = field(default=0, compare=False)
    """The number of all promoted enrollments of other students."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Enrollment):
            return NotImplemented
        return bool(_values_of_enrollment(self) == _values_of_enrollment(other))

    # Equal objects have the same hash. Without this line, a class with __eq__ has none.
    __hash__ = Enrollment.__hash__


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Unenrolled:
    """The result of ``unenroll``."""

    enrollment: Enrollment | None
    """The dropped enrollment. ``None`` if there was no live enrollment and ``allow_missing`` was set."""
    promoted: tuple[Enrollment, ...] = ()
    """The enrollments that the same transaction promoted from the waitlist, in order: at most the first 100."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """The result of ``swap``."""

    enrollment: Enrollment
    """The enrollment in the course in which the student got a seat."""
    dropped: Enrollment
    """The dropped enrollment in the other course."""
    promoted: tuple[Enrollment, ...] = ()
    """The enrollments of other students that the same transaction promoted from a waitlist, in order: first those in
    the course of ``enrollment``, then those in the course of ``dropped``. At most the first 100."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedCourse:
    """The result of ``courses.update``."""

    course: Course
    """The course after the update, or the course that ``allow_missing`` created."""
    promoted: tuple[Enrollment, ...] = ()
    """The enrollments that the same transaction promoted from the waitlist, in order: at most the first 100."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The result of ``courses.settle``."""

    promoted: tuple[Enrollment, ...] = ()
    """The enrollments that the same transaction promoted from the waitlist, in order: at most the first 100."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedCourse:
    """The result of ``courses.delete``."""

    course: Course
    """The deleted course, with its ``delete_time``."""
    dropped: tuple[Enrollment, ...] = ()
    """The enrollments that the deletion dropped, in the order of their creation: at most the first 100."""
    dropped_count: int = 0
    """The number of all dropped enrollments."""
    promoted: tuple[Enrollment, ...] = ()
    """The enrollments that the same transaction promoted from a waitlist, in order: at most the first 100. Always empty
    so far, because a deleted course promotes no student."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedStudent:
    """The result of ``students.delete``."""

    student: Student
    """The deleted student, with the ``delete_time``."""
    dropped: tuple[Enrollment, ...] = ()
    """The enrollments that the deletion dropped, in the order of their course ids: at most the first 100."""
    dropped_count: int = 0
    """The number of all dropped enrollments."""
    promoted: tuple[Enrollment, ...] = ()
    """The enrollments of other students that the same transaction promoted from a waitlist, in order: at most the first
    100."""
    promoted_count: int = 0
    """The number of all promoted enrollments."""
