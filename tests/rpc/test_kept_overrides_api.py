"""An override covers what it was given for: a waiter's kept overrides, judged when the turn comes."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from registrar_client import (
    AsyncRegistrarClient,
    EnrollmentState,
    ErrorReason,
    Event,
    EventType,
    Meeting,
    Override,
    Weekday,
)
from tests.support.consistency import assert_consistent
from tests.support.servers import serving

Change = Callable[[AsyncRegistrarClient], Awaitable[object]]
MORNING, NOON, EVENING = [
    Meeting(weekdays=(Weekday.MONDAY,), start_time=dt.time(hour), end_time=dt.time(hour + 1)) for hour in (9, 12, 18)
]


class Given(NamedTuple):
    """An override for s-2, and what may happen until the turn of s-2 comes."""

    rule: ErrorReason
    violate: Change
    """Makes ONE violate the rule for s-2."""
    same: Change
    """Changes nothing that the override was not given for."""
    other: Change
    """Adds something that the override was not given for."""
    skipped_for: dict[str, str]
    """Some values of the violation that then prevents the promotion."""


def hold(code: str, reason: str = "") -> Change:
    return lambda client: client.students.place_hold(student_id="s-2", code=code, reason=reason)


def course(**fields: object) -> Change:
    return lambda client: client.courses.update(course_id="ONE", **fields)  # type: ignore[arg-type]


def seat(course_id: str) -> Change:
    return lambda client: client.enroll(student_id="s-2", course_id=course_id)


def drop(course_id: str) -> Change:
    return lambda client: client.unenroll(student_id="s-2", course_id=course_id)


def both(first: Change, second: Change) -> Change:
    async def change(client: AsyncRegistrarClient) -> None:
        await first(client)
        await second(client)

    return change


GIVEN = {
    "hold codes": Given(
        ErrorReason.STUDENT_HOLD,
        violate=hold("BURSAR", "Unpaid."),
        same=hold("bursar", "Still unpaid."),
        other=hold("LIBRARY"),
        skipped_for={"code": "LIBRARY"},
    ),
    "conflicting courses": Given(
        ErrorReason.SCHEDULE_CONFLICT,
        violate=both(course(meetings=[MORNING, NOON]), seat("MORNING")),
        same=course(meetings=[MORNING, NOON, EVENING]),
        other=seat("NOON"),
        skipped_for={"conflicting_course_id": "NOON"},
    ),
    "duplicating courses": Given(
        ErrorReason.DUPLICATE_COURSE,
        violate=both(course(code="CS 1"), seat("TWIN")),
        same=course(code="cs1"),
        other=lambda client: client.enroll(
            student_id="s-2",
            course_id="TRIPLET",
            override=Override(rules=[ErrorReason.DUPLICATE_COURSE], reason="again"),
        ),
        skipped_for={"duplicate_course_id": "TRIPLET"},
    ),
    "missing prerequisites": Given(
        ErrorReason.PREREQUISITE_UNMET,
        violate=course(prerequisite_course_ids=["MORNING", "NOON"]),
        same=course(prerequisite_course_ids=["NOON"]),
        other=course(prerequisite_course_ids=["MORNING", "NOON", "EVENING"]),
        skipped_for={"missing_course_ids": "MORNING, NOON, EVENING"},
    ),
    "total of credits": Given(
        ErrorReason.CREDIT_LIMIT_EXCEEDED,
        violate=both(course(credits=4), seat("MORNING")),
        same=both(drop("MORNING"), seat("NOON")),
        other=course(credits="4.001"),
        skipped_for={"enrolled_credits": "3", "course_credits": "4.001"},
    ),
}


@pytest.fixture
async def client(database_url: str, engine: Engine) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server with a course ONE, whose only seat s-1 has, and courses that may stand in its way."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        await client.courses.create(course_id="ONE", capacity=1, waitlist_capacity=9)
        for course_id, meeting in (("MORNING", MORNING), ("NOON", NOON), ("EVENING", EVENING)):
            await client.courses.create(course_id=course_id, meetings=[meeting], credits=3)
        for course_id in ("TWIN", "TRIPLET"):
            await client.courses.create(course_id=course_id, code="CS 1")
        for student_id in ("s-1", "s-2"):
            await client.students.create(student_id=student_id, max_credits=6)
        await client.enroll(student_id="s-1", course_id="ONE")
        yield client
    assert_consistent(engine)


async def wait_with_override(client: AsyncRegistrarClient, given: Given) -> None:
    """Let s-2 wait for ONE by an override of the violated rule."""
    await given.violate(client)
    place = await client.enroll(
        student_id="s-2", course_id="ONE", override=Override(rules=[given.rule], reason="athlete")
    )
    assert (place.state, place.bypassed_rules) == (EnrollmentState.WAITLISTED, (given.rule,))


async def turn(client: AsyncRegistrarClient) -> Event:
    """Free the seat in ONE, so that the turn of s-2 comes, and return its event."""
    await client.unenroll(student_id="s-1", course_id="ONE")
    return await anext(aiter(client.history.list(student_id="s-2", course_id="ONE", descending=True)))


@pytest.mark.parametrize("name", GIVEN)
async def test_the_violation_is_kept_with_its_facts_in_the_event_of_the_override(
    client: AsyncRegistrarClient, name: str
) -> None:
    given = GIVEN[name]
    await wait_with_override(client, given)
    event = await anext(aiter(client.history.list(student_id="s-2", course_id="ONE")))
    assert (event.type, event.reason) == (EventType.STUDENT_WAITLISTED, "athlete")
    assert {one.reason for one in event.violations} == {given.rule}
    assert all(one.values for one in event.violations)


@pytest.mark.parametrize("name", GIVEN)
async def test_a_kept_override_covers_what_it_was_given_for(client: AsyncRegistrarClient, name: str) -> None:
    given = GIVEN[name]
    await wait_with_override(client, given)
    await given.same(client)
    event = await turn(client)
    assert (event.type, event.bypassed_rules) == (EventType.STUDENT_PROMOTED, (given.rule,))
    # The promotion itself sets nothing aside: the call that freed the seat had no override.
    assert (event.violations, event.reason, event.comment) == ((), "", "")


@pytest.mark.parametrize("name", GIVEN)
async def test_a_kept_override_does_not_cover_anything_else(client: AsyncRegistrarClient, name: str) -> None:
    given = GIVEN[name]
    await wait_with_override(client, given)
    await given.other(client)
    event = await turn(client)
    assert event.type == EventType.PROMOTION_SKIPPED
    (violation,) = event.violations
    assert violation.reason == given.rule
    assert violation.values.items() >= given.skipped_for.items()
    assert violation.override_rule == given.rule


@pytest.mark.parametrize("name", GIVEN)
async def test_a_new_override_covers_the_rest(client: AsyncRegistrarClient, name: str) -> None:
    """The waiter's own call with a new override gives the seat, and both overrides are kept."""
    given = GIVEN[name]
    await wait_with_override(client, given)
    await given.other(client)
    await turn(client)
    again = Override(rules=[given.rule], reason="once more")
    taken = await client.enroll(student_id="s-2", course_id="ONE", override=again)
    assert (taken.state, taken.bypassed_rules) == (EnrollmentState.ENROLLED, (given.rule,))
    event = await anext(aiter(client.history.list(student_id="s-2", course_id="ONE", descending=True)))
    assert (event.type, event.reason) == (EventType.STUDENT_PROMOTED, "once more")
    assert {one.reason for one in event.violations} == {given.rule}


async def test_an_override_of_the_window_covers_it_as_a_whole(client: AsyncRegistrarClient) -> None:
    """The window is another one when the turn comes: it has closed and was opened again."""
    past, future = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (2000, 2100))
    await client.courses.update(course_id="ONE", enroll_open_time=future)
    early = Override(rules=[ErrorReason.ENROLLMENT_NOT_OPEN], reason="abroad")
    await client.enroll(student_id="s-2", course_id="ONE", override=early)
    await client.courses.update(course_id="ONE", enroll_open_time=past)
    event = await turn(client)
    assert (event.type, event.bypassed_rules) == (EventType.STUDENT_PROMOTED, (ErrorReason.ENROLLMENT_NOT_OPEN,))
