"""Commands that name enrollments by their ids, in batches: their courses and students are found, then locked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    CreateCourse,
    CreateStudent,
    DeleteStudent,
    Enroll,
    PlaceHold,
    RecordCompletion,
    Unenroll,
    VoidCompletion,
)
from registrar_server.errors import Reason
from registrar_server.ledger.calls import Answer
from registrar_server.storage.database import Database
from tests.support.comparison import enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.ledgers import Ledger, call, carry_out, carry_out_on, fields, promoted, reasons, watched_ledger
from tests.support.watched_stores import OnceBefore

pytestmark = pytest.mark.usefixtures("each_store")

STUDENTS = [f"s-{number:02}" for number in range(40)]


@pytest.fixture
def url(database_url: str, engine: Engine) -> Iterator[str]:
    """Forty students with a completion of "old" each; c-1, which requires "old", has one seat and a waitlist.

    After the test the database must be consistent.
    """
    carry_out_on(
        database_url,
        CreateCourse("old"),
        CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 100, "prerequisite_course_ids": ("old",)}),
        *map(CreateStudent, STUDENTS),
        *(RecordCompletion(student_id, "old", "B") for student_id in STUDENTS),
    )
    yield database_url
    assert_consistent(engine)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger on the database."""
    database = Database(url)
    yield Ledger(database)
    database.close()


@pytest.fixture
def completions(url: str, engine: Engine) -> list[str]:
    """The ids of the completions, in the order of the students."""
    ids = enrollment_ids(engine)
    return [ids[f"old#{number}"] for number in range(1, 41)]


def test_a_batch_of_many(ledger: Ledger, completions: list[str]) -> None:
    """Each command of a batch finds its enrollment, and an unknown id refuses only its own command."""
    batch: list[Command] = [VoidCompletion(one, "wrong list") for one in completions[:20]]
    batch += [CompleteById(one, "A") for one in completions[20:]]
    outcomes = ledger.run([call(command) for command in (*batch, VoidCompletion("e-1"), CompleteById("e-1"))])
    assert reasons(outcomes) == [None] * 40 + [Reason.ENROLLMENT_NOT_FOUND] * 2
    assert [fields(outcome)["state"] for outcome in outcomes[:40]] == ["VOIDED"] * 20 + ["COMPLETED"] * 20


def test_a_batch_with_all_ways_to_name_an_enrollment(ledger: Ledger, completions: list[str]) -> None:
    """Later commands of the batch see what earlier ones made of the same enrollment."""
    commands: list[Command] = [
        CompleteById(completions[0], "A"),
        Complete("s-00", "old", "C"),
        RecordCompletion("s-00", "old", "C", allow_existing=True),
        VoidCompletion(completions[0]),
        Complete("s-00", "old", "D"),
        RecordCompletion("s-00", "old", "C", allow_existing=True),
        RecordCompletion("s-00", "old", "D"),
        CompleteById(completions[0], "D"),
    ]
    outcomes = ledger.run([call(command) for command in commands])
    assert reasons(outcomes) == [None] * 4 + [Reason.NOT_ENROLLED, None, None, Reason.NOT_COMPLETED]
    shown = [(fields(outcomes[place])["grade"], fields(outcomes[place])["state"]) for place in (0, 1, 2, 3, 5)]
    assert shown == [("A", "COMPLETED"), ("C", "COMPLETED"), ("C", "COMPLETED"), ("C", "VOIDED"), ("C", "VOIDED")]
    assert fields(outcomes[6])["attempt"] == 2


def test_a_voided_completion_meets_no_prerequisite(ledger: Ledger, completions: list[str]) -> None:
    """It does not count in its own batch, nor in later ones, nor when the student's turn comes."""
    carry_out(ledger, *(Enroll(student_id, "c-1") for student_id in STUDENTS[:3]))
    batch: list[Command] = [VoidCompletion(completions[1]), VoidCompletion(completions[9]), Enroll("s-09", "c-1")]
    assert reasons(ledger.run([call(command) for command in batch])) == [None, None, Reason.PREREQUISITE_UNMET]
    assert reasons(ledger.run([call(Enroll("s-09", "c-1"))])) == [Reason.PREREQUISITE_UNMET]
    (outcome,) = ledger.run([call(Unenroll("s-00", "c-1"))])
    assert promoted(outcome) == ["s-02"]


def test_a_batch_that_needs_more_waiters(ledger: Ledger, completions: list[str]) -> None:
    """A batch that runs again with more waiters finds its enrollments again, and each changes once."""
    carry_out(ledger, *(Enroll(student_id, "c-1") for student_id in STUDENTS))
    carry_out(ledger, *(PlaceHold(student_id, "BURSAR") for student_id in STUDENTS[1:39]))
    voided, left = ledger.run([call(VoidCompletion(completions[0])), call(Unenroll("s-00", "c-1"))])
    assert isinstance(voided, Answer)
    assert [event.type for event in voided.events] == ["COMPLETION_VOIDED"]
    assert fields(voided)["version"] == 2
    assert promoted(left) == ["s-39"]


def test_beside_a_deletion_by_force(ledger: Ledger, engine: Engine, completions: list[str]) -> None:
    """A seat that an earlier command of the batch drops cannot be completed any more."""
    carry_out(ledger, Enroll("s-00", "c-1"), Enroll("s-01", "c-1"))
    seat = enrollment_ids(engine)["c-1#1"]
    batch: list[Command] = [DeleteStudent("s-00", force=True), CompleteById(seat), VoidCompletion(completions[0])]
    assert reasons(ledger.run([call(command) for command in batch])) == [None, Reason.NOT_COMPLETED, None]


def test_the_round_trips(url: str, completions: list[str]) -> None:
    """Finding the courses and students takes one round trip for the whole batch."""
    steps: list[str] = []
    with watched_ledger(url, steps.append) as (ledger, _):
        carry_out(ledger, *(CompleteById(one, "A") for one in completions))
        assert steps == ["begin", "read", "read", "commit"]
        steps.clear()
        ledger.preview(call(VoidCompletion(completions[0])))
        assert steps == ["look", "look"]


def test_the_locked_row_decides(postgresql_url: str) -> None:
    """What another process does between the unlocked read and the locks is seen."""
    carry_out_on(postgresql_url, CreateStudent("s-1"), CreateCourse("c-1"), RecordCompletion("s-1", "c-1", "B"))
    carry_out_on(postgresql_url, RecordCompletion("s-1", "c-1", "C"))
    engine = create_engine(postgresql_url, poolclass=NullPool)
    first, second = (one for _, one in sorted(enrollment_ids(engine).items()))
    void_first = OnceBefore("read", lambda: carry_out_on(postgresql_url, VoidCompletion(first, "by others")), skip=1)
    with watched_ledger(postgresql_url, void_first) as (ledger, _):
        batch = [VoidCompletion(first), CompleteById(first), CompleteById(second, "A")]
        voided, refused, corrected = ledger.run([call(command) for command in batch])
    assert isinstance(voided, Answer)
    assert (fields(voided)["reason"], list(voided.events)) == ("by others", [])
    assert reasons([refused]) == [Reason.NOT_COMPLETED]
    assert fields(corrected)["grade"] == "A"
    assert_consistent(engine)
