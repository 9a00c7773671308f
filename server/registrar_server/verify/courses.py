"""Courses: their seats and queues replayed event by event, beside the rows that should have come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, select

from registrar_server.storage.models import Course, Enrollment, Event
from registrar_server.verify.enrollments import STEPS, Replayed, Step, misattempted, misnumbered, misordered
from registrar_server.verify.lifecycle import Life, Moment, moments
from registrar_server.verify.snapshot import AnyRow, side_by_side, stream
from registrar_server.verify.wording import Field, changes, decoded, differing, event_name

MOMENTS = {**moments("COURSE"), **dict.fromkeys(STEPS, Moment(versions=0))}
_IN_FORCE = ("capacity", "enrolled_count", "waitlisted_count")

_COURSES = select(
    Course.course_id,
    Course.version,
    Course.delete_time,
    Course.capacity,
    Course.enrolled_count,
    Course.waitlisted_count,
    Course.last_number,
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
).order_by(Enrollment.course_id, Enrollment.number)
_EVENTS = (
    select(
        Event.course_id,
        Event.revision,
        Event.type,
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
    """Go through all courses, and tell what does not agree in each."""
    streams = (stream(connection, query) for query in (_COURSES, _ENROLLMENTS, _EVENTS))
    for course_id, (courses, enrollments, events) in side_by_side(*streams):
        replay = _Replay(course_id)
        for event in events:
            yield from replay.take(event)
        if course := next(courses, None):
            yield from replay.compare(course, list(enrollments))
        else:
            yield f'Course "{course_id}" is missing, but there are events or enrollments of it.'


class _Replay:
    """A course as its events leave it."""

    def __init__(self, course_id: str) -> None:
        self._course_id = course_id
        self._life = Life(f'Course "{course_id}"', MOMENTS)
        self._capacity: int | None = None
        self._counts = Counter[str]()
        self._enrollments: dict[str, Replayed] = {}
        self._off: dict[str, Any] = {}

    def take(self, event: AnyRow) -> Iterator[str]:
        """Go on by one event, and tell where it cannot have happened, or states other things than are in force."""
        if not self._life.has_events:
            self._capacity = event.capacity  # The first event states it; every change of it is told from there on.
        yield from self._life.take(event)
        if event.type == "COURSE_UPDATED":
            yield from self._take_capacity(event)
        elif step := STEPS.get(event.type):
            yield from self._take_step(event, step)
        yield from self._compare_in_force(event)

    def _take_capacity(self, event: AnyRow) -> Iterator[str]:
        if changed := changes(event).get("capacity"):
            before, after = changed
            in_force = None if self._capacity is None else str(self._capacity)
            yield from differing(event_name(event), [("capacity before", before, in_force)])
            self._capacity = int(after) if str(after).isdecimal() else None

    def _take_step(self, event: AnyRow, step: Step) -> Iterator[str]:
        enrollment = self._enrollments.get(event.enrollment_id)
        if enrollment is None:
            name = _name(event.enrollment_id, self._course_id)
            enrollment = self._enrollments[event.enrollment_id] = Replayed(name, event.student_id)
        self._counts[enrollment.state] -= 1
        self._counts[step.after] += 1
        yield from enrollment.take(event, step)
        if step.after == "ENROLLED" and self._oversells(event):
            yield f"{event_name(event)}: it gives seat {event.enrolled_count}, where there are {self._capacity}."

    def _oversells(self, event: AnyRow) -> bool:
        if self._capacity is None or (event.enrolled_count or 0) <= self._capacity:
            return False
        return "COURSE_FULL" not in decoded(event.bypassed_rules)

    def _compare_in_force(self, event: AnyRow) -> Iterator[str]:
        """Tell where a difference begins: one event that is missing puts all later ones of the course off as much."""
        stated = (event.capacity, event.enrolled_count, event.waitlisted_count)
        in_force = (self._capacity, self._counts["ENROLLED"], self._counts["WAITLISTED"])
        if stated == in_force:
            self._off = {}
            return
        fields = list(zip(_IN_FORCE, stated, in_force, strict=True))
        off = {field: _distance(stored, expected) for field, stored, expected in fields if stored != expected}
        yield from differing(event_name(event), (one for one in fields if off.get(one[0]) != self._off.get(one[0])))
        self._off = off

    def compare(self, course: AnyRow, rows: Sequence[AnyRow]) -> Iterator[str]:
        """Tell where the rows are not what the events have made of them, or do not agree among themselves."""
        name = self._life.name
        yield from self._life.compare(course, ("capacity", course.capacity, self._capacity))
        yield from differing(name, _counters(course, rows), "its enrollments come to")
        yield from misnumbered(name, rows)
        yield from misattempted(name, rows)
        by_id = {row.enrollment_id: row for row in rows}
        yield from misordered(name, [by_id[made] for made in self._enrollments if made in by_id])
        yield from self._compare_enrollments(by_id)

    def _compare_enrollments(self, rows: Mapping[str, AnyRow]) -> Iterator[str]:
        for enrollment_id, replayed in self._enrollments.items():
            if row := rows.get(enrollment_id):
                yield from replayed.compare(row)
            else:
                yield f"{replayed.name} is missing, but there are events of it."
        for enrollment_id in rows:
            if enrollment_id not in self._enrollments:
                yield f"{_name(enrollment_id, self._course_id)} has no events."


def _name(enrollment_id: str, course_id: str) -> str:
    return f'Enrollment "{enrollment_id}" in course "{course_id}"'


def _counters(course: AnyRow, rows: Sequence[AnyRow]) -> Iterator[Field]:
    states = Counter(row.state for row in rows)
    yield ("enrolled_count", course.enrolled_count, states["ENROLLED"])
    yield ("waitlisted_count", course.waitlisted_count, states["WAITLISTED"])
    yield ("last_number", course.last_number, rows[-1].number if rows else 0)


def _distance(stored: int | None, expected: int | None) -> Any:
    return (stored, expected) if stored is None or expected is None else stored - expected
