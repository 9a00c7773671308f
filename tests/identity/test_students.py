"""What a student may do and see: everything of themselves, nothing of others."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest
from google.protobuf.message import Message

from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED, ENROLLMENT_STATE_ENROLLED
from registrar_server.rpc.access import ACCESS
from tests.support.doors import ROWS, Answered, Door, entering, opened

ADA, STAFF = "student:ada", "admin+override+on_behalf_of"
OTHER = "zoe"
"""The student of whom others learn nothing; only her names have this text."""
BY_ADVICE = {"rules": ["ERROR_REASON_COURSE_FULL"], "reason": "As agreed."}


async def add_campus(door: Door) -> str:
    """Add two students: Ada has the seat in ONE, and Zoe waits; both have a seat in FREE. Return Zoe's enrollment."""
    for student_id, given_name in (("ada", "Ada"), (OTHER, "zoe's name")):
        await door.made(STAFF, "CreateStudent", student={"student_id": student_id, "given_name": given_name})
    for course_id, capacity in (("ONE", 1), ("FREE", 9), ("OTHER", 9)):
        course = {"course_id": course_id, "capacity": capacity, "waitlist_capacity": 1}
        await door.made(STAFF, "CreateCourse", course=course)
    made = [
        await door.made(
            STAFF,
            "EnrollStudent",
            behalf="the-dean",
            student_id=student_id,
            course_id=course_id,
            comment="Between us.",
            request_id=str(uuid.uuid4()),
        )
        for course_id in ("ONE", "FREE")
        for student_id in ("ada", OTHER)
    ]
    return str(made[-1].enrollment.enrollment_id)


async def let_zoe_wait(door: Door, course_id: str) -> None:
    """Keep the free seat of a course from Zoe until somebody else's call settles the course."""
    await door.made(STAFF, "PlaceHold", student_id=OTHER, code="H", reason="Unpaid.")
    await door.made(STAFF, "Unenroll", student_id="ada", course_id=course_id)
    await door.made(STAFF, "ReleaseHold", student_id=OTHER, code="H")


async def make(door: Door, bearer: str, how: str, name: str, **fields: Any) -> Any:
    """Make a change in one of many ways, and return its response."""
    request_id = str(uuid.uuid4())
    if how in ("call", "preview"):
        return await door.made(bearer, name, validate_only=how == "preview", **fields)
    if how == "retry":
        first = await door.made(bearer, name, request_id=request_id, **fields)
        again = await door.made(bearer, name, request_id=request_id, **fields)
        assert again == first
        return again
    options: dict[str, Any] = {name: name in how for name in ("atomic", "unordered")}
    options |= {"validate_only": "preview" in how, "request_id": request_id if "retry" in how else ""}
    field = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
    response = await door.made(bearer, "BatchWrite", writes=[{field: fields}], **options)
    if "retry" in how:
        response = await door.made(bearer, "BatchWrite", writes=[{field: fields}], **options)
    (result,) = response.results
    assert not result.HasField("error"), result.error
    return getattr(result, field)


WAYS = [
    "call",
    "preview",
    "retry",
    "batch",
    "batch retry",
    "atomic batch",
    "unordered batch",
    "unordered batch retry",
    "batch preview",
    "atomic batch preview",
]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bearer", [ADA, "registrar"])
class TestPromotions:
    """A student does not learn who gets the seat that the student gives up; the staff does."""

    async def test_unenroll(self, door: Door, how: str, bearer: str) -> None:
        await add_campus(door)
        response = await make(door, bearer, how, "Unenroll", student_id="ada", course_id="ONE")
        assert response.enrollment.state == ENROLLMENT_STATE_DROPPED
        self.check(response, bearer)
        if "preview" not in how:
            entries = (await door.made("reader", "ListRoster", course_id="ONE")).entries
            assert [entry.enrollment.state for entry in entries] == [ENROLLMENT_STATE_ENROLLED], "Zoe was promoted"

    async def test_swap(self, door: Door, how: str, bearer: str) -> None:
        await add_campus(door)
        swap = {"student_id": "ada", "from_course_id": "ONE", "to_course_id": "OTHER"}
        response = await make(door, bearer, how, "SwapEnrollment", **swap)
        assert (response.enrollment.course_id, response.dropped.course_id) == ("OTHER", "ONE")
        self.check(response, bearer)

    async def test_enroll(self, door: Door, how: str, bearer: str) -> None:
        await add_campus(door)
        await let_zoe_wait(door, "ONE")
        response = await make(door, bearer, how, "EnrollStudent", student_id="ada", course_id="ONE")
        assert response.enrollment.waitlist_position == 1, "Zoe has the seat"
        self.check(response, bearer)

    def check(self, response: Any, bearer: str) -> None:
        """Check that the staff sees the promotion of Zoe, and Ada does not."""
        seen = [one.student_id for one in response.promoted]
        expected = ([], 0) if bearer == ADA else ([OTHER], 1)
        assert (seen, response.promoted_count) == expected


async def test_a_student_who_has_no_seat_may_give_it_up(door: Door) -> None:
    """With ``allow_missing`` there may be no enrollment in the response, and so nobody's."""
    await add_campus(door)
    for how in ("call", "preview", "batch"):
        response = await make(door, ADA, how, "Unenroll", student_id="ada", course_id="OTHER", allow_missing=True)
        assert not response.HasField("enrollment")


@pytest.mark.parametrize("field", ["enroll_student", "unenroll", "swap_enrollment"])
async def test_students_change_only_their_own_enrollments(door: Door, field: str) -> None:
    """Writes for others are refused one by one, and the others are made."""
    await add_campus(door)
    courses = (
        {"course_id": "FREE"} if field != "swap_enrollment" else {"from_course_id": "FREE", "to_course_id": "OTHER"}
    )
    allowed = {"allow_existing": True} if field == "enroll_student" else {}
    writes = [{field: {"student_id": one, **courses, **allowed}} for one in (OTHER, "ada", "nobody", "ADA", "")]
    response = await door.made(ADA, "BatchWrite", writes=writes)
    reasons = [Answered(None, result.error).reason for result in response.results]
    assert reasons == ["ROLE_REQUIRED", "", "ROLE_REQUIRED", "ROLE_REQUIRED", "ROLE_REQUIRED"]
    (entry,) = (await door.made("reader", "ListCourses", student_id=OTHER, page_size=1)).courses
    assert entry.course.course_id == "FREE"


class TestEnrollments:
    """An enrollment of another student is answered as one that does not exist."""

    async def test_of_another(self, door: Door) -> None:
        theirs = await add_campus(door)
        unknown = str(uuid.uuid4())
        assert len(theirs) == len(unknown)
        hidden = await door.refused(ADA, "GetEnrollment", enrollment_id=theirs)
        missing = await door.refused(ADA, "GetEnrollment", enrollment_id=unknown)
        assert hidden.reason == "ENROLLMENT_NOT_FOUND"
        text = hidden.status.SerializeToString().replace(theirs.encode(), unknown.encode())
        assert text == missing.status.SerializeToString()
        assert (await door.made("reader", "GetEnrollment", enrollment_id=theirs)).enrollment.student_id == OTHER

    async def test_of_oneself(self, door: Door) -> None:
        await add_campus(door)
        (mine, *_) = (await door.made(ADA, "ListEnrollments", student_id="ada")).enrollments
        found = await door.made(ADA, "GetEnrollment", enrollment_id=mine.enrollment_id)
        assert found.enrollment == mine
        other_case = mine.enrollment_id.swapcase()
        answered = await door.refused(ADA, "GetEnrollment", enrollment_id=other_case)
        assert answered.info.metadata == {"enrollment_id": other_case}

    @pytest.mark.parametrize(
        "fields", [{}, {"student_id": OTHER}, {"course_id": "ONE"}, {"student_id": "ADA"}], ids=str
    )
    @pytest.mark.parametrize("name", ["ListEnrollments", "ListEvents"])
    async def test_lists_must_name_the_student(self, door: Door, name: str, fields: dict[str, str]) -> None:
        await add_campus(door)
        assert (await door.refused(ADA, name, **fields)).reason == "ROLE_REQUIRED"

    async def test_page_tokens_of_another_list(self, door: Door) -> None:
        """A token of the staff's list does not lead into it."""
        await add_campus(door)
        for name, theirs in (
            ("ListEnrollments", {}),
            ("ListEnrollments", {"student_id": OTHER}),
            ("ListEvents", {"student_id": OTHER}),
            ("ListCourses", {"student_id": OTHER}),
        ):
            token = (await door.made("reader", name, page_size=1, **theirs)).next_page_token
            assert token
            answered = await door.refused(ADA, name, student_id="ada", page_size=1, page_token=token)
            assert answered.reason == "INVALID_PAGE_TOKEN"


class TestEvents:
    """A student sees the events of themselves, but not who made them."""

    async def test_without_the_actor(self, door: Door) -> None:
        await add_campus(door)
        full = (await door.made("reader", "ListEvents", student_id="ada")).events
        seen = (await door.made(ADA, "ListEvents", student_id="ada")).events
        assert len(seen) == 3
        hidden = ("actor", "on_behalf_of", "comment", "request_id")
        assert all(getattr(full[-1], name) for name in hidden)
        for event in full:
            for name in hidden:
                event.ClearField(name)
        assert seen == full

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("ListEvents", {"actor": f"test:{STAFF}"}),
            ("ListEvents", {"on_behalf_of": "the-dean"}),
            ("WatchEvents", {"actor": f"test:{STAFF}"}),
        ],
        ids=str,
    )
    async def test_no_filter_by_actor(self, door: Door, name: str, fields: dict[str, str]) -> None:
        """It would tell who made a change, also together with their own id."""
        await add_campus(door)
        assert (await door.refused(ADA, name, student_id="ada", **fields)).reason == "ROLE_REQUIRED"
        assert not (await door.call("reader", name, student_id="ada", **fields)).reason

    @pytest.mark.parametrize("fields", [{}, {"student_id": OTHER}, {"course_id": "ONE"}], ids=str)
    async def test_no_stream_of_others(self, door: Door, fields: dict[str, str]) -> None:
        """A stream without a student has the events of all, also if it begins from now on."""
        await add_campus(door)
        answered = await door.refused(ADA, "WatchEvents", **fields)
        assert (answered.reason, dict(answered.info.metadata)) == ("ROLE_REQUIRED", {"role": "reader"})

    @pytest.mark.parametrize("after_revision", [0, None], ids=["from-the-beginning", "from-now"])
    async def test_streams_of_a_student_and_of_the_staff(self, sqlite_url: str, after_revision: int | None) -> None:
        """The streams share what the server has packed, over gRPC and over HTTP, and each sees what is meant for it."""
        async with (
            entering("grpc", sqlite_url) as door,
            opened("http", door.server) as other,
            AsyncExitStack() as stack,
        ):
            begin: dict[str, Any] = {"student_id": "ada", "after_revision": after_revision}
            if after_revision is not None:
                await add_campus(door)
            watches = [one.watch(bearer, **begin) for one in (door, other) for bearer in ("reader", ADA)]
            streams = [await stack.enter_async_context(watch) for watch in watches]
            if after_revision is None:
                for stream in streams:
                    assert (await stream.next()).response.checkpoint
                await add_campus(door)
            watched = [await stream.events(3) for stream in streams]
            full = list((await door.made("reader", "ListEvents", student_id="ada")).events)
            seen = list((await door.made(ADA, "ListEvents", student_id="ada")).events)
        assert full[-1].comment
        assert not seen[-1].comment
        assert watched == [full, seen, full, seen]

    async def test_an_enrollment_of_another(self, door: Door) -> None:
        """The list is empty, as for an enrollment that does not exist."""
        theirs = await add_campus(door)
        lists = [
            await door.made(ADA, "ListEvents", student_id="ada", enrollment_id=enrollment_id)
            for enrollment_id in (theirs, str(uuid.uuid4()))
        ]
        assert lists[0] == lists[1]
        assert not lists[0].events


async def test_no_answer_has_anything_of_another_student(door: Door) -> None:
    """Neither a response nor a refusal of any call names the other student or her enrollments."""
    await add_campus(door)
    theirs = (await door.made("reader", "ListEnrollments", student_id=OTHER)).enrollments
    secrets = [OTHER, "the-dean", *(one.enrollment_id for one in theirs)]
    mine, in_one = {"student_id": "ada"}, {"student_id": "ada", "course_id": "ONE"}
    calls: list[tuple[str, dict[str, Any]]] = [
        *((name, mine) for name in ("ListCourses", "GetStudent", "ListEnrollments", "ListEvents")),
        ("GetCourse", {"course_id": "ONE"}),
        ("SearchCourses", {"show_deleted": True, "waitlisted_only": True}),
        ("ListRoster", {"course_id": "ONE"}),
        ("ListStudents", {}),
        ("EnrollStudent", in_one),  # ALREADY_ENROLLED
        ("EnrollStudent", {**in_one, "override": BY_ADVICE}),
        ("Unenroll", in_one),
        ("EnrollStudent", {**in_one, "no_waitlist": True}),  # COURSE_FULL
        ("EnrollStudent", in_one),  # On the waitlist.
        ("EnrollStudent", in_one),  # ALREADY_WAITLISTED
        ("SwapEnrollment", {**mine, "from_course_id": "FREE", "to_course_id": "ONE"}),
        ("BatchWrite", {"writes": [{"unenroll": in_one}, {"enroll_student": in_one}], "atomic": True}),
        ("BatchWrite", {"writes": [{"unenroll": in_one}, {"unenroll": in_one}], "atomic": True}),
        ("ListEvents", mine),
        ("WatchEvents", {**mine, "after_revision": 0}),
        ("WatchEvents", {"student_id": OTHER, "after_revision": 0}),
    ]
    for name, fields in calls:
        answered = await door.call(ADA, name, **fields)
        told: Message = answered.status if answered.reason else answered.response
        text = told.SerializeToString().decode(errors="replace")
        assert not [secret for secret in secrets if secret in text], (name, told)


async def test_a_reader_who_is_a_student_sees_all_and_changes_only_the_own(door: Door) -> None:
    """The higher right counts for each call by itself."""
    await add_campus(door)
    both = f"reader+{ADA}"
    assert len((await door.made(both, "ListRoster", course_id="ONE")).entries) == 2
    assert (await door.made(both, "ListEvents", student_id=OTHER)).events[-1].comment
    assert (await door.made(both, "WatchEvents", student_id=OTHER, after_revision=0)).events[-1].comment
    assert (await door.refused(both, "Unenroll", student_id=OTHER, course_id="ONE")).reason == "ROLE_REQUIRED"
    response = await door.made(both, "Unenroll", student_id="ada", course_id="ONE")
    assert (len(response.promoted), response.promoted_count) == (0, 0)


@pytest.mark.parametrize("name", ["CreateStudent", "UpdateStudent"])
async def test_students_do_not_change_their_record(door: Door, name: str) -> None:
    await add_campus(door)
    answered = await door.refused(ADA, name, student={"student_id": "ada", "given_name": "Augusta"})
    assert answered.info.metadata == {"role": "admin"}
    assert (await door.made(ADA, "GetStudent", student_id="ada")).student.given_name == "Ada"


def test_the_hidden_fields_are_those_of_all_responses() -> None:
    """A response for students with a new list of enrollments needs a decision on what they see of it."""
    lists = {
        (name, field.name)
        for name, row in ROWS.items()
        for field in row.response.DESCRIPTOR.fields
        if ACCESS[name].student and field.message_type and field.message_type.name == "Enrollment"
    }
    own = {(name, "enrollment") for name, _ in lists} | {
        ("SwapEnrollment", "dropped"),
        ("ListEnrollments", "enrollments"),
    }
    assert {field for _, field in lists - own} == {"promoted"}
