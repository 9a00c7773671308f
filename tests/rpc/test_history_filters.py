"""ListEvents: filters by type, time, actor, person and enrollment, the reverse order, and the head of the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from registrar.v1.event_pb2 import (
    EVENT_TYPE_COURSE_CREATED,
    EVENT_TYPE_STUDENT_CREATED,
    EVENT_TYPE_STUDENT_ENROLLED,
    EVENT_TYPE_STUDENT_PROMOTED,
    EVENT_TYPE_STUDENT_UNENROLLED,
    Event,
    EventType,
)
from registrar.v1.history_service_pb2 import ListEventsRequest, ListEventsResponse
from registrar_client import AsyncRegistrarClient
from registrar_client import EventType as Type
from registrar_server.core import vocabulary
from tests.support.databases import execute
from tests.support.history_calls import history, page, record_every_type
from tests.support.refusals import refused
from tests.support.servers import Registrar, serving

ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
TIME_RULE = "must be a time from year 1 to 9999 with 0 to 999,999,999 nanoseconds"


@pytest.fixture
async def recorded(registrar: Registrar, database_url: str) -> list[Event]:
    """A history with every type of event. Each third event has an actor, and each fourth one is on behalf of the dean.

    Event n happened n ms after the start. But the clock stepped back once: events 10 to 14 happened at the time of
    event 3.
    """
    await record_every_type(registrar)
    execute(database_url, "UPDATE events SET time = 1000000 + 1000 * revision, actor = ''")
    execute(database_url, "UPDATE events SET actor = 'ada' WHERE revision % 3 = 0")
    execute(database_url, "UPDATE events SET on_behalf_of = 'the-dean' WHERE revision % 4 = 0")
    execute(database_url, "UPDATE events SET time = 1003000 WHERE revision BETWEEN 10 AND 14")
    return await history(registrar)


def milliseconds(event: Event) -> int:
    return event.time.nanos // 1_000_000


def at(milliseconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=1, nanos=milliseconds * 1_000_000 + nanos)


async def all_pages(registrar: Registrar, size: int, **fields: Any) -> list[Event]:
    """Return the events of all pages, of which only the last may have fewer than ``size``."""
    events: list[Event] = []
    request = ListEventsRequest(page_size=size, **fields)
    while True:
        answer = await registrar.history.ListEvents(request)
        events += answer.events
        request.page_token = answer.next_page_token
        if not request.page_token:
            return events
        assert len(answer.events) == size


CASES: list[tuple[dict[str, Any], Callable[[Event], bool]]] = [
    ({"types": [EVENT_TYPE_COURSE_CREATED]}, lambda event: event.type == EVENT_TYPE_COURSE_CREATED),
    (
        {"types": [EVENT_TYPE_STUDENT_UNENROLLED, EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_STUDENT_CREATED]},
        lambda event: event.type in (EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_STUDENT_UNENROLLED),
    ),
    ({"types": EventType.values()[1:]}, lambda _event: True),
    ({"actor": "ada"}, lambda event: event.actor == "ada"),
    ({"actor": "Ada"}, lambda _event: False),
    ({"on_behalf_of": "the-dean"}, lambda event: event.on_behalf_of == "the-dean"),
    ({"on_behalf_of": "The-Dean"}, lambda _event: False),
    (
        {"on_behalf_of": "the-dean", "actor": "ada"},
        lambda event: (event.on_behalf_of, event.actor) == ("the-dean", "ada"),
    ),
    (
        {"on_behalf_of": "the-dean", "student_id": "s-1", "start_time": at(5)},
        lambda event: event.on_behalf_of != "" and event.student_id == "s-1" and milliseconds(event) >= 5,
    ),
    ({"start_time": at(3)}, lambda event: milliseconds(event) >= 3),
    ({"start_time": at(4)}, lambda event: milliseconds(event) >= 4),
    ({"end_time": at(4)}, lambda event: milliseconds(event) < 4),
    ({"start_time": at(3), "end_time": at(9)}, lambda event: 3 <= milliseconds(event) < 9),
    ({"start_time": at(2, 1), "end_time": at(4, 1)}, lambda event: 3 <= milliseconds(event) <= 4),
    ({"start_time": at(900)}, lambda _event: False),
    (
        {"types": [EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_STUDENT_ENROLLED], "start_time": at(2), "actor": "ada"},
        lambda event: (
            event.type in (EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_STUDENT_ENROLLED)
            and milliseconds(event) >= 2
            and event.actor == "ada"
        ),
    ),
    (
        {"student_id": "s-1", "types": [EVENT_TYPE_STUDENT_ENROLLED], "start_time": at(5), "end_time": at(20)},
        lambda event: (
            event.student_id == "s-1" and event.type == EVENT_TYPE_STUDENT_ENROLLED and 5 <= milliseconds(event) < 20
        ),
    ),
    ({"course_id": "CS-101", "actor": "ada"}, lambda event: event.course_id == "CS-101" and event.actor == "ada"),
]


@pytest.mark.parametrize(("filters", "matches"), CASES)
async def test_events_are_filtered_by_type_time_actor_and_person(
    registrar: Registrar, recorded: list[Event], filters: dict[str, Any], matches: Callable[[Event], bool]
) -> None:
    """In both orders, on pages of any size, and after any revision, the events that match all filters are listed."""
    expected = list(filter(matches, recorded))
    for size in (2, 1000):
        assert await all_pages(registrar, size, **filters) == expected
        assert await all_pages(registrar, size, **filters, descending=True) == expected[::-1]
    later = [event for event in expected if event.revision > 11]
    assert await all_pages(registrar, 2, **filters, after_revision=11) == later
    assert await all_pages(registrar, 2, **filters, after_revision=11, descending=True) == later[::-1]


async def test_events_are_filtered_by_enrollment(registrar: Registrar) -> None:
    """The events of an enrollment are listed, and none of another attempt of the student in the course."""
    await record_every_type(registrar)
    events = await history(registrar)
    ids = {event.enrollment.enrollment_id for event in events if event.HasField("enrollment")}
    assert len(ids) >= 5
    for enrollment_id in ids:
        expected = [event for event in events if event.enrollment.enrollment_id == enrollment_id]
        assert await all_pages(registrar, 1, enrollment_id=enrollment_id) == expected
        course_id = expected[0].course_id
        assert await all_pages(registrar, 9, enrollment_id=enrollment_id, course_id=course_id) == expected
        assert await all_pages(registrar, 9, enrollment_id=enrollment_id, student_id="nobody") == []


async def test_the_newest_events_come_first_with_descending(registrar: Registrar) -> None:
    await record_every_type(registrar)
    events = await history(registrar)
    assert await history(registrar, descending=True) == events[::-1]
    assert (await page(registrar, descending=True, page_size=1)).events[0] == events[-1]


async def test_events_between_pages_of_a_descending_list_are_not_listed(registrar: Registrar) -> None:
    for number in range(5):
        await registrar.add_student(f"s-{number}")
    first = await page(registrar, descending=True, page_size=2)
    await registrar.add_student("s-5")
    rest = await page(registrar, descending=True, page_token=first.next_page_token)
    assert [event.revision for event in (*first.events, *rest.events)] == [5, 4, 3, 2, 1]
    assert (first.last_revision, rest.last_revision) == (5, 6)


class TestLastRevision:
    """``last_revision`` is the head of the history at the moment of the read."""

    async def test_an_empty_history_has_the_last_revision_zero(self, registrar: Registrar) -> None:
        assert await page(registrar) == ListEventsResponse()

    @pytest.mark.parametrize(
        "filters",
        [{}, {"page_size": 1}, {"descending": True, "page_size": 1}, {"student_id": "nobody"}, {"after_revision": 999}],
    )
    async def test_every_page_has_the_head_of_the_history(self, registrar: Registrar, filters: dict[str, Any]) -> None:
        """It is the revision of the newest event of all, whatever the filters and the page."""
        await record_every_type(registrar)
        (newest,) = (await page(registrar, descending=True, page_size=1)).events
        assert (await page(registrar, **filters)).last_revision == newest.revision

    async def test_a_reader_with_filters_follows_the_history_by_it(self, registrar: Registrar) -> None:
        """Events that match and come later are above the last revision of a page that let nothing through."""
        await registrar.add_student("s-1")
        await registrar.add_course("CS-1", capacity=1, waitlist_capacity=1)
        seen = await page(registrar, types=[EVENT_TYPE_STUDENT_PROMOTED])
        assert (list(seen.events), seen.last_revision) == ([], 2)
        await registrar.enroll("s-1", "CS-1")
        found = await page(registrar, types=[EVENT_TYPE_STUDENT_ENROLLED], after_revision=seen.last_revision)
        assert [event.revision for event in found.events] == [3]


@pytest.mark.parametrize(
    "others",
    [
        {"types": [EVENT_TYPE_COURSE_CREATED]},
        {"actor": "ada"},
        {"enrollment_id": "e-1"},
        {"start_time": at(1)},
        {"end_time": at(1)},
        {"descending": True},
    ],
)
async def test_a_token_is_refused_with_other_filters(sqlite_registrar: Registrar, others: dict[str, Any]) -> None:
    await record_every_type(sqlite_registrar)
    token = (await page(sqlite_registrar, page_size=2)).next_page_token
    assert (await refused(page(sqlite_registrar, page_token=token, **others))).reason == "INVALID_PAGE_TOKEN"


async def test_a_token_fits_the_same_types_in_any_order(sqlite_registrar: Registrar) -> None:
    await record_every_type(sqlite_registrar)
    types = [EVENT_TYPE_STUDENT_CREATED, EVENT_TYPE_COURSE_CREATED]
    token = (await page(sqlite_registrar, types=types, page_size=1)).next_page_token
    rest = await page(sqlite_registrar, types=[*types[::-1], types[0]], page_token=token)
    assert [event.revision for event in rest.events] == [2, 3, 4, 5]


async def test_one_refusal_names_every_invalid_filter(sqlite_registrar: Registrar) -> None:
    failure = await refused(
        page(
            sqlite_registrar,
            enrollment_id="e 1",
            types=[0, EVENT_TYPE_COURSE_CREATED, 999],
            actor="x" * 201,
            on_behalf_of="x" * 129,
            start_time=Timestamp(seconds=2**50),
            end_time=Timestamp(nanos=-1),
        )
    )
    one_of = f"must be one of {', '.join(vocabulary.EventType)}"
    assert failure.fields == {
        "enrollment_id": f'{ID_RULE}: "e 1" contains a blank',
        "types[0]": one_of,
        "types[2]": one_of,
        "actor": "must have at most 200 characters, has 201",
        "on_behalf_of": "must have at most 128 characters, has 129",
        "start_time": TIME_RULE,
        "end_time": TIME_RULE,
    }


@pytest.mark.parametrize("end", [at(5), at(4)])
async def test_an_empty_period_is_refused(sqlite_registrar: Registrar, end: Timestamp) -> None:
    failure = await refused(page(sqlite_registrar, start_time=at(5), end_time=end))
    assert failure.fields == {"end_time": "must be after start_time"}


async def test_the_client_filters_events_and_shows_the_head_of_the_history(database_url: str) -> None:
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        for number in range(3):
            await client.students.create(student_id=f"s-{number}")
        await client.courses.create(course_id="c-1")
        enrolled = await client.enroll(student_id="s-1", course_id="c-1")

        types = [Type.COURSE_CREATED, Type.STUDENT_CREATED]
        created = [event async for event in client.history.list(types=types, descending=True, page_size=2)]
        assert [event.revision for event in created] == [4, 3, 2, 1]
        of_enrollment = client.history.list(enrollment_id=enrolled.enrollment_id)
        assert [event.revision async for event in of_enrollment] == [5]
        between = client.history.list(start_time=created[2].time, end_time=created[0].time)
        assert [event.revision async for event in between] == [2, 3]
        pages = [each async for each in client.history.list(actor="ada").pages()]
        assert [(each.items, each.last_revision) for each in pages] == [((), 5)]
