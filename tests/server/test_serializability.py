"""Several processes on one database: concurrent batches are serializable in the order of their revisions.

The test replays the commands against the reference, one by one in the order of their events. If a batch had read data
that another batch was about to change, an outcome or an event would differ.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session

from registrar_server.core.commands import Command
from registrar_server.storage import models
from registrar_server.storage.database import Database
from tests.support.comparison import clear_database, comparable, enrollment_ids
from tests.support.consistency import assert_consistent
from tests.support.histories import (
    FOUNDATION,
    LOCAL_COMMANDS,
    as_named,
    by_real_ids,
    commands_about,
    result_of_event,
)
from tests.support.ledgers import Ledger, call
from tests.support.properties import scaled
from tests.support.reference import Reference
from tests.support.reference_rules import Result
from tests.support.running_stores import LOOP, RunningStore
from tests.support.scenes import SWEEP, scenes_about
from tests.support.states import NOW

PROCESSES = 5
Batches = list[Sequence[Command]]


def batches(commands: st.SearchStrategy[Command], *course_ids: str) -> st.SearchStrategy[Batches]:
    """Return a strategy for many small batches, so that those of other processes run in between.

    Some of them tell a scene about one student who waits in one of the courses.
    """
    several = st.lists(st.lists(commands, min_size=1, max_size=3), min_size=3, max_size=5)
    scenes = st.one_of(*map(scenes_about, course_ids)).map(in_threes)
    parts = st.lists(st.tuples(several, scenes), min_size=2, max_size=2)
    return parts.map(lambda drawn: [batch for part in drawn for batches in part for batch in batches])


def in_threes(commands: Sequence[Command]) -> Batches:
    """Split commands into small batches."""
    return [commands[start : start + 3] for start in range(0, len(commands), 3)]


COURSES = ("c-1", "c-2", "c-3")
#: Three processes each use one course, so that the locks of courses do not serialize them: they compete for students.
#: One process uses all courses.
PLANS = st.tuples(
    *(batches(commands_about(course_id), course_id) for course_id in COURSES), batches(LOCAL_COMMANDS, *COURSES)
)
#: The last process sweeps: it settles one course after the other, and then all of them at once.
SWEEPS: Batches = [*([settle] for settle in SWEEP), SWEEP] * 4


class Done(NamedTuple):
    """A command and its outcome."""

    request_id: str
    command: Command
    outcome: Result


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that each work on a database as a server does."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        yield pool


def work(url: str, store: str, name: str, batches: Sequence[Sequence[Command]]) -> list[Done]:
    """Run one batch after another and return the outcome of each command."""
    RunningStore.in_loop = store == LOOP
    database = Database(url)
    engine = create_engine(url)
    ledger = Ledger(database, clock=lambda: NOW)
    numbers = itertools.count(1)
    done = []
    for batch in batches:
        ids = enrollment_ids(engine)
        calls = [call(by_real_ids(command, ids), f"{name}-{next(numbers)}") for command in batch]
        outcomes = map(comparable, ledger.run(calls))
        done += [
            Done(made.request_id, as_named(command, ids), outcome)
            for made, command, outcome in zip(calls, batch, outcomes, strict=True)
        ]
    engine.dispose()
    ledger.close()
    database.close()
    return done


def test_concurrent_batches_are_serializable(
    workers: ProcessPoolExecutor, database_url: str, engine: Engine, each_store: str
) -> None:
    """Concurrent batches have the outcomes, events and rows of the same commands in the order of their revisions.

    This includes sweeps. After the last one, no eligible waiter is left beside a free seat.
    """

    @settings(
        max_examples=scaled(8),
        deadline=None,
        # Shrinking is useless, because it rarely reproduces a race.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )
    @given(PLANS)
    def interleave(plans: Sequence[Batches]) -> None:
        clear_database(engine)
        done = work(database_url, each_store, "founder", [FOUNDATION])
        names = [f"worker-{number}" for number in range(PROCESSES)]
        here = partial(work, database_url, each_store)
        for found in workers.map(here, names, [*plans, SWEEPS]):
            done += found
        done += work(database_url, each_store, "last-sweep", [SWEEP])
        reference = replay(engine, {one.request_id: one for one in done})
        assert not reference.waiters_that_a_sweep_forgot()
        assert_consistent(engine)

    interleave()


def replay(engine: Engine, done: dict[str, Done]) -> Reference:
    """Assert that the reference produces the same history from the commands in the order of their events."""
    with Session(engine) as session:
        events = session.scalars(select(models.Event).order_by(models.Event.revision)).all()
        rows = session.scalars(select(models.Enrollment)).all()
    reference = Reference(NOW)
    for request_id in dict.fromkeys(event.request_id for event in events):
        assert reference.do(done[request_id].command) == done[request_id].outcome
    assert list(map(result_of_event, events)) == reference.events
    stored = sorted((row.course_id, row.student_id, row.state, row.version) for row in rows)
    assert stored == sorted((row.course_id, row.student_id, row.state, row.version) for row in reference.rows)
    assert not [one for one in done.values() if one.outcome == ("refused", "CONTENTION")]
    return reference
