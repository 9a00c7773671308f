"""Replays the events of each course, and compares the course and its enrollments with the stored rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, select

from registrar_server.storage.models import Course, Enrollment, Event
from registrar_server.verify.enrollment_replay import (
    ENROLLMENT_TRANSITIONS,
    EnrollmentReplay,
    EnrollmentTransition,
    attempt_errors,
    number_gaps,
    numbers_out_of_order,
)
from registrar_server.verify.lifecycle import Lifecycle, Transition, resource_transitions
from registrar_server.verify.snapshot import AnyRow, merge_join, stream
from registrar_server.verify.wording import Field, changed_values, decode_document, differences, event_name

_OF_COMPLETIONS = ("ENROLLMENT_COMPLETED", "COMPLETION_RECORDED", "COMPLETION_VOIDED")
COURSE_TRANSITIONS = {
    **resource_transitions("COURSE"),
    **dict.fromkeys(ENROLLMENT_TRANSITIONS, Transition(versions=0)),
    **dict.fromkeys(_OF_COMPLETIONS, Transition(befores=("known", "deleted"), after="", versions=0)),
}
_SWEEP = "system:sweep"
_OF_SWEEPS = ("STUDENT_PROMOTED", "PROMOTION_SKIPPED")
_SEAT_FIELDS = ("capacity", "enrolled_count", "waitlisted_count")

_COURSES = select(
    Course.course_id,
    Course.version,
    Course.delete_time,
    Course.capacity,
    Course.enrolled_count,
    Course.waitlisted_count,
    Course.last_number,
    Course.completed_count,
    Course.has_waiters,
).order_by(Course.course_id)
_ENROLLMENTS = select(
    Enrollment.course_id,
    Enrollment.enrollment_id,
    Enrollment.student_id,
    Enrollment.number,
    Enrollment.attempt,
    Enrollment.state,
    Enrollment.version,
    Enrollment.grade,
    Enrollment.passed,
    Enrollment.end_time,
    cast(Enrollment.bypassed_rules, Text).label("bypassed_rules"),
    cast(Enrollment.last_skip, Text).label("last_skip"),
    cast(Enrollment.bypassed_violations, Text).label("bypassed_violations"),
    Enrollment.counted,
).order_by(Enrollment.course_id, Enrollment.number)
_EVENTS = (
    select(
        Event.course_id,
        Event.revision,
        Event.type,
        Event.actor,
        Event.student_id,
        Event.enrollment_id,
        Event.previous_state,
        Event.state,
        Event.capacity,
        Event.enrolled_count,
        Event.waitlisted_count,
        Event.enrollment_version,
        Event.grade,
        Event.passed,
        cast(Event.bypassed_rules, Text).label("bypassed_rules"),
        cast(Event.changes, Text).label("changes"),
        cast(Event.violations, Text).label("violations"),
    )
    .where(Event.course_id > "")
    .order_by(Event.course_id, Event.revision)
)


def disagreements(connection: Connection) -> Iterator[str]:
    """Check each course and its enrollments."""
    streams = (stream(connection, query) for query in (_COURSES, _ENROLLMENTS, _EVENTS))
    for course_id, (courses, enrollments, events) in merge_join(*streams):
        replay = _CourseReplay(course_id)
        for event in events:
            yield from replay.apply(event)
        if course := next(courses, None):
            yield from replay.compare(course, list(enrollments))
        else:
            yield f'Course "{course_id}" is missing, but there are events or enrollments of it.'


class _CourseReplay:
    """A course and its enrollments after the events."""

    def __init__(self, course_id: str) -> None:
        self._course_id = course_id
        self._lifecycle = Lifecycle(f'Course "{course_id}"', COURSE_TRANSITIONS)
        self._capacity: int | None = None
        self._counts = Counter[str]()
        self._enrollments: dict[str, EnrollmentReplay] = {}
        self._offsets: dict[str, Any] = {}

    def apply(self, event: AnyRow) -> Iterator[str]:
        """Apply the next event, and report where it contradicts the events before it."""
        if not self._lifecycle.has_events:
            self._capacity = event.capacity  # No event before it states one.
        yield from self._lifecycle.apply(event)
        if event.type == "COURSE_UPDATED":
            yield from self._apply_capacity(event)
        elif transition := ENROLLMENT_TRANSITIONS.get(event.type):
            yield from self._apply_transition(event, transition)
        if event.actor == _SWEEP and event.type not in _OF_SWEEPS:
            yield f"{event_name(event)}: a sweep does nothing of this type."
        yield from self._compare_seats(event)

    def _apply_capacity(self, event: AnyRow) -> Iterator[str]:
        if changed := changed_values(event).get("capacity"):
            before, after = changed
            expected = None if self._capacity is None else str(self._capacity)
            yield from differences(event_name(event), [("capacity before", before, expected)])
            self._capacity = int(after) if str(after).isdecimal() else None

    def _apply_transition(self, event: AnyRow, transition: EnrollmentTransition) -> Iterator[str]:
        enrollment = self._enrollments.get(event.enrollment_id)
        if enrollment is None:
            name = _enrollment_name(event.enrollment_id, self._course_id)
            enrollment = self._enrollments[event.enrollment_id] = EnrollmentReplay(name, event.student_id)
        self._counts[enrollment.state] -= 1
        self._counts[transition.after] += 1
        yield from enrollment.apply(event, transition)
        if transition.after == "ENROLLED" and self._exceeds_capacity(event):
            yield f"{event_name(event)}: it gives seat {event.enrolled_count}, where there are {self._capacity}."

    def _exceeds_capacity(self, event: AnyRow) -> bool:
        if self._capacity is None or (event.enrolled_count or 0) <= self._capacity:
            return False
        return "COURSE_FULL" not in decode_document(event.bypassed_rules)

    def _compare_seats(self, event: AnyRow) -> Iterator[str]:
        """Report a difference once, where it begins: a missing event shifts all later ones by the same amount."""
        stated = (event.capacity, event.enrolled_count, event.waitlisted_count)
        replayed = (self._capacity, self._counts["ENROLLED"], self._counts["WAITLISTED"])
        if stated == replayed:
            self._offsets = {}
            return
        fields = list(zip(_SEAT_FIELDS, stated, replayed, strict=True))
        offsets = {name: _offset(stored, expected) for name, stored, expected in fields if stored != expected}
        changed = [field for field in fields if offsets.get(field[0]) != self._offsets.get(field[0])]
        yield from differences(event_name(event), changed)
        self._offsets = offsets

    def compare(self, course: AnyRow, rows: Sequence[AnyRow]) -> Iterator[str]:
        """Report where the stored rows differ from the result of the events, or contradict each other."""
        name = self._lifecycle.name
        yield from self._lifecycle.compare(course, ("capacity", course.capacity, self._capacity))
        yield from differences(name, _counters(course, rows), "its enrollments come to")
        yield from number_gaps(name, rows)
        yield from attempt_errors(name, rows)
        by_id = {row.enrollment_id: row for row in rows}
        in_creation_order = [by_id[created] for created in self._enrollments if created in by_id]
        yield from numbers_out_of_order(name, in_creation_order)
        yield from self._compare_enrollments(by_id)

    def _compare_enrollments(self, rows: Mapping[str, AnyRow]) -> Iterator[str]:
        for enrollment_id, replayed in self._enrollments.items():
            if row := rows.get(enrollment_id):
                yield from replayed.compare(row)
            else:
                yield f"{replayed.name} is missing, but there are events of it."
        for enrollment_id in rows:
            if enrollment_id not in self._enrollments:
                yield f"{_enrollment_name(enrollment_id, self._course_id)} has no events."


def _enrollment_name(enrollment_id: str, course_id: str) -> str:
    return f'Enrollment "{enrollment_id}" in course "{course_id}"'


def _counters(course: AnyRow, rows: Sequence[AnyRow]) -> Iterator[Field]:
    states = Counter(row.state for row in rows)
    yield ("enrolled_count", course.enrolled_count, states["ENROLLED"])
    yield ("waitlisted_count", course.waitlisted_count, states["WAITLISTED"])
    yield ("last_number", course.last_number, rows[-1].number if rows else 0)
    # Each row's ``counted`` equals that of the replay, or awaits its count. So this also proves the counter.
    yield ("completed_count", course.completed_count, sum(bool(row.counted) for row in rows))
    yield ("has_waiters", course.has_waiters, states["WAITLISTED"] > 0)


def _offset(stored: int | None, expected: int | None) -> Any:
    return (stored, expected) if stored is None or expected is None else stored - expected
