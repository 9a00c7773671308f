"""Property test: calls that travel together have the outcomes of single calls in some order.

They are made on behalf of several people, and no event names the person of another call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from registrar_client import AsyncRegistrarClient, Event, RegistrarError, testing
from tests.support.client_fakes import method_of
from tests.support.comparison import clear_database
from tests.support.consistency import assert_consistent
from tests.support.properties import scaled
from tests.support.servers import serving

STUDENTS = ("s-1", "s-2", "s-3", "s-4")
PEOPLE = ("", "dean", "advisor")
COURSES = {"c-1": 1, "c-2": 2, "c-3": 3}
"""The capacity of each course."""


class Step(NamedTuple):
    """A call by its name and its arguments."""

    name: str
    arguments: dict[str, str]

    def on(self, client: AsyncRegistrarClient, request_id: UUID | None = None, **others: Any) -> Awaitable[Any]:
        call: Awaitable[Any] = method_of(client, self.name)(**self.arguments, request_id=request_id, **others)
        return call


def steps() -> st.SearchStrategy[Step]:
    student, course = st.sampled_from(STUDENTS), st.sampled_from(list(COURSES))
    who = {"student_id": student, "on_behalf_of": st.sampled_from(PEOPLE)}
    one = st.fixed_dictionaries({**who, "course_id": course})
    two = st.fixed_dictionaries({**who, "from_course_id": course, "to_course_id": course})
    enroll, unenroll = st.builds(Step, st.just("enroll"), one), st.builds(Step, st.just("unenroll"), one)
    return enroll | enroll | unenroll | st.builds(Step, st.just("swap"), two)


async def prepare(client: AsyncRegistrarClient) -> None:
    await asyncio.gather(
        *(client.students.create(student_id=student_id) for student_id in STUDENTS),
        *(
            client.courses.create(course_id=course_id, capacity=capacity, waitlist_capacity=2)
            for course_id, capacity in COURSES.items()
        ),
    )


def comparable(outcome: Any) -> Any:
    """Return what does not depend on ids and times."""
    if isinstance(outcome, RegistrarError):
        return type(outcome).__name__, *(violation.reason for violation in outcome.violations)
    assert not isinstance(outcome, BaseException), outcome
    enrollment = getattr(outcome, "enrollment", outcome)
    return enrollment.student_id, enrollment.course_id, enrollment.state, _students(outcome.promoted)


def _students(promoted: Any) -> tuple[tuple[str, str], ...]:
    return tuple((each.student_id, each.course_id) for each in promoted)


async def outcome_of(call: Awaitable[Any]) -> Any:
    try:
        return comparable(await call)
    except RegistrarError as refusal:
        return comparable(refusal)


class Gathered(NamedTuple):
    """The calls with their outcomes: those that made a change in its order, and the refused ones."""

    made: list[tuple[Step, Any]]
    refused: list[tuple[Step, Any]]
    rosters: list[Any]


async def rosters(client: AsyncRegistrarClient) -> list[Any]:
    """Return who has or waits for a seat, by course, in order."""
    found = []
    for course_id in COURSES:
        entries = [entry.enrollment async for entry in client.list_roster(course_id=course_id)]
        found.append([(each.student_id, each.state, each.waitlist_position) for each in entries])
    return found


def assert_on_behalf(events: list[Event], calls: dict[UUID, Step]) -> None:
    """Each event names the person of its own call."""
    for event in events:
        call = calls.get(UUID(event.request_id))
        assert event.on_behalf_of == (call.arguments["on_behalf_of"] if call else "")


async def gather(database_url: str, several: list[Step]) -> Gathered:
    """Make all calls at once, and again with their request ids, which must return the same results."""
    async with (
        serving(database_url) as server,
        AsyncRegistrarClient(server.address, gather=True) as client,
        AsyncRegistrarClient(server.address) as plain,
    ):
        await prepare(plain)
        calls = {uuid4(): step for step in several}
        found = await asyncio.gather(*(step.on(client, key) for key, step in calls.items()), return_exceptions=True)
        results = {key: result for key, result in zip(calls, found, strict=True) if not isinstance(result, Exception)}
        refused = [
            (calls[key], comparable(result)) for key, result in zip(calls, found, strict=True) if key not in results
        ]
        events = [event async for event in plain.history.list()]
        order = list(dict.fromkeys(UUID(event.request_id) for event in events))
        assert_on_behalf(events, calls)
        made = [(calls[key], comparable(results[key])) for key in order if key in calls]
        assert len(made) == len(results)
        seats = await rosters(plain)
        for key, result in results.items():
            assert await calls[key].on(plain, key) == result
        assert await rosters(plain) == seats
    return Gathered(made, refused, seats)


async def otherwise_now(client: AsyncRegistrarClient, refused: list[tuple[Step, Any]]) -> list[tuple[Step, Any]]:
    """Return the calls that would not be refused now as they were."""
    now = await asyncio.gather(*(outcome_of(step.on(client, validate_only=True)) for step, _ in refused))
    return [one for one, possible in zip(refused, now, strict=True) if one[1] != possible]


async def repeat(gathered: Gathered) -> None:
    """Make the calls one by one on another server. Each must have the same outcome."""
    async with testing.async_server() as address, AsyncRegistrarClient(address) as plain:
        await prepare(plain)
        unexplained = gathered.refused
        for step, outcome in gathered.made:
            unexplained = await otherwise_now(plain, unexplained)
            assert await outcome_of(step.on(plain)) == outcome
        unexplained = await otherwise_now(plain, unexplained)
        assert await rosters(plain) == gathered.rosters
        assert unexplained == []


@settings(max_examples=scaled(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(steps(), min_size=2, max_size=24))
def test_gathered_calls_equal_single_calls_in_some_order(
    database_url: str, engine: Engine, several: list[Step]
) -> None:
    clear_database(engine)
    gathered = asyncio.run(gather(database_url, several))
    assert_consistent(engine)
    asyncio.run(repeat(gathered))
