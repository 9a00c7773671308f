"""The changes that callers may ask for, as frozen values. Each names the rows that its decision needs.

Every change in Registrar is a command, and all commands take the same path: queue, lock, load, decide, write, commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from registrar_server.core.scope import MANY, Scope


class Command(Protocol):
    """A change that a caller asks for."""

    def touch(self, scope: Scope) -> None:
        """Add the rows that the decision needs to ``scope``."""

    @property
    def lane_key(self) -> str:
        """Commands with the same key go to the same lane: the course, if the command names one."""


@dataclass(frozen=True, slots=True)
class Override:
    """The rules that the caller sets aside, and the reason."""

    rules: frozenset[str] = frozenset()
    reason: str = ""


NO_OVERRIDE = Override()


@dataclass(frozen=True, slots=True)
class EnrollmentCommand:
    """A command about enrollments."""


@dataclass(frozen=True, slots=True)
class _SeatCommand(EnrollmentCommand):
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

    student_id: str
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
    """Add a completion from elsewhere, or return an equal one if the caller allows it."""

    grade: str = ""
    passed: bool = True
    comment: str = ""
    allow_existing: bool = False

    def touch(self, scope: Scope) -> None:
        """The completion becomes one of the student's attempts."""
        scope.courses.add(self.course_id)
        scope.students.add(self.student_id)
        scope.pairs.add((self.student_id, self.course_id))


@dataclass(frozen=True, slots=True)
class _AttemptCommand(EnrollmentCommand):
    enrollment_id: str

    @property
    def lane_key(self) -> str:
        """The enrollment: its course is not known yet."""
        return self.enrollment_id

    def touch(self, scope: Scope) -> None:
        """The enrollment leads to its student and its course."""
        scope.enrollments.add(self.enrollment_id)


@dataclass(frozen=True, slots=True)
class CompleteById(_AttemptCommand):
    """End this seat as a completion, or correct this completion."""

    grade: str = ""
    passed: bool = True
    etag: str = ""


@dataclass(frozen=True, slots=True)
class VoidCompletion(_AttemptCommand):
    """Declare this completion void."""

    reason: str = ""
    etag: str = ""


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
