"""The ledger against the reference, on both databases: random batches, repeats and previews, checked after each."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registrar_server.core import scope
from registrar_server.core.commands import Command
from registrar_server.errors import Refusal
from registrar_server.ledger import loading
from registrar_server.ledger.calls import Answer, Call
from registrar_server.storage import models
from registrar_server.storage.database import Database
from tests.support.comparison import clear_database, comparable, enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.histories import (
    COMMANDS,
    FOUNDATION,
    TIMETABLES,
    as_named,
    by_real_ids,
    result_of,
    result_of_event,
    result_of_refusal,
)
from tests.support.ledgers import Ledger, Receipt, call
from tests.support.properties import scaled
from tests.support.reference import Reference
from tests.support.reference_rules import Result
from tests.support.scenes import BATCHES_BEHIND_A_QUEUE, SCENES, STEPS, SWEEP
from tests.support.states import NOW

pytestmark = pytest.mark.usefixtures("each_store")

QUICK = settings(
    max_examples=scaled(12),
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def without_versions(result: Result) -> Result:
    """Return a result without the versions of its records, which a preview does not know."""
    places = {"enrollment": 12, "course": 2, "student": 2}
    versions = {number + places[value] for number, value in enumerate(result) if value in places}
    return tuple(value for number, value in enumerate(result) if number not in versions)


class Campus(RuleBasedStateMachine):
    """Two ledgers on one database, which is empty at first, and the reference."""

    database: Database
    engine: Engine

    @initialize(timetable=st.one_of(st.just(()), TIMETABLES))
    def create_campus(self, timetable: tuple[Command, ...]) -> None:
        """Begin with some students and courses."""
        clear_database(self.engine)
        self.reference = Reference(NOW)
        ledgers = [Ledger(self.database, clock=lambda: self.reference.now) for _ in range(2)]
        self.ledgers = itertools.cycle(ledgers)
        self.answered: dict[str, tuple[Call, Result]] = {}
        self.numbers = itertools.count(1)
        self.run_batch([*FOUNDATION, *timetable])

    @rule(now=st.sampled_from([NOW - 1, NOW, NOW + 1]))
    def let_time_pass(self, now: int) -> None:
        """Windows open and close; the clock can also go back."""
        self.reference.now = now

    @rule(steps=st.lists(STEPS, min_size=1, max_size=12))
    def run_steps(self, steps: list[tuple[Command, ...]]) -> None:
        """All commands of the steps run in one batch."""
        self.run_batch(list(itertools.chain.from_iterable(steps)))

    @rule(batches=BATCHES_BEHIND_A_QUEUE)
    def join_a_queue(self, batches: tuple[list[Command], list[Command]]) -> None:
        """A newcomer joins a queue in the same batch in which others leave the course."""
        for commands in batches:
            self.run_batch(commands)

    @rule(scene=SCENES)
    def run_one_by_one(self, scene: tuple[Command, ...]) -> None:
        """The commands of a scene run in batches of one, so that each sees what the database stores."""
        for command in scene:
            self.run_batch([command])

    def run_batch(self, commands: Sequence[Command]) -> None:
        """Every command has the result that the reference gives."""
        ids = enrollment_ids(self.engine)
        calls = [call(by_real_ids(command, ids), f"r-{next(self.numbers)}") for command in commands]
        for one, command, outcome in zip(calls, commands, next(self.ledgers).run(calls), strict=True):
            expected = self.reference.do(as_named(command, ids))
            assert comparable(outcome) == expected
            if isinstance(outcome, Answer):
                self.answered[one.request_id] = (one, expected)

    @rule(commands=st.lists(COMMANDS, max_size=3))
    def sweep(self, commands: list[Command]) -> None:
        """A sweep after other commands leaves no eligible waiter beside a seat that is free for a sweep."""
        self.run_batch([*commands, *SWEEP])
        assert not self.reference.waiters_that_a_sweep_forgot()

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Repeated calls get the same response, and change nothing."""
        repeated = data.draw(st.lists(st.sampled_from(list(self.answered.values())), max_size=4))
        for (_, expected), outcome in zip(repeated, next(self.ledgers).run([one for one, _ in repeated]), strict=True):
            assert comparable(outcome) == expected
            assert isinstance(outcome, Answer)
            assert outcome.events == ()

    @rule(command=COMMANDS)
    def preview(self, command: Command) -> None:
        """A preview is refused if the call would be, promotes whom the call would, and changes nothing."""
        ids = enrollment_ids(self.engine)
        expected = copy.deepcopy(self.reference).do(as_named(command, ids))
        result: Result = ()
        try:
            response = next(self.ledgers).preview(call(by_real_ids(command, ids)))
            assert isinstance(response, Receipt)
            result = result_of(response.fields)
        except Refusal as refusal:
            result = result_of_refusal(refusal)
        assert without_versions(result) == without_versions(expected)

    @invariant()
    def agrees_with_the_reference(self) -> None:
        """Counters, rows, events and request ids agree with each other and with the reference."""
        assert_consistent(self.engine)
        with Session(self.engine) as session:
            events = session.scalars(select(models.Event).order_by(models.Event.revision))
            assert list(map(result_of_event, events)) == self.reference.events
            assert set(session.scalars(select(models.RequestId.request_id))) == set(self.answered)


@pytest.fixture
def campus(engine: Engine, database_url: str) -> Iterator[type[Campus]]:
    """The state machine, on a migrated database."""
    database = Database(database_url)
    yield type("CampusOnDatabase", (Campus,), {"engine": engine, "database": database})
    database.close()


@pytest.fixture
def _few_waiters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load only one waiter more than seats may become free, so that most batches run out of waiters and run again."""
    for module in (scope, loading):
        monkeypatch.setattr(module, "SPARE_WAITERS", 1)


def test_does_as_the_reference_does(campus: type[Campus]) -> None:
    """Outcomes, rows and history are those of the reference."""
    run_state_machine_as_test(campus, settings=QUICK)


@pytest.mark.usefixtures("_few_waiters")
def test_it_does_not_matter_how_many_waiters_are_loaded(campus: type[Campus]) -> None:
    """Outcomes, rows and history are the same if a batch first loads too few waiters."""
    run_state_machine_as_test(campus, settings=QUICK)
