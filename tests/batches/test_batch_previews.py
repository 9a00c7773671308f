"""Previews of batches: the answers that the writes would get, in order, without locks and without changes."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1.batch_service_pb2 import BATCH_VIEW_ERRORS
from registrar.v1.course_service_pb2 import DeleteCourseRequest
from registrar.v1.enrollment_service_pb2 import CompleteEnrollmentRequest
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import PlaceHoldRequest, UpdateStudentRequest
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
    reasons,
    sent,
    unenroll,
)
from tests.support.history_calls import history
from tests.support.outages import database_outage
from tests.support.refusals import refused
from tests.support.servers import Log, Registrar

SCHEDULE = [
    create_course("CS-101", capacity=1, waitlist_capacity=1),
    *(create_student(f"s-{number}") for number in (1, 2, 3)),
    *(enroll(f"s-{number}") for number in (1, 2, 3)),
    unenroll("s-1"),
]


class TestAnswers:
    """What a preview answers."""

    async def test_writes_see_each_other(self, registrar: Registrar) -> None:
        """Also courses and students that the batch itself would create."""
        response = await carried_out(registrar, *SCHEDULE, validate_only=True)
        assert reasons(response) == [""] * 6 + ["WAITLIST_FULL", ""]
        assert response.refused_count == 1
        waiting, freed = response.results[5].enroll_student.enrollment, response.results[7].unenroll
        assert waiting.waitlist_position == 1
        assert [one.student_id for one in freed.promoted] == ["s-2"]
        assert await history(registrar) == []

    async def test_generated_values_are_empty(self, registrar: Registrar) -> None:
        """Ids, times and etags that the batch would create are not shown."""
        hold = PlaceHoldRequest(student_id="s-1", code="BURSAR")
        response = await carried_out(registrar, *SCHEDULE, hold, validate_only=True)
        course = response.results[0].create_course.course
        assert (course.course_id, course.etag, course.HasField("create_time")) == ("CS-101", "", False)
        enrollment = response.results[4].enroll_student.enrollment
        assert (enrollment.enrollment_id, enrollment.etag, enrollment.HasField("create_time")) == ("", "", False)
        (placed,) = response.results[8].place_hold.student.holds
        assert (placed.code, placed.HasField("place_time")) == ("BURSAR", False)
        assert response.revision == 0

    async def test_of_an_enrollment_that_the_batch_would_create(self, registrar: Registrar) -> None:
        """Refusals do not show its id either."""
        again = CompleteEnrollmentRequest(student_id="s-2", course_id="CS-101", etag="other/1")
        response = await carried_out(registrar, *SCHEDULE, enroll("s-2"), again, validate_only=True)
        assert reasons(response)[8:] == ["ALREADY_ENROLLED", "ETAG_MISMATCH"]
        assert "preview" not in str(response)

    async def test_etags_in_messages(self, registrar: Registrar) -> None:
        """Refusals do not show the etags that the batch would create, but those of records as they are."""
        await registrar.add_student("s-9")
        update = UpdateStudentRequest(student=Student(student_id="s-9", given_name="Ada", etag="s-9/7"))
        renamed = UpdateStudentRequest(student=Student(student_id="s-9", given_name="Bob"))
        for request in (update, renamed):
            request.update_mask.paths.append("given_name")
        later = DeleteCourseRequest(course_id="CS-101", etag="s-9/7")
        response = await carried_out(registrar, *SCHEDULE, update, renamed, update, later, validate_only=True)
        assert reasons(response)[8:] == ["ETAG_MISMATCH", "", "ETAG_MISMATCH", "ETAG_MISMATCH"]
        messages = [response.results[place].error.message for place in (8, 10, 11)]
        assert 'its etag is now "s-9/1"' in messages[0]
        assert 'its etag is now "(new)"' in messages[1]
        assert 'whose etag is "(new)"' in messages[2]

    async def test_errors_only(self, registrar: Registrar) -> None:
        response = await carried_out(registrar, *SCHEDULE, validate_only=True, view=BATCH_VIEW_ERRORS)
        assert [place for place, one in enumerate(response.results) if answer(one) is not None] == [6]

    async def test_atomic(self, registrar: Registrar, log: Log) -> None:
        """An atomic batch fails as it would."""
        failure = await refused(sent(registrar, batch(*SCHEDULE, enroll("s-9"), atomic=True, validate_only=True)))
        assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "WAITLIST_FULL")
        assert all_refused(failure) == {6: ["WAITLIST_FULL"], 8: ["STUDENT_NOT_FOUND"]}
        assert [line["write"] for line in log.of("rpc", method="EnrollStudent")] == [6, 8]
        response = await carried_out(registrar, *SCHEDULE[:6], atomic=True, validate_only=True)
        assert response.refused_count == 0
        assert await history(registrar) == []

    async def test_unordered(self, registrar: Registrar) -> None:
        """The writes of an unordered batch are previewed in the order given, which is one of those possible."""
        response = await carried_out(registrar, *SCHEDULE, unordered=True, validate_only=True)
        assert reasons(response) == [""] * 6 + ["WAITLIST_FULL", ""]

    async def test_the_log(self, registrar: Registrar, log: Log) -> None:
        """Each write has its line, and no change is logged."""
        await carried_out(registrar, *SCHEDULE, validate_only=True)
        assert sorted(line["write"] for line in log.of("rpc") if "write" in line) == list(range(len(SCHEDULE)))
        assert log.of("student_enrolled") == []

    async def test_an_outage(self, registrar: Registrar, database_url: str, request: pytest.FixtureRequest) -> None:
        """The call fails, as it would without ``validate_only``."""
        with database_outage(database_url, request):
            failure = await refused(sent(registrar, batch(*SCHEDULE, validate_only=True)))
        assert failure.reason == "DATABASE_UNAVAILABLE"


class TestNothingChanges:
    """A preview neither locks nor keeps anything."""

    async def test_it_needs_no_locks(self, registrar: Registrar, engine: Engine) -> None:
        """It is answered while another transaction holds the rows."""
        await carried_out(registrar, *SCHEDULE[:4])
        lock = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "SELECT * FROM courses, students FOR UPDATE"
        with engine.connect() as connection:
            connection.exec_driver_sql(lock)
            response = await carried_out(registrar, *SCHEDULE[4:], validate_only=True)
        assert reasons(response) == ["", "", "WAITLIST_FULL", ""]

    async def test_it_keeps_no_id(self, blocks: Blocks, registrar: Registrar, engine: Engine) -> None:
        """It ignores its ``request_id``, so that the batch can follow with the same one."""
        await carried_out(registrar, *SCHEDULE[:6], request_id=ID, validate_only=True, atomic=True)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM request_ids")) == 0
        assert blocks.sizes == []
        response = await carried_out(registrar, *SCHEDULE[:6], request_id=ID)
        assert response.refused_count == 0
        again = await carried_out(registrar, *SCHEDULE[:6], request_id=ID, validate_only=True)
        assert reasons(again)[:2] == ["COURSE_EXISTS", "STUDENT_EXISTS"]
