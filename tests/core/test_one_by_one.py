"""Batches of several commands, which remember blocked waiters, equal batches of one command each."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    Unenroll,
    UpdateCourse,
    VoidCompletion,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Event, Student
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from tests.support.states import MONDAY, enrollment, loaded_state, numbered_ids
from tests.support.waitlists import (
    course_with_students,
    student_with_hold,
    students,
)

Record = Student | Course | Enrollment

SEAT_AND_PAID = Override(frozenset({"COURSE_FULL", "STUDENT_HOLD"}), "athlete, paid")
BLOCK: list[Command] = [Settle("c-1"), Settle("c-1")]
"""The first command skips the waiters whom the rules refuse; the second one finds them skipped, and blocks them."""


def outcome(state: State, command: Command) -> str:
    """Decide a command, and return its result or its refusal as a text."""
    try:
        return str(decide(state, command))
    except Refusal as refused:
        return f"{refused.reason}: {refused.violations}"


def in_one_batch(records: Iterable[Record], commands: Sequence[Command]) -> tuple[list[str], list[Event]]:
    """Return the outcomes and the history of commands that one batch decides."""
    state = loaded_state(*copy.deepcopy(list(records)))
    return [outcome(state, command) for command in commands], state.journal.events


def one_by_one(records: Iterable[Record], commands: Sequence[Command]) -> tuple[list[str], list[Event]]:
    """Return the outcomes and the history of commands, each in a batch that loads what the last one wrote."""
    new_id = numbered_ids()
    rows = {row_id(record): record for record in copy.deepcopy(list(records))}
    outcomes: list[str] = []
    events: list[Event] = []
    for command in commands:
        state = loaded_state(*rows.values(), new_id=new_id)
        outcomes.append(outcome(state, command))
        added = state.journal.added_enrollments.values()
        rows.update((one.enrollment_id, one) for one in added)
        events += state.journal.events
    return outcomes, events


def row_id(record: Record) -> str:
    """Return the id of a record."""
    if isinstance(record, Student):
        return record.student_id
    return record.course_id if isinstance(record, Course) else record.enrollment_id


TUESDAY = (MONDAY[0]._replace(weekdays=(2,)),)
HISTORY: list[Command] = [
    Settle("c-1"),
    Enroll("z", "c-1"),
    Enroll("b", "c-1", allow_existing=True),
    Enroll("b", "c-1", override=SEAT_AND_PAID),
    Enroll("b", "c-4"),
    Unenroll("a", "c-1"),
    Unenroll("b", "c-1"),
    Unenroll("b", "c-2"),
    Swap("b", "c-2", "c-1"),
    PlaceHold("b", "LIBRARY"),
    ReleaseHold("b", "BURSAR"),
    RecordCompletion("b", "c-3"),
    VoidCompletion("c-3/b"),
    UpdateCourse("c-2", {"state": "CANCELLED"}),
    UpdateCourse("c-1", {"meetings": ()}),
    Settle("c-1", reserve_completed=True),
]
"""Commands that block a waiter, or change a judgement."""


@pytest.mark.parametrize(
    ("student", "target"),
    [
        (student_with_hold("b"), {}),
        (Student("b"), {"meetings": MONDAY + TUESDAY}),
        (Student("b"), {"prerequisite_course_ids": ("c-3",)}),
        (student_with_hold("b"), {"meetings": MONDAY + TUESDAY, "prerequisite_course_ids": ("c-3",)}),
    ],
    ids=["hold", "conflict", "prerequisite", "all"],
)
@pytest.mark.parametrize("prefix", [[], [Settle("c-1")], BLOCK])
def test_a_batch_equals_its_commands_one_by_one(
    student: Student, target: dict[str, Any], prefix: list[Command]
) -> None:
    """All pairs of these commands have the same results and the same history, whatever was blocked before."""
    records = [
        *students("acz"),
        student,
        *course_with_students("a", "bc", capacity=2, **target),
        *course_with_students("b", "", "c-2", meetings=MONDAY),
        Course("c-3", last_number=1),
        enrollment("b", "COMPLETED", course_id="c-3", passed=bool(student.holds)),
        Course("c-4", meetings=TUESDAY),
    ]
    for commands in itertools.product(HISTORY, repeat=2):
        batch = [*prefix, *commands, Enroll("z", "c-1", allow_existing=True), Settle("c-1")]
        assert in_one_batch(records, batch) == one_by_one(records, batch)
