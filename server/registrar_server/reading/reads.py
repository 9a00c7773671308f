"""Chooses the path of each read: lookups gather into batches, lists run in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from registrar_server.ledger.batching import Batcher
from registrar_server.reading.lists import After, StudentCourseFilter
from registrar_server.reading.lookups import CoursesOfStudent, Lookup, StudentCourse
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.reader import Reader

Result = TypeVar("Result")

DEFAULT_PAGE_SIZE = 50
_LIVE = StudentCourseFilter()


class Reads:
    """Runs lookups and lists. ``timeout`` is the time that the call has left, in seconds; None is unlimited."""

    def __init__(self, reader: Reader, lookups: Batcher[Lookup, Any], queries: QueryThreads) -> None:
        self._reader = reader
        self._lookups = lookups
        self._queries = queries

    async def look_up(self, lookup: Lookup, *, timeout: float | None) -> Any:
        """Return the record of a lookup, or raise its refusal."""
        return await self._lookups.submit(lookup, timeout=timeout)

    async def list(self, query: Callable[[Reader], Result]) -> Result:
        """Run a list's query in a thread, and return its page."""
        return await self._queries.run(query, self._reader)

    async def list_courses(
        self, student_id: str, wanted: StudentCourseFilter, after: After, page_size: int, *, timeout: float | None
    ) -> Sequence[StudentCourse]:
        """Return a page of a student's enrollments with their courses, by (course_id, attempt), and at least one more.

        The first page of live enrollments in default size, without other filters, is the most frequent read. It takes
        the path of lookups, which returns all live enrollments.
        """
        if after is None and page_size == DEFAULT_PAGE_SIZE and wanted == _LIVE:
            found: Sequence[StudentCourse] = await self.look_up(CoursesOfStudent(student_id), timeout=timeout)
            return found
        return await self.list(lambda reader: reader.list_courses(student_id, wanted, after, page_size + 1))
