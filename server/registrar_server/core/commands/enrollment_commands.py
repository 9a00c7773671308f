"""Commands about the enrollments of students in courses."""

from __future__ import annotations

from dataclasses import dataclass

from registrar_server.core.overrides import NO_OVERRIDE, Override
from registrar_server.core.scope import Scope


@dataclass(slots=True)
class EnrollmentCommand:
    """A command about enrollments."""


@dataclass(slots=True)
class _SeatCommand(EnrollmentCommand):
    student_id: str
    course_id: str

    @property
    def lane_key(self) -> str:
        return self.course_id


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
class _AttemptCommand(EnrollmentCommand):
    enrollment_id: str

    @property
    def lane_key(self) -> str:
        """The enrollment: its course is not known yet."""
        return self.enrollment_id

    def touch(self, scope: Scope) -> None:
        """The enrollment leads to its student and its course."""
        scope.enrollments.add(self.enrollment_id)


@dataclass(slots=True)
class CompleteById(_AttemptCommand):
    """End this seat as a completion, or correct this completion."""

    grade: str = ""
    passed: bool = True
    etag: str = ""


@dataclass(slots=True)
class VoidCompletion(_AttemptCommand):
    """Declare this completion void."""

    reason: str = ""
    etag: str = ""
