"""The memory of the sweep, on both databases: rounds among random commands find every eligible waiter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import Engine

from registrar_server.core.commands import (
    Command,
    Complete,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.ledger.calls import Answer, Call
from registrar_server.ledger.unsettled import find_courses
from registrar_server.storage.database import Database
from tests.support.comparison import clear_database, enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.histories import AFTERWARDS, CODES, COMMANDS, COURSES, FOUNDATION, STUDENTS, TIMETABLES, by_real_ids
from tests.support.ledgers import Receipt, call
from tests.support.properties import scaled
from tests.support.rounds import Rounds, settlement
from tests.support.states import NOW

QUICK = settings(
    max_examples=scaled(15),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

#: Free seats in c-1 and c-2, and waiters whom different rules keep from them. One seat more in c-2 is completed.
BLOCKED: tuple[Command, ...] = (
    UpdateCourse("c-3", {"capacity": 3, "meetings": (AFTERWARDS,), "term": "", "code": ""}),
    Enroll("s-3", "c-3", allow_existing=True),
    PlaceHold("s-2", "BURSAR"),
    PlaceHold("s-1", "LIBRARY"),
    UpdateStudent("s-4", {"max_credits": 0}),
    Complete("s-2", "c-2", "A", passed=True),
    UpdateCourse("c-1", {"capacity": 2, "meetings": (AFTERWARDS,), "term": "", "code": ""}),
    UpdateCourse("c-2", {"capacity": 2, "credits": 3000}),
)
#: Obstacles that come and go.
OBSTACLES: st.SearchStrategy[Command] = st.one_of(
    st.builds(PlaceHold, STUDENTS, CODES),
    st.builds(ReleaseHold, STUDENTS, CODES),
    st.builds(UpdateStudent, STUDENTS, st.fixed_dictionaries({"max_credits": st.sampled_from([None, 0, 4500])})),
    st.builds(UpdateCourse, st.just("c-3"), st.fixed_dictionaries({"state": st.sampled_from(["OPEN", "CANCELLED"])})),
    st.builds(UpdateCourse, st.just("c-3"), st.fixed_dictionaries({"meetings": st.sampled_from([(), (AFTERWARDS,)])})),
    st.builds(VoidCompletion, st.just("c-2#1")),
    st.builds(Unenroll, STUDENTS, COURSES),
)
FEW = st.lists(st.one_of(OBSTACLES, OBSTACLES, COMMANDS), min_size=1, max_size=3)
NOBODY = Receipt({"promoted": []})


class SweptCampus(RuleBasedStateMachine):
    """A ledger on a database that is empty at first, and a sweep that remembers what it settled."""

    database: Database
    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()

    @initialize(timetable=st.one_of(st.just(()), TIMETABLES))
    def create_campus(self, timetable: tuple[Command, ...]) -> None:
        """Begin with waiters beside free seats."""
        clear_database(self.engine)
        self.rounds = Rounds(self.database)
        self.rounds.do(*FOUNDATION, *BLOCKED, *timetable)
        self.run_round(())

    @rule(now=st.sampled_from([NOW - 1, NOW, NOW + 1]))
    def let_time_pass(self, now: int) -> None:
        """Windows open and close; the clock can also go back."""
        self.rounds.now = now

    def change(self, commands: Sequence[Command]) -> None:
        """Carry out commands, some of which are refused."""
        ids = enrollment_ids(self.engine)
        self.rounds.ledger.run([call(by_real_ids(command, ids)) for command in commands])

    @rule(before=FEW, meanwhile=FEW, failing=st.sampled_from(["c-1", "c-2", "c-3"]))
    def run_disturbed_round(self, before: Sequence[Command], meanwhile: Sequence[Command], failing: str) -> None:
        """Run a round during which commands come and a course cannot be settled."""
        self.change(before)
        self.rounds.failing, self.rounds.meanwhile = {failing}, lambda: self.change(meanwhile)
        self.loop.run(self.rounds.run())
        self.rounds.failing, self.rounds.meanwhile = set(), lambda: None

    @rule(commands=FEW)
    def run_round(self, commands: Sequence[Command]) -> None:
        """After commands and a round, no free seat has an eligible waiter."""
        self.change(commands)
        self.loop.run(self.rounds.run())
        for one in self.settlements():
            assert self.rounds.ledger.preview(one) == NOBODY

    @rule(commands=FEW)
    def run_rounds(self, commands: Sequence[Command]) -> None:
        """After a round that changed nothing, settling every course would change nothing either."""
        self.run_round(commands)
        while self.rounds.events:
            self.run_round(())
        for outcome in self.rounds.ledger.run(self.settlements()):
            assert isinstance(outcome, Answer)
            assert not outcome.events

    def settlements(self) -> list[Call]:
        """Return the calls of a sweep that remembers nothing."""
        return [settlement(course_id) for course_id in find_courses(self.database, self.rounds.now)]

    def teardown(self) -> None:
        """The history, the counters and the rows agree."""
        self.loop.run(self.rounds.close())
        self.loop.close()
        assert_consistent(self.engine)


@pytest.fixture
def campus(engine: Engine, database_url: str) -> Iterator[type[SweptCampus]]:
    """The state machine, on a migrated database."""
    database = Database(database_url)
    yield type("SweptCampusOnDatabase", (SweptCampus,), {"engine": engine, "database": database})
    database.close()


def test_finds_every_eligible_waiter(campus: type[SweptCampus]) -> None:
    """Rounds that leave out what they remember lead to the same as rounds that settle every course."""
    run_state_machine_as_test(campus, settings=QUICK)
