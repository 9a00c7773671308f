"""The response of a batch fits into a message, whatever its writes answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from registrar.v1.batch_service_pb2 import BATCH_VIEW_ERRORS
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest, DeleteCourseRequest
from registrar.v1.enrollment_service_pb2 import SwapEnrollmentRequest
from registrar.v1.error_reason_pb2 import RuleViolations
from registrar.v1.student_service_pb2 import PlaceHoldRequest
from registrar_server.rpc import status
from registrar_server.rpc.batch_answers import MAX_ERROR_BYTES, MIN_ERROR_BYTES
from registrar_server.rpc.batch_requests import MAX_WRITES
from tests.support.batches import answer, carried_out, create_course, create_student, enroll, reason, reasons
from tests.support.servers import Registrar, registrar_on

SMALLEST = 262_144
"""The smallest message that the settings allow."""
LONG = "é" * 5_000


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Registrar]:
    """A server with the smallest messages."""
    async with registrar_on(database_url, max_message_bytes=SMALLEST) as registrar:
        yield registrar


def described(number: int) -> CreateCourseRequest:
    return create_course(f"CS-{number}", description=LONG)


class TestAnswers:
    """Answers that take more than three quarters of a message are abridged."""

    async def test_that_fit(self, small: Registrar) -> None:
        """Answers of less are complete."""
        response = await carried_out(small, *map(described, range(18)))
        assert not response.abridged
        assert {result.create_course.course.description for result in response.results} == {LONG}

    async def test_that_do_not_fit(self, small: Registrar) -> None:
        """They keep ids, states and counts."""
        assert sum(described(number).ByteSize() for number in range(22)) < SMALLEST
        response = await carried_out(small, *map(described, range(22)))
        assert response.abridged
        kept = [result.create_course.course for result in response.results]
        assert [course.course_id for course in kept] == [f"CS-{number}" for number in range(22)]
        assert {field.name for course in kept for field, _ in course.ListFields()} == {"course_id", "state"}
        assert (await small.course("CS-21")).description == LONG

    async def test_that_clients_refuse_by_default(self, sqlite_url: str) -> None:
        """A server that accepts larger messages does not return any, since a client could never get its answer."""
        async with registrar_on(sqlite_url, max_message_bytes=64 * SMALLEST) as registrar:
            response = await carried_out(registrar, *map(described, range(450)))
            assert response.abridged
            assert response.results[-1].create_course.course.course_id == "CS-449"

    async def test_errors_are_not_abridged(self, small: Registrar) -> None:
        """Errors beside such answers are complete."""
        writes = [*map(described, range(22)), enroll("s-9")]
        alone = await carried_out(small, enroll("s-9"), *[create_student("s-1")])
        response = await carried_out(small, *writes)
        assert response.abridged
        expected = alone.results[0].error
        assert reason(expected) == "STUDENT_NOT_FOUND"
        assert response.results[-1].error == expected

    async def test_without_them(self, small: Registrar) -> None:
        """``BATCH_VIEW_ERRORS`` needs no abridging."""
        response = await carried_out(small, *map(described, range(22)), view=BATCH_VIEW_ERRORS)
        assert not response.abridged

    async def test_of_deletions(self, small: Registrar) -> None:
        """The counts of long lists stay, and the lists do not."""
        await carried_out(small, *(create_student(f"s-{at}") for at in range(100)))
        for course in range(20):
            seats = [enroll(f"s-{at}", f"c-{course}") for at in range(100)]
            await carried_out(small, create_course(f"c-{course}"), *seats)
        deletions = [DeleteCourseRequest(course_id=f"c-{course}", force=True) for course in range(20)]
        response = await carried_out(small, *deletions)
        assert response.abridged
        assert [result.delete_course.dropped_count for result in response.results] == [100] * 20
        assert not any(result.delete_course.dropped for result in response.results)

    async def test_ids_that_do_not_fit(self, small: Registrar) -> None:
        """If even ids, states and counts are too much, they are left out, and the errors stay."""
        long_ids = [f"{number:03}" + "x" * 125 for number in range(MAX_WRITES - 1)]
        await carried_out(small, create_course("c-1"), *map(create_student, long_ids), view=BATCH_VIEW_ERRORS)
        await carried_out(small, create_course("c-2"), *(enroll(one, "c-1") for one in long_ids))
        swaps = [
            SwapEnrollmentRequest(student_id=one, from_course_id="c-1", to_course_id="c-2")
            for one in ["s-9", *long_ids]
        ]
        response = await carried_out(small, *swaps)
        assert response.abridged
        assert reasons(response) == ["STUDENT_NOT_FOUND", *[""] * len(long_ids)]
        assert set(map(answer, response.results[1:])) == {None}


class TestErrors:
    """Errors together take at most half of a message, and one of them at most 4,000 bytes."""

    async def test_of_many_wrong_fields(self, small: Registrar) -> None:
        """A thousand refused writes fit; each keeps its code, its reason and its place."""
        wrong = CreateCourseRequest(course=Course(course_id="/", credits="x", capacity=-1, code="\n", state=99))  # type: ignore[arg-type]
        response = await carried_out(small, *[wrong] * MAX_WRITES)
        assert response.refused_count == MAX_WRITES
        assert response.ByteSize() < SMALLEST // 4 * 3
        assert set(reasons(response)) == {"INVALID_FIELD"}
        assert {result.error.code for result in response.results} == {3}
        assert not response.abridged

    async def test_of_many_violated_rules(self, registrar: Registrar) -> None:
        """The ids of a write stay longer than texts for people."""
        await fill(registrar)
        alone = await carried_out(registrar, enroll("s-1"))
        response = await carried_out(registrar, *[enroll("s-1")] * MAX_WRITES)
        whole, short = alone.results[0].error, response.results[0].error
        assert whole.ByteSize() > short.ByteSize()
        assert (short.code, reason(short)) == (whole.code, reason(whole))
        assert info_of(short).metadata == {"student_id": "s-1", "course_id": "CS-101"}
        found = RuleViolations()
        assert any(detail.Unpack(found) for detail in short.details)
        assert response.ByteSize() < 2**21 + MAX_WRITES * 16

    async def test_of_few(self, small: Registrar) -> None:
        """Few errors are those of single calls."""
        wrong = CreateCourseRequest(course=Course(course_id="/", credits="x", capacity=-1))
        response = await carried_out(small, wrong, wrong)
        bad = BadRequest()
        assert response.results[1].error.details[1].Unpack(bad)
        assert len(bad.field_violations) == 3


async def fill(registrar: Registrar) -> None:
    """Create a student who violates many rules of a course."""
    before = [create_course(f"CS-{at}", title=LONG[:200]) for at in range(1, 20)]
    ids = [f"CS-{at}" for at in range(1, 20)]
    full = create_course("CS-101", capacity=0, credits="3", prerequisite_course_ids=ids)
    holds = [PlaceHoldRequest(student_id="s-1", code=f"H{at}", reason="x" * 1000) for at in range(8)]
    response = await carried_out(registrar, *before, full, create_student("s-1", max_credits="1"), *holds)
    assert not response.refused_count, reasons(response)


class TestShortening:
    """How an error is made to fit: texts first, then details, ids and the reason last."""

    @pytest.fixture
    async def error(self, registrar: Registrar) -> Status:
        """An error with all kinds of details."""
        await fill(registrar)
        response = await carried_out(registrar, enroll("s-1"))
        return response.results[0].error

    async def test_every_budget(self, error: Status) -> None:
        """The error always fits, and never loses its code and its reason."""
        whole = error.ByteSize()
        assert MIN_ERROR_BYTES < whole <= MAX_ERROR_BYTES + 64
        for budget in range(MIN_ERROR_BYTES, whole + 1, 7):
            short = Status()
            short.CopyFrom(error)
            status.shorten(short, budget)
            assert short.ByteSize() <= budget
            assert short.code == error.code
            assert reason(short) == reason(error)

    async def test_ids_stay_longer_than_other_details(self, error: Status) -> None:
        """As long as any other detail is left, the ids are there too."""
        for budget in range(MIN_ERROR_BYTES, error.ByteSize(), 7):
            short = Status()
            short.CopyFrom(error)
            status.shorten(short, budget)
            if len(short.details) > 1:
                assert info_of(short).metadata["student_id"] == "s-1"

    async def test_a_short_message_stays_whole(self, error: Status) -> None:
        """No sign says that it was shortened."""
        error.message = "Not now."
        status.shorten(error, error.ByteSize() - 1)
        assert error.message == "Not now."

    async def test_ids_fit_into_little(self, error: Status) -> None:
        """The details for programs go before the ids do."""
        short = Status()
        short.CopyFrom(error)
        status.shorten(short, 256)
        assert info_of(short).metadata["course_id"] == "CS-101"


def info_of(error: Status) -> Any:
    info = ErrorInfo()
    assert error.details[0].Unpack(info)
    return info
