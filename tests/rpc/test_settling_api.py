"""UpdateCourse and SettleCourse give free seats to waiters, and completed seats stay free, as callers see it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from grpc import StatusCode
from sqlalchemy import Engine

from registrar.v1.course_service_pb2 import SettleCourseRequest
from registrar_client import (
    AsyncRegistrarClient,
    CourseFull,
    CourseNotFound,
    CourseState,
    EnrollmentState,
    EventType,
    InvalidField,
    Meeting,
    RequestIdReused,
    Settled,
    Weekday,
)
from registrar_server.core.commands import Command, CreateStudent
from tests.support.consistency import assert_consistent
from tests.support.ledgers import carry_out_on
from tests.support.refusals import Failure, info, refused, resource
from tests.support.servers import Gate, Log, Registrar, calling, registrar_on, serving
from tests.support.waiting_course import (
    crowd_before_free_seats,
    events_after,
    free_the_seat,
    hold,
    last_revision,
    release,
    standing,
    students,
    summaries,
    waiting_course,
)

ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
PAST, FUTURE = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
MONDAYS = Meeting(weekdays=(Weekday.MONDAY,), start_time=dt.time(9), end_time=dt.time(10))
CROWD = [f"s-{number:03}" for number in range(150)]


@pytest.fixture
async def client(database_url: str, engine: Engine) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server with ``waiting_course``; the database must be consistent afterwards."""
    async with waiting_course(database_url) as client:
        yield client
    assert_consistent(engine)


class Obstacle(NamedTuple):
    """Fields of ONE that keep its waiter s-2 from a seat, and the update that removes the obstacle."""

    before: dict[str, Any]
    update: dict[str, Any]


OBSTACLES = {
    "capacity": Obstacle({"capacity": 0}, {"capacity": 1}),
    "enroll_open_time": Obstacle({"enroll_open_time": FUTURE}, {"enroll_open_time": PAST}),
    "enroll_close_time": Obstacle({"enroll_close_time": PAST}, {"enroll_close_time": None}),
    "state": Obstacle({"state": CourseState.CANCELLED}, {"state": CourseState.OPEN}),
    "meetings": Obstacle({"meetings": [MONDAYS]}, {"meetings": None}),
    "prerequisite_course_ids": Obstacle({"prerequisite_course_ids": ["MATH"]}, {"prerequisite_course_ids": None}),
    "credits": Obstacle({"credits": 3}, {"credits": 1}),
    "term": Obstacle({"credits": 3}, {"term": "spring"}),
    "code": Obstacle({"code": "MATH 1"}, {"code": "MATH 2"}),
    "component": Obstacle({"code": "MATH 1"}, {"component": "LAB"}),
}


class TestUpdateCourse:
    """A change of a course settles it in the same transaction."""

    @pytest.mark.parametrize("field", OBSTACLES)
    async def test_a_change_of_the_field_settles_the_course_and_is_answered_with_promoted(
        self, client: AsyncRegistrarClient, field: str
    ) -> None:
        """s-2 has a seat in MATH, which stands in the way in various manners."""
        before, update = OBSTACLES[field]
        await client.courses.create(course_id="MATH", code="MATH 1", credits=3, meetings=[MONDAYS])
        await client.students.update(student_id="s-2", max_credits=4)
        await client.enroll(student_id="s-2", course_id="MATH")
        for student_id in ("s-3", "s-4"):
            await client.unenroll(student_id=student_id, course_id="ONE")
        await client.courses.update(course_id="ONE", **before)
        assert (await client.unenroll(student_id="s-1", course_id="ONE")).promoted == ()
        revision = await last_revision(client)

        updated = await client.courses.update(course_id="ONE", **update)

        assert (students(updated.promoted), updated.promoted_count) == (["s-2"], 1)
        assert updated.promoted[0].state == EnrollmentState.ENROLLED
        assert (updated.course.enrolled_count, updated.course.waitlisted_count) == (1, 0)
        assert summaries(await events_after(client, revision)) == [
            (EventType.COURSE_UPDATED, ""),
            (EventType.STUDENT_PROMOTED, "s-2"),
        ]

    @pytest.mark.parametrize("update", [{"title": "Intro"}, {"waitlist_capacity": 50}, {"capacity": 1}])
    async def test_a_change_of_another_field_or_an_equal_value_promotes_no_student(
        self, client: AsyncRegistrarClient, update: dict[str, Any]
    ) -> None:
        await free_the_seat(client)
        assert (await client.courses.update(course_id="ONE", **update)).promoted == ()
        assert (await standing(client)).enrolled == []

    async def test_validate_only_answers_likewise_and_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        revision = await last_revision(client)
        preview = await client.courses.update(course_id="ONE", credits=3, validate_only=True)
        assert (students(preview.promoted), preview.promoted_count) == (["s-2"], 1)
        assert (preview.promoted[0].state, preview.promoted[0].etag) == (EnrollmentState.ENROLLED, "")
        assert await events_after(client, revision) == []
        updated = await client.courses.update(course_id="ONE", credits=3)
        assert students(updated.promoted) == students(preview.promoted)

    async def test_a_repetition_returns_the_same_answer(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        updated = await client.courses.update(course_id="ONE", credits=3, request_id=ID)
        assert students(updated.promoted) == ["s-2"]
        await client.unenroll(student_id="s-2", course_id="ONE")
        assert await client.courses.update(course_id="ONE", credits=3, request_id=ID) == updated


class TestSettleCourse:
    """SettleCourse gives the free seats to the waiters on demand."""

    async def test_the_free_seat_goes_to_the_first_waiter_after_a_hold_is_released(
        self, client: AsyncRegistrarClient
    ) -> None:
        await hold(client, "s-2", "s-3", "s-4")
        assert (await client.unenroll(student_id="s-1", course_id="ONE")).promoted == ()
        await release(client, "s-3", "s-4")
        revision = await last_revision(client)

        settled = await client.courses.settle(course_id="ONE", request_id=ID)

        (seat,) = settled.promoted
        assert (seat.student_id, seat.state, settled.promoted_count) == ("s-3", EnrollmentState.ENROLLED, 1)
        assert await client.get_enrollment(enrollment_id=seat.enrollment_id) == seat
        (event,) = await events_after(client, revision)
        assert (event.type, event.student_id, event.enrollment) == (EventType.STUDENT_PROMOTED, "s-3", seat)
        assert (event.actor, event.reason, event.comment, event.violations) == ("", "", "", ())
        assert event.request_id == ID

    async def test_a_waiter_that_the_rules_refuse_is_skipped_once(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        await hold(client, "s-2", "s-3", "s-4")
        revision = await last_revision(client)
        assert await client.courses.settle(course_id="ONE") == Settled()
        assert await client.courses.settle(course_id="ONE") == Settled()
        skips = await events_after(client, revision)
        assert summaries(skips) == [(EventType.PROMOTION_SKIPPED, f"s-{number}") for number in (2, 3, 4)]
        assert [one.values["code"] for skip in skips for one in skip.violations] == ["BURSAR"] * 3

    async def test_a_full_course_or_one_without_waiters_has_nothing_to_settle(
        self, client: AsyncRegistrarClient
    ) -> None:
        revision = await last_revision(client)
        assert await client.courses.settle(course_id="ONE") == Settled()
        assert await client.courses.settle(course_id="MANY") == Settled()
        assert await events_after(client, revision) == []

    @pytest.mark.parametrize(
        "closed", [{"state": CourseState.CANCELLED}, {"enroll_close_time": PAST}, {"enroll_open_time": FUTURE}]
    )
    async def test_no_student_is_promoted_outside_the_window_or_into_a_cancelled_course(
        self, client: AsyncRegistrarClient, closed: dict[str, Any]
    ) -> None:
        await free_the_seat(client)
        await client.courses.update(course_id="ONE", **closed)
        assert await client.courses.settle(course_id="ONE") == Settled()
        assert (await standing(client)).enrolled == []

    async def test_validate_only_answers_likewise_and_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        revision = await last_revision(client)
        preview = await client.courses.settle(course_id="ONE", validate_only=True)
        assert (students(preview.promoted), preview.promoted_count) == (["s-2"], 1)
        assert (preview.promoted[0].update_time, preview.promoted[0].etag) == (None, "")
        assert await events_after(client, revision) == []
        assert students((await client.courses.settle(course_id="ONE")).promoted) == ["s-2"]

    async def test_a_repetition_returns_the_same_answer_and_promotes_no_other_student(
        self, client: AsyncRegistrarClient
    ) -> None:
        await free_the_seat(client)
        settled = await client.courses.settle(course_id="ONE", request_id=ID)
        await client.complete(student_id="s-2", course_id="ONE")
        assert await client.courses.settle(course_id="ONE", request_id=ID) == settled
        assert await standing(client) == ([], ["s-3", "s-4"])
        with pytest.raises(RequestIdReused):
            await client.courses.settle(course_id="MANY", request_id=ID)

    async def test_twins_share_one_settlement(self, gate: Gate, log: Log, database_url: str, engine: Engine) -> None:
        carry_out_on(database_url, *crowd_before_free_seats("ONE", CROWD[:3]))
        request = SettleCourseRequest(course_id="ONE", request_id=ID)
        async with registrar_on(database_url) as registrar:
            with gate.closed():
                calls = [registrar.courses.SettleCourse(request) for _ in range(8)]
                await gate.holds_one()
            answers = await asyncio.gather(*calls)
        assert {tuple(one.student_id for one in answer.promoted) for answer in answers} == {tuple(CROWD[:3])}
        assert len(log.of("student_promoted")) == 3
        assert_consistent(engine)

    async def test_a_course_that_does_not_exist_or_is_deleted_is_not_found(self, client: AsyncRegistrarClient) -> None:
        for validate_only in (True, False):
            with pytest.raises(CourseNotFound):
                await client.courses.settle(course_id="NONE", validate_only=validate_only)
        await client.courses.delete(course_id="MANY")
        with pytest.raises(CourseNotFound) as refusal:
            await client.courses.settle(course_id="MANY")
        assert refusal.value.metadata == {"course_id": "MANY"}

    async def test_invalid_ids_are_reported_together(self, client: AsyncRegistrarClient) -> None:
        with pytest.raises(InvalidField) as refusal:
            await client.courses.settle(course_id="?", request_id="1")
        assert {one.field for one in refusal.value.field_violations} == {"course_id", "request_id"}

    async def test_the_refusal_names_the_course(self, registrar: Registrar) -> None:
        failure = await refused(registrar.courses.SettleCourse(SettleCourseRequest(course_id="NONE")))
        sentence = 'There is no course "NONE".'
        details = (info("COURSE_NOT_FOUND", course_id="NONE"), resource("Course", "NONE", sentence))
        assert failure == Failure(StatusCode.NOT_FOUND, sentence, details)


class TestCompletedSeats:
    """A finished course promotes nobody until a student or SettleCourse asks for a seat."""

    async def test_a_completed_seat_is_counted_once_and_a_recorded_completion_is_not(
        self, client: AsyncRegistrarClient
    ) -> None:
        await client.complete(student_id="s-1", course_id="ONE", grade="B")
        await client.complete(student_id="s-1", course_id="ONE", grade="A")
        await client.record_completion(student_id="s-5", course_id="ONE")
        course = await client.courses.get(course_id="ONE")
        assert (course.completed_count, course.enrolled_count, course.seats_available) == (1, 0, 1)

    async def test_update_course_leaves_as_many_seats_free_as_were_completed(
        self, client: AsyncRegistrarClient
    ) -> None:
        await client.complete(student_id="s-1", course_id="ONE")
        assert (await client.courses.update(course_id="ONE", credits=3)).promoted == ()
        assert students((await client.courses.update(course_id="ONE", capacity=3)).promoted) == ["s-2", "s-3"]
        assert await standing(client) == (["s-2", "s-3"], ["s-4"])

    async def test_settle_course_gives_completed_seats_away(self, client: AsyncRegistrarClient) -> None:
        await client.complete(student_id="s-1", course_id="ONE")
        assert students((await client.courses.settle(course_id="ONE")).promoted) == ["s-2"]
        assert (await client.courses.get(course_id="ONE")).completed_count == 1

    async def test_a_newcomer_gives_completed_seats_away(self, client: AsyncRegistrarClient) -> None:
        await client.complete(student_id="s-1", course_id="ONE")
        newcomer = await client.enroll(student_id="s-5", course_id="ONE")
        assert (newcomer.state, students(newcomer.promoted)) == (EnrollmentState.WAITLISTED, ["s-2"])

    async def test_voiding_a_counted_completion_lowers_the_count_and_settles_nothing_by_itself(
        self, client: AsyncRegistrarClient
    ) -> None:
        done = await client.complete(student_id="s-1", course_id="ONE")
        recorded = await client.record_completion(student_id="s-5", course_id="ONE")
        for enrollment in (recorded, done, done):
            await client.void_completion(enrollment_id=enrollment.enrollment_id)
        assert (await client.courses.get(course_id="ONE")).completed_count == 0
        assert (await standing(client)).enrolled == []
        assert students((await client.courses.update(course_id="ONE", credits=3)).promoted) == ["s-2"]


class TestLongLists:
    """Lists of promoted enrollments are cut at 100, with a count of all."""

    @pytest.mark.parametrize("call", ["settle", "update", "enroll", "swap"])
    async def test_more_than_100_promoted_enrollments_are_counted_and_the_first_100_listed(
        self, call: str, database_url: str, engine: Engine
    ) -> None:
        """The student of the call is a newcomer, who does not count."""
        others: list[Command] = [CreateStudent("new")]
        carry_out_on(database_url, *crowd_before_free_seats("BIG", CROWD), *others)
        async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
            await client.courses.create(course_id="MANY")
            await client.enroll(student_id="new", course_id="MANY")
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "settle": lambda: client.courses.settle(course_id="BIG"),
                "update": lambda: client.courses.update(course_id="BIG", credits=3),
                "enroll": lambda: client.enroll(student_id="new", course_id="BIG"),
                "swap": lambda: client.swap(student_id="new", from_course_id="MANY", to_course_id="BIG"),
            }
            result = await calls[call]()
            assert (students(result.promoted), result.promoted_count) == (CROWD[:100], 150)
        assert_consistent(engine)

    async def test_a_preview_of_more_than_100_promotions_is_cut_likewise(self, database_url: str) -> None:
        carry_out_on(database_url, *crowd_before_free_seats("BIG", CROWD))
        async with serving(database_url) as server, calling(server.address) as registrar:
            request = SettleCourseRequest(course_id="BIG", validate_only=True)
            preview = await registrar.courses.SettleCourse(request)
        assert (len(preview.promoted), preview.promoted_count) == (100, 150)


async def test_a_refused_newcomer_promotes_no_student(client: AsyncRegistrarClient) -> None:
    """The course does not settle, since a refused call changes nothing."""
    await free_the_seat(client)
    revision = await last_revision(client)
    with pytest.raises(CourseFull):
        await client.enroll(student_id="s-5", course_id="ONE", no_waitlist=True)
    assert await events_after(client, revision) == []
