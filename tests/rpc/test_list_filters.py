"""The filters and orders of the other lists; ``test_paging.py`` tests their pages."""

from __future__ import annotations

from typing import Any

import pytest

from registrar.v1.course_service_pb2 import DeleteCourseRequest, SearchCoursesRequest
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_COMPLETED,
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_WAITLISTED,
    EnrollmentState,
)
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    GetEnrollmentRequest,
    ListCoursesRequest,
    ListRosterRequest,
    ListRosterResponse,
    UnenrollRequest,
)
from registrar.v1.student_pb2 import STUDENT_STATE_ACTIVE, STUDENT_STATE_INACTIVE
from registrar.v1.student_service_pb2 import (
    DeleteStudentRequest,
    ListStudentsRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
)
from registrar_client import AsyncRegistrarClient, CourseNotFound, StudentNotFound, StudentState
from registrar_client import EnrollmentState as State
from tests.support.refusals import refused
from tests.support.servers import Registrar, serving

ALL_STATES = EnrollmentState.values()[1:]


async def searched(registrar: Registrar, **fields: Any) -> list[str]:
    answer = await registrar.courses.SearchCourses(SearchCoursesRequest(**fields))
    return [course.course_id for course in answer.courses]


async def students(registrar: Registrar, **fields: Any) -> list[str]:
    answer = await registrar.students.ListStudents(ListStudentsRequest(**fields))
    return [student.student_id for student in answer.students]


async def courses(registrar: Registrar, **fields: Any) -> list[str]:
    answer = await registrar.enrollments.ListCourses(ListCoursesRequest(**fields))
    return [entry.course.course_id for entry in answer.courses]


async def roster(registrar: Registrar, **fields: Any) -> ListRosterResponse:
    return await registrar.enrollments.ListRoster(ListRosterRequest(course_id="CS-101", **fields))


async def place_hold(registrar: Registrar, student_id: str, code: str) -> None:
    await registrar.students.PlaceHold(PlaceHoldRequest(student_id=student_id, code=code))


class TestSearchCourses:
    """SearchCourses."""

    async def test_waitlisted_only_finds_the_courses_on_whose_waitlist_students_wait(
        self, registrar: Registrar
    ) -> None:
        for course_id in ("full", "waited-for", "empty"):
            await registrar.add_course(course_id, capacity=1, waitlist_capacity=1)
        for student_id in ("s-1", "s-2"):
            await registrar.add_student(student_id)
            await registrar.enroll(student_id, "waited-for")
        await registrar.enroll("s-1", "full")
        assert await searched(registrar, waitlisted_only=True) == ["waited-for"]
        assert await searched(registrar, waitlisted_only=True, open_only=True) == []
        await registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id="waited-for"))
        assert await searched(registrar, waitlisted_only=True) == []

    @pytest.mark.parametrize(
        ("component", "found"), [("LAB", ["lab"]), (" lab", ["lab"]), ("LEC", []), ("", ["lab", "none"])]
    )
    async def test_component_finds_the_courses_of_a_component_by_its_key(
        self, registrar: Registrar, component: str, found: list[str]
    ) -> None:
        await registrar.add_course("lab", code="CS 101", component="LAB")
        await registrar.add_course("none", code="CS 101")
        assert await searched(registrar, component=component, code="cs101") == found

    async def test_a_component_that_is_too_long_is_refused(self, sqlite_registrar: Registrar) -> None:
        failure = await refused(searched(sqlite_registrar, component="x" * 65))
        assert failure.fields == {"component": "must have at most 64 characters, has 65"}


class TestListStudents:
    """ListStudents."""

    async def test_hold_code_finds_the_students_with_a_hold_of_this_code_by_its_key(self, registrar: Registrar) -> None:
        for student_id in ("s-1", "s-2", "s-3", "s-4"):
            await registrar.add_student(student_id)
        await place_hold(registrar, "s-1", "BURSAR")
        await place_hold(registrar, "s-2", "Library fine")
        await place_hold(registrar, "s-2", "Bursar")
        await place_hold(registrar, "s-3", 'A "quoted", code')
        assert await students(registrar, hold_code="bursar") == ["s-1", "s-2"]
        assert await students(registrar, hold_code="LIBRARY  FINE") == ["s-2"]
        assert await students(registrar, hold_code='a "quoted", CODE') == ["s-3"]
        for part in ("LIBRARY", "quoted", ",", "[]", "%", "'"):
            assert await students(registrar, hold_code=part) == []
        await registrar.students.ReleaseHold(ReleaseHoldRequest(student_id="s-2", code="Bursar"))
        assert await students(registrar, hold_code="BURSAR") == ["s-1"]

    async def test_state_finds_the_students_in_this_state(self, registrar: Registrar) -> None:
        await registrar.add_student("s-1")
        await registrar.add_student("s-2", state=STUDENT_STATE_INACTIVE)
        await place_hold(registrar, "s-2", "BURSAR")
        assert await students(registrar) == ["s-1", "s-2"]
        assert await students(registrar, state=STUDENT_STATE_ACTIVE) == ["s-1"]
        assert await students(registrar, state=STUDENT_STATE_INACTIVE) == ["s-2"]
        assert await students(registrar, state=STUDENT_STATE_INACTIVE, hold_code="BURSAR") == ["s-2"]
        assert await students(registrar, state=STUDENT_STATE_ACTIVE, hold_code="BURSAR") == []

    async def test_one_refusal_names_every_invalid_filter(self, sqlite_registrar: Registrar) -> None:
        failure = await refused(students(sqlite_registrar, state=9, hold_code="x" * 65))
        assert failure.fields == {
            "hold_code": "must have at most 64 characters, has 65",
            "state": "must be one of ACTIVE, INACTIVE",
        }


class TestListCourses:
    """ListCourses."""

    @pytest.mark.parametrize("page_size", [0, 1000])
    async def test_term_lists_the_courses_of_a_term_by_its_key(self, registrar: Registrar, page_size: int) -> None:
        await registrar.add_student("s-1")
        for course_id, term in (("c-1", "2018 Fall"), ("c-2", "2019 Spring"), ("c-3", "2018 fall"), ("c-4", "")):
            await registrar.add_course(course_id, term=term)
            await registrar.enroll("s-1", course_id)
        assert await courses(registrar, student_id="s-1", page_size=page_size) == ["c-1", "c-2", "c-3", "c-4"]
        assert await courses(registrar, student_id="s-1", page_size=page_size, term="2018 FALL") == ["c-1", "c-3"]
        assert await courses(registrar, student_id="s-1", page_size=page_size, term="2018") == []

    async def test_a_term_that_is_too_long_is_refused(self, sqlite_registrar: Registrar) -> None:
        failure = await refused(courses(sqlite_registrar, student_id="s-1", term="x" * 65))
        assert failure.fields == {"term": "must have at most 64 characters, has 65"}

    async def test_show_deleted_lists_the_transcript_of_a_deleted_student(self, registrar: Registrar) -> None:
        """Without it the student is not found; an id that never existed is not found in either case."""
        await registrar.add_student("s-1")
        for course_id in ("c-1", "c-2"):
            await registrar.add_course(course_id)
            await registrar.enroll("s-1", course_id)
        complete = CompleteEnrollmentRequest(student_id="s-1", course_id="c-1", grade="A")
        await registrar.enrollments.CompleteEnrollment(complete)
        await registrar.students.DeleteStudent(DeleteStudentRequest(student_id="s-1", force=True))
        await registrar.courses.DeleteCourse(DeleteCourseRequest(course_id="c-1"))

        transcript = {"student_id": "s-1", "states": [ENROLLMENT_STATE_COMPLETED]}
        assert (await refused(courses(registrar, **transcript))).reason == "STUDENT_NOT_FOUND"
        assert await courses(registrar, **transcript, show_deleted=True) == ["c-1"]
        assert await courses(registrar, student_id="s-1", show_deleted=True) == []
        assert await courses(registrar, student_id="s-1", states=ALL_STATES, show_deleted=True) == ["c-1", "c-2"]
        failure = await refused(courses(registrar, student_id="nobody", show_deleted=True))
        assert failure.reason == "STUDENT_NOT_FOUND"


NAMES = [
    ("s-1", "de la Cruz", "Ana"),
    ("s-2", "Özdemir", "Zeynep"),
    ("s-3", "Li", "Wei"),
    ("s-4", "Lindqvist", "Åsa"),
    ("s-5", "li", "Änne"),
    ("s-6", "", ""),
    ("s-7", "Zuse", "Konrad"),
    ("s-8", "Li", "wei"),
    ("s-9", "DE LA  CRUZ", "Álvaro"),
]
BY_NAME = ["s-6", "s-9", "s-1", "s-5", "s-3", "s-8", "s-4", "s-2", "s-7"]


class TestListRoster:
    """ListRoster."""

    async def test_show_deleted_lists_the_roster_of_a_deleted_course(self, registrar: Registrar) -> None:
        """Without it the course is not found; an id that never existed is not found in either case."""
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        await registrar.enroll("s-1", "CS-101")
        await registrar.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
        assert (await refused(roster(registrar, states=ALL_STATES))).reason == "COURSE_NOT_FOUND"
        for order in ("", "family_name"):
            found = await roster(registrar, states=ALL_STATES, show_deleted=True, order_by=order)
            (entry,) = found.entries
            assert (entry.student.student_id, entry.enrollment.state) == ("s-1", ENROLLMENT_STATE_DROPPED)
        request = ListRosterRequest(course_id="nothing", show_deleted=True)
        assert (await refused(registrar.enrollments.ListRoster(request))).reason == "COURSE_NOT_FOUND"

    async def test_order_by_family_name_ignores_case_and_accents(self, registrar: Registrar) -> None:
        """Then the given name decides, then the order of creation; a name comes before its continuations."""
        await registrar.add_course("CS-101")
        for student_id, family_name, given_name in NAMES:
            await registrar.add_student(student_id, family_name=family_name, given_name=given_name)
            await registrar.enroll(student_id, "CS-101")
        in_order = await roster(registrar)
        by_name = await roster(registrar, order_by="family_name")
        assert [entry.student.student_id for entry in in_order.entries] == [name[0] for name in NAMES]
        assert [entry.student.student_id for entry in by_name.entries] == BY_NAME
        assert sorted(map(str, by_name.entries)) == sorted(map(str, in_order.entries))

    @pytest.mark.parametrize("size", [1, 2, 50])
    @pytest.mark.parametrize("states", [[], [ENROLLMENT_STATE_WAITLISTED], ALL_STATES])
    async def test_positions_are_those_of_the_queue_also_by_name(
        self, registrar: Registrar, size: int, states: list[EnrollmentState.ValueType]
    ) -> None:
        await registrar.add_course("CS-101", capacity=2, waitlist_capacity=9)
        for student_id, family_name, given_name in NAMES:
            await registrar.add_student(student_id, family_name=family_name, given_name=given_name)
            await registrar.enroll(student_id, "CS-101")
        await registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-4", course_id="CS-101"))
        listed: list[str] = []
        token = ""
        while token or not listed:
            found = await roster(registrar, states=states, order_by="family_name", page_size=size, page_token=token)
            for entry in found.entries:
                request = GetEnrollmentRequest(enrollment_id=entry.enrollment.enrollment_id)
                assert entry.enrollment == (await registrar.enrollments.GetEnrollment(request)).enrollment
                listed.append(entry.student.student_id)
            token = found.next_page_token
        assert listed == [one for one in BY_NAME if one in listed]
        left_out = {0: {"s-4"}, 1: {"s-1", "s-2", "s-4"}, len(ALL_STATES): set()}[len(states)]
        assert set(BY_NAME) - set(listed) == left_out

    @pytest.mark.parametrize("order_by", ["given_name", "family_name desc", "Family_Name", " "])
    async def test_another_order_is_refused(self, sqlite_registrar: Registrar, order_by: str) -> None:
        failure = await refused(roster(sqlite_registrar, order_by=order_by))
        assert failure.fields == {"order_by": "must be family_name or empty"}


async def test_the_client_passes_the_filters(database_url: str) -> None:
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        for student_id, family_name in (("s-1", "Zuse"), ("s-2", "Ada")):
            await client.students.create(student_id=student_id, family_name=family_name, state=StudentState.ACTIVE)
        await client.courses.create(course_id="c-1", term="fall", component="LAB", capacity=1, waitlist_capacity=1)
        await client.enroll(student_id="s-1", course_id="c-1")
        await client.enroll(student_id="s-2", course_id="c-1")
        await client.students.place_hold(student_id="s-1", code="BURSAR")

        found = [course.course_id async for course in client.courses.search(waitlisted_only=True, component="lab")]
        assert found == ["c-1"]
        held = client.students.list(hold_code="Bursar", state=StudentState.ACTIVE)
        assert [student.student_id async for student in held] == ["s-1"]
        assert [one.course.term async for one in client.list_courses(student_id="s-1", term="FALL")] == ["fall"]
        by_name = client.list_roster(course_id="c-1", order_by="family_name", page_size=1)
        assert [entry.student.family_name async for entry in by_name] == ["Ada", "Zuse"]

        await client.students.delete(student_id="s-1", force=True)
        await client.courses.delete(course_id="c-1", force=True)
        dropped: dict[str, Any] = {"states": [State.DROPPED], "show_deleted": True}
        assert len([one async for one in client.list_courses(student_id="s-1", **dropped)]) == 1
        assert len([one async for one in client.list_roster(course_id="c-1", **dropped)]) == 2
        with pytest.raises(StudentNotFound):
            await anext(aiter(client.list_courses(student_id="s-1")))
        with pytest.raises(CourseNotFound):
            await anext(aiter(client.list_roster(course_id="c-1")))
