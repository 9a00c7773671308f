"""Completions by the client: completed and corrected by id, declared void, and recorded again, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.api import annotations_pb2
from sqlalchemy import Engine

from registrar.v1 import enrollment_service_pb2
from registrar_client import (
    AsyncRegistrarClient,
    CourseNotFound,
    Enrollment,
    EnrollmentNotFound,
    EnrollmentState,
    EtagMismatch,
    EventType,
    FailedPrecondition,
    InvalidField,
    NotCompleted,
    NotEnrolled,
    PrerequisiteUnmet,
    RegistrarClient,
    StudentNotFound,
    testing,
)
from tests.support.consistency import assert_consistent
from tests.support.databases import execute
from tests.support.servers import serving

COMPLETED, VOIDED = EnrollmentState.COMPLETED, EnrollmentState.VOIDED


@pytest.fixture
async def client(database_url: str, engine: Engine) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a real server; afterwards ``verify`` must find nothing.

    There are the students s-1 to s-3, MATH with one seat and a waitlist, and LOGIC, which requires MATH.
    """
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        for student_id in ("s-1", "s-2", "s-3"):
            await client.students.create(student_id=student_id)
        await client.courses.create(course_id="MATH", capacity=1, waitlist_capacity=5)
        await client.courses.create(course_id="LOGIC", prerequisite_course_ids=["MATH"])
        yield client
    assert_consistent(engine)


async def recorded(client: AsyncRegistrarClient, grade: str = "A", **fields: Any) -> Enrollment:
    """Record a completion of MATH for s-1."""
    return await client.record_completion(student_id="s-1", course_id="MATH", grade=grade, **fields)


async def enrollments(client: AsyncRegistrarClient, *states: EnrollmentState) -> list[Enrollment]:
    """Return the enrollments of s-1 in MATH, in the order of their attempts."""
    listed = client.list_courses(student_id="s-1", states=states or list(EnrollmentState)[:-1])
    return [entry.enrollment async for entry in listed if entry.course.course_id == "MATH"]


async def may_take_logic(client: AsyncRegistrarClient) -> bool:
    """Return whether s-1 meets the prerequisite of LOGIC."""
    try:
        await client.enroll(student_id="s-1", course_id="LOGIC", validate_only=True)
    except PrerequisiteUnmet:
        return False
    return True


async def in_state(client: AsyncRegistrarClient, state: str) -> Enrollment:
    """Return an enrollment of s-1 in MATH in this state."""
    if state == "WAITLISTED":
        await client.enroll(student_id="s-2", course_id="MATH")
    if state in ("COMPLETED", "VOIDED"):
        done = await recorded(client)
        return done if state == "COMPLETED" else await client.void_completion(enrollment_id=done.enrollment_id)
    live = await client.enroll(student_id="s-1", course_id="MATH")
    if state == "DROPPED":
        await client.unenroll(student_id="s-1", course_id="MATH")
    return live


async def event_count(client: AsyncRegistrarClient) -> int:
    return len([event async for event in client.history.list()])


class TestCompleteById:
    """CompleteEnrollment takes the id of an enrollment instead of a student and a course."""

    async def test_any_completed_attempt_can_be_corrected(self, client: AsyncRegistrarClient) -> None:
        """An earlier attempt is corrected although there is a later one, and even a seat."""
        first, second = await recorded(client, "B"), await recorded(client, "C")
        seat = await client.enroll(student_id="s-1", course_id="MATH")
        corrected = await client.complete(enrollment_id=first.enrollment_id, grade="A")
        assert (corrected.enrollment_id, corrected.attempt, corrected.grade) == (first.enrollment_id, 1, "A")
        assert (corrected.end_time, corrected.create_time) == (first.end_time, first.create_time)
        assert await enrollments(client) == [corrected, second, seat]
        events = [event async for event in client.history.list(course_id="MATH")]
        assert events[-1].type is EventType.ENROLLMENT_COMPLETED
        assert events[-1].enrollment == corrected
        assert [(one.field, one.before, one.after) for one in events[-1].changes] == [("grade", "B", "A")]

    async def test_a_correction_decides_the_prerequisites(self, client: AsyncRegistrarClient) -> None:
        """One passed attempt meets a prerequisite, whichever it is."""
        first, second = await recorded(client), await recorded(client, "F", passed=False)
        assert await may_take_logic(client)
        await client.complete(enrollment_id=first.enrollment_id, grade="F", passed=False)
        assert not await may_take_logic(client)
        await client.complete(enrollment_id=second.enrollment_id, grade="D", passed=True)
        assert await may_take_logic(client)

    async def test_an_equal_correction_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        first = await recorded(client)
        await recorded(client, "B")
        before = await event_count(client)
        assert await client.complete(enrollment_id=first.enrollment_id, grade="A") == first
        assert await event_count(client) == before

    async def test_an_enrolled_one_is_completed(self, client: AsyncRegistrarClient) -> None:
        """The seat is free afterwards, and no student is promoted to it."""
        seat = await client.enroll(student_id="s-1", course_id="MATH")
        waiting = await client.enroll(student_id="s-2", course_id="MATH")
        done = await client.complete(enrollment_id=seat.enrollment_id, grade="A", etag=seat.etag)
        assert (done.enrollment_id, done.state, done.grade, done.passed) == (seat.enrollment_id, COMPLETED, "A", True)
        course = await client.courses.get(course_id="MATH")
        assert (course.enrolled_count, course.waitlisted_count) == (0, 1)
        assert await client.get_enrollment(enrollment_id=waiting.enrollment_id) == waiting

    @pytest.mark.parametrize("state", ["WAITLISTED", "DROPPED", "VOIDED"])
    async def test_any_other_state_is_not_completed(self, client: AsyncRegistrarClient, state: str) -> None:
        """A waiting, dropped or voided enrollment is refused with a message that names its state."""
        enrollment = await in_state(client, state)
        before = await event_count(client)
        with pytest.raises(NotCompleted) as refused:
            await client.complete(enrollment_id=enrollment.enrollment_id, grade="A")
        assert isinstance(refused.value, FailedPrecondition)
        assert str(refused.value) == (
            f'Enrollment "{enrollment.enrollment_id}" is {state}: only an ENROLLED or COMPLETED enrollment can be'
            " completed."
        )
        assert refused.value.metadata == {"enrollment_id": enrollment.enrollment_id, "state": state}
        assert await event_count(client) == before

    async def test_an_unknown_id_is_not_found(self, client: AsyncRegistrarClient) -> None:
        with pytest.raises(EnrollmentNotFound, match='There is no enrollment "e-1"') as refused:
            await client.complete(enrollment_id="e-1")
        assert refused.value.metadata == {"enrollment_id": "e-1"}

    @pytest.mark.parametrize(
        ("named", "invalid"),
        [
            ({}, {"enrollment_id"}),
            ({"enrollment_id": "e-1", "student_id": "s-1", "course_id": "MATH"}, {"enrollment_id"}),
            ({"enrollment_id": "e-1", "student_id": "s-1"}, {"enrollment_id"}),
            ({"enrollment_id": "e-1", "course_id": "MATH"}, {"enrollment_id"}),
            ({"student_id": "s-1"}, {"course_id"}),
            ({"course_id": "MATH"}, {"student_id"}),
            ({"enrollment_id": " e-1"}, {"enrollment_id"}),
        ],
    )
    async def test_both_or_neither_is_an_invalid_field(
        self, client: AsyncRegistrarClient, named: dict[str, Any], invalid: set[str]
    ) -> None:
        with pytest.raises(InvalidField) as refused:
            await client.complete(**named)
        assert {one.field for one in refused.value.field_violations} == invalid

    async def test_the_etag_is_that_of_the_named_enrollment(self, client: AsyncRegistrarClient) -> None:
        first = await recorded(client, "B")
        corrected = await client.complete(enrollment_id=first.enrollment_id, grade="C", etag=first.etag)
        with pytest.raises(EtagMismatch):
            await client.complete(enrollment_id=first.enrollment_id, grade="D", etag=first.etag)
        with pytest.raises(EtagMismatch):
            await client.complete(enrollment_id=first.enrollment_id, grade="C", etag=first.etag)
        assert await enrollments(client) == [corrected]

    async def test_a_preview_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        first = await recorded(client, "B")
        preview = await client.complete(enrollment_id=first.enrollment_id, grade="A", validate_only=True)
        assert (preview.enrollment_id, preview.grade, preview.etag) == (first.enrollment_id, "A", "")
        assert await enrollments(client) == [first]
        with pytest.raises(EnrollmentNotFound):
            await client.complete(enrollment_id="e-1", validate_only=True)

    async def test_in_a_deleted_course_and_of_a_deleted_student(self, client: AsyncRegistrarClient) -> None:
        """The id says which completion is meant, so that former students and courses can be corrected too."""
        done = await recorded(client, "B")
        await client.courses.delete(course_id="MATH")
        by_pair = await client.complete(student_id="s-1", course_id="MATH", grade="C")
        assert by_pair.enrollment_id == done.enrollment_id
        await client.students.delete(student_id="s-1")
        assert (await client.complete(enrollment_id=done.enrollment_id, grade="A")).grade == "A"
        with pytest.raises(StudentNotFound):
            await client.complete(student_id="s-1", course_id="MATH", grade="D")


class TestVoid:
    """VoidCompletion makes a completion VOIDED, which never counts."""

    async def test_a_voided_completion_never_counts(self, client: AsyncRegistrarClient) -> None:
        """It meets no prerequisite, while an earlier passed attempt still does."""
        first, second = await recorded(client), await recorded(client)
        await client.void_completion(enrollment_id=second.enrollment_id)
        assert await may_take_logic(client)
        await client.void_completion(enrollment_id=first.enrollment_id)
        assert not await may_take_logic(client)

    async def test_the_enrollment_keeps_its_grade_and_the_reason(self, client: AsyncRegistrarClient) -> None:
        """Its end stays; the history has one event, with the reason."""
        done = await recorded(client)
        voided = await client.void_completion(
            enrollment_id=done.enrollment_id, reason="of another student", etag=done.etag
        )
        assert (voided.state, voided.grade, voided.passed) == (VOIDED, "A", True)
        assert (voided.enrollment_id, voided.reason) == (done.enrollment_id, "of another student")
        assert (voided.create_time, voided.end_time) == (done.create_time, done.end_time)
        assert voided.etag != done.etag
        assert await client.get_enrollment(enrollment_id=done.enrollment_id) == voided
        events = [event async for event in client.history.list(course_id="MATH")][1:]
        assert [event.type for event in events] == [EventType.COMPLETION_RECORDED, EventType.COMPLETION_VOIDED]
        assert (events[0].enrollment, events[0].reason) == (done, "")
        assert (events[1].enrollment, events[1].reason) == (voided, "of another student")
        assert events[1].previous_state is COMPLETED

    @pytest.mark.parametrize("state", ["ENROLLED", "WAITLISTED", "DROPPED"])
    async def test_from_completed_only(self, client: AsyncRegistrarClient, state: str) -> None:
        """Any other enrollment is NOT_COMPLETED and does not change."""
        enrollment = await in_state(client, state)
        before = await event_count(client)
        with pytest.raises(NotCompleted) as refused:
            await client.void_completion(enrollment_id=enrollment.enrollment_id)
        assert str(refused.value) == (
            f'Enrollment "{enrollment.enrollment_id}" is {state}: only a COMPLETED enrollment can be voided.'
        )
        assert refused.value.metadata == {"enrollment_id": enrollment.enrollment_id, "state": state}
        assert await event_count(client) == before

    async def test_again_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        """The reason of the first call stays, and there is no second event."""
        done = await recorded(client)
        voided = await client.void_completion(enrollment_id=done.enrollment_id, reason="first")
        before = await event_count(client)
        assert await client.void_completion(enrollment_id=done.enrollment_id, reason="second") == voided
        assert await client.void_completion(enrollment_id=done.enrollment_id, etag=voided.etag) == voided
        assert await event_count(client) == before

    async def test_a_stale_etag_is_refused_also_when_voiding_again(self, client: AsyncRegistrarClient) -> None:
        done = await recorded(client, "B")
        await client.complete(enrollment_id=done.enrollment_id, grade="A")
        with pytest.raises(EtagMismatch):
            await client.void_completion(enrollment_id=done.enrollment_id, etag=done.etag)
        await client.void_completion(enrollment_id=done.enrollment_id)
        with pytest.raises(EtagMismatch):
            await client.void_completion(enrollment_id=done.enrollment_id, etag=done.etag)

    async def test_an_unknown_id_is_not_found(self, client: AsyncRegistrarClient) -> None:
        with pytest.raises(EnrollmentNotFound):
            await client.void_completion(enrollment_id="e-1")

    async def test_a_preview_changes_nothing(self, client: AsyncRegistrarClient) -> None:
        done = await recorded(client)
        preview = await client.void_completion(enrollment_id=done.enrollment_id, reason="perhaps", validate_only=True)
        assert (preview.state, preview.reason, preview.etag) == (VOIDED, "perhaps", "")
        assert await enrollments(client) == [done]

    async def test_the_latest_completion_passes_over_voided(self, client: AsyncRegistrarClient) -> None:
        """By student and course the latest COMPLETED one is corrected; if all are voided, there is none."""
        first, second = await recorded(client, "B"), await recorded(client, "C")
        await client.void_completion(enrollment_id=second.enrollment_id)
        corrected = await client.complete(student_id="s-1", course_id="MATH", grade="A")
        assert corrected.enrollment_id == first.enrollment_id
        await client.void_completion(enrollment_id=first.enrollment_id)
        with pytest.raises(NotEnrolled):
            await client.complete(student_id="s-1", course_id="MATH", grade="A")

    async def test_in_a_deleted_course_and_of_a_deleted_student(self, client: AsyncRegistrarClient) -> None:
        done = await recorded(client)
        await client.courses.delete(course_id="MATH")
        await client.students.delete(student_id="s-1")
        assert (await client.void_completion(enrollment_id=done.enrollment_id)).state is VOIDED

    async def test_lists_show_voided_ones_on_request(self, client: AsyncRegistrarClient) -> None:
        done = await recorded(client)
        voided = await client.void_completion(enrollment_id=done.enrollment_id)
        assert await enrollments(client, VOIDED) == [voided]
        assert await enrollments(client, COMPLETED) == []
        roster = [entry.enrollment async for entry in client.list_roster(course_id="MATH", states=[VOIDED])]
        assert roster == [voided]

    async def test_the_reason_has_at_most_200_characters(self, client: AsyncRegistrarClient) -> None:
        with pytest.raises(InvalidField) as refused:
            await client.void_completion(enrollment_id="/", reason="x" * 201)
        assert {one.field for one in refused.value.field_violations} == {"enrollment_id", "reason"}


class TestRecordAgain:
    """RecordCompletion with ``allow_existing`` can be sent every night."""

    async def test_an_equal_completion_is_returned(self, client: AsyncRegistrarClient) -> None:
        """Equal means the same student, course, grade and passed, however the completion came about."""
        await client.enroll(student_id="s-1", course_id="MATH")
        done = await client.complete(student_id="s-1", course_id="MATH", grade="A")
        before = await event_count(client)
        assert await recorded(client, allow_existing=True) == done
        assert await event_count(client) == before

    async def test_any_other_completion_is_recorded(self, client: AsyncRegistrarClient) -> None:
        await recorded(client)
        await client.record_completion(student_id="s-2", course_id="MATH", grade="A")
        assert (await recorded(client, "B", allow_existing=True)).attempt == 2
        assert (await recorded(client, passed=False, allow_existing=True)).attempt == 3
        assert (await recorded(client)).attempt == 4

    async def test_a_grade_of_an_older_version_is_equal_in_any_form(
        self, client: AsyncRegistrarClient, database_url: str
    ) -> None:
        """Stored grades are not rewritten: the load that stored one in another form still finds it."""
        done = await recorded(client)
        for table in ("enrollments", "events"):
            execute(database_url, f"UPDATE {table} SET grade = ' A\u00a0' WHERE grade = 'A'")
        again = await recorded(client, " A\u00a0", allow_existing=True)
        assert (again.enrollment_id, again.grade) == (done.enrollment_id, " A\u00a0")

    async def test_a_voided_one_is_neither_copied_nor_resurrected(self, client: AsyncRegistrarClient) -> None:
        done = await recorded(client)
        voided = await client.void_completion(enrollment_id=done.enrollment_id)
        assert await recorded(client, allow_existing=True) == voided
        assert await enrollments(client) == [voided]
        assert not await may_take_logic(client)

    async def test_the_latest_of_several_is_returned(self, client: AsyncRegistrarClient) -> None:
        _, second, _ = await recorded(client), await recorded(client), await recorded(client, "B")
        assert await recorded(client, allow_existing=True) == second

    async def test_completions_may_be_recorded_for_deleted_courses(self, client: AsyncRegistrarClient) -> None:
        """The student must not be deleted, and the course must be known."""
        await client.courses.delete(course_id="MATH")
        assert (await recorded(client)).state is COMPLETED
        assert await may_take_logic(client)
        with pytest.raises(CourseNotFound):
            await client.record_completion(student_id="s-1", course_id="ART")
        await client.students.delete(student_id="s-1")
        with pytest.raises(StudentNotFound):
            await recorded(client)


def test_the_http_bindings_name_the_enrollment() -> None:
    """Each call by id has a path of its own; the server does not serve HTTP yet."""
    methods = enrollment_service_pb2.DESCRIPTOR.services_by_name["EnrollmentService"].methods_by_name
    complete, void = (
        methods[name].GetOptions().Extensions[annotations_pb2.http] for name in ("CompleteEnrollment", "VoidCompletion")
    )
    assert [(one.post, one.body) for one in complete.additional_bindings] == [
        ("/v1/enrollments/{enrollment_id}:complete", "*")
    ]
    assert (void.post, void.body) == ("/v1/enrollments/{enrollment_id}:void", "*")


def test_the_client_for_threads_completes_by_id_and_voids() -> None:
    """Both clients have the same calls."""
    with testing.server() as address, RegistrarClient(address) as client:
        client.students.create(student_id="s-1")
        client.courses.create(course_id="MATH")
        seat = client.enroll(student_id="s-1", course_id="MATH")
        assert client.complete(enrollment_id=seat.enrollment_id, grade="A").state is COMPLETED
        voided = client.void_completion(enrollment_id=seat.enrollment_id, reason="by mistake")
        assert (voided.state, voided.reason) == (VOIDED, "by mistake")
