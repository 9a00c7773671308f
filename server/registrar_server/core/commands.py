"""The changes that callers may ask for, as frozen values. Each names the rows that its decision needs.

Every change in Registrar is a command, and all commands take the same path: queue, lock, load, decide, write, commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

MANY = 1_000_000_000
"""More seats than any course has."""


@dataclass(slots=True)
class Scope:
    """The rows that a batch locks and loads."""

    courses: set[str] = field(default_factory=set)
    """Locked first, in order of id."""
    students: set[str] = field(default_factory=set)
    """Locked after the courses, in order of id: students whose record or enrollments may change."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """(student, course): all attempts of the student at the course are loaded."""
    seekers: set[str] = field(default_factory=set)
    """Students who ask for a seat: the values that the rules need are loaded."""
    openings: dict[str, int] = field(default_factory=dict)
    """Courses that may settle, each with the number of seats that the batch may free or add there. As many of the first
    waiters as there may be free seats are loaded too, and locked with the other students."""
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


class Command(Protocol):
    """A change that a caller asks for."""

    def touch(self, scope: Scope) -> None:
        """Add the rows that the decision needs to ``scope``."""

    @property
    def lane_key(self) -> str:
        """Commands with the same key go to the same lane: the course, if there is one."""


@dataclass(frozen=True, slots=True)
class Override:
    """The rules that the caller sets aside, and the reason."""

    rules: frozenset[str] = frozenset()
    reason: str = ""


NO_OVERRIDE = Override()


@dataclass(frozen=True, slots=True)
class EnrollmentCommand:
    """A command about the enrollments of one student."""

    student_id: str


@dataclass(frozen=True, slots=True)
class _SeatCommand(EnrollmentCommand):
    course_id: str

    @property
    def lane_key(self) -> str:
        return self.course_id


@dataclass(frozen=True, slots=True)
class Enroll(_SeatCommand):
    """Give the student a seat in the course, or a place on its waitlist."""

    allow_existing: bool = False
    no_waitlist: bool = False
    override: Override = NO_OVERRIDE
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """The waiters of the course come before the newcomer, so the course may settle."""
        scope.students.add(self.student_id)
        scope.seekers.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))
        scope.settle(self.course_id, 0)


@dataclass(frozen=True, slots=True)
class Unenroll(_SeatCommand):
    """End the student's live enrollment in the course."""

    allow_missing: bool = False
    override: Override = NO_OVERRIDE
    reason: str = ""
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """The student may free a seat."""
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))
        scope.settle(self.course_id, 1)


@dataclass(frozen=True, slots=True)
class Swap(EnrollmentCommand):
    """Give the student a seat in one course and drop the seat in another."""

    from_course_id: str
    to_course_id: str
    override: Override = NO_OVERRIDE
    comment: str = ""

    @property
    def lane_key(self) -> str:
        """The course in which the student asks for a seat: many may ask for it at once."""
        return self.to_course_id

    def touch(self, scope: Scope) -> None:
        """The student asks for a seat in one course and frees a seat in the other."""
        scope.students.add(self.student_id)
        scope.seekers.add(self.student_id)
        scope.pairs |= {(self.student_id, self.from_course_id), (self.student_id, self.to_course_id)}
        scope.settle(self.to_course_id, 0)
        scope.settle(self.from_course_id, 1)


@dataclass(frozen=True, slots=True)
class Complete(_SeatCommand):
    """End the student's seat in the course as a completion, or correct the latest completion."""

    grade: str = ""
    passed: bool = True
    etag: str = ""

    def touch(self, scope: Scope) -> None:
        """The student frees a seat, but the course does not settle."""
        scope.courses.add(self.course_id)
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))


@dataclass(frozen=True, slots=True)
class RecordCompletion(_SeatCommand):
    """Add a completion from elsewhere."""

    grade: str = ""
    passed: bool = True
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """The completion becomes one of the student's attempts."""
        scope.courses.add(self.course_id)
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))


@dataclass(frozen=True, slots=True)
class _StudentCommand:
    student_id: str

    @property
    def lane_key(self) -> str:
        return self.student_id

    def touch(self, scope: Scope) -> None:
        scope.students.add(self.student_id)


@dataclass(frozen=True, slots=True)
class CreateStudent(_StudentCommand):
    """Add a student; ``values`` by field name."""

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateStudent(_StudentCommand):
    """Set the named fields of a student; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    creation: Mapping[str, Any] | None = None
    """The values of a new student, which is created if no student has the id; None creates no student."""


@dataclass(frozen=True, slots=True)
class DeleteStudent(_StudentCommand):
    """Delete a student softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """The decision depends on the student's live enrollments, and dropping them changes their courses."""
        scope.students.add(self.student_id)
        scope.emptied_students.add(self.student_id)


@dataclass(frozen=True, slots=True)
class UndeleteStudent(_StudentCommand):
    """Restore a deleted student."""


@dataclass(frozen=True, slots=True)
class PlaceHold(_StudentCommand):
    """Place a hold on a student. It replaces a hold of the same code."""

    code: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseHold(_StudentCommand):
    """Release a hold on a student."""

    code: str


@dataclass(frozen=True, slots=True)
class _CourseCommand:
    course_id: str

    @property
    def lane_key(self) -> str:
        return self.course_id

    def touch(self, scope: Scope) -> None:
        scope.courses.add(self.course_id)


@dataclass(frozen=True, slots=True)
class CreateCourse(_CourseCommand):
    """Add a course; ``values`` by field name."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def touch(self, scope: Scope) -> None:
        """Later commands of the batch may ask for a seat in the course."""
        scope.courses.add(self.course_id)
        scope.prerequisites.update(self.values.get("prerequisite_course_ids", ()))


@dataclass(frozen=True, slots=True)
class UpdateCourse(_CourseCommand):
    """Set the named fields of a course; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    creation: Mapping[str, Any] | None = None
    """The values of a new course, which is created if no course has the id; None creates no course."""

    def touch(self, scope: Scope) -> None:
        """A new capacity adds at most as many seats as it names."""
        scope.courses.add(self.course_id)
        for values in (self.values, self.creation or {}):
            scope.prerequisites.update(values.get("prerequisite_course_ids", ()))
        if "capacity" in self.values:
            capacity = self.values["capacity"]
            scope.settle(self.course_id, MANY if capacity is None else capacity)


@dataclass(frozen=True, slots=True)
class DeleteCourse(_CourseCommand):
    """Delete a course softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """The decision depends on the course's live enrollments, and dropping them changes their students."""
        scope.courses.add(self.course_id)
        if self.force:
            scope.emptied_courses.add(self.course_id)


@dataclass(frozen=True, slots=True)
class UndeleteCourse(_CourseCommand):
    """Restore a deleted course."""
