"""What callers may ask to change, as frozen values. Each says which rows a decision about it must see.

Every change in Registrar is one of these, and all take the same way: queue, lock, load, decide, write, commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(slots=True)
class Scope:
    """The rows a batch touches: what to lock, then what to load."""

    courses: set[str] = field(default_factory=set)
    """Locked, in order of id, before anything else."""
    students: set[str] = field(default_factory=set)
    """Locked after the courses, in order of id: those who may gain an enrollment, or are changed themselves."""
    seen_students: set[str] = field(default_factory=set)
    """Loaded without a lock."""
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """(student, course): all attempts of that student at that course."""
    emptied_courses: set[str] = field(default_factory=set)
    """Courses whose live enrollments are needed."""
    emptied_students: set[str] = field(default_factory=set)
    """Students whose live enrollments are needed, with the courses of these."""


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
    """Give the student a seat in the course."""

    allow_existing: bool = False
    no_waitlist: bool = False
    override: Override = NO_OVERRIDE
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """The student may gain an enrollment, so both rows are locked."""
        scope.courses.add(self.course_id)
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))


@dataclass(frozen=True, slots=True)
class Unenroll(_SeatCommand):
    """Take the student's live enrollment in the course back."""

    allow_missing: bool = False
    override: Override = NO_OVERRIDE
    reason: str = ""
    comment: str = ""

    def touch(self, scope: Scope) -> None:
        """A drop only relaxes the student's rules, so the student needs no lock."""
        scope.courses.add(self.course_id)
        scope.seen_students.add(self.student_id)
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


@dataclass(frozen=True, slots=True)
class UpdateCourse(_CourseCommand):
    """Set the named fields of a course; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeleteCourse(_CourseCommand):
    """Delete a course softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """Whether the course has live enrollments decides."""
        scope.courses.add(self.course_id)
        if self.force:
            scope.emptied_courses.add(self.course_id)


@dataclass(frozen=True, slots=True)
class UndeleteCourse(_CourseCommand):
    """Restore a deleted course."""
