"""Commands about students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registrar_server.core.scope import Scope


@dataclass(slots=True)
class _StudentCommand:
    student_id: str

    @property
    def lane_key(self) -> str:
        return self.student_id

    def touch(self, scope: Scope) -> None:
        scope.students.add(self.student_id)


@dataclass(slots=True)
class CreateStudent(_StudentCommand):
    """Add a student; ``values`` by field name."""

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class UpdateStudent(_StudentCommand):
    """Set the named fields of a student; an empty ``etag`` is unconditional."""

    values: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    creation: Mapping[str, Any] | None = None
    """The values of a new student, which is created if no student has the id; None creates no student."""


@dataclass(slots=True)
class DeleteStudent(_StudentCommand):
    """Delete a student softly; with ``force`` every live enrollment is dropped."""

    etag: str = ""
    force: bool = False

    def touch(self, scope: Scope) -> None:
        """The decision depends on the student's live enrollments, and dropping them changes their courses."""
        scope.students.add(self.student_id)
        scope.emptied_students.add(self.student_id)


@dataclass(slots=True)
class UndeleteStudent(_StudentCommand):
    """Restore a deleted student."""


@dataclass(slots=True)
class PlaceHold(_StudentCommand):
    """Place a hold on a student. It replaces a hold of the same code."""

    code: str
    reason: str = ""


@dataclass(slots=True)
class ReleaseHold(_StudentCommand):
    """Release a hold on a student."""

    code: str
