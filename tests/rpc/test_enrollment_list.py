"""ListEnrollments over gRPC: enrollments of all students in all courses; ``test_paging.py`` tests its pages too."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from registrar.v1.course_service_pb2 import DeleteCourseRequest
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_COMPLETED,
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_ENROLLED,
    ENROLLMENT_STATE_WAITLISTED,
    Enrollment,
)
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    GetEnrollmentRequest,
    ListEnrollmentsRequest,
    ListEnrollmentsResponse,
    UnenrollRequest,
)
from registrar.v1.student_service_pb2 import DeleteStudentRequest
from registrar_client import AsyncRegistrarClient, CourseNotFound, EnrollmentState, StudentNotFound
from registrar_server.core import vocabulary
from tests.support.databases import execute
from tests.support.refusals import refused
from tests.support.servers import Registrar, serving

ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """Students a, b and d; CS-1 with one seat and a waitlist; b waits for it, d waits too; all in ART-1, d dropped it.

    The enrollments, in the order of the list: a, b, d in ART-1, then a, b, d in CS-1.
    """
    for student_id in ("a", "b", "d"):
        await registrar.add_student(student_id)
    await registrar.add_course("CS-1", code="CS 101", term="2018 Fall", capacity=1, waitlist_capacity=9)
    await registrar.add_course("ART-1", code="ART 9", term="2019 Spring")
    for course_id in ("CS-1", "ART-1"):
        for student_id in ("a", "b", "d"):
            await registrar.enroll(student_id, course_id)
    await registrar.enrollments.Unenroll(UnenrollRequest(student_id="d", course_id="ART-1"))
    return registrar


async def listed(registrar: Registrar, **fields: Any) -> list[Enrollment]:
    """Return the enrollments of one page, which must be the last."""
    answer = await registrar.enrollments.ListEnrollments(ListEnrollmentsRequest(**fields))
    assert not answer.next_page_token
    return list(answer.enrollments)


async def pairs(registrar: Registrar, **fields: Any) -> list[tuple[str, str]]:
    return [(one.student_id, one.course_id) for one in await listed(registrar, **fields)]


ART = [("a", "ART-1"), ("b", "ART-1"), ("d", "ART-1")]
CS = [("a", "CS-1"), ("b", "CS-1"), ("d", "CS-1")]


async def test_list_enrollments_lists_all_states_across_students_and_courses(campus: Registrar) -> None:
    """Without filters, every enrollment is listed, by course and in the order of creation, as GetEnrollment has it."""
    found = await listed(campus)
    assert [(one.student_id, one.course_id) for one in found] == ART + CS
    for one in found:
        request = GetEnrollmentRequest(enrollment_id=one.enrollment_id)
        assert (await campus.enrollments.GetEnrollment(request)).enrollment == one
    assert [one.state for one in found] == [
        *(ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_DROPPED),
        *(ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_WAITLISTED, ENROLLMENT_STATE_WAITLISTED),
    ]


async def test_an_empty_database_has_no_enrollments(registrar: Registrar) -> None:
    answer = await registrar.enrollments.ListEnrollments(ListEnrollmentsRequest())
    assert answer == ListEnrollmentsResponse()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"student_id": "b"}, [ART[1], CS[1]]),
        ({"course_id": "CS-1"}, CS),
        ({"student_id": "d", "course_id": "CS-1"}, [CS[2]]),
        ({"term": "2018 Fall"}, CS),
        ({"term": " 2018  FALL"}, CS),
        ({"term": "2018"}, []),
        ({"code": "ART 9"}, ART),
        ({"code": "art9"}, ART),
        ({"code": "ART 9", "term": "2018 Fall"}, []),
        ({"states": [ENROLLMENT_STATE_WAITLISTED]}, CS[1:]),
        ({"states": [ENROLLMENT_STATE_DROPPED]}, [ART[2]]),
        ({"states": [ENROLLMENT_STATE_WAITLISTED, ENROLLMENT_STATE_DROPPED]}, [ART[2], *CS[1:]]),
        ({"states": [ENROLLMENT_STATE_COMPLETED]}, []),
        ({"student_id": "d", "states": [ENROLLMENT_STATE_DROPPED], "term": "2019 spring"}, [ART[2]]),
    ],
)
async def test_list_enrollments_filters(
    campus: Registrar, filters: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    """Enrollments match all filters together; terms and codes are compared by key."""
    assert await pairs(campus, **filters) == found
    assert await pairs(campus, **filters, show_deleted=True) == found


async def test_update_time_after_lists_the_enrollments_that_changed_later(campus: Registrar, database_url: str) -> None:
    """The time itself is excluded, and parts of a microsecond do not matter."""
    for number, (student_id, course_id) in enumerate(ART + CS):
        when = "UPDATE enrollments SET update_time = :time WHERE student_id = :student AND course_id = :course"
        execute(database_url, when, time=1_000_000 + number, student=student_id, course=course_id)

    def after(nanos: int) -> dict[str, Any]:
        return {"update_time_after": Timestamp(seconds=1, nanos=nanos)}

    assert await pairs(campus, **after(3_000)) == CS[1:]
    assert await pairs(campus, **after(2_999)) == CS
    assert await pairs(campus, **after(3_001)) == CS[1:]
    assert await pairs(campus, **after(3_000), student_id="b") == [CS[1]]
    assert await pairs(campus, **after(5_000)) == []
    await campus.enrollments.CompleteEnrollment(CompleteEnrollmentRequest(student_id="a", course_id="CS-1"))
    assert await pairs(campus, **after(5_000)) == [CS[0]]


@pytest.mark.parametrize(
    "filters", [{}, {"student_id": "w-3"}, {"course_id": "CS-9"}, {"states": [ENROLLMENT_STATE_WAITLISTED]}]
)
@pytest.mark.parametrize("size", [1, 3, 50])
async def test_positions_are_right_with_any_filter_and_page(
    registrar: Registrar, filters: dict[str, Any], size: int
) -> None:
    """Each waiter has the position that GetEnrollment tells, also if those ahead are on other pages or not listed."""
    for number in range(8):
        await registrar.add_student(f"w-{number}")
    for course_id in ("CS-8", "CS-9"):
        await registrar.add_course(course_id, capacity=1, waitlist_capacity=20)
        for number in range(8):
            await registrar.enroll(f"w-{number}", course_id)
    await registrar.enrollments.Unenroll(UnenrollRequest(student_id="w-2", course_id="CS-9"))
    await registrar.enroll("w-2", "CS-9")
    request = ListEnrollmentsRequest(page_size=size, **filters)
    positions: dict[str, int] = {}
    while True:
        answer = await registrar.enrollments.ListEnrollments(request)
        positions |= {one.enrollment_id: one.waitlist_position for one in answer.enrollments}
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    for enrollment_id, position in positions.items():
        found = await registrar.enrollments.GetEnrollment(GetEnrollmentRequest(enrollment_id=enrollment_id))
        assert found.enrollment.waitlist_position == position
    assert max(positions.values()) >= 3


class TestDeleted:
    """Students and courses that are deleted."""

    async def test_enrollments_of_deleted_ones_are_listed_with_show_deleted(self, campus: Registrar) -> None:
        """By default, the enrollments of deleted students and in deleted courses are left out."""
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="d", force=True))
        assert await pairs(campus) == [*ART[:2], *CS[:2]]
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="ART-1", force=True))
        assert await pairs(campus) == CS[:2]
        assert await pairs(campus, show_deleted=True) == ART + CS

    async def test_a_deleted_student_or_course_is_found_with_show_deleted_only(self, campus: Registrar) -> None:
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="d", force=True))
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="ART-1", force=True))
        assert (await refused(listed(campus, student_id="d"))).reason == "STUDENT_NOT_FOUND"
        assert (await refused(listed(campus, course_id="ART-1"))).reason == "COURSE_NOT_FOUND"
        assert await pairs(campus, student_id="d", show_deleted=True) == [ART[2], CS[2]]
        assert await pairs(campus, course_id="ART-1", show_deleted=True) == ART

    async def test_an_id_that_never_existed_is_not_found(self, campus: Registrar) -> None:
        for show_deleted in (False, True):
            failure = await refused(listed(campus, student_id="nobody", show_deleted=show_deleted))
            assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND")
            failure = await refused(listed(campus, course_id="nothing", show_deleted=show_deleted))
            assert (failure.code, failure.reason) == (StatusCode.NOT_FOUND, "COURSE_NOT_FOUND")


async def test_changes_between_pages_repeat_and_skip_nothing(campus: Registrar) -> None:
    """The order does not depend on what changes: state, position and update_time."""
    request = ListEnrollmentsRequest(page_size=2)
    first = await campus.enrollments.ListEnrollments(request)
    await campus.enrollments.Unenroll(UnenrollRequest(student_id="a", course_id="ART-1"))
    await campus.enrollments.Unenroll(UnenrollRequest(student_id="a", course_id="CS-1"))
    await campus.enroll("a", "CS-1")
    request.page_token = first.next_page_token
    request.page_size = 1000
    second = await campus.enrollments.ListEnrollments(request)
    assert [(one.student_id, one.course_id) for one in second.enrollments] == [ART[2], *CS, CS[0]]


async def test_one_refusal_names_every_invalid_field(sqlite_registrar: Registrar) -> None:
    failure = await refused(
        listed(
            sqlite_registrar,
            student_id="s 1",
            course_id="?",
            term="x" * 65,
            code="x" * 65,
            states=[0],
            update_time_after=Timestamp(seconds=2**60),
            page_size=-1,
        )
    )
    assert failure.fields == {
        "student_id": f'{ID_RULE}: "s 1" contains a blank',
        "course_id": f'{ID_RULE}: "?" begins with "?"',
        "term": "must have at most 64 characters, has 65",
        "code": "must have at most 64 characters, has 65",
        "states[0]": f"must be one of {', '.join(vocabulary.EnrollmentState)}",
        "update_time_after": "must be a time from year 1 to 9999 with 0 to 999,999,999 nanoseconds",
        "page_size": "must not be negative; 0 means 50",
    }


async def test_the_client_lists_enrollments(database_url: str) -> None:
    """The client lists page by page, with its own types."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        await client.students.create(student_id="s-1")
        for number in range(3):
            await client.courses.create(course_id=f"c-{number}", term="fall")
        given = [await client.enroll(student_id="s-1", course_id=f"c-{number}") for number in range(3)]
        assert [one async for one in client.list_enrollments(term="Fall", page_size=2)] == given
        later = client.list_enrollments(
            student_id="s-1", states=[EnrollmentState.ENROLLED], update_time_after=given[1].update_time
        )
        assert [one async for one in later] == given[2:]
        with pytest.raises(StudentNotFound):
            await anext(aiter(client.list_enrollments(student_id="nobody")))
        with pytest.raises(CourseNotFound):
            await anext(aiter(client.list_enrollments(course_id="nothing")))
