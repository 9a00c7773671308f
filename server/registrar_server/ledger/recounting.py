"""Counts what a server of an older version did not count: completions, and courses with waiters.

While versions change, servers of both may run. An older one does not know ``counted``, ``completed_count`` and
``has_waiters``: it leaves them as they were when it completes a seat, voids a completion or changes a waitlist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import literal, select

from registrar_server.storage import statements
from registrar_server.storage.bulk import id_rows
from registrar_server.storage.database import Database
from registrar_server.storage.models import UNCOUNTED, Course, Enrollment

CHUNK = 500

COMPLETIONS = select(Enrollment.course_id, Enrollment.enrollment_id).where(UNCOUNTED).order_by(Enrollment.course_id)
COURSES = (
    select(Course.course_id, literal(""))
    .where(Course.has_waiters != (Course.waitlisted_count > 0))
    .order_by(Course.course_id)
)


def recount(database: Database, chunk: int = CHUNK, *, may_continue: Callable[[], bool] = lambda: True) -> int:
    """Count all completions that are not counted yet, flag all courses with waiters, and return the number of rows.

    Each chunk is a transaction of its own, so that other calls do not wait long. The work ends early when
    ``may_continue`` returns False.
    """
    completed = 0
    for uncounted in (COMPLETIONS, COURSES):
        query = uncounted.limit(chunk)
        while may_continue() and (rows := database.rows(query, calls=0)):
            _count(database, rows)
            completed += len(rows)
    return completed


def _count(database: Database, rows: Sequence[Sequence[Any]]) -> None:
    """Count completions, given by course and id; an id is empty if only the course is to be flagged.

    A server changes an enrollment only while it holds the lock of the course. So the rows that are loaded with that
    lock stay as they are until the commit, and a completion that was counted meanwhile is not loaded.
    """
    with database.transaction() as transaction:
        course_ids = id_rows({course_id for course_id, _ in rows})
        found = transaction.read(
            {
                statements.LOCK_COURSES: course_ids,
                statements.COURSES: course_ids,
                statements.UNCOUNTED: id_rows(enrollment_id for _, enrollment_id in rows),
            }
        )
        courses = {course.course_id: course for course in found[statements.COURSES]}
        for completion in found[statements.UNCOUNTED]:
            courses[completion.course_id].completed_count += completion.counts - bool(completion.counted)
        transaction.commit(
            (statements.COUNT_ENROLLMENTS, [completion.row for completion in found[statements.UNCOUNTED]]),
            (statements.COUNT_COURSES, list(map(statements.counters_row, courses.values()))),
        )
