"""The history: the events of all changes, in the order of revisions."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import JSON, Select, Text, and_, cast, select

from registrar_server.core.records import Enrollment, Event
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState, EventType
from registrar_server.storage import models
from registrar_server.storage.rows import Row, Selection, read_side_by_side

_WITH_REASON = (EnrollmentState.DROPPED, EnrollmentState.VOIDED)


class HistoryEntry(NamedTuple):
    """An event with its revision and, if it is about one, the enrollment as the change left it."""

    revision: int
    event: Event
    enrollment: Enrollment | None


class _Revision(NamedTuple):
    revision: int


class _Kept(NamedTuple):
    """The fields that the history takes from the row of an enrollment; all None if the row is gone."""

    number: int | None
    attempt: int | None
    create_time: int | None
    end_time: int | None
    reason: str | None


_REVISION = Selection(_Revision)
_EVENT = Selection(Event)
_KEPT = Selection(_Kept)
_read_row = read_side_by_side(_REVISION, _EVENT, _KEPT)


def events(student_id: str, course_id: str, after: int, limit: int) -> Select[Any]:
    """Return the query for the events after a revision, optionally of one student or course, in order.

    Indexes hold all events, those of a student and those of a course in the order of revisions; for a student in a
    course the query walks one of these. Enrollments are joined after the limit, so that only those of the page are
    looked up.
    """
    event, enrollment = models.Event.__table__, models.Enrollment.__table__
    page = select(event).where(event.c.revision > after).order_by(event.c.revision).limit(limit)
    if student_id:
        page = page.where(event.c.student_id == student_id)
    if course_id:
        page = page.where(event.c.course_id == course_id)
    listed = page.subquery("listed")
    same = and_(enrollment.c.course_id == listed.c.course_id, enrollment.c.enrollment_id == listed.c.enrollment_id)
    columns = [listed.c[name] for name in (*_REVISION.names, *_EVENT.names)]
    return (
        select(
            *(cast(column, Text) if isinstance(column.type, JSON) else column for column in columns),
            *(enrollment.c[name] for name in _KEPT.names),
        )
        .join_from(listed, enrollment, same, isouter=True)
        .order_by(listed.c.revision)
    )


def read_entry(row: Row) -> HistoryEntry:
    """Read a row of the query."""
    (revision,), event, kept = _read_row(row)
    return HistoryEntry(revision, event, _enrollment(event, kept) if event.enrollment_id else None)


def _enrollment(event: Event, kept: _Kept) -> Enrollment:
    """Return the enrollment as the change left it: what changes comes from the event, the rest from the row.

    The history outlives the row. If the row was removed by hand, its fields are empty.
    """
    state = event.state
    assert state is not None, "an event of an enrollment has its state"
    version = event.enrollment_version or 0
    create_time = kept.create_time or 0
    return Enrollment(
        course_id=event.course_id,
        enrollment_id=event.enrollment_id,
        student_id=event.student_id,
        number=kept.number or 0,
        attempt=kept.attempt or 0,
        state=state,
        grade=event.grade,
        passed=event.passed,
        bypassed_rules=event.bypassed_rules,
        # The row may have the reason of a later change.
        reason=kept.reason or "" if state in _WITH_REASON else "",
        version=version,
        create_time=create_time,
        # A skip is an event that does not change the enrollment: a waiter who was only skipped is still in version 1.
        update_time=create_time if version == 1 else event.time,
        end_time=None if state in LIVE_STATES else kept.end_time or 0,
        # A newcomer is the last waiter. An event does not tell the position at any later time.
        waitlist_position=event.waitlisted_count or 0 if event.type == EventType.STUDENT_WAITLISTED else 0,
    )
