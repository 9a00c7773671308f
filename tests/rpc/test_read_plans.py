"""The plans of reads: which of them share the statements of a batch, and that a page is the same on either way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import Message

from registrar.v1 import course_service_pb2, student_service_pb2
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_ENROLLED,
    ENROLLMENT_STATE_WAITLISTED,
)
from registrar_server.core.commands import CreateCourse, CreateStudent, Enroll, Unenroll
from registrar_server.errors import Refusal
from registrar_server.immediate import complete
from registrar_server.ledger.calls import Answer
from registrar_server.reading.lookups import CourseById, CoursesOfStudent, EnrollmentById, StudentById
from registrar_server.rpc.methods import LookupPlan, QueryPlan, Read
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.paging import DEFAULT_PAGE_SIZE
from registrar_server.rpc.table import METHODS
from registrar_server.rpc.validation import Fields
from registrar_server.storage.database import Database
from registrar_server.storage.stores import BlockingStore
from tests.support.ledgers import Ledger, carry_out
from tests.support.reads import packed_reads

LIVE = (ENROLLMENT_STATE_ENROLLED, ENROLLMENT_STATE_WAITLISTED)


def plan_of(request: Message) -> LookupPlan | QueryPlan:
    """Return the plan of the read with this request."""
    (read,) = (method for rows in METHODS.values() for method in rows.values() if method.request is type(request))
    assert isinstance(read, Read)
    fields = Fields()
    plan = read.plan(fields, request)
    fields.check()
    return plan


def courses_request(**filters: Any) -> pb.ListCoursesRequest:
    """Return a request for the courses of s-1."""
    return pb.ListCoursesRequest(student_id="s-1", **filters)


class TestCoursesOfAStudent:
    """The first page of live courses in default size is the most frequent read, and a lookup; others are queries."""

    @pytest.mark.parametrize(
        "filters",
        [{}, {"page_size": DEFAULT_PAGE_SIZE}, {"states": LIVE}, {"states": LIVE[::-1]}],
        ids=["default", "default-size", "default-states", "default-states-in-any-order"],
    )
    def test_the_first_page_of_live_courses_is_a_lookup(self, filters: dict[str, Any]) -> None:
        """It does not matter whether a caller names the defaults."""
        plan = plan_of(courses_request(**filters))
        assert isinstance(plan, LookupPlan)
        assert plan.lookup == CoursesOfStudent("s-1")

    @pytest.mark.parametrize(
        ("filters", "courses"),
        [
            ({"page_size": 1}, ["c-0"]),
            ({"page_size": 1000}, ["c-0", "c-1", "c-2"]),
            ({"states": [ENROLLMENT_STATE_DROPPED]}, ["c-3"]),
            ({"states": [ENROLLMENT_STATE_ENROLLED]}, ["c-0", "c-1", "c-2"]),
            ({"term": "fall"}, ["c-1"]),
            ({"show_deleted": True}, ["c-0", "c-1", "c-2"]),
        ],
        ids=str,
    )
    def test_any_other_page_is_a_query(self, reads: PackedReads, filters: dict[str, Any], courses: list[str]) -> None:
        """Other filters and sizes have a query of their own."""
        plan = plan_of(courses_request(**filters))
        assert isinstance(plan, QueryPlan)
        assert course_ids(answer(reads, plan)) == courses

    def test_the_next_page_is_a_query(self, reads: PackedReads, ledger: Ledger) -> None:
        """A lookup finds all courses; those beyond the page follow its token, which belongs to a query."""
        more = [f"d-{number:02}" for number in range(DEFAULT_PAGE_SIZE)]
        carry_out(ledger, *map(CreateCourse, more), *(Enroll("s-1", course_id) for course_id in more))
        first = answer(reads, plan_of(courses_request()))
        following = plan_of(courses_request(page_token=first.next_page_token))
        assert isinstance(following, QueryPlan)
        second = answer(reads, following)
        assert (len(first.courses), second.next_page_token) == (DEFAULT_PAGE_SIZE, "")
        assert course_ids(first) + course_ids(second) == ["c-0", "c-1", "c-2", *more]

    def test_both_ways_return_the_same(self, reads: PackedReads) -> None:
        """Bytes and message of the response are those of a larger page."""
        looked_up, queried = plan_of(courses_request()), plan_of(courses_request(page_size=1000))
        assert isinstance(looked_up, LookupPlan)
        assert isinstance(queried, QueryPlan)
        assert answer(reads, looked_up) == answer(reads, queried)

    def test_an_invalid_request_has_no_plan(self) -> None:
        """All invalid fields are refused before anything is read."""
        with pytest.raises(Refusal) as refused:
            plan_of(pb.ListCoursesRequest(student_id="", page_size=-1))
        assert [field.field for field in refused.value.fields] == ["student_id", "page_size"]

    @pytest.fixture
    def ledger(self, database: Database) -> Ledger:
        """A ledger with a student who is in c-0 to c-2, and left c-3."""
        ledger = Ledger(database)
        courses = [CreateCourse(f"c-{number}", {"term": "fall" if number == 1 else "spring"}) for number in range(4)]
        carry_out(ledger, CreateStudent("s-1"), *courses, *(Enroll("s-1", f"c-{number}") for number in range(4)))
        carry_out(ledger, Unenroll("s-1", "c-3"))
        return ledger

    @pytest.fixture
    def reads(self, database: Database, ledger: Ledger) -> PackedReads:
        """The reads of the same database."""
        return packed_reads(database, BlockingStore(database))


def answer(reads: PackedReads, plan: LookupPlan | QueryPlan) -> Any:
    """Carry out a read that must succeed, and return the message in its bytes."""
    (found,) = [reads.query(plan)] if isinstance(plan, QueryPlan) else complete(reads.look_up([plan]))
    assert isinstance(found, Answer)
    message = pb.ListCoursesResponse.FromString(found.response)
    assert message == found.message
    return message


def course_ids(response: pb.ListCoursesResponse) -> list[str]:
    """Return the courses of a response, in order."""
    return [entry.course.course_id for entry in response.courses]


@pytest.mark.parametrize(
    ("request_", "lookup"),
    [
        (student_service_pb2.GetStudentRequest(student_id="s-1"), StudentById("s-1")),
        (student_service_pb2.GetStudentRequest(student_id="s-1", show_deleted=True), StudentById("s-1", True)),
        (course_service_pb2.GetCourseRequest(course_id="c-1"), CourseById("c-1")),
        (course_service_pb2.GetCourseRequest(course_id="c-1", show_deleted=True), CourseById("c-1", True)),
        (pb.GetEnrollmentRequest(enrollment_id="e-1"), EnrollmentById("e-1")),
    ],
    ids=lambda value: "" if isinstance(value, Message) else str(value),
)
def test_a_read_by_id_is_a_lookup(request_: Message, lookup: object) -> None:
    """Reads by id share their statements."""
    plan = plan_of(request_)
    assert isinstance(plan, LookupPlan)
    assert plan.lookup == lookup


def test_all_reads_by_id_are_tested() -> None:
    """A new read by id has to be added to the test above."""
    assert names_of_reads("Get") == ["GetCourse", "GetEnrollment", "GetStudent"]


def names_of_reads(prefix: str) -> Sequence[str]:
    rows = (method for rows in METHODS.values() for method in rows.values())
    return sorted(row.name for row in rows if isinstance(row, Read) and row.name.startswith(prefix))
