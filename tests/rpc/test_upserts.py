"""UpdateStudent and UpdateCourse with ``allow_missing``: they create what is missing, so that loads can be repeated."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import GetCourseRequest, UpdateCourseRequest
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import DeleteStudentRequest, UpdateStudentRequest
from registrar_client import (
    AsyncRegistrarClient,
    CourseNotFound,
    EtagMismatch,
    InvalidField,
    RegistrarClient,
    StudentNotFound,
    testing,
)
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, refused
from tests.support.servers import Gate, Registrar, registrar_on, serving


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server on a freshly migrated database."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        yield client


def event_types(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT type FROM events ORDER BY revision")))


class TestAllowMissing:
    """With ``allow_missing`` an update of a missing student or course creates it."""

    async def test_a_missing_student_is_created(self, client: AsyncRegistrarClient, engine: Engine) -> None:
        """The student has the passed fields, and the event is that of a creation."""
        created = await client.students.update(student_id="s-1", given_name="Ada", max_credits=15, allow_missing=True)
        assert (created.given_name, created.max_credits, created.family_name) == ("Ada", Decimal(15), "")
        assert await client.students.get(student_id="s-1") == created
        assert event_types(engine) == ["STUDENT_CREATED"]
        assert_consistent(engine)

    async def test_a_missing_course_is_created(self, client: AsyncRegistrarClient, engine: Engine) -> None:
        """The course has the passed fields and promotes no student."""
        created = await client.courses.update(course_id="CS-101", title="Intro", capacity=2, allow_missing=True)
        assert (created.course.title, created.course.capacity, created.promoted_count) == ("Intro", 2, 0)
        assert await client.courses.get(course_id="CS-101") == created.course
        assert event_types(engine) == ["COURSE_CREATED"]
        assert_consistent(engine)

    async def test_an_existing_resource_is_updated(self, client: AsyncRegistrarClient, engine: Engine) -> None:
        """Only the passed fields change, as without ``allow_missing``."""
        await client.students.create(student_id="s-1", given_name="Ada", family_name="Byron")
        await client.courses.create(course_id="CS-101", title="Intro", capacity=2)
        student = await client.students.update(student_id="s-1", given_name="Augusta", allow_missing=True)
        updated = await client.courses.update(course_id="CS-101", capacity=3, allow_missing=True)
        assert (student.given_name, student.family_name) == ("Augusta", "Byron")
        assert (updated.course.title, updated.course.capacity) == ("Intro", 3)
        assert event_types(engine)[2:] == ["STUDENT_UPDATED", "COURSE_UPDATED"]

    async def test_a_load_can_be_rerun(self, client: AsyncRegistrarClient, engine: Engine) -> None:
        """The second run of the same load changes nothing and writes no events."""

        async def load() -> list[object]:
            students = [
                await client.students.update(student_id=f"s-{number}", given_name=name, allow_missing=True)
                for number, name in enumerate(("Ada", "Grace", "Alan"))
            ]
            course = await client.courses.update(course_id="CS-101", title="Intro", capacity=2, allow_missing=True)
            return [*students, course]

        assert await load() == await load()
        assert event_types(engine) == [*["STUDENT_CREATED"] * 3, "COURSE_CREATED"]

    async def test_without_it_a_missing_resource_is_not_found(self, client: AsyncRegistrarClient) -> None:
        """By default an update creates nothing."""
        with pytest.raises(StudentNotFound):
            await client.students.update(student_id="s-1", given_name="Ada")
        with pytest.raises(CourseNotFound):
            await client.courses.update(course_id="CS-101", title="Intro")

    async def test_a_deleted_resource_is_not_found(self, client: AsyncRegistrarClient) -> None:
        """A deleted student or course is neither updated nor created again."""
        await client.students.create(student_id="s-1")
        await client.courses.create(course_id="CS-101")
        await client.students.delete(student_id="s-1")
        await client.courses.delete(course_id="CS-101")
        with pytest.raises(StudentNotFound):
            await client.students.update(student_id="s-1", given_name="Ada", allow_missing=True)
        with pytest.raises(CourseNotFound):
            await client.courses.update(course_id="CS-101", title="Intro", allow_missing=True)

    async def test_an_etag_with_a_missing_resource_is_a_mismatch(self, registrar: Registrar) -> None:
        """A resource that does not exist matches no etag. Nothing is created."""
        student = UpdateStudentRequest(student=Student(student_id="s-1", etag="1"), allow_missing=True)
        assert await refused(registrar.students.UpdateStudent(student)) == Failure(
            StatusCode.ABORTED,
            'There is no student "s-1", so no etag matches.',
            (info("ETAG_MISMATCH", student_id="s-1"),),
        )
        course = UpdateCourseRequest(course=Course(course_id="CS-101", etag="1"), allow_missing=True)
        assert (await refused(registrar.courses.UpdateCourse(course))).reason == "ETAG_MISMATCH"
        assert (await refused(registrar.course("CS-101"))).reason == "COURSE_NOT_FOUND"

    async def test_an_etag_of_an_existing_resource_is_checked(self, client: AsyncRegistrarClient) -> None:
        """An etag has its usual meaning if the resource exists."""
        created = await client.students.create(student_id="s-1")
        changed = await client.students.update(
            student_id="s-1", given_name="Ada", etag=created.etag, allow_missing=True
        )
        assert changed.given_name == "Ada"
        with pytest.raises(EtagMismatch):
            await client.students.update(student_id="s-1", given_name="?", etag=created.etag, allow_missing=True)


class TestMask:
    """The mask selects the fields of an update. A creation ignores it."""

    async def test_a_creation_ignores_the_mask(self, registrar: Registrar) -> None:
        """A new resource gets all populated fields, and those that only the mask names are not set."""
        mask = FieldMask(paths=["given_name", "email"])
        student = Student(student_id="s-1", given_name="Ada", family_name="Byron")
        request = UpdateStudentRequest(student=student, update_mask=mask, allow_missing=True)
        created = (await registrar.students.UpdateStudent(request)).student
        assert (created.given_name, created.family_name, created.email) == ("Ada", "Byron", "")

    async def test_an_update_follows_the_mask(self, registrar: Registrar) -> None:
        """Fields outside the mask keep their values."""
        await registrar.add_course("CS-101", title="Intro", term="2018-fall")
        course = Course(course_id="CS-101", title="Computing", term="2019-fall")
        request = UpdateCourseRequest(course=course, update_mask=FieldMask(paths=["title"]), allow_missing=True)
        updated = (await registrar.courses.UpdateCourse(request)).course
        assert (updated.title, updated.term) == ("Computing", "2018-fall")

    async def test_all_fields_must_be_valid(self, registrar: Registrar) -> None:
        """Fields outside the mask are checked too, and so is the mask, whether the resource exists or not."""
        await registrar.add_student("s-1")
        for student_id in ("s-1", "s-2"):
            student = Student(student_id=student_id, given_name="Ada", email="?")
            request = UpdateStudentRequest(
                student=student, update_mask=FieldMask(paths=["given_name", "holds"]), allow_missing=True
            )
            failure = await refused(registrar.students.UpdateStudent(request))
            assert set(failure.fields) == {"student.email", "update_mask"}

    async def test_the_prerequisites_of_a_new_course_count_at_once(self, client: AsyncRegistrarClient) -> None:
        """A created course has its meetings, windows and prerequisites like one of CreateCourse."""
        await client.courses.create(course_id="MATH-1")
        await client.students.create(student_id="s-1")
        created = await client.courses.update(
            course_id="MATH-2", prerequisite_course_ids=["MATH-1"], allow_missing=True
        )
        assert created.course.prerequisite_course_ids == ("MATH-1",)
        await client.record_completion(student_id="s-1", course_id="MATH-1")
        assert (await client.enroll(student_id="s-1", course_id="MATH-2")).state.value == "ENROLLED"


class TestTogether:
    """Creations by updates with previews, request ids, batches and other servers."""

    async def test_a_preview_creates_nothing(self, registrar: Registrar) -> None:
        """The preview of a creation has the course without its etag and times."""
        course = Course(course_id="CS-101", title="Intro")
        request = UpdateCourseRequest(course=course, validate_only=True, allow_missing=True)
        preview = (await registrar.courses.UpdateCourse(request)).course
        assert (preview.title, preview.credits, preview.etag) == ("Intro", "0", "")
        assert not preview.HasField("create_time")
        missing = GetCourseRequest(course_id="CS-101", show_deleted=True)
        assert (await refused(registrar.courses.GetCourse(missing))).reason == "COURSE_NOT_FOUND"

    async def test_a_replay_returns_the_creation(self, registrar: Registrar, engine: Engine) -> None:
        """A repeated request gets the first answer, although the student exists by now."""
        request = UpdateStudentRequest(
            student=Student(student_id="s-1", given_name="Ada"), allow_missing=True, request_id=str(uuid.uuid4())
        )
        first = await registrar.students.UpdateStudent(request)
        await registrar.students.DeleteStudent(DeleteStudentRequest(student_id="s-1"))
        assert await registrar.students.UpdateStudent(request) == first
        assert event_types(engine) == ["STUDENT_CREATED", "STUDENT_DELETED"]
        request.allow_missing = False
        assert (await refused(registrar.students.UpdateStudent(request))).reason == "REQUEST_ID_REUSED"

    async def test_in_one_batch(self, gate: Gate, database_url: str, engine: Engine) -> None:
        """Of updates that wait together, one creates the course, and the others update it."""
        async with registrar_on(database_url) as registrar:
            with gate.closed():
                before = asyncio.create_task(registrar.add_course("CS-100"))
                await gate.holds_one()
                requests = [
                    UpdateCourseRequest(course=Course(course_id="CS-101", capacity=number), allow_missing=True)
                    for number in (1, 2, 3)
                ]
                updates = [registrar.courses.UpdateCourse(request) for request in requests]
                # The connection keeps the order of requests, so the updates wait in the lane once this is answered.
                await refused(registrar.course("CS-101"))
            answers = await asyncio.gather(*updates)
            await before
            assert {answer.course.capacity for answer in answers} == {1, 2, 3}
        assert Counter(event_types(engine)) == {"COURSE_CREATED": 2, "COURSE_UPDATED": 2}
        assert_consistent(engine)

    async def test_on_two_servers(self, database_url: str, engine: Engine) -> None:
        """Of concurrent updates of one missing student on two servers, one creates the student."""
        requests = [
            UpdateStudentRequest(student=Student(student_id="s-1", given_name=f"{number}"), allow_missing=True)
            for number in range(16)
        ]
        async with registrar_on(database_url) as one, registrar_on(database_url) as other:
            calls = zip([one, other] * 8, requests, strict=True)
            await asyncio.gather(*(server.students.UpdateStudent(request) for server, request in calls))
        assert Counter(event_types(engine)) == {"STUDENT_CREATED": 1, "STUDENT_UPDATED": 15}
        assert_consistent(engine)


def test_the_client_of_threads_creates_what_is_missing(database_url: str) -> None:
    """``RegistrarClient`` takes ``allow_missing`` too."""
    with testing.server(database_url=database_url) as address, RegistrarClient(address) as client:
        assert client.students.update(student_id="s-1", given_name="Ada", allow_missing=True).given_name == "Ada"
        assert client.courses.update(course_id="CS-101", capacity=1, allow_missing=True).course.capacity == 1
        with pytest.raises(InvalidField):
            client.students.update(student_id="?", allow_missing=True)
