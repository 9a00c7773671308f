"""Completes the keys and search texts of rows that a server of an older version wrote.

While versions change, servers of both may run. An older one does not know the key columns: it inserts rows without
keys, and its updates leave old ones. ``keys_version`` differs from ``version`` in these rows.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from registrar_server.storage import statements
from registrar_server.storage.bulk import Rows, id_rows
from registrar_server.storage.database import Database
from registrar_server.storage.models import KEYLESS, Course, Student

CHUNK = 500


def rekey(database: Database, chunk: int = CHUNK, *, may_continue: Callable[[], bool] = lambda: True) -> int:
    """Complete all rows whose keys are missing or out of date, and return their number.

    Each chunk is a transaction of its own, so that other calls do not wait long. The work ends early when
    ``may_continue`` returns False.
    """
    completed = 0
    for model, complete in ((Student, _rekey_students), (Course, _rekey_courses)):
        (key,) = model.__table__.primary_key
        keyless = select(key).where(KEYLESS).order_by(key).limit(chunk)
        while may_continue() and (ids := id_rows(row[0] for row in database.rows(keyless, calls=0))):
            complete(database, ids)
            completed += len(ids)
    return completed


def _rekey_students(database: Database, ids: Rows) -> None:
    locks = statements.student_locks(row[0] for row in ids)
    with database.transaction() as transaction:
        found = transaction.read({statements.LOCK_STUDENTS: locks})
        rows = list(map(statements.student_keys_row, found[statements.LOCK_STUDENTS]))
        transaction.commit((statements.KEY_STUDENTS, rows))


def _rekey_courses(database: Database, ids: Rows) -> None:
    with database.transaction() as transaction:
        found = transaction.read({statements.LOCK_COURSES: ids})
        rows = list(map(statements.course_keys_row, found[statements.LOCK_COURSES]))
        transaction.commit((statements.KEY_COURSES, rows))
