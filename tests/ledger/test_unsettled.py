"""What a round of the sweep settles: which courses it finds, what it remembers of them, and what makes it forget.

Here a round is one of a real sweep on a real ledger; a remembered course is one that the round does not settle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    CreateStudent,
    DeleteStudent,
    Enroll,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.ledger.unsettled import (
    MAX_ROUNDS,
    changed_courses,
    changes_of_courses,
    courses_to_settle,
    find_courses,
)
from registrar_server.storage import models
from registrar_server.storage.database import Database
from tests.support.comparison import enrollment_ids
from tests.support.rounds import Rounds
from tests.support.states import MONDAY

NOW = 1_000


class TestFinding:
    """A course is found if it promotes now, students wait, and a seat is free that nobody has completed."""

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"capacity": None, "enrolled_count": 900},
            {"enroll_open_time": NOW, "enroll_close_time": NOW + 1},
            {"completed_count": 1, "enrolled_count": 1},
            {"capacity": None, "completed_count": 9},
        ],
        ids=["free-seat", "unlimited", "in-window", "one-completed-one-free", "unlimited-and-completed"],
    )
    def test_found(self, database: Database, engine: Engine, fields: dict[str, Any]) -> None:
        add_courses(engine, course("c-1", **fields))
        assert find_courses(database, NOW) == ["c-1"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"enrolled_count": 3},
            {"enrolled_count": 5},
            {"completed_count": 3},
            {"completed_count": 2, "enrolled_count": 1},
            {"waitlisted_count": 0, "has_waiters": False},
            {"state": "CANCELLED"},
            {"delete_time": NOW},
            {"enroll_open_time": NOW + 1},
            {"enroll_close_time": NOW},
        ],
        ids=[
            "full",
            "over-capacity",
            "all-completed",
            "completed-and-full",
            "nobody-waits",
            "cancelled",
            "deleted",
            "before-the-window",
            "after-the-window",
        ],
    )
    def test_not_found(self, database: Database, engine: Engine, fields: dict[str, Any]) -> None:
        add_courses(engine, course("c-1", **fields))
        assert find_courses(database, NOW) == []

    def test_in_order(self, database: Database, engine: Engine) -> None:
        """The courses are in the order of their ids."""
        add_courses(engine, *(course(course_id) for course_id in ("c-2", "c-1", "C-3")))
        assert find_courses(database, NOW) == ["C-3", "c-1", "c-2"]

    def test_the_index_of_courses_with_waiters_is_used(self, engine: Engine) -> None:
        """Of 10,000 courses, only those with waiters are read, and nothing is sorted."""
        add_courses(engine, *(course(f"c-{n}", enrolled_count=3, has_waiters=n % 100 == 0) for n in range(1, 10_001)))
        steps = plan(engine, courses_to_settle(NOW))
        assert "ix_courses_has_waiters" in steps
        assert "sort" not in steps.lower()
        assert "b-tree" not in steps.lower()


def course(course_id: str, **fields: Any) -> models.Course:
    """Return a course with three seats, all free, and a waiter."""
    times = {"create_time": 1, "update_time": 1}
    counts = {"capacity": 3, "waitlisted_count": 1, "has_waiters": True}
    return models.Course(course_id=course_id, **times, **{**counts, **fields})


def add_courses(engine: Engine, *courses: models.Course) -> None:
    with Session(engine) as session, session.begin():
        session.add_all(courses)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def plan(engine: Engine, query: Executable) -> str:
    """Return the steps of a query's plan."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    statement = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        return "\n".join(str(row[-1]) for row in connection.execute(text(f"{explain} {statement}")))


