"""Students: their lives and holds replayed event by event, beside the rows that should have come of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Text, cast, or_, select

from registrar_server.storage.models import Course, Enrollment, Event, Student
from registrar_server.verify.enrollments import LIVE_STATES
from registrar_server.verify.lifecycle import Life, Moment, moments
from registrar_server.verify.snapshot import AnyRow, side_by_side, stream
from registrar_server.verify.wording import changes, decoded, differing, event_name

MOMENTS = {**moments("STUDENT"), "HOLD_PLACED": Moment(), "HOLD_RELEASED": Moment()}

_STUDENTS = select(
    Student.student_id, Student.version, Student.delete_time, cast(Student.holds, Text).label("holds")
).order_by(Student.student_id)
_EVENTS = (
    select(Event.student_id, Event.revision, Event.type, cast(Event.changes, Text).label("changes"))
    .where(Event.course_id == "")
    .order_by(Event.student_id, Event.revision)
)
_LIVE_OF_DELETED = (
    select(Enrollment.enrollment_id, Enrollment.course_id, Enrollment.student_id, Enrollment.state)
    .join(Enrollment.student)
    .join(Enrollment.course)
    .where(Enrollment.state.in_(LIVE_STATES), or_(Student.delete_time.is_not(None), Course.delete_time.is_not(None)))
    .order_by(Enrollment.course_id, Enrollment.number)
)


def disagreements(connection: Connection) -> Iterator[str]:
    """Go through all students, and tell what does not agree in each; then of what deleting should have ended."""
    streams = (stream(connection, query) for query in (_STUDENTS, _EVENTS))
    for student_id, (students, events) in side_by_side(*streams):
        replay = _Replay(student_id)
        for event in events:
            yield from replay.take(event)
        if student := next(students, None):
            yield from replay.compare(student)
        else:
            yield f'Student "{student_id}" is missing, but there are events of it.'
    for row in stream(connection, _LIVE_OF_DELETED):
        enrollment = f'Enrollment "{row.enrollment_id}" in course "{row.course_id}"'
        yield f'{enrollment}: it is {row.state}, but the course or student "{row.student_id}" is deleted.'


class _Replay:
    """A student as the events leave it."""

    def __init__(self, student_id: str) -> None:
        self._life = Life(f'Student "{student_id}"', MOMENTS)
        self._holds: dict[str, str | None] = {}

    def take(self, event: AnyRow) -> Iterator[str]:
        """Go on by one event, and tell where it cannot have happened."""
        yield from self._life.take(event)
        if event.type.startswith("HOLD_"):
            yield from self._take_hold(event)

    def _take_hold(self, event: AnyRow) -> Iterator[str]:
        changed = changes(event)
        places = event.type == "HOLD_PLACED"
        code_before, code_after = changed.get("code", (None, None))
        code = code_after if places else code_before
        reason = self._holds.get(code)
        reason_before, reason_after = changed.get("reason", (reason, reason))
        fields = (
            ("code before", code_before, code if code in self._holds else None),
            ("code after", code_after, code if places else None),
            ("reason before", reason_before, reason),
        )
        yield from differing(event_name(event), fields)
        self._holds.pop(code, None)
        if places:
            self._holds[code] = reason_after

    def compare(self, student: AnyRow) -> Iterator[str]:
        """Tell where the row is not what the events have made of it."""
        yield from self._life.compare(student, ("holds", _holds(student.holds), self._holds))


def _holds(document: str) -> Any:
    """Return the reasons of holds by their codes, None for none; a document that is no list of holds stays as it is."""
    holds = decoded(document)
    try:
        return {code: reason or None for code, reason, _place_time in holds}
    except (TypeError, ValueError):
        return holds
