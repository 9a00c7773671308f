"""Checks that a database is consistent: its rows and counters must match the events, replayed from the first one.

It reads one snapshot in key order, so the server may write meanwhile, and it holds the enrollments of one course at a
time. It shares no rules with ``core``, so that a mistake there cannot go unnoticed here. Each disagreement is one
sentence about the place where it begins. The sentence does not say which of the two sides is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from registrar_server.storage import models
from registrar_server.verify import course_replay, event_sequence, stored_keys, student_replay
from registrar_server.verify.snapshot import open_snapshot

__all__ = ["disagreements", "open_snapshot", "pluralize", "row_counts"]

_COUNTED = {
    "event": models.Event,
    "enrollment": models.Enrollment,
    "course": models.Course,
    "student": models.Student,
}


def disagreements(connection: Connection) -> Iterator[str]:
    """Check everything in a snapshot, and report each disagreement in one sentence."""
    yield from event_sequence.disagreements(connection)
    yield from course_replay.disagreements(connection)
    yield from student_replay.disagreements(connection)
    yield from stored_keys.disagreements(connection)


def row_counts(connection: Connection) -> str:
    """Return how many rows a snapshot holds, such as ``3 events, 0 enrollments, 1 course and 2 students``."""
    *others, last = [
        pluralize(connection.scalar(select(func.count()).select_from(model)) or 0, noun)
        for noun, model in _COUNTED.items()
    ]
    return f"{', '.join(others)} and {last}"


def pluralize(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 event`` or ``12,345 events``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
