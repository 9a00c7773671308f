"""A student who waits calls EnrollStudent or SwapEnrollment: the call is the student's own turn in the queue."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Engine

from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, SwapEnrollmentRequest
from registrar_client import (
    AlreadyEnrolled,
    AlreadyWaitlisted,
    AsyncRegistrarClient,
    Enrolled,
    EnrollmentState,
    ErrorReason,
    Event,
    EventType,
    Meeting,
    Override,
    StudentHold,
    Weekday,
)
from registrar_server.core.commands import CreateCourse, Enroll
from tests.support.consistency import assert_consistent
from tests.support.ledgers import carry_out_on
from tests.support.servers import Gate, Log, registrar_on
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
ENROLLED, WAITLISTED = EnrollmentState.ENROLLED, EnrollmentState.WAITLISTED
HOLD, FULL = ErrorReason.STUDENT_HOLD, ErrorReason.COURSE_FULL
MONDAYS = Meeting(weekdays=(Weekday.MONDAY,), start_time=dt.time(9), end_time=dt.time(10))


def override(*rules: ErrorReason) -> Override:
    return Override(rules=rules, reason="athlete")


@pytest.fixture
async def client(database_url: str, engine: Engine) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server with ``waiting_course``; the database must be consistent afterwards."""
    async with waiting_course(database_url) as client:
        yield client
    assert_consistent(engine)


async def own_place(client: AsyncRegistrarClient, student_id: str) -> str:
    """Return the id of the student's enrollment in ONE."""
    (entry,) = [one async for one in client.list_courses(student_id=student_id) if one.course.course_id == "ONE"]
    return entry.enrollment.enrollment_id


async def event_of(client: AsyncRegistrarClient, student_id: str, revision: int) -> Event:
    """Return the one event of a student after a revision."""
    (event,) = [event for event in await events_after(client, revision) if event.student_id == student_id]
    return event


async def two_free_seats(client: AsyncRegistrarClient) -> None:
    """Give ONE two free seats, which no waiter got because of a hold that is released by now."""
    waiters = ("s-2", "s-3", "s-4")
    await hold(client, *waiters)
    await client.courses.update(course_id="ONE", capacity=3)
    await release(client, *waiters)


class TestEnrollStudent:
    """EnrollStudent settles the course first, and judges the caller's turn by the terms of the call."""

    async def test_the_turn_gives_the_waiter_the_seat(self, client: AsyncRegistrarClient) -> None:
        """The response is the waiter's own enrollment, now ENROLLED."""
        await free_the_seat(client)
        place = await own_place(client, "s-2")
        seat = await client.enroll(student_id="s-2", course_id="ONE")
        assert (seat.enrollment_id, seat.state, seat.waitlist_position) == (place, ENROLLED, 0)
        assert (seat.promoted, seat.promoted_count) == ((), 0)
        assert await client.get_enrollment(enrollment_id=place) == seat

    async def test_promoted_names_those_ahead_and_never_the_caller(self, client: AsyncRegistrarClient) -> None:
        await two_free_seats(client)
        seat = await client.enroll(student_id="s-3", course_id="ONE")
        assert (seat.student_id, seat.state) == ("s-3", ENROLLED)
        assert (students(seat.promoted), seat.promoted_count) == (["s-2"], 1)

    async def test_promoted_names_those_behind_too(self, client: AsyncRegistrarClient) -> None:
        """The whole course settles, not only the queue up to the caller."""
        await two_free_seats(client)
        seat = await client.enroll(student_id="s-2", course_id="ONE")
        assert (seat.student_id, seat.state, students(seat.promoted)) == ("s-2", ENROLLED, ["s-3"])

    async def test_override_reason_and_comment_apply_to_the_callers_own_turn(
        self, client: AsyncRegistrarClient
    ) -> None:
        """The student ahead is promoted without them."""
        await two_free_seats(client)
        await hold(client, "s-3")
        revision = await last_revision(client)

        seat = await client.enroll(student_id="s-3", course_id="ONE", override=override(HOLD), comment="by phone")

        assert (seat.state, seat.bypassed_rules, students(seat.promoted)) == (ENROLLED, (HOLD,), ["s-2"])
        other, own = await events_after(client, revision)
        assert summaries([other, own]) == [(EventType.STUDENT_PROMOTED, "s-2"), (EventType.STUDENT_PROMOTED, "s-3")]
        assert (own.reason, own.comment, own.bypassed_rules) == ("athlete", "by phone", (HOLD,))
        assert [one.values["code"] for one in own.violations] == ["BURSAR"]
        assert (other.reason, other.comment, other.bypassed_rules, other.violations) == ("", "", (), ())

    async def test_an_override_that_was_not_needed_leaves_no_trace_but_the_comment(
        self, client: AsyncRegistrarClient
    ) -> None:
        await free_the_seat(client)
        revision = await last_revision(client)
        seat = await client.enroll(student_id="s-2", course_id="ONE", override=override(HOLD, FULL), comment="by phone")
        assert (seat.state, seat.bypassed_rules) == (ENROLLED, ())
        event = await event_of(client, "s-2", revision)
        assert (event.reason, event.comment, event.violations) == ("", "by phone", ())

    async def test_without_a_seat_already_waitlisted_and_nothing_at_all_has_changed(
        self, client: AsyncRegistrarClient
    ) -> None:
        """Not even the eligible student ahead is promoted to the free seat."""
        await free_the_seat(client)
        before, revision = await standing(client), await last_revision(client)
        for validate_only in (True, False):
            with pytest.raises(AlreadyWaitlisted) as refusal:
                await client.enroll(student_id="s-3", course_id="ONE", validate_only=validate_only)
            assert refusal.value.metadata["enrollment_id"] == await own_place(client, "s-3")
        assert (await standing(client), await events_after(client, revision)) == (before, [])

    async def test_refused_by_a_rule_already_waitlisted_and_no_skip_is_recorded(
        self, client: AsyncRegistrarClient
    ) -> None:
        await free_the_seat(client)
        await hold(client, "s-2")
        revision = await last_revision(client)
        with pytest.raises(AlreadyWaitlisted):
            await client.enroll(student_id="s-2", course_id="ONE")
        assert await events_after(client, revision) == []

    async def test_with_allow_existing_the_place_is_answered_and_promotions_ahead_stand(
        self, client: AsyncRegistrarClient
    ) -> None:
        await free_the_seat(client)
        place = await client.enroll(student_id="s-4", course_id="ONE", allow_existing=True)
        assert (place.state, place.waitlist_position, students(place.promoted)) == (WAITLISTED, 2, ["s-2"])
        assert await client.get_enrollment(enrollment_id=place.enrollment_id) == place
        assert await standing(client) == (["s-2"], ["s-3", "s-4"])

    async def test_with_allow_existing_a_waiter_that_a_rule_refuses_lets_the_next_one_pass(
        self, client: AsyncRegistrarClient
    ) -> None:
        """The seat goes to the next student, who is behind the caller."""
        await free_the_seat(client)
        await hold(client, "s-2")
        revision = await last_revision(client)
        place = await client.enroll(student_id="s-2", course_id="ONE", allow_existing=True)
        assert (place.state, place.waitlist_position, students(place.promoted)) == (WAITLISTED, 1, ["s-3"])
        assert summaries(await events_after(client, revision)) == [(EventType.STUDENT_PROMOTED, "s-3")]

    async def test_with_allow_existing_the_turn_still_gives_the_seat(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        seat = await client.enroll(student_id="s-2", course_id="ONE", allow_existing=True)
        assert (seat.state, seat.promoted) == (ENROLLED, ())

    async def test_a_student_with_a_seat_settles_nothing(self, client: AsyncRegistrarClient) -> None:
        await client.enroll(student_id="s-5", course_id="ONE", override=override(FULL))
        await free_the_seat(client)
        revision = await last_revision(client)
        seat = await client.enroll(student_id="s-5", course_id="ONE", allow_existing=True)
        assert (seat.state, seat.promoted) == (ENROLLED, ())
        with pytest.raises(AlreadyEnrolled):
            await client.enroll(student_id="s-5", course_id="ONE")
        assert await events_after(client, revision) == []

    async def test_a_newcomers_answer_names_the_students_who_came_first(self, client: AsyncRegistrarClient) -> None:
        await free_the_seat(client)
        newcomer = await client.enroll(student_id="s-5", course_id="ONE")
        assert (newcomer.state, newcomer.waitlist_position) == (WAITLISTED, 3)
        assert (students(newcomer.promoted), newcomer.promoted_count) == (["s-2"], 1)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"student_id": "s-2"},
            {"student_id": "s-3"},
            {"student_id": "s-4", "allow_existing": True},
            {"student_id": "s-4", "override": override(FULL)},
            {"student_id": "s-5"},
        ],
        ids=["first", "second", "place", "chosen", "newcomer"],
    )
    async def test_validate_only_answers_likewise_and_changes_nothing(
        self, client: AsyncRegistrarClient, arguments: dict[str, Any]
    ) -> None:
        await two_free_seats(client)
        revision = await last_revision(client)
        preview = await client.enroll(course_id="ONE", validate_only=True, **arguments)
        assert await events_after(client, revision) == []
        made = await client.enroll(course_id="ONE", **arguments)
        assert outline(preview) == outline(made)
        assert arguments["student_id"] not in students(preview.promoted)
        assert {one.etag for one in preview.promoted} == {""}

    async def test_a_repetition_returns_the_same_answer(self, client: AsyncRegistrarClient) -> None:
        await two_free_seats(client)
        first = await client.enroll(student_id="s-3", course_id="ONE", request_id=ID)
        await client.unenroll(student_id="s-2", course_id="ONE")
        revision = await last_revision(client)
        again = await client.enroll(student_id="s-3", course_id="ONE", request_id=ID)
        assert (again, again.promoted, again.promoted_count) == (first, first.promoted, 1)
        assert await events_after(client, revision) == []

    async def test_twins_share_one_turn_and_its_answer(
        self, gate: Gate, log: Log, database_url: str, engine: Engine
    ) -> None:
        carry_out_on(database_url, *crowd_before_free_seats("BIG", ["s-1", "s-2", "s-3"]))
        request = EnrollStudentRequest(student_id="s-2", course_id="BIG", request_id=ID)
        async with registrar_on(database_url) as registrar:
            with gate.closed():
                calls = [registrar.enrollments.EnrollStudent(request) for _ in range(8)]
                await gate.holds_one()
            answers = await asyncio.gather(*calls)
        assert all(answer == answers[0] for answer in answers)
        assert [one.student_id for one in answers[0].promoted] == ["s-1", "s-3"]
        assert len(log.of("student_promoted")) == 3
        assert_consistent(engine)


def outline(result: Enrolled) -> tuple[Any, ...]:
    """Return what a preview can know of a result."""
    own = (result.student_id, result.state, result.waitlist_position, result.bypassed_rules)
    return own, [(one.student_id, one.state) for one in result.promoted], result.promoted_count


class TestSwap:
    """A swap into a course where the student waits is the student's own turn there."""

    async def test_the_turn_is_judged_as_if_the_old_seat_were_gone(self, client: AsyncRegistrarClient) -> None:
        """The old course conflicts with the new one, and the student still gets the own place promoted, unskipped."""
        await client.courses.update(course_id="ONE", meetings=[MONDAYS])
        await client.courses.update(course_id="MANY", meetings=[MONDAYS])
        await client.enroll(student_id="s-2", course_id="MANY")
        await free_the_seat(client)
        place, revision = await own_place(client, "s-2"), await last_revision(client)

        swapped = await client.swap(student_id="s-2", from_course_id="MANY", to_course_id="ONE", comment="by phone")

        assert (swapped.enrollment.enrollment_id, swapped.enrollment.state) == (place, ENROLLED)
        assert (swapped.dropped.course_id, swapped.dropped.reason) == ("MANY", "SWAPPED")
        assert (swapped.promoted, swapped.promoted_count) == ((), 0)
        events = await events_after(client, revision)
        assert summaries(events) == [(EventType.STUDENT_PROMOTED, "s-2"), (EventType.STUDENT_UNENROLLED, "s-2")]
        assert [event.comment for event in events] == ["by phone", "by phone"]
        assert await standing(client) == (["s-2"], ["s-3", "s-4"])

    async def test_those_ahead_have_their_turn_first(self, client: AsyncRegistrarClient) -> None:
        """A seat is left for the student, who is never among ``promoted``."""
        await client.enroll(student_id="s-3", course_id="MANY")
        await two_free_seats(client)
        swapped = await client.swap(student_id="s-3", from_course_id="MANY", to_course_id="ONE")
        assert (swapped.enrollment.state, students(swapped.promoted)) == (ENROLLED, ["s-2"])
        assert await standing(client) == (["s-1", "s-2", "s-3"], ["s-4"])

    async def test_if_no_seat_is_left_already_waitlisted_and_nothing_has_changed(
        self, client: AsyncRegistrarClient
    ) -> None:
        await client.enroll(student_id="s-3", course_id="MANY")
        await free_the_seat(client)
        before, revision = await standing(client), await last_revision(client)
        for validate_only in (True, False):
            with pytest.raises(AlreadyWaitlisted):
                await client.swap(
                    student_id="s-3", from_course_id="MANY", to_course_id="ONE", validate_only=validate_only
                )
        assert (await standing(client), await events_after(client, revision)) == (before, [])
        assert (await standing(client, "MANY")).enrolled == ["s-3"]

    async def test_over_capacity_only_with_course_full(self, client: AsyncRegistrarClient) -> None:
        """The free seat goes to the student ahead."""
        await client.enroll(student_id="s-3", course_id="MANY")
        await free_the_seat(client)
        swapped = await client.swap(
            student_id="s-3", from_course_id="MANY", to_course_id="ONE", override=override(FULL)
        )
        assert (swapped.enrollment.bypassed_rules, students(swapped.promoted)) == ((FULL,), ["s-2"])
        course = await client.courses.get(course_id="ONE")
        assert (course.capacity, course.enrolled_count) == (1, 2)

    async def test_with_course_full_a_free_seat_in_turn_is_not_over_capacity(
        self, client: AsyncRegistrarClient
    ) -> None:
        await client.enroll(student_id="s-2", course_id="MANY")
        await free_the_seat(client)
        swapped = await client.swap(
            student_id="s-2", from_course_id="MANY", to_course_id="ONE", override=override(FULL)
        )
        assert (swapped.enrollment.bypassed_rules, swapped.promoted) == ((), ())
        assert (await client.courses.get(course_id="ONE")).enrolled_count == 1

    async def test_both_courses_settle_and_promoted_names_others_of_both(self, client: AsyncRegistrarClient) -> None:
        await client.courses.create(course_id="TWO", capacity=1, waitlist_capacity=9)
        for student_id in ("s-3", "s-5"):
            await client.enroll(student_id=student_id, course_id="TWO")
        await two_free_seats(client)
        swapped = await client.swap(student_id="s-3", from_course_id="TWO", to_course_id="ONE")
        listed = [(one.course_id, one.student_id) for one in swapped.promoted]
        assert (listed, swapped.promoted_count) == ([("ONE", "s-2"), ("TWO", "s-5")], 2)

    async def test_validate_only_answers_likewise_and_a_repetition_the_same(self, client: AsyncRegistrarClient) -> None:
        await client.enroll(student_id="s-3", course_id="MANY")
        await two_free_seats(client)
        revision = await last_revision(client)
        swap: dict[str, Any] = {"student_id": "s-3", "from_course_id": "MANY", "to_course_id": "ONE"}
        preview = await client.swap(**swap, validate_only=True)
        assert await events_after(client, revision) == []
        swapped = await client.swap(**swap, request_id=ID)
        assert (preview.enrollment.enrollment_id, students(preview.promoted)) == (
            swapped.enrollment.enrollment_id,
            students(swapped.promoted),
        )
        assert await client.swap(**swap, request_id=ID) == swapped

    async def test_more_than_100_promotions_ahead_of_the_student_are_counted(
        self, database_url: str, engine: Engine
    ) -> None:
        """The student is the last of 151 waiters."""
        crowd = [f"s-{number:03}" for number in range(151)]
        carry_out_on(database_url, *crowd_before_free_seats("BIG", crowd))
        carry_out_on(database_url, CreateCourse("OLD"), Enroll(crowd[-1], "OLD"))
        request = SwapEnrollmentRequest(student_id=crowd[-1], from_course_id="OLD", to_course_id="BIG")
        async with registrar_on(database_url) as registrar:
            answer = await registrar.enrollments.SwapEnrollment(request)
        assert [one.student_id for one in answer.promoted] == crowd[:100]
        assert (answer.enrollment.student_id, answer.promoted_count) == (crowd[-1], 150)
        assert_consistent(engine)


class TestChosen:
    """A waiter who is chosen by an override of COURSE_FULL."""

    async def test_an_eligible_waiter_ahead_gets_the_free_seat_and_the_chosen_one_sits_over_capacity(
        self, client: AsyncRegistrarClient
    ) -> None:
        await free_the_seat(client)
        revision = await last_revision(client)
        seat = await client.enroll(student_id="s-3", course_id="ONE", override=override(FULL), comment="by phone")
        assert (seat.state, seat.bypassed_rules, students(seat.promoted)) == (ENROLLED, (FULL,), ["s-2"])
        assert await standing(client) == (["s-2", "s-3"], ["s-4"])
        event = await event_of(client, "s-3", revision)
        assert (event.type, event.reason, event.comment) == (EventType.STUDENT_PROMOTED, "athlete", "by phone")
        assert event.bypassed_rules == (FULL,)
        assert [(one.reason, one.values) for one in event.violations] == [
            (FULL, {"capacity": "1", "enrolled_count": "0"})
        ]
        assert (
            event.violations[0].description == 'The free seats in "ONE" go to the students on its waitlist, in order.'
        )

    async def test_the_settlement_takes_the_rules_of_the_chosen_one_from_the_new_override(
        self, client: AsyncRegistrarClient
    ) -> None:
        """In turn, the chosen student gets the free seat despite a hold, and nobody sits over capacity."""
        await free_the_seat(client)
        await hold(client, "s-2")
        revision = await last_revision(client)
        seat = await client.enroll(student_id="s-2", course_id="ONE", override=override(FULL, HOLD), comment="by phone")
        assert (seat.state, seat.bypassed_rules, seat.promoted) == (ENROLLED, (HOLD,), ())
        assert await standing(client) == (["s-2"], ["s-3", "s-4"])
        event = await event_of(client, "s-2", revision)
        assert (event.reason, event.comment, event.bypassed_rules) == ("athlete", "by phone", (HOLD,))
        assert [one.reason for one in event.violations] == [HOLD]

    async def test_all_rules_that_were_needed_are_in_the_event_and_in_bypassed_rules(
        self, client: AsyncRegistrarClient
    ) -> None:
        await hold(client, "s-3")
        revision = await last_revision(client)
        seat = await client.enroll(student_id="s-3", course_id="ONE", override=override(FULL, HOLD))
        assert (seat.state, seat.bypassed_rules, seat.promoted) == (ENROLLED, (HOLD, FULL), ())
        event = await event_of(client, "s-3", revision)
        assert [one.reason for one in event.violations] == [HOLD, FULL]

    async def test_a_rule_that_the_override_does_not_name_refuses_the_chosen_one(
        self, client: AsyncRegistrarClient
    ) -> None:
        """Nothing has changed, and the refusal names the rule."""
        await free_the_seat(client)
        await hold(client, "s-3")
        revision = await last_revision(client)
        for allow_existing in (True, False):
            with pytest.raises(StudentHold):
                await client.enroll(
                    student_id="s-3", course_id="ONE", override=override(FULL), allow_existing=allow_existing
                )
        assert await events_after(client, revision) == []

    async def test_in_a_closed_window_an_override_takes_a_free_seat_ahead_of_the_queue(
        self, client: AsyncRegistrarClient
    ) -> None:
        """A closed course promotes nobody, so the seat is free for whoever may set the window aside."""
        await free_the_seat(client)
        closed = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
        await client.courses.update(course_id="ONE", enroll_close_time=closed)
        with pytest.raises(AlreadyWaitlisted):
            await client.enroll(student_id="s-3", course_id="ONE")
        seat = await client.enroll(student_id="s-3", course_id="ONE", override=override(ErrorReason.ENROLLMENT_CLOSED))
        assert (seat.state, seat.bypassed_rules) == (ENROLLED, (ErrorReason.ENROLLMENT_CLOSED,))
        assert (seat.promoted, (await client.courses.get(course_id="ONE")).enrolled_count) == ((), 1)


async def test_a_newcomer_over_capacity_leaves_the_free_seat_to_the_waiter(client: AsyncRegistrarClient) -> None:
    await free_the_seat(client)
    seat = await client.enroll(student_id="s-5", course_id="ONE", override=override(FULL))
    assert (seat.state, seat.bypassed_rules, students(seat.promoted)) == (ENROLLED, (FULL,), ["s-2"])
