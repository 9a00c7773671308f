"""The history: what has happened, in the order of revisions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import JSON, Select, Text, and_, cast, select

from registrar_server.core.records import (
    LIVE_STATES,
    Change,
    Enrollment,
    Event,
    decode_names,
    decode_violations,
)
from registrar_server.errors import Violation
from registrar_server.storage import models


class HistoryEntry(NamedTuple):
    """An event as it was written, the lists in it read, and the enrollment as the change left it, if it is of one."""

    revision: int
    event: Event
    enrollment: Enrollment | None
    changes: tuple[Change, ...]
    violations: tuple[Violation, ...]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Make the entry of a row as ``select_events`` finds it."""
        split = 1 + len(Event._fields)
        event = Event(*row[1:split])
        return cls(
            revision=row[0],
            event=event,
            enrollment=_enrollment(event, *row[split:]) if event.enrollment_id else None,
            changes=tuple(Change(*change) for change in json.loads(event.changes)),
            violations=decode_violations(event.violations),
        )


def select_events(student_id: str, course_id: str, after: int, limit: int) -> Select[Any]:
    """Return the query for the first events after a revision, of a student or a course where one is named, in order.

    All events, those of a student and those of a course have an index that holds them in the order of revisions; for a
    student in a course one of these is walked. Enrollments are looked up for the
    events of the page alone: joined before the limit, those of a whole course might be.
    """
    event, enrollment = models.Event.__table__, models.Enrollment.__table__
    page = select(event).where(event.c.revision > after).order_by(event.c.revision).limit(limit)
    if student_id:
        page = page.where(event.c.student_id == student_id)
    if course_id:
        page = page.where(event.c.course_id == course_id)
    told = page.subquery("told")
    kept = (enrollment.c[name] for name in ("number", "attempt", "create_time", "end_time", "reason"))
    columns = (told.c[name] for name in ("revision", *Event._fields))
    same = and_(enrollment.c.course_id == told.c.course_id, enrollment.c.enrollment_id == told.c.enrollment_id)
    return (
        select(*(cast(column, Text) if isinstance(column.type, JSON) else column for column in columns), *kept)
        .join_from(told, enrollment, same, isouter=True)
        .order_by(told.c.revision)
    )


def _enrollment(
    event: Event,
    number: int | None,
    attempt: int | None,
    create_time: int | None,
    end_time: int | None,
    reason: str | None,
) -> Enrollment:
    """Return the enrollment as the change left it: what changes is in the event, what is written once in the row.

    The history outlives the row: where somebody has removed it by hand, what it held is missing.
    """
    version = event.enrollment_version or 0
    return Enrollment(
        course_id=event.course_id,
        enrollment_id=event.enrollment_id,
        student_id=event.student_id,
        number=number or 0,
        attempt=attempt or 0,
        state=event.state,
        grade=event.grade,
        passed=event.passed,
        bypassed_rules=decode_names(event.bypassed_rules),
        # The row may tell of an end that came only later.
        reason=reason or "" if event.state == "DROPPED" else "",
        version=version,
        create_time=create_time or 0,
        # A waiter who is skipped stays in version 1: an event, but no change of the enrollment.
        update_time=create_time or 0 if version == 1 else event.time,
        end_time=None if event.state in LIVE_STATES else end_time or 0,
        # A newcomer is the last of those who wait. Later, the place can't be told from the event.
        waitlist_position=event.waitlisted_count or 0 if event.type == "STUDENT_WAITLISTED" else 0,
    )
