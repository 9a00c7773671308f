"""Lists of enrollments whose waiters are not all on the page, or not in the order of the queue.

The position of a waiter is the number of waiters up to it. Counting them for each waiter of a page would take time that
grows with the square of the queue. So each row counts only the waiters since the waiter before it on the page, and the
sum of these counts is the position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, Select, case, func, literal_column, select, tuple_
from sqlalchemy.orm import aliased

from registrar_server.core.keys import code_key, text_key
from registrar_server.core.records import Enrollment
from registrar_server.core.vocabulary import EnrollmentState
from registrar_server.reading.lists import ENROLLMENT, STUDENT, After, RosterEntry, columns
from registrar_server.storage import models
from registrar_server.storage.rows import Row, Selection, read_side_by_side

_WAITLISTED: ColumnElement[str] = literal_column(f"'{EnrollmentState.WAITLISTED}'")
"""As text of the statement instead of a parameter, so that the index of the waitlists serves every plan."""


class EnrollmentSearch(NamedTuple):
    """The filters of a list of enrollments; an empty filter fits every enrollment."""

    student_id: str = ""
    course_id: str = ""
    term: str = ""
    code: str = ""
    states: Sequence[str] = ()
    updated_after: int | None = None
    show_deleted: bool = False


class _Waiters(NamedTuple):
    """The number of waiters after the one before it on the page, up to the enrollment itself."""

    waiters: int


class _SortName(NamedTuple):
    """The text by which names are sorted."""

    sort_name: str


_read_enrollment = read_side_by_side(ENROLLMENT, Selection(_Waiters))
_read_entry = read_side_by_side(ENROLLMENT, Selection(_Waiters), STUDENT, Selection(_SortName))


def enrollments(search: EnrollmentSearch, after: After, limit: int) -> Select[Any]:
    """Return the query for the enrollments that fit ``search``, by (course_id, number)."""
    enrollment, course = models.Enrollment, models.Course
    search = search._replace(term=text_key(search.term), code=code_key(search.code))
    query = _of_visible(select(*_named(enrollment)).limit(limit), search)
    if search.student_id:
        query = query.where(enrollment.student_id == search.student_id)
    if search.course_id:
        query = query.where(enrollment.course_id == search.course_id)
    if search.term:
        query = query.where(course.term_key == search.term)
    if search.code:
        query = query.where(course.code_key == search.code)
    if search.states:
        query = query.where(_has_state(search.states))
    if search.updated_after is not None:
        query = query.where(*_changed(search, search.updated_after))
    listed, waiters = _with_waiters(_after(query, search, after))
    columns_of_page = (listed.c[name] for name in ENROLLMENT.names)
    return select(*columns_of_page, waiters).order_by(listed.c.course_id, listed.c.number)


def _of_visible(query: Select[Any], search: EnrollmentSearch) -> Select[Any]:
    """Join the courses and students that the filters need."""
    enrollment, course, student = models.Enrollment, models.Course, models.Student
    if search.term or search.code or not search.show_deleted:
        query = query.join_from(enrollment, course)
    if not search.show_deleted:
        query = query.join_from(enrollment, student)
        query = query.where(course.delete_time.is_(None), student.delete_time.is_(None))
    return query


def _changed(search: EnrollmentSearch, after: int) -> Iterator[ColumnElement[bool]]:
    """Return the conditions of enrollments that changed after a time.

    Those of one student or course are few. Of all others, SQLite would read every one in the order of the list, so the
    index of times first gives the courses that have some.
    """
    enrollment, changed = models.Enrollment, aliased(models.Enrollment)
    yield enrollment.update_time > after
    if not search.student_id and not search.course_id:
        yield enrollment.course_id.in_(select(changed.course_id).where(changed.update_time > after))


def _after(query: Select[Any], search: EnrollmentSearch, after: After) -> Select[Any]:
    """Order a query, and let it begin after a key.

    If the courses of a term or a code are looked up first, their index gives the order and the place to begin.
    """
    enrollment, course = models.Enrollment, models.Course
    by_course = bool(search.term or search.code)
    query = query.order_by(course.course_id if by_course else enrollment.course_id, enrollment.number)
    if after:
        query = query.where(tuple_(enrollment.course_id, enrollment.number) > tuple(after))
    return query.where(course.course_id >= after[0]) if after and by_course else query


def _has_state(states: Sequence[str]) -> ColumnElement[bool]:
    state = models.Enrollment.state
    return state == _WAITLISTED if tuple(states) == (EnrollmentState.WAITLISTED,) else state.in_(states)


def read_enrollments(rows: Sequence[Row]) -> list[Enrollment]:
    """Read the rows of a page of enrollments."""
    found = [_read_enrollment(row) for row in rows]
    _place(found)
    return [enrollment for enrollment, _ in found]


def roster_by_name(course_id: str, states: Sequence[str], after: After, limit: int) -> Select[Any]:
    """Return the query for a course's enrollments with their students, by (sort_name, number)."""
    enrollment, student = models.Enrollment, models.Student
    # A server of an older version adds students without this text.
    name = func.coalesce(student.sort_name, "")
    query = (
        select(*_named(enrollment), name.label("sort_name"))
        .join_from(enrollment, student)
        .where(enrollment.course_id == course_id, enrollment.state.in_(states))
        .order_by(name, enrollment.number)
        .limit(limit)
    )
    if after:
        query = query.where(tuple_(name, enrollment.number) > tuple(after))
    listed, waiters = _with_waiters(query)
    columns_of_page = (listed.c[name] for name in ENROLLMENT.names)
    return (
        select(*columns_of_page, waiters, *columns(student, STUDENT), listed.c.sort_name)
        .join_from(listed, student, student.student_id == listed.c.student_id)
        .order_by(listed.c.sort_name, listed.c.number)
    )


def read_roster_by_name(rows: Sequence[Row]) -> list[RosterEntry]:
    """Read the rows of a page of a roster by name."""
    found = [_read_entry(row) for row in rows]
    _place((enrollment, waiters) for enrollment, waiters, _, _ in found)
    return [RosterEntry(student, enrollment, name) for enrollment, _, student, (name,) in found]


def _named(model: type[models.Enrollment]) -> list[ColumnElement[Any]]:
    return [column.label(name) for name, column in zip(ENROLLMENT.names, columns(model, ENROLLMENT), strict=True)]


def _with_waiters(page: Select[Any]) -> tuple[CTE, ColumnElement[int]]:
    """Return the rows of a page, and for each the number of waiters since the waiter before it on the page."""
    ahead = models.Enrollment.__table__.alias("ahead")
    inner = page.cte("page")
    before = func.lag(inner.c.number).over(partition_by=(inner.c.course_id, inner.c.state), order_by=inner.c.number)
    listed = select(inner, func.coalesce(before, 0).label("before")).cte("listed")
    waiters = select(func.count()).where(
        ahead.c.course_id == listed.c.course_id,
        ahead.c.state == _WAITLISTED,
        ahead.c.number > listed.c.before,
        ahead.c.number <= listed.c.number,
    )
    return listed, case((listed.c.state == _WAITLISTED, waiters.scalar_subquery()), else_=0)


def _place(found: Iterable[Sequence[Any]]) -> None:
    """Set the position of each waiter, from pairs of an enrollment and its number of waiters."""
    waiting = [(enrollment, counted.waiters) for enrollment, counted in found if enrollment.waits]
    positions: defaultdict[str, int] = defaultdict(int)
    for enrollment, waiters in sorted(waiting, key=lambda pair: pair[0].number):
        positions[enrollment.course_id] += waiters
        enrollment.waitlist_position = positions[enrollment.course_id]
