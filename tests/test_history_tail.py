"""The promise to those who follow the history: nothing new ever appears at or under a revision that was seen.

Whoever reads while others write sees only what is committed, and revisions are given in the order of commits, without
gaps. A sequence of the database would not do: of two transactions, the one that took the later number may be the first
to commit.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from random import Random
from typing import NamedTuple

from sqlalchemy import create_engine

from registrar.v1.event_pb2 import Event, EventType
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.database import Database
from registrar_server.enrollment.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Unenroll,
)
from registrar_server.enrollment.ledger import Ledger
from tests.consistency import assert_consistent
from tests.ledgers import call, carry_out, reasons
from tests.servers import Registrar, registrar_on

WRITERS = 4
BATCHES = 100
STUDENTS = [f"s-{number:02}" for number in range(40)]
COURSES = ["hot-1", "hot-2", "hot-3"]


def found_campus(url: str) -> None:
    """Make students known, and few courses with few seats and a waitlist, which all of them want."""
    database = Database(url)
    courses = [CreateCourse(course_id, {"capacity": 8, "waitlist_capacity": 12}) for course_id in COURSES]
    carry_out(Ledger(database), *courses, *map(CreateStudent, STUDENTS))
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
        newcomers = [CreateStudent(f"w{writer}-{batch}-{number}") for number in range(random.randint(0, 3))]
        yield [*newcomers, *(wish(random) for _ in range(random.randint(1, 12)))]


def wish(random: Random) -> Command:
    """Somebody wants something, mostly a seat or to be rid of it."""
    student_id, course_id = random.choice(STUDENTS), random.choice(COURSES)
    commands = (
        Enroll(student_id, course_id),
        Unenroll(student_id, course_id),
        PlaceHold(student_id, "LIBRARY"),
        ReleaseHold(student_id, "LIBRARY"),
    )
    return random.choices(commands, weights=(6, 6, 1, 2))[0]


class Tail(NamedTuple):
    """What somebody saw who followed the history, page by page."""

    pages: list[Sequence[Event]]

    @property
    def events(self) -> list[Event]:
        """All that was seen, in the order in which it was."""
        return [event for page in self.pages for event in page]


async def follow(registrar: Registrar, writing: asyncio.Future[object], size: int, course_id: str = "") -> Tail:
    """Ask for what came after the last revision seen, again and again, until nothing more can come."""
    tail, last = Tail([]), 0
    while True:
        # What is answered to a question asked after the end of all writing is the end of the history.
        ended = writing.done()
        request = ListEventsRequest(after_revision=last, page_size=size, course_id=course_id)
        page = (await registrar.history.ListEvents(request)).events
        if not course_id:
            revisions = [event.revision for event in page]
            assert revisions == list(range(last + 1, last + 1 + len(page))), f"after {last} came {revisions}"
        if page:
            tail.pages.append(page)
            last = page[-1].revision
        elif ended:
            return tail


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


def in_bytes(events: Sequence[Event]) -> list[bytes]:
    return [event.SerializeToString(deterministic=True) for event in events]


async def test_nothing_appears_behind_a_reader(postgresql_url: str) -> None:
    """Processes write at once while readers follow, some at their heels and one far behind: all see the same."""
    found_campus(postgresql_url)
    spawning = multiprocessing.get_context("spawn")
    # None begins to write before all of them can.
    start = spawning.Barrier(WRITERS)
    with ProcessPoolExecutor(WRITERS, mp_context=spawning, initializer=start.wait) as processes:
        async with registrar_on(postgresql_url) as registrar:
            loop = asyncio.get_running_loop()
            work = [loop.run_in_executor(processes, write, postgresql_url, writer) for writer in range(WRITERS)]
            writing = asyncio.gather(*work)
            at_the_heels, behind, of_course = await asyncio.gather(
                follow(registrar, writing, 1000),
                follow(registrar, writing, 5),
                follow(registrar, writing, 1000, COURSES[0]),
            )
            outcomes = sum(await writing, Counter())
            history, history_of_course = await everything(registrar), await everything(registrar, COURSES[0])

    assert [event.revision for event in history] == list(range(1, len(history) + 1))
    assert in_bytes(at_the_heels.events) == in_bytes(behind.events) == in_bytes(history)
    assert in_bytes(of_course.events) == in_bytes(history_of_course)
    assert history_of_course == [event for event in history if event.course_id == COURSES[0]]
    # It was no walk in the park: much was written, by all of them in turns, and read in the middle of it.
    assert outcomes["OK"] > WRITERS * BATCHES
    writers = [event.request_id.partition("/")[0] for event in history if event.request_id]
    assert set(writers) == {str(writer) for writer in range(WRITERS)}
    engine = create_engine(postgresql_url)
    assert_consistent(engine)
    engine.dispose()
