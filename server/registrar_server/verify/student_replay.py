"""Replays the events of each student, and compares the lifecycle and the holds with the stored row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Text, cast, or_, select

from registrar_server.storage.models import Course, Enrollment, Event, Student
from registrar_server.verify.enrollment_replay import LIVE_ENROLLMENT_STATES
from registrar_server.verify.lifecycle import Lifecycle, Transition, resource_transitions
from registrar_server.verify.snapshot import AnyRow, merge_join, stream
from registrar_server.verify.stored_keys import text_key
from registrar_server.verify.wording import changed_values, decode_document, differences, event_name

STUDENT_TRANSITIONS = {**resource_transitions("STUDENT"), "HOLD_PLACED": Transition(), "HOLD_RELEASED": Transition()}

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
    .where(Enrollment.state.in_(LIVE_ENROLLMENT_STATES))
    .where(or_(Student.delete_time.is_not(None), Course.delete_time.is_not(None)))
    .order_by(Enrollment.course_id, Enrollment.number)
)


def disagreements(connection: Connection) -> Iterator[str]:
    """Check each student, then report live enrollments of a deleted student or course."""
    streams = (stream(connection, query) for query in (_STUDENTS, _EVENTS))
    for student_id, (students, events) in merge_join(*streams):
        replay = _StudentReplay(student_id)
        for event in events:
            yield from replay.apply(event)
        if student := next(students, None):
            yield from replay.compare(student)
        else:
            yield f'Student "{student_id}" is missing, but there are events of it.'
    for row in stream(connection, _LIVE_OF_DELETED):
        enrollment = f'Enrollment "{row.enrollment_id}" in course "{row.course_id}"'
        yield f'{enrollment}: it is {row.state}, but the course or student "{row.student_id}" is deleted.'


class _StudentReplay:
    """The lifecycle and the holds of a student after the events."""

    def __init__(self, student_id: str) -> None:
        self._lifecycle = Lifecycle(f'Student "{student_id}"', STUDENT_TRANSITIONS)
        self._holds: dict[str | None, str | None] = {}

    def apply(self, event: AnyRow) -> Iterator[str]:
        """Apply the next event, and report where it contradicts the events before it."""
        yield from self._lifecycle.apply(event)
        if event.type.startswith("HOLD_"):
            yield from self._apply_hold(event)

    def _apply_hold(self, event: AnyRow) -> Iterator[str]:
        changed = changed_values(event)
        places = event.type == "HOLD_PLACED"
        code_before, code_after = changed.get("code", (None, None))
        code = self._replaced(code_before, code_after) if places else code_before
        reason = self._holds.get(code)
        reason_before, reason_after = changed.get("reason", (reason, reason))
        fields = (
            ("code before", code_before, code if code in self._holds else None),
            ("code after", code_after, code_after if places else None),
            ("reason before", reason_before, reason),
        )
        yield from differences(event_name(event), fields)
        self._holds.pop(code, None)
        if places:
            self._holds[code_after] = reason_after

    def _replaced(self, before: str | None, after: str | None) -> str | None:
        """Return the code of the hold that a new one replaces: the same, or one with the same key.

        Holds that are older than the keys may share one, so a hold of the same key need not be replaced.
        """
        same = before in self._holds and text_key(str(before)) == text_key(str(after))
        return before if same else after

    def compare(self, student: AnyRow) -> Iterator[str]:
        """Report where the stored row differs from the result of the events."""
        yield from self._lifecycle.compare(student, ("holds", _holds(student.holds), self._holds))


def _holds(document: str) -> Any:
    """Return the reasons of the holds by code, None for an empty one; return an invalid document as it is."""
    holds = decode_document(document)
    try:
        return {code: reason or None for code, reason, _place_time in holds}
    except (TypeError, ValueError):
        return holds
