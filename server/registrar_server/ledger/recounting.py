"""Counts what a server of an older version did not count: completions, and courses with waiters.

While versions change, servers of both may run. An older one does not know ``counted``, ``completed_count`` and
``has_waiters``: it leaves them as they were when it completes a seat, voids a completion or changes a waitlist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select

from registrar_server.storage import statements
from registrar_server.storage.bulk import id_rows
from registrar_server.storage.database import Database
from registrar_server.storage.models import AWAITS_COUNT, Course, Enrollment

CHUNK = 500

COMPLETIONS = select(Enrollment.course_id, Enrollment.enrollment_id).where(AWAITS_COUNT).order_by(Enrollment.course_id)
COURSES = select(Course.course_id).where(Course.has_waiters != (Course.waitlisted_count > 0)).order_by(Course.course_id)


def recount(database: Database, chunk: int = CHUNK, *, may_continue: Callable[[], bool] = lambda: True) -> int:
    """Count all completions that are not counted yet, flag all courses with waiters, and return the number of rows.

    Each chunk is a transaction of its own, so that other calls do not wait long. The work ends early when
    ``may_continue`` returns False.
    """
    completed = 0
    for query, complete in ((COMPLETIONS, _count), (COURSES, _flag)):
        while may_continue() and (rows := database.rows(query.limit(chunk), calls=0)):
            complete(database, rows)
            completed += len(rows)
    return completed


def _count(database: Database, rows: Sequence[Sequence[Any]]) -> None:
    """Count completions, given by course and id.

    A server changes an enrollment only while it holds the lock of the course. So the rows that are loaded with that
    lock stay as they are until the commit, and a completion that was counted meanwhile is not loaded.
    """
    course_ids = id_rows({course_id for course_id, _ in rows})
    enrollment_ids = id_rows(enrollment_id for _, enrollment_id in rows)
    with database.transaction() as transaction:
        found = transaction.read({statements.LOCK_COURSES: course_ids, statements.AWAITING_COUNT: enrollment_ids})
        courses = {course.course_id: course for course in found[statements.LOCK_COURSES]}
        completions = found[statements.AWAITING_COUNT]
        for completion in completions:
            courses[completion.course_id].completed_count += completion.counts - bool(completion.counted)
        transaction.commit(
            (statements.COUNT_ENROLLMENTS, [completion.row for completion in completions]),
            (statements.COUNT_COURSES, list(map(statements.counters_row, courses.values()))),
        )


def _flag(database: Database, rows: Sequence[Sequence[Any]]) -> None:
    """Set the flags of courses, which follow from their counters."""
    with database.transaction() as transaction:
        courses = transaction.read({statements.LOCK_COURSES: rows})[statements.LOCK_COURSES]
        transaction.commit((statements.COUNT_COURSES, list(map(statements.counters_row, courses))))
