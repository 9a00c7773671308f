"""What callers may ask to change, as frozen values. Each says which rows a decision about it must see.

Every change in Registrar is one of these, and all take the same way: queue, lock, load, decide, write, commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

MANY = 1_000_000_000
"""More seats than any course has: of this many openings none is ever short."""


@dataclass(slots=True)
class Scope:
    """The rows a batch touches: what to lock, then what to load."""

    courses: set[str] = field(default_factory=set)
    """Locked, in order of id, before anything else."""
    students: set[str] = field(default_factory=set)
    """Locked after the courses, in order of id: those whose own record or whose enrollments may change."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """(student, course): all attempts of that student at that course."""
    seekers: set[str] = field(default_factory=set)
    """Students who ask for a seat: what the rules look at is needed."""
    openings: dict[str, int] = field(default_factory=dict)
    """Courses that may settle, each with the seats that the batch may free or add there: the first waiters, as many as
    seats may be free, are needed too, and locked with the other students."""
    prerequisites: set[str] = field(default_factory=set)
    """Courses that a command makes a prerequisite of another."""
    emptied_courses: set[str] = field(default_factory=set)
    """Courses whose live enrollments are needed, with the students of these."""
    emptied_students: set[str] = field(default_factory=set)
    """Students whose live enrollments are needed, with the courses of these."""

    def settle(self, course_id: str, openings: int) -> None:
        """Add a course that may settle, with as many seats more."""
        self.courses.add(course_id)
        self.openings[course_id] = self.openings.get(course_id, 0) + openings


class Command(Protocol):
    """A change asked for."""

    def touch(self, scope: Scope) -> None:
        """Add to ``scope`` what deciding about this command must see."""

    @property
    def lane_key(self) -> str:
        """Commands of one key meet in one lane: the course where there is one."""


@dataclass(frozen=True, slots=True)
class Override:
    """Rules the caller asks to pass over, and why."""

    rules: frozenset[str] = frozenset()
    reason: str = ""


NO_OVERRIDE = Override()


@dataclass(frozen=True, slots=True)
class _SeatCommand:
    student_id: str
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
        """A newcomer asks for a seat: those who wait for one come first."""
        scope.students.add(self.student_id)
        scope.seekers.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))
        scope.settle(self.course_id, 0)


@dataclass(frozen=True, slots=True)
class Unenroll(_SeatCommand):
    """Take the student's live enrollment in the course back."""

    allow_missing: bool = False
    override: Override = NO_OVERRIDE
    reason: str = ""
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """A seat may become free."""
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))
        scope.settle(self.course_id, 1)


@dataclass(frozen=True, slots=True)
class Swap:
    """Give the student a seat in one course for the one in another."""

    student_id: str
    from_course_id: str
    to_course_id: str
    override: Override = NO_OVERRIDE
    comment: str = ""

    @property
    def lane_key(self) -> str:
        """The course where there may be a crowd."""
        return self.to_course_id

    def touch(self, scope: Scope) -> None:
        """A seat is asked for in one course and becomes free in the other."""
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
        """The seat becomes free, but the course does not settle."""
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


@dataclass(frozen=True, slots=True)
class DeleteStudent(_StudentCommand):
    """Delete a student softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """Whether the student has live enrollments decides; dropping them changes their courses."""
        scope.students.add(self.student_id)
        scope.emptied_students.add(self.student_id)


@dataclass(frozen=True, slots=True)
class UndeleteStudent(_StudentCommand):
    """Restore a deleted student."""


@dataclass(frozen=True, slots=True)
class PlaceHold(_StudentCommand):
    """Place a hold on a student, in the place of one of the same code."""

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
        """Later commands of the batch may ask for a seat in it."""
        scope.courses.add(self.course_id)
        scope.prerequisites.update(self.values.get("prerequisite_course_ids", ()))


@dataclass(frozen=True, slots=True)
class UpdateCourse(_CourseCommand):
    """Set the named fields of a course; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""

    def touch(self, scope: Scope) -> None:
        """A capacity may be raised, by as many seats as it names at the most."""
        scope.courses.add(self.course_id)
        scope.prerequisites.update(self.values.get("prerequisite_course_ids", ()))
        if "capacity" in self.values:
            capacity = self.values["capacity"]
            scope.settle(self.course_id, MANY if capacity is None else capacity)


@dataclass(frozen=True, slots=True)
class DeleteCourse(_CourseCommand):
    """Delete a course softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """Whether the course has live enrollments decides; dropping them changes their students'."""
        scope.courses.add(self.course_id)
        if self.force:
            scope.emptied_courses.add(self.course_id)


@dataclass(frozen=True, slots=True)
class UndeleteCourse(_CourseCommand):
    """Restore a deleted course."""
