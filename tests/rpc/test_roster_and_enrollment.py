"""GetEnrollment and ListRoster over gRPC."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from sqlalchemy import Engine

from registrar.v1.course_service_pb2 import DeleteCourseRequest
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_COMPLETED,
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_ENROLLED,
    ENROLLMENT_STATE_WAITLISTED,
    Enrollment,
    EnrollmentState,
)
from registrar.v1.enrollment_service_pb2 import (
    GetEnrollmentRequest,
    ListRosterRequest,
    ListRosterResponse,
    RosterEntry,
    UnenrollRequest,
)
from registrar.v1.student_service_pb2 import DeleteStudentRequest, GetStudentRequest
from tests.support.databases import execute
from tests.support.refusals import Failure, info, refused, resource
from tests.support.servers import Registrar

ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
NO_COURSE = Failure(
    StatusCode.NOT_FOUND,
    'There is no course "nothing".',
    (
        info("COURSE_NOT_FOUND", course_id="nothing"),
        resource("Course", "nothing", 'There is no course "nothing".'),
    ),
)


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """Students z, a and m, and a course CS-101."""
    for student_id in ("z", "a", "m"):
        await registrar.add_student(student_id, given_name=student_id.upper())
    await registrar.add_course("CS-101", capacity=3)
    return registrar


async def get(registrar: Registrar, enrollment_id: str) -> Enrollment:
    request = GetEnrollmentRequest(enrollment_id=enrollment_id)
    return (await registrar.enrollments.GetEnrollment(request)).enrollment


async def drop(registrar: Registrar, student_id: str) -> Enrollment:
    request = UnenrollRequest(student_id=student_id, course_id="CS-101", reason="moved")
    return (await registrar.enrollments.Unenroll(request)).enrollment


async def roster(registrar: Registrar, *states: EnrollmentState.ValueType) -> list[Enrollment]:
    request = ListRosterRequest(course_id="CS-101", states=states)
    return [entry.enrollment for entry in (await registrar.enrollments.ListRoster(request)).entries]


class TestGetEnrollment:
    """GetEnrollment."""

    async def test_live(self, campus: Registrar) -> None:
        """An enrollment is returned as EnrollStudent returned it."""
        given = await campus.enroll("a", "CS-101")
        assert await get(campus, given.enrollment_id) == given

    async def test_dropped(self, campus: Registrar) -> None:
        """A dropped enrollment is returned as Unenroll returned it, and a later one is another enrollment."""
        given = await campus.enroll("a", "CS-101")
        dropped = await drop(campus, "a")
        again = await campus.enroll("a", "CS-101")
        assert await get(campus, given.enrollment_id) == dropped
        assert await get(campus, again.enrollment_id) == again

    async def test_completed(self, campus: Registrar, database_url: str) -> None:
        """A completed enrollment has its grade and whether it was passed, also if it was failed."""
        given = await campus.enroll("a", "CS-101")
        completed = "state = 'COMPLETED', end_time = 1533103200123456, grade = 'F', passed = false"
        execute(database_url, f"UPDATE enrollments SET {completed}")
        found = await get(campus, given.enrollment_id)
        assert (found.state, found.grade) == (ENROLLMENT_STATE_COMPLETED, "F")
        assert found.HasField("passed")
        assert not found.passed
        assert (found.end_time.seconds, found.end_time.nanos) == (1_533_103_200, 123_456_000)

    async def test_survives_deletion(self, campus: Registrar) -> None:
        """An enrollment can be read after its student and its course are deleted."""
        given = await campus.enroll("a", "CS-101")
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="a"))
        assert (await get(campus, given.enrollment_id)).reason == "COURSE_DELETED"

    async def test_not_found(self, campus: Registrar) -> None:
        """An enrollment that does not exist is not found."""
        sentence = 'There is no enrollment "e-1".'
        assert await refused(get(campus, "e-1")) == Failure(
            StatusCode.NOT_FOUND,
            sentence,
            (info("ENROLLMENT_NOT_FOUND", enrollment_id="e-1"), resource("Enrollment", "e-1", sentence)),
        )

    async def test_bad_id(self, sqlite_registrar: Registrar) -> None:
        """The id is required and must be valid."""
        assert (await refused(get(sqlite_registrar, ""))).fields == {"enrollment_id": f"is required and {ID_RULE}"}
        assert (await refused(get(sqlite_registrar, "a b"))).fields == {
            "enrollment_id": f'{ID_RULE}: "a b" contains a blank'
        }


class TestListRoster:
    """ListRoster; ``test_paging.py`` tests its pages."""

    async def test_students_with_enrollments(self, campus: Registrar) -> None:
        """Each entry has the complete student and the enrollment, as from GetStudent and EnrollStudent."""
        given = await campus.enroll("a", "CS-101")
        student = (await campus.students.GetStudent(GetStudentRequest(student_id="a"))).student
        answer = await campus.enrollments.ListRoster(ListRosterRequest(course_id="CS-101"))
        assert answer == ListRosterResponse(entries=[RosterEntry(student=student, enrollment=given)])

    async def test_order(self, campus: Registrar) -> None:
        """Students are listed in the order of their enrollments; a student who drops and enrolls again is last."""
        for student_id in ("z", "a", "m"):
            await campus.enroll(student_id, "CS-101")
        assert [one.student_id for one in await roster(campus)] == ["z", "a", "m"]
        await drop(campus, "z")
        await campus.enroll("z", "CS-101")
        assert [one.student_id for one in await roster(campus)] == ["a", "m", "z"]

    async def test_empty(self, campus: Registrar) -> None:
        """A course without students has an empty roster."""
        answer = await campus.enrollments.ListRoster(ListRosterRequest(course_id="CS-101"))
        assert answer == ListRosterResponse()

    async def test_states(self, campus: Registrar, engine: Engine, database_url: str) -> None:
        """Live enrollments are listed unless the request names other states."""
        enrolled = await campus.enroll("z", "CS-101")
        await campus.enroll("a", "CS-101")
        dropped = await drop(campus, "a")
        waiting = await campus.enroll("m", "CS-101")
        execute(database_url, "UPDATE enrollments SET state = 'WAITLISTED' WHERE student_id = 'm'")

        async def ids(*states: EnrollmentState.ValueType) -> list[str]:
            return [one.enrollment_id for one in await roster(campus, *states)]

        live = [enrolled.enrollment_id, waiting.enrollment_id]
        assert await ids() == live
        assert await ids(ENROLLMENT_STATE_WAITLISTED, ENROLLMENT_STATE_ENROLLED) == live
        assert await ids(ENROLLMENT_STATE_ENROLLED) == live[:1]
        assert await ids(ENROLLMENT_STATE_WAITLISTED) == live[1:]
        assert await ids(ENROLLMENT_STATE_COMPLETED) == []
        assert await ids(*EnrollmentState.values()[1:]) == [live[0], dropped.enrollment_id, live[1]]

    async def test_deleted_student(self, campus: Registrar) -> None:
        """A deleted student is listed with the delete_time."""
        await campus.enroll("a", "CS-101")
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="a", force=True))
        request = ListRosterRequest(course_id="CS-101", states=[ENROLLMENT_STATE_DROPPED])
        (entry,) = (await campus.enrollments.ListRoster(request)).entries
        assert entry.student.HasField("delete_time")
        assert entry.enrollment.reason == "STUDENT_DELETED"
        assert await roster(campus) == []

    async def test_not_found(self, campus: Registrar) -> None:
        """A course that does not exist or is deleted is not found."""
        request = ListRosterRequest(course_id="nothing")
        assert await refused(campus.enrollments.ListRoster(request)) == NO_COURSE
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101"))
        assert (await refused(roster(campus))).reason == "COURSE_NOT_FOUND"

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        request = ListRosterRequest(course_id="?", states=EnrollmentState.values()[:2], page_size=-1)
        assert (await refused(sqlite_registrar.enrollments.ListRoster(request))).fields == {
            "course_id": f'{ID_RULE}: "?" begins with "?"',
            "states[0]": "must be one of ENROLLED, WAITLISTED, DROPPED, COMPLETED",
            "page_size": "must not be negative; 0 means 50",
        }
