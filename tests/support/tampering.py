"""A history for tests of ``verify``, and how to change its rows by hand."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from registrar_server import verify
from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)

#: Commands that, with ``SEQUEL``, record events of every type. Comments name the revisions of the events and the ids of
#: the enrollments.
STORY: tuple[Command, ...] = (
    *(CreateStudent(student_id) for student_id in ("ada", "bob", "cyd", "dot", "eve")),  # 1 to 5
    CreateCourse("art", {"capacity": 1, "waitlist_capacity": 3}),  # 6
    CreateCourse("bio", {"capacity": 2}),  # 7
    Enroll("ada", "art"),  # 8: id-8 has the seat
    Enroll("bob", "art"),  # 9: id-10 waits
    Enroll("cyd", "art"),  # 10: id-12 waits
    PlaceHold("bob", "BURSAR", "unpaid"),  # 11
    Unenroll("ada", "art"),  # 12; 13 skips bob, 14 promotes cyd
    Enroll("dot", "art", override=Override(frozenset({"COURSE_FULL"}), "approved")),  # 15: id-18, a second seat
    RecordCompletion("dot", "art", "A"),  # 16: id-20, beside the seat
    UpdateCourse("art", {"capacity": 5}),  # 17; bob is skipped again for the same reason, without an event
    PlaceHold("bob", "BURSAR", "still unpaid"),  # 18
    ReleaseHold("bob", "BURSAR"),  # 19
    UpdateCourse("art", {"capacity": 1}),  # 20
    Enroll("ada", "bio"),  # 21: id-26
    Enroll("eve", "bio"),  # 22: id-28
    UpdateCourse("bio", {"capacity": None}),  # 23
    Swap("cyd", "art", "bio"),  # 24: id-31; 25
    Complete("ada", "bio", "B"),  # 26
    Complete("ada", "bio", "A"),  # 27
    Unenroll("dot", "art"),  # 28; 29 promotes bob
    Enroll("ada", "art"),  # 30: id-38 waits
    DeleteStudent("eve", force=True),  # 31 and 32
    UndeleteStudent("eve"),  # 33
    DeleteCourse("art", force=True),  # 34 ends bob's, 35 ada's, 36
    UndeleteCourse("art"),  # 37
    Enroll("ada", "art"),  # 38: id-47
    UpdateStudent("eve", {"email": "eve@example.edu"}),  # 39
    PlaceHold("eve", "LIBRARY"),  # 40
    Enroll("dot", "bio"),  # 41: id-51
    CreateCourse("cop"),  # 42
)
#: Commands that follow in a batch of their own, since they name an enrollment of the first batch by its id.
SEQUEL: tuple[Command, ...] = (VoidCompletion("id-20", "wrong student"),)  # 43

IN_ART = 'Enrollment "{}" in course "art"'.format
IN_BIO = 'Enrollment "{}" in course "bio"'.format

_WITHOUT_CONSTRAINTS = {
    "sqlite": ("PRAGMA ignore_check_constraints = ON", "PRAGMA foreign_keys = OFF"),
    "postgresql": (
        "ALTER TABLE enrollments DROP CONSTRAINT ck_enrollments_end_time",
        "SET LOCAL session_replication_role = replica",  # This disables foreign keys.
    ),
}


def disagreements_in(engine: Engine) -> list[str]:
    """Return the disagreements that ``verify`` reports."""
    with verify.open_snapshot(engine) as connection:
        return list(verify.disagreements(connection))


def tamper(engine: Engine, *statements: str) -> None:
    """Execute statements with the constraints disabled that would prevent them."""
    with engine.begin() as connection:
        for statement in (*_WITHOUT_CONSTRAINTS[engine.dialect.name], "DROP INDEX uq_enrollments_live", *statements):
            connection.execute(text(statement))


def case(kind: str, *statements: str, finds: str | tuple[str, ...]) -> Any:
    """Return a test case: the tampering statements and the reports expected."""
    return pytest.param(statements, [finds] if isinstance(finds, str) else [*finds], id=kind)
