"""Readers that follow the history: no event ever appears at or below a revision that a reader has seen.

Readers see only committed events, and revisions follow the order of commits without gaps. A database sequence does not
guarantee this: of two transactions, the one with the larger number may commit first.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, pairwise
from random import Random
from typing import Any

from sqlalchemy import create_engine

from registrar.v1.event_pb2 import Event
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Unenroll,
)
from registrar_server.storage.database import Database
from tests.support.consistency import assert_consistent
from tests.support.databases import execute
from tests.support.ledgers import Ledger, call, carry_out, reasons
from tests.support.servers import Registrar, registrar_on

WRITERS = 4
BATCHES = 75
COURSES = [f"hot-{number}" for number in range(6)]
STUDENTS = {course_id: [f"{course_id}-s-{number:02}" for number in range(24)] for course_id in COURSES}
"""The students of each course. Batches about different courses share only the lock of the event counter."""
SLOW_COMMITS = (
    """CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER take_time AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.revision % 8 = 0) EXECUTE FUNCTION take_time()""",
)
"""Commits take some milliseconds, as on a busy disk, so that a later transaction could commit first."""
Page = Sequence[Event]


def create_campus(url: str) -> None:
    """Create courses with few seats and a waitlist, and more students than they have room for."""
    database = Database(url)
    courses = [CreateCourse(course_id, {"capacity": 8, "waitlist_capacity": 12}) for course_id in COURSES]
    carry_out(Ledger(database), *courses, *map(CreateStudent, chain(*STUDENTS.values())))
    database.close()


def write(url: str, writer: int) -> Counter[str]:
    """Run short and long batches in a separate process; return how often each reason refused a command."""
    database = Database(url)
    ledger = Ledger(database)
    outcomes: Counter[str] = Counter()
    for commands in batches(writer):
        # The request id identifies the writer of each event.
        calls = [call(command, f"{writer}/{sum(outcomes.values())}/{place}") for place, command in enumerate(commands)]
        outcomes.update(reason or "OK" for reason in reasons(ledger.run(calls)))
    database.close()
    return outcomes


def batches(writer: int) -> Iterator[list[Command]]:
    """Return the batches of a writer, which are the same in every run."""
    random = Random(writer)
    for batch in range(BATCHES):
        course_id = random.choice(COURSES)
        newcomers = [CreateStudent(f"w{writer}-{batch}-{number}") for number in range(random.randint(0, 3))]
        yield [*newcomers, *(random_command(random, course_id) for _ in range(random.randint(1, 12)))]


def random_command(random: Random, course_id: str) -> Command:
    """Return a command of a random student, mostly about a seat."""
    student_id = random.choice(STUDENTS[course_id])
    commands = (
        Enroll(student_id, course_id),
        Unenroll(student_id, course_id),
        PlaceHold(student_id, "LIBRARY"),
        ReleaseHold(student_id, "LIBRARY"),
    )
    return random.choices(commands, weights=(6, 6, 1, 2))[0]


async def follow(registrar: Registrar, writing: asyncio.Future[Any], size: int, course_id: str = "") -> list[Page]:
    """Read the events after the last revision seen, again and again, until all writing has ended."""
    pages: list[Page] = []
    last = 0
    while True:
        # A request that is sent after all writing has ended returns all remaining events.
        ended = writing.done()
        request = ListEventsRequest(after_revision=last, page_size=size, course_id=course_id)
        page = (await registrar.history.ListEvents(request)).events
        if not course_id:
            revisions = [event.revision for event in page]
            assert revisions == list(range(last + 1, last + 1 + len(page))), f"after {last} came {revisions}"
        if page:
            pages.append(page)
            last = page[-1].revision
        elif ended:
            return pages


async def whole_history(registrar: Registrar, course_id: str = "") -> list[Event]:
    """Return the whole history after all writing has ended."""
    events: list[Event] = []
    request = ListEventsRequest(page_size=1000, course_id=course_id)
    while True:
        answer = await registrar.history.ListEvents(request)
        events += answer.events
        request.page_token = answer.next_page_token
        if not request.page_token:
            return events


def serialized(events: Iterable[Event]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


async def test_no_event_appears_behind_a_reader(postgresql_url: str) -> None:
    """Fast and slow readers of all events and of one course see the same history while processes write concurrently."""
    create_campus(postgresql_url)
    for statement in SLOW_COMMITS:
        execute(postgresql_url, statement)
    spawning = multiprocessing.get_context("spawn")
    # All processes start writing together.
    start = spawning.Barrier(WRITERS + 1, timeout=60)
    with ProcessPoolExecutor(WRITERS, mp_context=spawning, initializer=start.wait) as processes:
        async with registrar_on(postgresql_url) as registrar:
            work = [processes.submit(write, postgresql_url, writer) for writer in range(WRITERS)]
            writing = asyncio.gather(*map(asyncio.wrap_future, work))
            await asyncio.to_thread(start.wait)
            async with asyncio.TaskGroup() as readers:
                fast = readers.create_task(follow(registrar, writing, 1000))
                slow = readers.create_task(follow(registrar, writing, 5))
                of_course = readers.create_task(follow(registrar, writing, 1000, COURSES[0]))
            outcomes = sum(await writing, Counter[str]())
            history, history_of_course = await whole_history(registrar), await whole_history(registrar, COURSES[0])

    assert [event.revision for event in history] == list(range(1, len(history) + 1))
    for pages in (fast.result(), slow.result()):
        assert serialized(chain(*pages)) == serialized(history)
    assert serialized(chain(*of_course.result())) == serialized(history_of_course)
    assert history_of_course == [event for event in history if event.course_id == COURSES[0]]
    # The test is meaningful only if all processes wrote many events in turns, and readers read in between.
    writers = [event.request_id.partition("/")[0] for event in history if event.request_id]
    assert set(writers) == set(map(str, range(WRITERS)))
    assert sum(one != next for one, next in pairwise(writers)) > 10 * WRITERS
    assert outcomes["OK"] > WRITERS * BATCHES
    assert len(fast.result()) > 10
    engine = create_engine(postgresql_url)
    assert_consistent(engine)
    engine.dispose()
