"""The promise to those who follow the history: nothing new ever appears at or under a revision that was seen.

Whoever reads while others write sees only what is committed, and revisions are given in the order of commits, without
gaps. A sequence of the database would not do: of two transactions, the one that took the later number may be the first
to commit.
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
from registrar_server.ledger.ledger import Ledger
from registrar_server.storage.database import Database
from tests.support.consistency import assert_consistent
from tests.support.databases import execute
from tests.support.ledgers import call, carry_out, reasons
from tests.support.servers import Registrar, registrar_on

WRITERS = 4
BATCHES = 75
COURSES = [f"hot-{number}" for number in range(6)]
STUDENTS = {course_id: [f"{course_id}-s-{number:02}" for number in range(24)] for course_id in COURSES}
"""Who wants which course. Batches about different courses have no lock in common but that of the event counter."""
SLOW_COMMITS = (
    """CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER take_time AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.revision % 8 = 0) EXECUTE FUNCTION take_time()""",
)
"""Commits take some milliseconds, as on a busy disk: time for others to overtake, if they could."""
Page = Sequence[Event]


def found_campus(url: str) -> None:
    """Make courses with few seats and a waitlist known, and more students than they have room for."""
    database = Database(url)
    courses = [CreateCourse(course_id, {"capacity": 8, "waitlist_capacity": 12}) for course_id in COURSES]
    carry_out(Ledger(database), *courses, *map(CreateStudent, chain(*STUDENTS.values())))
    database.close()


def write(url: str, writer: int) -> Counter[str]:
    """Write batches, short and long, as a process of its own; return how often each reason refused a command."""
    database = Database(url)
    ledger = Ledger(database)
    outcomes: Counter[str] = Counter()
    for commands in batches(writer):
        # The request id tells whose event it is.
        calls = [call(command, f"{writer}/{sum(outcomes.values())}/{place}") for place, command in enumerate(commands)]
        outcomes.update(reason or "OK" for reason in reasons(ledger.run(calls)))
    database.close()
    return outcomes


def batches(writer: int) -> Iterator[list[Command]]:
    """What a writer writes: always the same."""
    random = Random(writer)
    for batch in range(BATCHES):
        course_id = random.choice(COURSES)
        newcomers = [CreateStudent(f"w{writer}-{batch}-{number}") for number in range(random.randint(0, 3))]
        yield [*newcomers, *(wish(random, course_id) for _ in range(random.randint(1, 12)))]


def wish(random: Random, course_id: str) -> Command:
    """Somebody wants something, mostly a seat or to be rid of it."""
    student_id = random.choice(STUDENTS[course_id])
    commands = (
        Enroll(student_id, course_id),
        Unenroll(student_id, course_id),
        PlaceHold(student_id, "LIBRARY"),
        ReleaseHold(student_id, "LIBRARY"),
    )
    return random.choices(commands, weights=(6, 6, 1, 2))[0]


async def follow(registrar: Registrar, writing: asyncio.Future[Any], size: int, course_id: str = "") -> list[Page]:
    """Ask for what came after the last revision seen, again and again, until nothing more can come."""
    pages: list[Page] = []
    last = 0
    while True:
        # The answer to a question that was asked after the end of all writing has everything.
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


async def everything(registrar: Registrar, course_id: str = "") -> list[Event]:
    """The whole history, read in peace."""
    events: list[Event] = []
    request = ListEventsRequest(page_size=1000, course_id=course_id)
    while True:
        answer = await registrar.history.ListEvents(request)
        events += answer.events
        request.page_token = answer.next_page_token
        if not request.page_token:
            return events


def in_bytes(events: Iterable[Event]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


async def test_nothing_appears_behind_a_reader(postgresql_url: str) -> None:
    """Processes write at once while readers follow, some at their heels and one far behind: all see the same."""
    found_campus(postgresql_url)
    for statement in SLOW_COMMITS:
        execute(postgresql_url, statement)
    spawning = multiprocessing.get_context("spawn")
    # Nobody begins before all can.
    start = spawning.Barrier(WRITERS + 1, timeout=60)
    with ProcessPoolExecutor(WRITERS, mp_context=spawning, initializer=start.wait) as processes:
        async with registrar_on(postgresql_url) as registrar:
            work = [processes.submit(write, postgresql_url, writer) for writer in range(WRITERS)]
            writing = asyncio.gather(*map(asyncio.wrap_future, work))
            await asyncio.to_thread(start.wait)
            async with asyncio.TaskGroup() as readers:
                at_the_heels = readers.create_task(follow(registrar, writing, 1000))
                behind = readers.create_task(follow(registrar, writing, 5))
                of_course = readers.create_task(follow(registrar, writing, 1000, COURSES[0]))
            outcomes = sum(await writing, Counter[str]())
            history, history_of_course = await everything(registrar), await everything(registrar, COURSES[0])

    assert [event.revision for event in history] == list(range(1, len(history) + 1))
    for pages in (at_the_heels.result(), behind.result()):
        assert in_bytes(chain(*pages)) == in_bytes(history)
    assert in_bytes(chain(*of_course.result())) == in_bytes(history_of_course)
    assert history_of_course == [event for event in history if event.course_id == COURSES[0]]
    # That was worth something: much was written, by all of them in turns, and read in the middle of it.
    writers = [event.request_id.partition("/")[0] for event in history if event.request_id]
    assert set(writers) == set(map(str, range(WRITERS)))
    assert sum(one != next for one, next in pairwise(writers)) > 10 * WRITERS
    assert outcomes["OK"] > WRITERS * BATCHES
    assert len(at_the_heels.result()) > 10
    engine = create_engine(postgresql_url)
    assert_consistent(engine)
    engine.dispose()
