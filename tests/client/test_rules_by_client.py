"""The rules as a caller of the client meets them, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registrar_client import AsyncRegistrarClient, CourseNotFound, EnrollmentState, EtagMismatch, InvalidField
from tests.support.servers import serving


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server on each database, with the student s-1."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as registrar:
        await registrar.students.create(student_id="s-1")
        yield registrar


class TestEtags:
    """An etag belongs to one row."""

    async def test_of_an_earlier_attempt(self, client: AsyncRegistrarClient) -> None:
        """The etag of an earlier attempt does not complete the present seat; the seat's own etag does."""
        await client.courses.create(course_id="c-1")
        earlier = await client.enroll(student_id="s-1", course_id="c-1")
        await client.unenroll(student_id="s-1", course_id="c-1")
        seat = await client.enroll(student_id="s-1", course_id="c-1")
        with pytest.raises(EtagMismatch):
            await client.complete(student_id="s-1", course_id="c-1", etag=earlier.etag)
        assert await client.get_enrollment(enrollment_id=seat.enrollment_id) == seat
        done = await client.complete(student_id="s-1", course_id="c-1", etag=seat.etag)
        assert done.state == EnrollmentState.COMPLETED

    async def test_of_another_student_or_course(self, client: AsyncRegistrarClient) -> None:
        """The etag of another student or course in the same version is refused, for updates and for deletions."""
        ada, course = await client.students.create(student_id="ada"), await client.courses.create(course_id="c-1")
        await client.courses.create(course_id="c-2")
        with pytest.raises(EtagMismatch):
            await client.students.update(student_id="s-1", given_name="Grace", etag=ada.etag)
        with pytest.raises(EtagMismatch):
            await client.students.delete(student_id="s-1", etag=ada.etag)
        with pytest.raises(EtagMismatch):
            await client.courses.update(course_id="c-2", title="Computing", etag=course.etag)
        with pytest.raises(EtagMismatch):
            await client.courses.delete(course_id="c-2", etag=course.etag)
        assert (await client.courses.delete(course_id="c-1", etag=course.etag)).course_id == "c-1"


class TestPrerequisites:
    """A new prerequisite is a course that exists or existed."""

    async def test_that_never_existed(self, client: AsyncRegistrarClient) -> None:
        """An id that never existed is refused by name; a deleted course is known."""
        await client.courses.create(course_id="math")
        await client.courses.delete(course_id="math")
        with pytest.raises(CourseNotFound, match='never existed: "art"') as refused:
            await client.courses.create(course_id="c-1", prerequisite_course_ids=["math", "art"])
        assert refused.value.metadata == {"course_id": "art"}
        course = await client.courses.create(course_id="c-1", prerequisite_course_ids=["math"])
        assert course.prerequisite_course_ids == ("math",)

    async def test_itself(self, client: AsyncRegistrarClient) -> None:
        """A course is never its own prerequisite."""
        await client.courses.create(course_id="c-1")
        with pytest.raises(InvalidField) as refused:
            await client.courses.update(course_id="c-1", prerequisite_course_ids=["c-1"])
        (violation,) = refused.value.field_violations
        assert violation.field == "course.prerequisite_course_ids[0]"
