"""The paths of reads: which lists take the path of lookups, and that both paths return the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import pytest

from registrar_server.core.commands import CreateCourse, CreateStudent, Enroll, Unenroll
from registrar_server.core.vocabulary import EnrollmentState
from registrar_server.ledger.batching import Batcher
from registrar_server.reading.lists import StudentCourseFilter
from registrar_server.reading.lookups import CoursesOfStudent, Lookup
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.reader import Reader
from registrar_server.reading.reads import DEFAULT_PAGE_SIZE, Reads
from registrar_server.storage.database import Database
from tests.support.ledgers import Ledger, carry_out


class Observed(NamedTuple):
    """The reads of a student with three live courses and a dropped one, and the lookups that ran so far."""

    reads: Reads
    lookups: list[Lookup]


@pytest.fixture
async def observed(sqlite_url: str) -> AsyncIterator[Observed]:
    database = Database(sqlite_url)
    courses = [CreateCourse(f"c-{number}", {"term": "fall" if number == 1 else "spring"}) for number in range(4)]
    carry_out(Ledger(database), CreateStudent("s-1"), *courses, *(Enroll("s-1", f"c-{number}") for number in range(4)))
    carry_out(Ledger(database), Unenroll("s-1", "c-3"))
    reader, seen = Reader(database), list[Lookup]()

    def look_up(lookups: Sequence[Lookup]) -> list[Any]:
        seen.extend(lookups)
        return reader.look_up(lookups)

    batcher, threads = Batcher[Lookup, Any](look_up, "read"), QueryThreads(1, 10)
    yield Observed(Reads(reader, batcher, threads), seen)
    await asyncio.gather(batcher.close(), threads.close())
    database.close()


async def test_the_first_page_of_live_courses_in_default_size_is_a_lookup(observed: Observed) -> None:
    found = await observed.reads.list_courses("s-1", StudentCourseFilter(), None, DEFAULT_PAGE_SIZE, timeout=None)
    assert [entry.course.course_id for entry in found] == ["c-0", "c-1", "c-2"]
    assert observed.lookups == [CoursesOfStudent("s-1")]


@pytest.mark.parametrize(
    ("wanted", "after", "page_size", "courses"),
    [
        (StudentCourseFilter(), None, 1, ["c-0", "c-1"]),
        (StudentCourseFilter(), None, 1000, ["c-0", "c-1", "c-2"]),
        (StudentCourseFilter(), ["c-1", 1], DEFAULT_PAGE_SIZE, ["c-2"]),
        (StudentCourseFilter((EnrollmentState.DROPPED,)), None, DEFAULT_PAGE_SIZE, ["c-3"]),
        (StudentCourseFilter(term="fall"), None, DEFAULT_PAGE_SIZE, ["c-1"]),
        (StudentCourseFilter(show_deleted=True), None, DEFAULT_PAGE_SIZE, ["c-0", "c-1", "c-2"]),
    ],
)
async def test_any_other_page_is_a_list(
    observed: Observed, wanted: StudentCourseFilter, after: list[Any] | None, page_size: int, courses: list[str]
) -> None:
    found = await observed.reads.list_courses("s-1", wanted, after, page_size, timeout=None)
    assert [entry.course.course_id for entry in found] == courses
    assert observed.lookups == []


async def test_both_paths_return_the_same(observed: Observed) -> None:
    looked_up = await observed.reads.list_courses("s-1", StudentCourseFilter(), None, DEFAULT_PAGE_SIZE, timeout=None)
    assert looked_up == await observed.reads.list_courses("s-1", StudentCourseFilter(), None, 1000, timeout=None)
