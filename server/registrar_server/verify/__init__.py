"""Checks that what a database holds agrees with itself: rows, counters, and the history replayed from its first event.

The database may be at work meanwhile: all is read in one snapshot, in the order of keys, and never more than one
course's enrollments at a time. Every disagreement is told where it begins, in one sentence; which of the two sides is
wrong, the sentence cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from registrar_server.storage import models
from registrar_server.verify import courses, history, students
from registrar_server.verify.snapshot import snapshot

__all__ = ["disagreements", "extent", "numbered", "snapshot"]

_COUNTED = {
    "event": models.Event,
    "enrollment": models.Enrollment,
    "course": models.Course,
    "student": models.Student,
}


def disagreements(connection: Connection) -> Iterator[str]:
    """Go through everything in a snapshot, and tell what does not agree, one sentence each."""
    yield from history.disagreements(connection)
    yield from courses.disagreements(connection)
    yield from students.disagreements(connection)


def extent(connection: Connection) -> str:
    """Tell how much there is in a snapshot, such as ``3 events, 0 enrollments, 1 course and 2 students``."""
    *others, last = [
        numbered(connection.scalar(select(func.count()).select_from(model)) or 0, noun)
        for noun, model in _COUNTED.items()
    ]
    return f"{', '.join(others)} and {last}"


def numbered(count: int, noun: str) -> str:
    """Write a number with its noun, such as ``1 event`` or ``12,345 events``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
