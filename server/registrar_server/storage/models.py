"""The tables, their relationships and their named constraints.

Three choices hold everywhere:

* Times are whole microseconds since 1970-01-01 UTC in a BIGINT: exact, and the same on every database.
* Credits are integer thousandths, since SQLite has no decimals.
* Ids and sorted texts compare byte by byte (``COLLATE "C"`` on PostgreSQL), so that Python, SQLite and PostgreSQL sort
  alike: the order of locks and the order of pages depend on it.

Keys lead with ``course_id`` where rows belong to a course, so that a distributed PostgreSQL can keep a course together.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    TextClause,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registrar_server.core.vocabulary import LIVE_STATES, CourseState, EnrollmentState, StudentState
from registrar_server.storage.model_base import DOCUMENT, ID, SORTED
from registrar_server.storage.model_base import Base as Base
from registrar_server.storage.model_base import one_of as one_of

KEYLESS = text("keys_version IS NULL OR keys_version <> version")
"""The condition of a row whose keys are missing or out of date, because a server of an older version wrote it."""

LIVE = text(one_of("state", LIVE_STATES))
WAITS = text(f"state = '{EnrollmentState.WAITLISTED}'")
AWAITS_COUNT = text(
    f"(state IN ('{EnrollmentState.COMPLETED}', '{EnrollmentState.VOIDED}') AND counted IS NULL)"
    f" OR (state = '{EnrollmentState.VOIDED}' AND counted)"
)
"""The condition of a completion that a server of an older version made or voided: ``counted`` is missing or wrong."""

HELD = text("hold_keys <> '[]'")
"""The condition of a student with a hold."""


def _partial(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


class Student(Base):
    """A person who may enroll. Deleting is soft: the row stays, with ``delete_time`` set.

    ``hold_keys``, ``search_text`` and ``sort_name`` follow from other columns, in the version ``keys_version``.
    """

    __tablename__ = "students"
    __table_args__ = (
        CheckConstraint(one_of("state", StudentState), name="state"),
        CheckConstraint("max_credits >= 0", name="max_credits"),
        _partial("ix_students_keyless", "student_id", where=KEYLESS),
        _partial("ix_students_held", "student_id", where=HELD),
    )

    student_id: Mapped[str] = mapped_column(ID, primary_key=True)
    given_name: Mapped[str] = mapped_column(Text, default="")
    family_name: Mapped[str] = mapped_column(Text, default="")
    email: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), default=StudentState.ACTIVE.value)
    max_credits: Mapped[int | None] = mapped_column(BigInteger)
    holds: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    create_time: Mapped[int] = mapped_column(BigInteger)
    update_time: Mapped[int] = mapped_column(BigInteger)
    delete_time: Mapped[int | None] = mapped_column(BigInteger)
    search_text: Mapped[str] = mapped_column(Text, default="")
    hold_keys: Mapped[list[Any] | None] = mapped_column(DOCUMENT)
    keys_version: Mapped[int | None] = mapped_column(BigInteger)
    sort_name: Mapped[str | None] = mapped_column(SORTED)

    enrollments: Mapped[list[Enrollment]] = relationship(
        back_populates="student", order_by="Enrollment.course_id, Enrollment.attempt"
    )


class Course(Base):
    """One offering in one term, with its seat counters. ``capacity`` NULL means unlimited, 0 means closed.

    The keys and ``search_text`` follow from other columns, in the version ``keys_version``. ``has_waiters`` seldom
    changes, so the index over it costs nothing when a counter changes. An index over a counter would make PostgreSQL
    write new entries into all indexes at each change, because the update of the row is no heap-only one then. Half of
    each page stays free for the next versions of its rows.
    """

    __tablename__ = "courses"
    __table_args__ = (
        CheckConstraint(one_of("state", CourseState), name="state"),
        CheckConstraint("credits >= 0", name="credits"),
        CheckConstraint("capacity >= 0", name="capacity"),
        CheckConstraint("waitlist_capacity >= 0", name="waitlist_capacity"),
        CheckConstraint("enrolled_count >= 0", name="enrolled_count"),
        CheckConstraint("waitlisted_count >= 0", name="waitlisted_count"),
        CheckConstraint("completed_count >= 0", name="completed_count"),
        CheckConstraint("enroll_open_time < enroll_close_time", name="enroll_window"),
        Index(None, "code", "course_id"),
        Index(None, "term", "course_id"),
        Index(None, "code_key", "course_id"),
        Index(None, "term_key", "course_id"),
        _partial("ix_courses_keyless", "course_id", where=KEYLESS),
        _partial("ix_courses_has_waiters", "course_id", where=text("has_waiters")),
        {"postgresql_with": {"fillfactor": 50}},
    )

    course_id: Mapped[str] = mapped_column(ID, primary_key=True)
    code: Mapped[str] = mapped_column(Text, default="")
    title: Mapped[str] = mapped_column(Text, default="")
    description: Mapped[str] = mapped_column(Text, default="")
    term: Mapped[str] = mapped_column(Text, default="")
    credits: Mapped[int] = mapped_column(BigInteger, default=0)
    capacity: Mapped[int | None] = mapped_column(BigInteger)
    waitlist_capacity: Mapped[int | None] = mapped_column(BigInteger)
    enroll_open_time: Mapped[int | None] = mapped_column(BigInteger)
    enroll_close_time: Mapped[int | None] = mapped_column(BigInteger)
    drop_deadline_time: Mapped[int | None] = mapped_column(BigInteger)
    meetings: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    prerequisite_course_ids: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    state: Mapped[str] = mapped_column(String(16), default=CourseState.OPEN.value)
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    create_time: Mapped[int] = mapped_column(BigInteger)
    update_time: Mapped[int] = mapped_column(BigInteger)
    delete_time: Mapped[int | None] = mapped_column(BigInteger)
    search_text: Mapped[str] = mapped_column(Text, default="")
    enrolled_count: Mapped[int] = mapped_column(BigInteger, default=0)
    waitlisted_count: Mapped[int] = mapped_column(BigInteger, default=0)
    last_number: Mapped[int] = mapped_column(BigInteger, default=0)
    component: Mapped[str] = mapped_column(Text, default="", server_default="")
    code_key: Mapped[str | None] = mapped_column(Text)
    term_key: Mapped[str | None] = mapped_column(Text)
    component_key: Mapped[str | None] = mapped_column(Text)
    keys_version: Mapped[int | None] = mapped_column(BigInteger)
    completed_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    has_waiters: Mapped[bool] = mapped_column(default=False, server_default=false())

    enrollments: Mapped[list[Enrollment]] = relationship(back_populates="course", order_by="Enrollment.number")


class Enrollment(Base):
    """One student's attempt at one course.

    ``number`` is the course's own count of enrollments ever made; its order is the order of the queue. Of a student's
    attempts at a course at most one is live, which ``uq_enrollments_live`` ensures. ``last_skip`` holds the violations
    of the waiter's last skip, so that the history reports a skip only when they change. ``bypassed_violations`` holds
    the violations that overrides set aside. ``counted`` says whether a completion counts in the ``completed_count`` of
    its course; a server of an older version leaves it as it was.
    """

    __tablename__ = "enrollments"
    __table_args__ = (
        CheckConstraint(one_of("state", EnrollmentState), name="state"),
        CheckConstraint("attempt >= 1", name="attempt"),
        CheckConstraint(f"({one_of('state', LIVE_STATES)}) = (end_time IS NULL)", name="end_time"),
        UniqueConstraint("course_id", "number"),
        UniqueConstraint("student_id", "course_id", "attempt"),
        _partial("uq_enrollments_live", "student_id", "course_id", where=LIVE, unique=True),
        _partial("ix_enrollments_waitlist", "course_id", "number", where=WAITS),
        Index(None, "enrollment_id"),
        Index(None, "update_time", "course_id"),
        _partial("ix_enrollments_uncounted", "course_id", where=AWAITS_COUNT),
    )

    course_id: Mapped[str] = mapped_column(ID, ForeignKey("courses.course_id"), primary_key=True)
    enrollment_id: Mapped[str] = mapped_column(ID, primary_key=True)
    student_id: Mapped[str] = mapped_column(ID, ForeignKey("students.student_id"))
    number: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(BigInteger, default=1)
    state: Mapped[str] = mapped_column(String(16))
    grade: Mapped[str] = mapped_column(Text, default="")
    passed: Mapped[bool | None] = mapped_column()
    bypassed_rules: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    reason: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    create_time: Mapped[int] = mapped_column(BigInteger)
    update_time: Mapped[int] = mapped_column(BigInteger)
    end_time: Mapped[int | None] = mapped_column(BigInteger)
    last_skip: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    bypassed_violations: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list, server_default="[]")
    counted: Mapped[bool | None] = mapped_column()

    student: Mapped[Student] = relationship(back_populates="enrollments")
    course: Mapped[Course] = relationship(back_populates="enrollments")


class Event(Base):
    """One change, written in the transaction that made it.

    ``course_id`` and ``student_id`` are empty if the change is not about a course or a student. ``capacity`` and the
    counts are the course's after the change, so that ``verify`` can compare the seats taken with the seats there are.
    ``state``, ``enrollment_version``, ``grade`` and ``passed`` are the enrollment's after the change; its number,
    attempt, creation and end are read from its row. There are no foreign keys: an event outlives the rows that it
    reports on.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "revision"),
        Index(None, "student_id", "revision"),
        Index(None, "type", "revision"),
        Index(None, "time", "revision"),
        # Most events have no actor, and nobody asks for those.
        _partial("ix_events_actor_revision", "actor", "revision", where=text("actor <> ''")),
        _partial("ix_events_on_behalf_of_revision", "on_behalf_of", "revision", where=text("on_behalf_of <> ''")),
    )

    course_id: Mapped[str] = mapped_column(ID, primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[str] = mapped_column(ID)
    type: Mapped[str] = mapped_column(String(32))
    time: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(Text, default="")
    student_id: Mapped[str] = mapped_column(ID, default="")
    enrollment_id: Mapped[str] = mapped_column(ID, default="")
    state: Mapped[str] = mapped_column(String(16), default="")
    previous_state: Mapped[str] = mapped_column(String(16), default="")
    capacity: Mapped[int | None] = mapped_column(BigInteger)
    enrolled_count: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text, default="")
    bypassed_rules: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    changes: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    request_id: Mapped[str] = mapped_column(String(36), default="")
    waitlisted_count: Mapped[int | None] = mapped_column(BigInteger)
    enrollment_version: Mapped[int | None] = mapped_column(BigInteger)
    grade: Mapped[str] = mapped_column(Text, default="")
    passed: Mapped[bool | None] = mapped_column()
    violations: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    on_behalf_of: Mapped[str] = mapped_column(Text, default="", server_default="")


class EventCounter(Base):
    """The one row from which events take their ``revision``. A batch raises it last, so there are no gaps."""

    __tablename__ = "event_counter"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger)


class RequestId(Base):
    """The response to a caller's ``request_id``, kept so that a retry gets the same response."""

    __tablename__ = "request_ids"
    __table_args__ = (Index(None, "create_time"),)

    caller: Mapped[str] = mapped_column(Text, primary_key=True)
    request_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    response: Mapped[bytes] = mapped_column(LargeBinary)
    create_time: Mapped[int] = mapped_column(BigInteger)


KEY_ROLES = ("reader", "registrar", "admin")
"""The roles that an API key may have: students have no keys."""


class ApiKey(Base):
    """A key that a caller presents. Of its secret, the database has only the SHA-256.

    Keys are revoked and never deleted, so that a server that identifies its callers never stops doing so.
    ``last_use_time`` is the beginning of an hour.
    """

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint(one_of("role", KEY_ROLES), name="role"),)

    key_id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(ID)
    role: Mapped[str] = mapped_column(String(16))
    permissions: Mapped[list[Any]] = mapped_column(DOCUMENT, default=list)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    create_time: Mapped[int] = mapped_column(BigInteger)
    expire_time: Mapped[int | None] = mapped_column(BigInteger)
    last_use_time: Mapped[int | None] = mapped_column(BigInteger)
    revoke_time: Mapped[int | None] = mapped_column(BigInteger)
