"""``request_id`` of a batch: each write has an id of its own, so a repetition makes only what was not made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from sqlalchemy import Engine

from registrar.v1.batch_service_pb2 import BATCH_VIEW_ERRORS
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest
from tests.support.batches import (
    ID,
    answer,
    batch,
    carried_out,
    create_course,
    create_student,
    enroll,
    id_of,
    reasons,
    sent,
    unenroll,
    write,
)
from tests.support.consistency import assert_consistent
from tests.support.history_calls import drop, history
from tests.support.refusals import refused
from tests.support.servers import Gate, Log, Registrar, registrar_on

OTHER_ID = "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11"
KINDS = [{}, {"unordered": True}, {"atomic": True}]
each_kind = pytest.mark.parametrize("options", KINDS, ids=["ordered", "unordered", "atomic"])


async def prepared(registrar: Registrar, capacity: int = 5) -> None:
    """Create CS-101 and the students s-1 to s-4."""
    students = (create_student(f"s-{number}") for number in range(1, 5))
    await carried_out(registrar, create_course("CS-101", capacity=capacity), *students)


async def enrolled(registrar: Registrar) -> list[tuple[str, str]]:
    """Return the type and the student of each event of an enrollment."""
    return [(event.student_id, event.request_id) for event in await history(registrar) if event.HasField("enrollment")]


class TestIds:
    """The ids of the writes."""

    @each_kind
    async def test_follow_from_the_place(self, registrar: Registrar, options: dict[str, Any]) -> None:
        """Write ``i`` has the id UUIDv5(``request_id``, ``i``); the case of the id of the batch does not matter."""
        await prepared(registrar)
        await carried_out(registrar, *(enroll(f"s-{at}") for at in (1, 2)), request_id=ID.upper(), **options)
        assert sorted(await enrolled(registrar)) == [("s-1", id_of(0)), ("s-2", id_of(1))]

    @each_kind
    async def test_an_own_id_wins(self, registrar: Registrar, options: dict[str, Any]) -> None:
        await prepared(registrar)
        writes = [enroll("s-1", request_id=OTHER_ID), enroll("s-2")]
        await carried_out(registrar, *writes, request_id=ID, **options)
        assert sorted(await enrolled(registrar)) == [("s-1", OTHER_ID), ("s-2", id_of(1))]

    async def test_none_without_an_id_of_the_batch(self, registrar: Registrar) -> None:
        await prepared(registrar)
        await carried_out(registrar, enroll("s-1"))
        assert await enrolled(registrar) == [("s-1", "")]

    @each_kind
    async def test_equal_ids_in_one_batch(self, registrar: Registrar, options: dict[str, Any]) -> None:
        """Two equal writes with one id are one change."""
        await prepared(registrar)
        response = await carried_out(registrar, *[enroll("s-1", request_id=OTHER_ID)] * 2, **options)
        first, second = response.results
        assert first == second
        assert first.enroll_student.enrollment.attempt == 1
        assert len(await enrolled(registrar)) == 1

    async def test_one_id_for_different_writes(self, registrar: Registrar) -> None:
        """The second one is refused."""
        await prepared(registrar)
        writes = [enroll("s-1", request_id=OTHER_ID), enroll("s-2", request_id=OTHER_ID)]
        assert reasons(await carried_out(registrar, *writes)) == ["", "REQUEST_ID_REUSED"]


class TestRepeated:
    """A batch that is sent again."""

    @each_kind
    async def test_repeats_nothing_and_answers_everything(
        self, registrar: Registrar, engine: Engine, options: dict[str, Any]
    ) -> None:
        await prepared(registrar)
        request = batch(enroll("s-1"), enroll("s-2"), unenroll("s-3", allow_missing=True), request_id=ID, **options)
        first = await sent(registrar, request)
        await drop(registrar, "s-1")
        count = len(await history(registrar))
        again = await sent(registrar, request)
        assert list(again.results) == list(first.results)
        assert again.refused_count == 0
        assert len(await history(registrar)) == count
        assert_consistent(engine)

    @pytest.mark.parametrize("options", KINDS[:2], ids=["ordered", "unordered"])
    async def test_refused_writes_are_decided_anew(self, registrar: Registrar, options: dict[str, Any]) -> None:
        """They are decided after what was done already, and may then succeed."""
        await prepared(registrar, capacity=1)
        request = batch(enroll("s-9"), enroll("s-1"), enroll("s-1"), request_id=ID, **options)
        first = await sent(registrar, request)
        assert sorted(reasons(first)) == ["", "ALREADY_ENROLLED", "STUDENT_NOT_FOUND"]
        await registrar.add_student("s-9")
        again = await sent(registrar, request)
        assert sorted(reasons(again)) == ["", "ALREADY_ENROLLED", "COURSE_FULL"]
        place = reasons(first).index("")
        assert again.results[place] == first.results[place]

    async def test_view_may_differ(self, registrar: Registrar) -> None:
        await prepared(registrar)
        await carried_out(registrar, enroll("s-1"), request_id=ID)
        response = await carried_out(registrar, enroll("s-1"), request_id=ID, view=BATCH_VIEW_ERRORS)
        assert list(map(answer, response.results)) == [None]

    @pytest.mark.parametrize("first", KINDS, ids=str)
    @pytest.mark.parametrize("again", KINDS, ids=str)
    async def test_atomic_and_unordered_may_not_differ(
        self, registrar: Registrar, first: dict[str, Any], again: dict[str, Any]
    ) -> None:
        """The call fails, even if no write of the first attempt succeeded, and changes nothing."""
        write_ = create_student("s-1") if first.get("atomic") else unenroll("s-9")
        await sent(registrar, batch(write_, request_id=ID, **first))
        count = len(await history(registrar))
        repeated = sent(registrar, batch(create_student("s-1"), request_id=ID, **again))
        if again == first:
            await repeated
            return
        failure = await refused(repeated)
        assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
        assert ID in failure.message
        assert len(await history(registrar)) == count

    async def test_the_message_after_a_write_that_cannot_be_read(self, registrar: Registrar) -> None:
        """The call asks for a new id, and not for a repetition with this one."""
        await carried_out(registrar, create_student("s-1"), request_id=ID, unordered=True)
        failure = await refused(sent(registrar, batch(enroll("/"), create_student("s-2"), request_id=ID)))
        assert failure.message == f'request_id "{ID}" was already used for another request; use a new one.'

    async def test_another_write(self, registrar: Registrar) -> None:
        """A write that differs from the one that was made with its id is refused, and no other one."""
        await prepared(registrar)
        await carried_out(registrar, enroll("s-1"), enroll("s-2"), request_id=ID)
        response = await carried_out(registrar, enroll("s-1"), enroll("s-3"), enroll("s-4"), request_id=ID)
        assert reasons(response) == ["", "REQUEST_ID_REUSED", ""]

    async def test_the_id_of_a_call(self, registrar: Registrar) -> None:
        """The id of a call of another RPC is refused for a batch, and the other way round."""
        await prepared(registrar)
        await registrar.enroll("s-1", "CS-101", request_id=ID)
        assert (await refused(sent(registrar, batch(enroll("s-2"), request_id=ID)))).reason == "REQUEST_ID_REUSED"
        await carried_out(registrar, enroll("s-2"), request_id=OTHER_ID)
        reused = registrar.enroll("s-3", "CS-101", request_id=OTHER_ID)
        assert (await refused(reused)).reason == "REQUEST_ID_REUSED"

    @each_kind
    async def test_on_another_server(self, database_url: str, options: dict[str, Any]) -> None:
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            await prepared(one)
            request = batch(enroll("s-1"), enroll("s-2"), request_id=ID, **options)
            first = await sent(one, request)
            assert list((await sent(other, request)).results) == list(first.results)


class TestTwins:
    """A single call and a write with the same ``request_id`` and content are the same change."""

    async def test_a_call_after_the_batch(self, registrar: Registrar) -> None:
        """It gets the answer of the write. The timeout of the write is not part of its content."""
        await prepared(registrar)
        response = await carried_out(registrar, write(enroll("s-1"), timeout=60), request_id=ID)
        single = await registrar.enrollments.EnrollStudent(of_write(0))
        assert single == response.results[0].enroll_student

    async def test_a_call_before_the_batch(self, registrar: Registrar) -> None:
        """The write gets the answer of the call."""
        await prepared(registrar)
        single = await registrar.enrollments.EnrollStudent(of_write(0))
        response = await carried_out(registrar, write(enroll("s-1"), timeout=60), request_id=ID)
        assert response.results[0].enroll_student == single
        assert len(await enrolled(registrar)) == 1

    @each_kind
    async def test_a_call_under_way(
        self, gate: Gate, database_url: str, log: Log, engine: Engine, options: dict[str, Any]
    ) -> None:
        """A batch waits for a call that is under way, whose caller may have left."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            with gate.closed():
                call = registrar.enrollments.EnrollStudent(of_write(0))
                await gate.holds_one()
                call.cancel()
                await log.one("rpc", status="CANCELLED")
                batch_ = asyncio.ensure_future(sent(registrar, batch(enroll("s-1"), request_id=ID, **options)))
                await registrar.course("CS-101")  # A read, after which the server has the batch.
            response = await batch_
        assert response.refused_count == 0
        assert response.results[0].enroll_student.enrollment.attempt == 1
        assert len(log.of("student_enrolled")) == 1
        assert_consistent(engine)

    @each_kind
    async def test_a_batch_under_way(
        self, gate: Gate, database_url: str, log: Log, engine: Engine, options: dict[str, Any]
    ) -> None:
        """A call waits for a batch that is under way, and shares the answer of its write.

        The caller of the batch may have left.
        """
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            with gate.closed():
                call = sent(registrar, batch(enroll("s-1", request_id=id_of(0)), **options))
                await gate.holds_one()
                call.cancel()
                await log.one("rpc", method="BatchWrite", status="CANCELLED")
                single = asyncio.ensure_future(registrar.enrollments.EnrollStudent(of_write(0)))
                await registrar.course("CS-101")
            assert (await single).enrollment.attempt == 1
        assert len(log.of("student_enrolled")) == 1
        assert_consistent(engine)

    @each_kind
    async def test_the_batch_itself_under_way(
        self, gate: Gate, database_url: str, log: Log, engine: Engine, options: dict[str, Any]
    ) -> None:
        """A batch that is sent again while the first attempt is under way is answered like it."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            request = batch(enroll("s-1"), enroll("s-2"), request_id=ID, **options)
            with gate.closed():
                first = asyncio.ensure_future(sent(registrar, request))
                await gate.holds_one()
                again = asyncio.ensure_future(sent(registrar, request))
                await registrar.course("CS-101")
            assert list((await first).results) == list((await again).results)
        assert len(log.of("student_enrolled")) == 2
        assert_consistent(engine)

    async def test_an_ordered_block_keeps_its_order(self, gate: Gate, database_url: str) -> None:
        """If the twin of a later write is under way, all writes wait, and the earlier ones still go first."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar, capacity=2)
            with gate.closed():
                # s-2 takes the first of two seats. The batch gives the last one to s-1, before s-3.
                single = asyncio.ensure_future(registrar.enrollments.EnrollStudent(of_write(1, "s-2")))
                await gate.holds_one()
                writes = [enroll("s-1"), enroll("s-2"), enroll("s-3")]
                ordered = asyncio.ensure_future(carried_out(registrar, *writes, request_id=ID))
                await registrar.course("CS-101")
            response = await ordered
            assert reasons(response) == ["", "", "COURSE_FULL"]
            assert response.results[1].enroll_student == await single
            assert [student for student, _ in await enrolled(registrar)] == ["s-2", "s-1"]


def of_write(place: int, student_id: str = "s-1") -> EnrollStudentRequest:
    """Return the single call that is the same change as the write at a place of the batch."""
    return enroll(student_id, request_id=id_of(place))
