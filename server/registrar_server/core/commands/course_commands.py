"""Commands about courses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registrar_server.core.scope import MANY, Scope

SETTLING = frozenset(
    {
        "code",
        "term",
        "component",
        "credits",
        "capacity",
        "enroll_open_time",
        "enroll_close_time",
        "meetings",
        "prerequisite_course_ids",
        "state",
    }
)
"""The fields of a course on which the promotion of its waiters depends."""


@dataclass(slots=True)
class _CourseCommand:
    course_id: str

    @property
    def lane_key(self) -> str:
        return self.course_id

    def touch(self, scope: Scope) -> None:
        scope.courses.add(self.course_id)


@dataclass(slots=True)
class CreateCourse(_CourseCommand):
    """Add a course; ``values`` by field name."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def touch(self, scope: Scope) -> None:
        """Later commands of the batch may ask for a seat in the course."""
        scope.courses.add(self.course_id)
        scope.prerequisites.update(self.values.get("prerequisite_course_ids", ()))


@dataclass(slots=True)
class UpdateCourse(_CourseCommand):
    """Set the named fields of a course; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    creation: Mapping[str, Any] | None = None
    """The values of a new course, which is created if no course has the id; None creates no course."""

    def touch(self, scope: Scope) -> None:
        """The course may settle. A new capacity adds at most as many seats as it names."""
        scope.courses.add(self.course_id)
        for values in (self.values, self.creation or {}):
            scope.prerequisites.update(values.get("prerequisite_course_ids", ()))
        if not SETTLING.isdisjoint(self.values):
            capacity = self.values.get("capacity", 0)
            scope.settle(self.course_id, MANY if capacity is None else capacity)


@dataclass(slots=True)
class Settle(_CourseCommand):
    """Give the free seats of a course to its waiters."""

    reserve_completed: bool = False
    """Whether as many seats stay free as students have completed: a finished course promotes nobody."""

    def touch(self, scope: Scope) -> None:
        """The course settles."""
        scope.settle(self.course_id, 0)


@dataclass(slots=True)
class DeleteCourse(_CourseCommand):
    """Delete a course softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """The decision depends on the course's live enrollments, and dropping them changes their students."""
        scope.courses.add(self.course_id)
        if self.force:
            scope.emptied_courses.add(self.course_id)


@dataclass(slots=True)
class UndeleteCourse(_CourseCommand):
    """Restore a deleted course."""
