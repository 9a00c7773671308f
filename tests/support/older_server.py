"""Servers of the previous version, which know neither ``counted``, ``completed_count`` nor ``has_waiters``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from registrar_server.storage.models import Course, Enrollment, EventCounter

_FORGET = (
    "UPDATE courses SET completed_count = 0, has_waiters = FALSE",
    "UPDATE enrollments SET counted = NULL",
    "UPDATE events SET violations = '[]' WHERE type <> 'PROMOTION_SKIPPED' AND revision > :revision",
)


@contextmanager
def as_an_older_server(engine: Engine) -> Iterator[None]:
    """Leave what a server of the previous version does not know as it was before the ``with`` block."""
    with Session(engine) as session:
        revision = session.scalars(select(EventCounter.revision)).one()
        courses = session.execute(select(Course.course_id, Course.completed_count, Course.has_waiters)).all()
        enrollments = session.execute(
            select(Enrollment.course_id, Enrollment.enrollment_id, Enrollment.bypassed_violations, Enrollment.counted)
        ).all()
    yield
    with Session(engine) as session:
        for statement in _FORGET:
            session.execute(text(statement), {"revision": revision} if ":revision" in statement else {})
        session.execute(update(Enrollment).values(bypassed_violations=[]))
        if courses:
            session.execute(update(Course), [row._asdict() for row in courses])
        if enrollments:
            session.execute(update(Enrollment), [row._asdict() for row in enrollments])
        session.commit()
