"""Atomic batches: all writes or none, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1.batch_service_pb2 import BatchWriteResponse, Write
from registrar.v1.course_service_pb2 import SearchCoursesRequest
from registrar.v1.error_reason_pb2 import BatchRefusals, RuleViolations
from tests.support.batches import (
    ID,
    Blocks,
    all_refused,
    answer,
    batch,
    carried_out,
    create_course,
    create_student,
    enroll,
    id_of,
    reasons,
    sent,
    write,
)
from tests.support.consistency import assert_consistent
from tests.support.history_calls import history
from tests.support.refusals import Failure, refused
from tests.support.servers import Gate, Log, Registrar, registrar_on

TERM = [create_course("CS-101", capacity=2), *(create_student(f"s-{number}") for number in (1, 2, 3))]


async def fails(registrar: Registrar, *writes: Message, **options: object) -> Failure:
    """Carry out an atomic batch that must fail, and return its failure."""
    return await refused(sent(registrar, batch(*writes, atomic=True, **options)))


class TestAll:
    """Everything happens at once."""

    async def test_in_one_transaction(self, database_url: str, engine: Engine, blocks: Blocks) -> None:
        """Also if there are more writes than ``REGISTRAR_MAX_BATCH``."""
        writes = [*TERM, enroll("s-1"), enroll("s-2")]
        async with registrar_on(database_url, max_batch=2) as registrar:
            response = await carried_out(registrar, *writes, atomic=True)
            assert reasons(response) == [""] * 6
            assert response.revision == 6
            assert (await registrar.course("CS-101")).enrolled_count == 2
        assert blocks.sizes == [6]
        if engine.dialect.name == "postgresql":
            with engine.connect() as connection:
                rows = "SELECT xmin::text FROM events UNION SELECT xmin::text FROM enrollments"
                assert len(connection.scalars(text(rows)).all()) == 1

    async def test_the_largest(self, registrar: Registrar) -> None:
        """A thousand writes are one transaction."""
        response = await carried_out(registrar, *(create_student(f"s-{at}") for at in range(1000)), atomic=True)
        assert (len(response.results), response.refused_count) == (1000, 0)


class TestNone:
    """If any write is refused, the call fails and nothing changes."""

    async def test_the_first_refusal(self, registrar: Registrar) -> None:
        """The call has its status, reason and details, and its index in the metadata."""
        failure = await fails(registrar, *TERM, enroll("s-1"), enroll("s-2"), enroll("s-3"), enroll("s-9"))
        assert failure.code is StatusCode.FAILED_PRECONDITION
        assert failure.reason == "COURSE_FULL"
        assert failure.message == 'writes[6]: All 2 seats are taken in "CS-101".'
        info = failure.details[0].metadata  # type: ignore[attr-defined]
        assert dict(info) == {"index": "6", "student_id": "s-3", "course_id": "CS-101"}
        (violation,) = failure.the(RuleViolations).violations
        assert dict(violation.values) == {"capacity": "2", "enrolled_count": "2"}
        assert all_refused(failure) == {6: ["COURSE_FULL"], 7: ["STUDENT_NOT_FOUND"]}
        assert await history(registrar) == []

    @pytest.mark.parametrize("validate_only", [False, True])
    async def test_a_refusal_of_the_first_write(self, registrar: Registrar, validate_only: bool) -> None:
        """The message is that of the write. It does not say that the batch stopped after it."""
        failure = await fails(registrar, enroll("s-9"), *TERM, request_id=ID, validate_only=validate_only)
        assert failure.message == 'writes[0]: There is no student "s-9".'
        assert all_refused(failure) == {0: ["STUDENT_NOT_FOUND"]}

    async def test_all_reasons_of_a_write(self, registrar: Registrar) -> None:
        """``BatchRefusals`` has every violated rule of each write."""
        await carried_out(registrar, create_course("CS-100"), create_student("s-1"))
        full = create_course("CS-101", capacity=0, prerequisite_course_ids=["CS-100"])
        failure = await fails(registrar, full, enroll("s-1"))
        assert all_refused(failure) == {1: ["PREREQUISITE_UNMET", "COURSE_FULL"]}

    @pytest.mark.parametrize("wrong", [enroll("/"), Write(), write(enroll("s-1"), timeout=0)], ids=str)
    @pytest.mark.parametrize("validate_only", [False, True])
    async def test_a_write_that_cannot_be_read(self, registrar: Registrar, wrong: Message, validate_only: bool) -> None:
        """It is one of the refused writes, and the others are decided nevertheless."""
        writes = [*TERM, wrong, enroll("s-9"), enroll("s-1"), wrong]
        failure = await fails(registrar, *writes, request_id=ID, validate_only=validate_only)
        assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert failure.message.startswith("writes[4]: ")
        assert failure.the(BadRequest).field_violations
        assert all_refused(failure) == {4: ["INVALID_FIELD"], 5: ["STUDENT_NOT_FOUND"], 7: ["INVALID_FIELD"]}
        assert await history(registrar) == []

    async def test_a_refusal_before_a_write_that_cannot_be_read(self, registrar: Registrar, log: Log) -> None:
        """The first refused write counts, whatever the reason is; the log has each refused write once."""
        failure = await fails(registrar, *TERM, enroll("s-9"), enroll("/"))
        assert failure.message == 'writes[4]: There is no student "s-9".'
        assert all_refused(failure) == {4: ["STUDENT_NOT_FOUND"], 5: ["INVALID_FIELD"]}
        one, other = failure.the(BatchRefusals).refusals
        assert one.description == 'There is no student "s-9".'
        assert other.description.startswith("student_id: must match ")
        assert sorted(line["write"] for line in log.of("rpc") if "write" in line) == [4, 5]

    async def test_no_write_that_can_be_read(self, blocks: Blocks, registrar: Registrar) -> None:
        """No transaction begins."""
        failure = await fails(registrar, enroll("/"), Write(), request_id=ID)
        assert all_refused(failure) == {0: ["INVALID_FIELD"], 1: ["INVALID_FIELD"]}
        assert blocks.sizes == []

    async def test_a_twin_of_a_write_beside_one_that_cannot_be_read(self, gate: Gate, registrar: Registrar) -> None:
        """A single call that waits for its twin in the batch is made, since nothing of the batch is."""
        twin = create_student("s-1")
        twin.request_id = id_of(0)
        with gate.closed():
            batched = asyncio.ensure_future(fails(registrar, create_student("s-1"), enroll("/"), request_id=ID))
            await gate.holds_one()
            single = asyncio.ensure_future(registrar.students.CreateStudent(twin))
            await registrar.courses.SearchCourses(SearchCoursesRequest())  # Afterwards the server has the call.
        assert all_refused(await batched) == {1: ["INVALID_FIELD"]}
        assert (await single).student.student_id == "s-1"
        assert [event.student_id for event in await history(registrar)] == ["s-1"]

    async def test_as_many_refusals_as_fit(self, registrar: Registrar) -> None:
        """A thousand refusals do not fit, even without their descriptions. The first ones are listed.

        The metadata has the number of the others.
        """
        failure = await fails(registrar, *[enroll("s-9")] * 1000)
        listed = failure.the(BatchRefusals).refusals
        assert [one.index for one in listed] == list(range(len(listed)))
        assert not any(one.description for one in listed)
        assert len(listed) > 200
        assert failure.details[0].metadata["left_out"] == str(1000 - len(listed))  # type: ignore[attr-defined]

    async def test_the_log(self, registrar: Registrar, log: Log) -> None:
        """The refused writes have their lines, and the batch has one with the index of the first."""
        await fails(registrar, *TERM, enroll("s-9"), create_student("s-1"))
        lines = log.of("rpc")
        assert [(line["method"], line.get("write"), line["reason"]) for line in lines] == [
            ("EnrollStudent", 4, "STUDENT_NOT_FOUND"),
            ("CreateStudent", 5, "STUDENT_EXISTS"),
            ("BatchWrite", None, "STUDENT_NOT_FOUND"),
        ]
        assert lines[-1]["index"] == "4"
        assert log.of("student_enrolled") == []

    async def test_one_write_is_not_halved(self, blocks: Blocks, registrar: Registrar) -> None:
        """A refusal is no reason to try again in parts."""
        await fails(registrar, *TERM, enroll("s-9"))
        assert len(blocks.begun) == 1

    async def test_a_timeout(self, registrar: Registrar) -> None:
        """If the time of any write is over, nothing happens."""
        late = write(create_student("s-9"))
        late.timeout.nanos = 1
        failure = await refused_with_deadline(registrar, *TERM, late)
        assert failure is StatusCode.DEADLINE_EXCEEDED
        assert await history(registrar) == []


async def refused_with_deadline(registrar: Registrar, *writes: Message) -> StatusCode:
    return (await refused(sent(registrar, batch(*writes, atomic=True)))).code


class TestRepeated:
    """An atomic batch that is sent again with its ``request_id``."""

    async def test_after_success(self, registrar: Registrar, engine: Engine) -> None:
        """It repeats nothing and returns the first answers."""
        first = await carried_out(registrar, *TERM, enroll("s-1"), atomic=True, request_id=ID)
        again = await carried_out(registrar, *TERM, enroll("s-1"), atomic=True, request_id=ID)
        assert answers(again) == answers(first)
        assert len(await history(registrar)) == 5
        assert_consistent(engine)

    async def test_after_a_refusal(self, registrar: Registrar, engine: Engine) -> None:
        """It is decided anew, and then everything happens."""
        await fails(registrar, *TERM, enroll("s-9"), request_id=ID)
        await registrar.add_student("s-9")
        response = await carried_out(registrar, *TERM, enroll("s-9"), atomic=True, request_id=ID)
        assert reasons(response) == [""] * 5
        assert_consistent(engine)

    async def test_with_a_write_that_was_made_by_itself(self, registrar: Registrar) -> None:
        """A write that was made with its id before counts as made."""
        single = create_student("s-1")
        single.request_id = id_of(1)
        first = await registrar.students.CreateStudent(single)
        response = await carried_out(registrar, *TERM, atomic=True, request_id=ID)
        assert response.results[1].create_student == first
        assert len(await history(registrar)) == len(TERM)

    async def test_with_another_write(self, registrar: Registrar) -> None:
        """If a write differs from the one that was made with its id, nothing happens."""
        await carried_out(registrar, *TERM, atomic=True, request_id=ID)
        failure = await fails(registrar, *TERM[:2], create_student("s-7"), create_student("s-8"), request_id=ID)
        assert failure.reason == "REQUEST_ID_REUSED"
        assert all_refused(failure) == {2: ["REQUEST_ID_REUSED"], 3: ["REQUEST_ID_REUSED"]}
        assert len(await history(registrar)) == len(TERM)


def answers(response: BatchWriteResponse) -> Sequence[object]:
    return list(map(answer, response.results))
