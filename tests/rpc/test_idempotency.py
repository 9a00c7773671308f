"""``request_id`` over gRPC: a repeated call takes effect once and is answered every time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import (
    CreateCourseRequest,
    DeleteCourseRequest,
    SettleCourseRequest,
    UndeleteCourseRequest,
    UpdateCourseRequest,
)
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED as DROPPED
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED as ENROLLED
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    ListCoursesRequest,
    RecordCompletionRequest,
    SwapEnrollmentRequest,
    UnenrollRequest,
    VoidCompletionRequest,
)
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import (
    CreateStudentRequest,
    DeleteStudentRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, refused
from tests.support.servers import Gate, Registrar, calling, registrar_on, server_processes
from tests.support.single_calls import send

ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
REUSED = Failure(
    StatusCode.INVALID_ARGUMENT,
    f'request_id "{ID}" was already used for another request; use a new one.',
    (info("REQUEST_ID_REUSED", request_id=ID),),
)
ENROLL = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID)
SEAT = EnrollStudentRequest(student_id="s-1", course_id="CS-101")
UNENROLL = UnenrollRequest(student_id="s-1", course_id="CS-101", request_id=ID)
NAMES = FieldMask(paths=["given_name"])
TITLES = FieldMask(paths=["title"])

# The request of every RPC that changes data, and the request that must precede it.
CHANGES: dict[str, tuple[Message, Message | None]] = {
    "EnrollStudent": (ENROLL, None),
    "Unenroll": (UNENROLL, SEAT),
    "SwapEnrollment": (
        SwapEnrollmentRequest(student_id="s-1", from_course_id="CS-101", to_course_id="CS-102", request_id=ID),
        SEAT,
    ),
    "CompleteEnrollment": (
        CompleteEnrollmentRequest(student_id="s-1", course_id="CS-101", grade="A", request_id=ID),
        SEAT,
    ),
    "RecordCompletion": (
        RecordCompletionRequest(student_id="s-1", course_id="CS-101", grade="A", request_id=ID),
        None,
    ),
    "VoidCompletion": (
        VoidCompletionRequest(reason="by mistake", request_id=ID),
        RecordCompletionRequest(student_id="s-1", course_id="CS-101"),
    ),
    "CreateStudent": (CreateStudentRequest(student=Student(given_name="Ada"), request_id=ID), None),
    "UpdateStudent": (
        UpdateStudentRequest(student=Student(student_id="s-1", given_name="Ada"), update_mask=NAMES, request_id=ID),
        None,
    ),
    "DeleteStudent": (DeleteStudentRequest(student_id="s-1", request_id=ID), None),
    "UndeleteStudent": (
        UndeleteStudentRequest(student_id="s-1", request_id=ID),
        DeleteStudentRequest(student_id="s-1"),
    ),
    "PlaceHold": (PlaceHoldRequest(student_id="s-1", code="BURSAR", reason="Unpaid.", request_id=ID), None),
    "ReleaseHold": (
        ReleaseHoldRequest(student_id="s-1", code="BURSAR", request_id=ID),
        PlaceHoldRequest(student_id="s-1", code="BURSAR"),
    ),
    "CreateCourse": (CreateCourseRequest(course=Course(title="Intro"), request_id=ID), None),
    "UpdateCourse": (
        UpdateCourseRequest(course=Course(course_id="CS-101", title="Intro"), update_mask=TITLES, request_id=ID),
        None,
    ),
    "DeleteCourse": (DeleteCourseRequest(course_id="CS-101", request_id=ID), None),
    "SettleCourse": (SettleCourseRequest(course_id="CS-101", request_id=ID), None),
    "UndeleteCourse": (
        UndeleteCourseRequest(course_id="CS-101", request_id=ID),
        DeleteCourseRequest(course_id="CS-101"),
    ),
}


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """A student s-1, a course CS-101 with two seats, and CS-102 with unlimited seats."""
    return await prepared(registrar)


async def prepared(registrar: Registrar) -> Registrar:
    await registrar.add_student("s-1")
    await registrar.add_course("CS-101", capacity=2)
    await registrar.add_course("CS-102")
    return registrar


def about(answer: Any, request: Message) -> Message:
    """Return a request about the enrollment in an answer, if it names an enrollment by its id."""
    if isinstance(request, VoidCompletionRequest):
        return VoidCompletionRequest(
            enrollment_id=answer.enrollment.enrollment_id, reason=request.reason, request_id=request.request_id
        )
    return request


def events(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM events")) or 0


async def attempts(registrar: Registrar) -> list[int]:
    """Return the attempts of s-1, enrolled or dropped."""
    request = ListCoursesRequest(student_id="s-1", states=[ENROLLED, DROPPED])
    answer = await registrar.enrollments.ListCourses(request)
    return [entry.enrollment.attempt for entry in answer.courses]


class TestReplay:
    """A call with the same id and content is a replay."""

    @pytest.mark.parametrize("name", CHANGES)
    async def test_every_change(self, campus: Registrar, engine: Engine, name: str) -> None:
        """Repeating any change returns the first response and changes nothing."""
        request, before = CHANGES[name]
        if before is not None:
            request = about(await send(campus, before), request)
        first = await send(campus, request)
        count = events(engine)
        assert await send(campus, request) == first
        assert events(engine) == count
        assert_consistent(engine)

    async def test_table_is_complete(self, campus: Registrar) -> None:
        """``CHANGES`` contains every RPC with a request_id."""
        stubs = {name for stub in campus[1:] for name in vars(stub)}
        requests = {name: request_fields(name) for name in stubs}
        assert {name for name, request in requests.items() if "request_id" in request} == set(CHANGES)

    async def test_after_another_change(self, campus: Registrar) -> None:
        """A replay returns the first response, even if the data has changed since."""
        first = await send(campus, ENROLL)
        await campus.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id="CS-101"))
        assert await send(campus, ENROLL) == first
        assert await attempts(campus) == [1]

    async def test_case(self, campus: Registrar) -> None:
        """The case of a UUID does not matter."""
        first = await send(campus, ENROLL)
        upper = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID.upper())
        assert await send(campus, upper) == first

    async def test_without(self, campus: Registrar) -> None:
        """Without a request_id no call is a replay."""
        await campus.enroll("s-1", "CS-101")
        assert (await refused(campus.enroll("s-1", "CS-101"))).reason == "ALREADY_ENROLLED"

    async def test_after_a_restart(self, database_url: str) -> None:
        """A restarted server returns the first response."""
        async with registrar_on(database_url) as registrar:
            first = await send(await prepared(registrar), ENROLL)
        async with registrar_on(database_url) as registrar:
            assert await send(registrar, ENROLL) == first

    async def test_on_another_server(self, database_url: str) -> None:
        """Another server on the same database returns the first response."""
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            first = await send(await prepared(one), ENROLL)
            assert await send(other, ENROLL) == first


class TestReuse:
    """A call with the same id and other content is refused."""

    async def test_other_field(self, campus: Registrar) -> None:
        """A call that differs in a field is refused, and the first call remains in effect."""
        first = await send(campus, ENROLL)
        other = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID, comment="?")
        assert await refused(send(campus, other)) == REUSED
        assert await send(campus, ENROLL) == first

    async def test_other_rpc(self, campus: Registrar) -> None:
        """The same fields in a request of another RPC are other content."""
        await send(campus, ENROLL)
        assert await refused(send(campus, UNENROLL)) == REUSED
        assert await attempts(campus) == [1]

    async def test_before_the_student(self, campus: Registrar) -> None:
        """A reused id is refused before the student and course are looked up."""
        await send(campus, ENROLL)
        other = EnrollStudentRequest(student_id="nobody", course_id="nothing", request_id=ID)
        assert await refused(send(campus, other)) == REUSED

    async def test_after_the_fields(self, campus: Registrar) -> None:
        """Invalid fields are refused before a reused id."""
        await send(campus, ENROLL)
        other = EnrollStudentRequest(student_id="?", course_id="CS-101", request_id=ID)
        assert (await refused(send(campus, other))).reason == "INVALID_FIELD"


class TestRefused:
    """A refused call took no effect, so its retry is decided again."""

    async def test_refusal_is_not_kept(self, campus: Registrar) -> None:
        """A retry after a refusal takes a seat that has become free."""
        await campus.add_course("ONE", capacity=1)
        await campus.add_student("s-2")
        await campus.enroll("s-2", "ONE")
        request = EnrollStudentRequest(student_id="s-1", course_id="ONE", request_id=ID)
        assert (await refused(send(campus, request))).reason == "COURSE_FULL"
        await campus.enrollments.Unenroll(UnenrollRequest(student_id="s-2", course_id="ONE"))
        assert (await campus.enrollments.EnrollStudent(request)).enrollment.student_id == "s-1"

    async def test_id_of_a_refusal_is_free(self, campus: Registrar) -> None:
        """The id of a refused call may be used for another call."""
        other = EnrollStudentRequest(student_id="nobody", course_id="CS-101", request_id=ID)
        assert (await refused(send(campus, other))).reason == "STUDENT_NOT_FOUND"
        await send(campus, ENROLL)

    async def test_response_without_change_is_kept(self, campus: Registrar) -> None:
        """A replay of a call that changed nothing returns the first response."""
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", allow_missing=True, request_id=ID)
        first = await send(campus, request)
        await campus.enroll("s-1", "CS-101")
        assert await send(campus, request) == first
        assert await attempts(campus) == [1]


class TestValidateOnly:
    """A preview neither records nor replays an id."""

    async def test_does_not_record_id(self, campus: Registrar) -> None:
        """The id of a preview may be used for the call itself."""
        preview = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID, validate_only=True)
        await send(campus, preview)
        await send(campus, ENROLL)
        assert await attempts(campus) == [1]

    async def test_does_not_replay_id(self, campus: Registrar) -> None:
        """A preview returns what the call would do now, not the response recorded for its id."""
        await send(campus, ENROLL)
        preview = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=ID, validate_only=True)
        assert (await refused(send(campus, preview))).reason == "ALREADY_ENROLLED"
        drop = UnenrollRequest(student_id="s-1", course_id="CS-101", request_id=ID, validate_only=True)
        assert (await campus.enrollments.Unenroll(drop)).enrollment.state == DROPPED


class TestConcurrentDuplicates:
    """Concurrent calls with the same id and content take effect once."""

    async def test_on_one_server(self, gate: Gate, database_url: str, engine: Engine) -> None:
        """Duplicates on one server get the same response: those that come while the first call runs wait for it."""
        async with registrar_on(database_url) as registrar:
            await prepared(registrar)
            with gate.closed():
                first = asyncio.create_task(send(registrar, ENROLL))
                await gate.holds_one()
                others = [asyncio.create_task(send(registrar, ENROLL)) for _ in range(7)]
                await registrar.course("CS-101")
            answers = await asyncio.gather(first, *others)
            assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
            assert await attempts(registrar) == [1]
        assert_consistent(engine)

    async def test_on_two_servers(self, database_url: str, engine: Engine) -> None:
        """Duplicates on two servers get the same response: one call runs, and the others replay it."""
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            await prepared(one)
            await asyncio.gather(one.course("CS-101"), other.course("CS-101"))
            answers = await asyncio.gather(*(send(server, ENROLL) for server in (one, other) * 8))
            assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
            assert await attempts(one) == [1]
        assert_consistent(engine)

    async def test_creations_on_two_servers(self, database_url: str, engine: Engine) -> None:
        """Duplicates that create return one resource, although each server generates an id for it."""
        request = CreateStudentRequest(student=Student(given_name="Ada"), request_id=ID)
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            answers = await asyncio.gather(*(send(server, request) for server in (one, other) * 8))
        assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
        assert_consistent(engine)

    async def test_different_calls_on_two_servers(self, database_url: str, engine: Engine) -> None:
        """Of different calls with the same id on two servers, one takes effect and the other is refused."""
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            await prepared(one)
            calls = [
                EnrollStudentRequest(student_id="s-1", course_id=course_id, request_id=ID)
                for course_id in ("CS-101", "CS-102")
            ]
            ends = await asyncio.gather(
                *(send(server, call) for server in (one, other) * 4 for call in calls), return_exceptions=True
            )
        codes = Counter(end.code() if isinstance(end, grpc.aio.AioRpcError) else StatusCode.OK for end in ends)
        assert codes == {StatusCode.OK: 8, StatusCode.INVALID_ARGUMENT: 8}
        assert_consistent(engine)

    async def test_on_two_processes(self, postgresql_url: str, tmp_path: Path) -> None:
        """Each of many duplicates on two processes gets the same response."""
        ids = [f"{number:08x}{ID[8:]}" for number in range(50)]
        requests = [CreateStudentRequest(student=Student(student_id=f"s-{n}"), request_id=ids[n]) for n in range(50)]
        async with server_processes(2, postgresql_url, tmp_path) as servers:
            one, other = [await server.address() for server in servers]
            async with calling(one) as here, calling(other) as there:
                answers = await asyncio.gather(*(send_all(server, requests) for server in (here, there)))
        assert answers[0] == answers[1]


async def send_all(registrar: Registrar, requests: Sequence[Message]) -> list[Message]:
    """Send all requests concurrently."""
    return list(await asyncio.gather(*(send(registrar, request) for request in requests)))


def request_fields(name: str) -> set[str]:
    """Return the field names of an RPC's request."""
    return set(descriptor_pool.Default().FindMessageTypeByName(f"registrar.v1.{name}Request").fields_by_name)
