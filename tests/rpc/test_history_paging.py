"""ListEvents: filters and pages."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from registrar.v1.history_service_pb2 import ListEventsResponse
from registrar.v1.student_service_pb2 import ListStudentsRequest
from tests.support.history_calls import create_campus, history, page, record_every_type
from tests.support.refusals import info, refused
from tests.support.servers import Registrar, registrar_on

ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """Students s-1 to s-3, CS-101 with one seat and a waitlist, and CS-102 with unlimited seats."""
    await create_campus(registrar)
    return registrar


class TestFilters:
    """Filters select events and keep their order."""

    @pytest.mark.parametrize("course_id", ["", "CS-101", "CS-102"])
    @pytest.mark.parametrize("student_id", ["", "s-1", "s-3"])
    async def test_student_and_course(self, registrar: Registrar, student_id: str, course_id: str) -> None:
        """Events are filtered by student, by course, or by both."""
        await record_every_type(registrar)
        found = await history(registrar, student_id=student_id, course_id=course_id)
        assert found == [
            event
            for event in await history(registrar)
            if student_id in ("", event.student_id) and course_id in ("", event.course_id)
        ]
        assert bool(found) == ((student_id, course_id) != ("s-3", "CS-102"))

    async def test_unknown_ids(self, campus: Registrar) -> None:
        """An unknown student or course has no events, which is not an error."""
        nothing = ListEventsResponse(last_revision=5)
        assert await page(campus, student_id="nobody") == nothing
        assert await page(campus, course_id="nothing") == nothing
        assert await page(campus, enrollment_id="e-1") == nothing

    @pytest.mark.parametrize("filters", [{}, {"student_id": "s-2"}, {"course_id": "CS-101"}])
    async def test_after(self, registrar: Registrar, filters: dict[str, str]) -> None:
        """Only events after a revision are listed, whether that revision matches the filters or not."""
        await record_every_type(registrar)
        events = await history(registrar, **filters)
        for revision in (0, 1, 7, events[-1].revision - 1):
            later = [event for event in events if event.revision > revision]
            assert await history(registrar, **filters, after_revision=revision) == later
        last = (await history(registrar))[-1].revision
        for revision in (events[-1].revision, 2**63 - 1):
            assert await page(registrar, **filters, after_revision=revision) == ListEventsResponse(last_revision=last)


async def all_pages(registrar: Registrar, **fields: Any) -> list[list[int]]:
    """Return the revisions on each page that follows a token."""
    pages: list[list[int]] = []
    token = fields.pop("page_token", "")
    while True:
        answer = await page(registrar, **fields, page_token=token)
        revisions = [event.revision for event in answer.events]
        assert not pages or pages[-1] < revisions, "pages are in order, and no page is empty"
        pages.append(revisions)
        token = answer.next_page_token
        if not token:
            return pages


class TestPages:
    """The history is returned in pages."""

    @pytest.mark.parametrize("filters", [{}, {"student_id": "s-1"}, {"course_id": "CS-101"}, {"after_revision": 3}])
    async def test_complete(self, registrar: Registrar, filters: dict[str, Any]) -> None:
        """The pages together are all events that match, and all pages but the last are full."""
        await record_every_type(registrar)
        events = [event.revision for event in await history(registrar, **filters)]
        for size in (1, 3, len(events) - 1, len(events), 1001):
            pages = await all_pages(registrar, **filters, page_size=size)
            assert pages == [events[start : start + size] for start in range(0, len(events), size)], size

    async def test_default_size(self, sqlite_registrar: Registrar) -> None:
        """A page has 50 events by default."""
        for number in range(51):
            await sqlite_registrar.add_student(f"s-{number}")
        assert await all_pages(sqlite_registrar) == [list(range(1, 51)), [51]]

    async def test_events_between_pages(self, campus: Registrar) -> None:
        """Events between two requests appear on a later page."""
        first = await page(campus, page_size=3)
        await campus.enroll("s-1", "CS-101")
        assert await all_pages(campus, page_size=2, page_token=first.next_page_token) == [[4, 5], [6]]
        await campus.enroll("s-2", "CS-101")
        assert await all_pages(campus, page_size=2, page_token=first.next_page_token) == [[4, 5], [6, 7]]

    async def test_after_a_restart(self, database_url: str) -> None:
        """A token is valid after a restart."""
        async with registrar_on(database_url) as one:
            await record_every_type(one)
            first = await page(one, student_id="s-1", page_size=2)
            rest = await all_pages(one, student_id="s-1", page_size=2, page_token=first.next_page_token)
        async with registrar_on(database_url) as other:
            again = await all_pages(other, student_id="s-1", page_size=2, page_token=first.next_page_token)
        assert again == rest

    @pytest.mark.parametrize(
        "others", [{}, {"student_id": "s-2"}, {"student_id": "s-1", "course_id": "CS-101"}, {"after_revision": 1}]
    )
    async def test_other_filters(self, sqlite_registrar: Registrar, others: dict[str, Any]) -> None:
        """A token is refused with other filters, including another after_revision."""
        await record_every_type(sqlite_registrar)
        token = (await page(sqlite_registrar, student_id="s-1", page_size=2)).next_page_token
        await assert_refused(sqlite_registrar, page_token=token, **others)

    async def test_other_list(self, sqlite_registrar: Registrar) -> None:
        """A token of another RPC is refused."""
        await record_every_type(sqlite_registrar)
        students = await sqlite_registrar.students.ListStudents(ListStudentsRequest(page_size=1))
        await assert_refused(sqlite_registrar, page_token=students.next_page_token)

    @pytest.mark.parametrize("token", ["3", "MQ==", "ä", "x" * 600])
    async def test_invented(self, sqlite_registrar: Registrar, token: str) -> None:
        """An invented token is refused."""
        await assert_refused(sqlite_registrar, page_token=token)


async def assert_refused(registrar: Registrar, **fields: Any) -> None:
    """Assert that a page token is refused."""
    failure = await refused(page(registrar, **fields))
    assert failure.code is StatusCode.INVALID_ARGUMENT
    assert failure.details[0] == info("INVALID_PAGE_TOKEN")
    assert list(failure.fields) == ["page_token"]


async def test_every_bad_field(sqlite_registrar: Registrar) -> None:
    """One refusal names every invalid field by its path."""
    failure = await refused(
        page(sqlite_registrar, student_id="s 1", course_id="?", after_revision=-1, page_size=-1, page_token="x")
    )
    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.fields == {
        "student_id": f'{ID_RULE}: "s 1" contains a blank',
        "course_id": f'{ID_RULE}: "?" begins with "?"',
        "after_revision": "must not be negative; 0 begins with the first event",
        "page_size": "must not be negative; 0 means 50",
    }
