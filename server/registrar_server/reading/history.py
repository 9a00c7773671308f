"""The history: the events of all changes, in the order of revisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    JSON,
    BindParameter,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from registrar_server.core.records import Enrollment, Event
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState, EventType
from registrar_server.errors import Reason, Refusal
from registrar_server.storage import models
from registrar_server.storage.rows import Row, Selection, read_side_by_side

AFTER = "after"
"""The parameter of the query for ``EventSearch.after``."""
KEPT_QUERIES = 64
"""To make a query takes half the time of a short read, and those who follow the history read with the same ones."""

_WITH_REASON = (EnrollmentState.DROPPED, EnrollmentState.VOIDED)


class EventSearch(NamedTuple):
    """The filters of a list of events; an empty filter fits every event.

    ``start`` and ``end`` are a half-open period of time. ``after`` and ``before`` are revisions outside of the list.
    """

    student_id: str = ""
    course_id: str = ""
    enrollment_id: str = ""
    types: Sequence[str] = ()
    actor: str = ""
    on_behalf_of: str = ""
    start: int | None = None
    end: int | None = None
    descending: bool = False
    after: int = 0
    before: int | None = None


class HistoryEntry(NamedTuple):
    """An event with its revision and, if it is about one, the enrollment as the change left it."""

    revision: int
    event: Event
    enrollment: Enrollment | None


class HistoryPage(NamedTuple):
    """A page of the history, and the last revision of the whole history when the page was read."""

    entries: Sequence[HistoryEntry]
    last_revision: int


class _Revision(NamedTuple):
    revision: int


class _Kept(NamedTuple):
    """The fields that the history takes from the row of an enrollment; all None if the row is gone."""

    number: int | None
    attempt: int | None
    create_time: int | None
    end_time: int | None
    reason: str | None


_EVENTS = models.Event.__table__
_REVISION = Selection(_Revision)
_EVENT = Selection(Event)
_KEPT = Selection(_Kept)
_read_row = read_side_by_side(_REVISION, _EVENT, _KEPT)


@lru_cache(KEPT_QUERIES)
def events(search: EventSearch, limit: int, *, lateral: bool = False) -> Select[Any]:
    """Return the query for events by revision, and for the last revision of all, which is in every row.

    ``search.after`` is the default of the parameter ``AFTER``.

    One statement reads both, so no event of the page is later. Without an event there is one row with the last revision
    alone. Enrollments are joined after the limit, so that only those of the page are looked up.

    With ``lateral``, PostgreSQL looks each of them up by its index. Otherwise it would read the whole table for a page
    of hundreds of events, which it takes to be faster. SQLite always looks them up, and has no lateral joins.
    """
    counter, enrollment = models.EventCounter.__table__, models.Enrollment.__table__
    listed = _page(search, limit).subquery("listed")
    same = and_(enrollment.c.course_id == listed.c.course_id, enrollment.c.enrollment_id == listed.c.enrollment_id)
    columns = [listed.c[name] for name in (*_REVISION.names, *_EVENT.names)]
    kept, joined = enrollment, same
    if lateral:
        kept_columns = [enrollment.c[name] for name in _KEPT.names]
        kept, joined = select(*kept_columns).where(same).limit(1).lateral("kept"), true()
    return (
        select(
            counter.c.revision.label("last_revision"),
            *(cast(column, Text) if isinstance(column.type, JSON) else column for column in columns),
            *(kept.c[name] for name in _KEPT.names),
        )
        .select_from(counter.outerjoin(listed, true()).outerjoin(kept, joined))
        .order_by(listed.c.revision.desc() if search.descending else listed.c.revision)
    )


def _page(search: EventSearch, limit: int) -> Select[Any]:
    """Return the query for the events of a page.

    Indexes hold all events, those of a student, of a course, of a type, of an actor and on behalf of a person in the
    order of revisions. The query walks one of these, or one per type.
    """
    event = _EVENTS
    if _is_about_one(search):
        return _walk(search, select(event).where(*_of_one(search), *_in_period(search, event.c.time)), limit)
    # Made once, so that all walks share the bounds.
    period = list(_between_revisions(search))
    if not search.types:
        return _walk(search, select(event).where(*period), limit)
    walked = select(event.c.revision).where(*period)
    of_types = (_walk(search, walked.where(event.c.type == each), limit) for each in search.types)
    revisions = union_all(*(walk.subquery().select() for walk in of_types))
    return _in_order(search, select(event).where(event.c.revision.in_(revisions)), limit)


def _walk(search: EventSearch, query: Select[Any], limit: int) -> Select[Any]:
    """Let a query walk an index of revisions, and add the filters that every walk has."""
    query = query.where(_EVENTS.c.revision > _after(search))
    if search.before is not None:
        query = query.where(_EVENTS.c.revision < search.before)
    if search.actor:
        # The index of actors leaves out the events without one; the index below does the same.
        query = query.where(_EVENTS.c.actor == search.actor, _EVENTS.c.actor != literal_column("''"))
    if search.on_behalf_of:
        column = _EVENTS.c.on_behalf_of
        query = query.where(column == search.on_behalf_of, column != literal_column("''"))
    return _in_order(search, query, limit)


def _after(search: EventSearch) -> BindParameter[int]:
    return bindparam(AFTER, search.after, _EVENTS.c.revision.type)


def _in_order(search: EventSearch, query: Select[Any], limit: int) -> Select[Any]:
    return query.order_by(_EVENTS.c.revision.desc() if search.descending else _EVENTS.c.revision).limit(limit)


def _is_about_one(search: EventSearch) -> bool:
    """Return whether the search is for events of one student, course or enrollment, which are few."""
    return bool(search.student_id or search.course_id or search.enrollment_id)


def _of_one(search: EventSearch) -> Iterator[ColumnElement[bool]]:
    if search.student_id:
        yield _EVENTS.c.student_id == search.student_id
    if search.course_id:
        yield _EVENTS.c.course_id == search.course_id
    if search.enrollment_id:
        # The events of an enrollment are among those of its student, which have an index.
        enrollment = models.Enrollment.__table__
        student_id = select(enrollment.c.student_id).where(enrollment.c.enrollment_id == search.enrollment_id)
        yield _EVENTS.c.student_id == student_id.scalar_subquery()
        yield _EVENTS.c.enrollment_id == search.enrollment_id
    if search.types:
        yield _EVENTS.c.type.in_(search.types)


def _in_period(search: EventSearch, time: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    if search.start is not None:
        yield time >= search.start
    if search.end is not None:
        yield time < search.end


def _between_revisions(search: EventSearch) -> Iterator[ColumnElement[bool]]:
    """Return the conditions of a period, which let the query walk the revisions from the period's first to its last.

    The order of times is nearly that of revisions, but a clock can step back. So the first and the last revision come
    from the index of times. The additions keep databases from walking the index of revisions to find these two, and
    from sorting the whole period for each page.

    Finding a bound reads the times of the whole period. An open end needs no bound, and neither does a page that
    follows an event of the period.
    """
    revision, time = _EVENTS.c.revision, _EVENTS.c.time
    period = list(_in_period(search, time))
    if search.start is not None:
        first = select(func.min(revision + 0).label("revision")).where(*period).cte("first_of_period")
        yield revision >= _known_or(_after(search), time >= search.start, first)
    if search.end is not None:
        last = select(func.max(revision + 0).label("revision")).where(*period).cte("last_of_period")
        yield revision <= _known_or(search.before or 0, time < search.end, last)
    yield from _in_period(search, time + 0)


def _known_or(known: int | BindParameter[int], is_within: ColumnElement[bool], bound: CTE) -> ColumnElement[int]:
    """Return a known revision if its event is within the period, else the bound. No event has the revision 0.

    The databases look for the bound only if they need it.
    """
    event = select(_EVENTS.c.revision).where(_EVENTS.c.revision == known, is_within)
    return func.coalesce(event.scalar_subquery(), select(bound.c.revision).scalar_subquery())


def read_page(rows: Sequence[Row]) -> HistoryPage:
    """Read the rows of the query."""
    entries = [_entry(row[1:]) for row in rows if row[1] is not None]
    return HistoryPage(entries, rows[0][0] if rows else 0)


def revision_ahead(after: int, last: int) -> Refusal:
    """Return the refusal for a reader beyond the revision of the newest event, ``last``."""
    message = f"The history has not reached revision {after}; its newest event has revision {last}."
    return Refusal(Reason.REVISION_AHEAD, message, revision=str(last))


def _entry(row: Row) -> HistoryEntry:
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
