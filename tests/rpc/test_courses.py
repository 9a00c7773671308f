"""CourseService over gRPC: create, get, search, update, delete and undelete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.dayofweek_pb2 import FRIDAY, MONDAY, SUNDAY
from google.type.timeofday_pb2 import TimeOfDay
from grpc import StatusCode
from sqlalchemy import Engine, select, text

from registrar.v1.course_pb2 import COURSE_STATE_CANCELLED, COURSE_STATE_OPEN, Course, Meeting
from registrar.v1.course_service_pb2 import (
    CreateCourseRequest,
    DeleteCourseRequest,
    GetCourseRequest,
    SearchCoursesRequest,
    UndeleteCourseRequest,
    UpdateCourseRequest,
)
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED
from registrar.v1.enrollment_service_pb2 import ListRosterRequest, UnenrollRequest
from registrar_server.core import records
from registrar_server.core.records import SETTABLE
from registrar_server.storage.models import Event
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, precondition, refused, resource
from tests.support.servers import Registrar

MEETINGS = [
    Meeting(
        weekdays=[MONDAY, FRIDAY],
        start_time=TimeOfDay(hours=15, minutes=30),
        end_time=TimeOfDay(hours=16, minutes=45),
        start_date=Date(year=2018, month=9, day=4),
        end_date=Date(year=2018, month=12, day=10),
        location="DSB 112",
    ),
    Meeting(weekdays=[SUNDAY], start_time=TimeOfDay(hours=22), end_time=TimeOfDay(hours=24)),
    Meeting(location="to be announced"),
]
OPENS = Timestamp(seconds=1_533_103_200, nanos=123_456_789)
CLOSES = Timestamp(seconds=1_535_781_600)
INTRO: dict[str, Any] = {
    "code": "CS 101",
    "title": "Introduction to Computing",
    "description": "From nothing to something.\nNo prior knowledge.",
    "term": "2018-fall",
    "credits": "3.000",
    "capacity": 30,
    "waitlist_capacity": 5,
    "enroll_open_time": OPENS,
    "enroll_close_time": CLOSES,
    "drop_deadline_time": Timestamp(seconds=-1, nanos=999_999_000),
    "meetings": MEETINGS,
    "prerequisite_course_ids": ["MATH-2", "MATH-1"],
    "state": COURSE_STATE_CANCELLED,
}
ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
TIME_RULE = "must be a time from year 1 to 9999 with 0 to 999,999,999 nanoseconds"
TIME_OF_DAY_RULE = "must be a time of day in whole seconds; only an end may be 24:00"


async def get(registrar: Registrar, course_id: str = "CS-101", **options: Any) -> Course:
    return (await registrar.courses.GetCourse(GetCourseRequest(course_id=course_id, **options))).course


async def update(registrar: Registrar, *paths: str, validate_only: bool = False, **fields: Any) -> Course:
    """Update CS-101 with these fields and paths."""
    mask = FieldMask(paths=paths) if paths else None
    course = Course(course_id="CS-101", **fields)
    request = UpdateCourseRequest(course=course, update_mask=mask, validate_only=validate_only)
    return (await registrar.courses.UpdateCourse(request)).course


async def delete(registrar: Registrar, course_id: str = "CS-101", **options: Any) -> Course:
    return (await registrar.courses.DeleteCourse(DeleteCourseRequest(course_id=course_id, **options))).course


async def undelete(registrar: Registrar, course_id: str = "CS-101") -> Course:
    return (await registrar.courses.UndeleteCourse(UndeleteCourseRequest(course_id=course_id))).course


async def found(registrar: Registrar, **filters: Any) -> list[str]:
    answer = await registrar.courses.SearchCourses(SearchCoursesRequest(**filters))
    return [course.course_id for course in answer.courses]


def not_found(course_id: str) -> Failure:
    sentence = f'There is no course "{course_id}".'
    details = (info("COURSE_NOT_FOUND", course_id=course_id), resource("Course", course_id, sentence))
    return Failure(StatusCode.NOT_FOUND, sentence, details)


def event_types(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT type FROM events ORDER BY revision")))


@pytest.fixture
async def intro(registrar: Registrar) -> Registrar:
    """A course CS-101 with all fields."""
    await registrar.add_course("CS-101", **INTRO)
    return registrar


class TestCreate:
    """CreateCourse."""

    async def test_all_fields(self, registrar: Registrar) -> None:
        """A course is returned as created, with times in microseconds, normalized credits and zero counters."""
        created = await registrar.add_course("CS-101", **INTRO)
        expected = Course(course_id="CS-101", **{**INTRO, "credits": "3", "seats_available": 30})
        expected.enroll_open_time.nanos = 123_456_000
        expected.MergeFrom(Course(etag=created.etag, create_time=created.create_time, update_time=created.create_time))
        assert created == expected
        assert created.etag
        assert await get(registrar) == created

    async def test_defaults(self, registrar: Registrar) -> None:
        """No field is required: a course is open, has no credits and has unlimited seats."""
        created = await registrar.add_course("CS-101")
        assert (created.state, created.credits) == (COURSE_STATE_OPEN, "0")
        absent = ["capacity", "waitlist_capacity", "seats_available", "enroll_open_time", "drop_deadline_time"]
        assert not any(created.HasField(name) for name in absent)  # type: ignore[arg-type]

    async def test_no_seats(self, registrar: Registrar) -> None:
        """A capacity of 0 means no seats, which differs from an absent capacity."""
        created = await registrar.add_course("CS-101", capacity=0, waitlist_capacity=0)
        assert (created.HasField("capacity"), created.capacity, created.seats_available) == (True, 0, 0)
        assert created.HasField("waitlist_capacity")

    async def test_made_ids(self, registrar: Registrar) -> None:
        """If the id is empty, the server generates one, and later ids sort later."""
        ids = [(await registrar.add_course("")).course_id for _ in range(3)]
        assert ids == sorted(set(ids))

    async def test_output_only(self, registrar: Registrar) -> None:
        """Output-only fields of a request are ignored."""
        created = await registrar.add_course(
            "CS-101", etag="9", enrolled_count=7, waitlisted_count=7, seats_available=7, delete_time=OPENS
        )
        assert (created.enrolled_count, created.waitlisted_count) == (0, 0)
        assert not created.HasField("seats_available")
        assert not created.HasField("delete_time")

    async def test_exists(self, intro: Registrar) -> None:
        """An id is used once, even if its course is deleted, and several courses may have the same code."""
        sentence = 'There is already a course "CS-101", or was one: deleted ids are not given again.'
        details = (info("COURSE_EXISTS", course_id="CS-101"), resource("Course", "CS-101", sentence))
        expected = Failure(StatusCode.ALREADY_EXISTS, sentence, details)
        assert await refused(intro.add_course("CS-101")) == expected
        await delete(intro)
        assert await refused(intro.add_course("CS-101")) == expected
        await intro.add_course("CS-101-02", code="CS 101")

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        course = Course(
            course_id="CS/101",
            code="x" * 65,
            title="x" * 501,
            description="x" * 10_001,
            term="x" * 65,
            credits="three",
            capacity=-1,
            waitlist_capacity=1_000_001,
            enroll_open_time=Timestamp(seconds=253_402_300_800),
            drop_deadline_time=Timestamp(nanos=-1),
            prerequisite_course_ids=["MATH-1", "?", "MATH-1"],
            state=9,  # type: ignore[arg-type]
        )
        failure = await refused(sqlite_registrar.courses.CreateCourse(CreateCourseRequest(course=course)))
        assert failure.fields == {
            "course.course_id": f'{ID_RULE}: "CS/101" contains a slash',
            "course.code": "must have at most 64 characters, has 65",
            "course.title": "must have at most 500 characters, has 501",
            "course.description": "must have at most 10000 characters, has 10001",
            "course.term": "must have at most 64 characters, has 65",
            "course.credits": "must be a decimal from 0 to 1000 with up to 3 decimals, such as 3 or 1.5",
            "course.capacity": "must be from 0 to 1000000",
            "course.waitlist_capacity": "must be from 0 to 1000000",
            "course.enroll_open_time": TIME_RULE,
            "course.drop_deadline_time": TIME_RULE,
            "course.prerequisite_course_ids": "must not name an id twice",
            "course.prerequisite_course_ids[1]": f'{ID_RULE}: "?" begins with "?"',
            "course.state": "must be one of OPEN, CANCELLED",
        }

    @pytest.mark.parametrize("closes", [OPENS, Timestamp(seconds=OPENS.seconds - 1)])
    async def test_empty_window(self, sqlite_registrar: Registrar, closes: Timestamp) -> None:
        """An enrollment window must end after it opens."""
        call = sqlite_registrar.add_course("CS-101", enroll_open_time=OPENS, enroll_close_time=closes)
        assert (await refused(call)).fields == {"course.enroll_close_time": "must be after enroll_open_time"}

    async def test_too_many(self, sqlite_registrar: Registrar) -> None:
        """Lists have at most 50 entries."""
        ids = [f"c-{number}" for number in range(51)]
        call = sqlite_registrar.add_course("CS-101", meetings=[Meeting()] * 51, prerequisite_course_ids=ids)
        assert (await refused(call)).fields == {
            "course.meetings": "must have at most 50 entries, has 51",
            "course.prerequisite_course_ids": "must have at most 50 entries, has 51",
        }

    @pytest.mark.parametrize(
        ("meeting", "path", "rule"),
        [
            (Meeting(weekdays=[0]), "weekdays", "must be MONDAY to SUNDAY"),  # type: ignore[list-item]
            (Meeting(weekdays=[8]), "weekdays", "must be MONDAY to SUNDAY"),  # type: ignore[list-item]
            (Meeting(start_time=TimeOfDay(hours=9)), "", "must have both start_time and end_time, or neither"),
            (Meeting(end_time=TimeOfDay(hours=9)), "", "must have both start_time and end_time, or neither"),
            (
                Meeting(start_time=TimeOfDay(hours=9), end_time=TimeOfDay(hours=9)),
                "end_time",
                "must be after start_time: a meeting does not cross midnight",
            ),
            (
                Meeting(start_time=TimeOfDay(hours=9), end_time=TimeOfDay(hours=24, seconds=1)),
                "end_time",
                TIME_OF_DAY_RULE,
            ),
            (
                Meeting(start_time=TimeOfDay(hours=-1), end_time=TimeOfDay(hours=24)),
                "start_time",
                TIME_OF_DAY_RULE,
            ),
            (
                Meeting(start_time=TimeOfDay(minutes=60), end_time=TimeOfDay(hours=24)),
                "start_time",
                TIME_OF_DAY_RULE,
            ),
            (
                Meeting(start_time=TimeOfDay(nanos=1), end_time=TimeOfDay(hours=24)),
                "start_time",
                TIME_OF_DAY_RULE,
            ),
            (Meeting(start_date=Date(year=2018)), "start_date", "must be a whole date: year, month and day"),
            (
                Meeting(end_date=Date(year=2018, month=2, day=29)),
                "end_date",
                "must be a whole date: year, month and day",
            ),
            (
                Meeting(start_date=Date(year=2018, month=9, day=2), end_date=Date(year=2018, month=9, day=1)),
                "end_date",
                "must not be before start_date",
            ),
            (Meeting(location="x" * 201), "location", "must have at most 200 characters, has 201"),
        ],
    )
    async def test_bad_meetings(self, sqlite_registrar: Registrar, meeting: Meeting, path: str, rule: str) -> None:
        """The refusal names the index and the field of an invalid meeting."""
        failure = await refused(sqlite_registrar.add_course("CS-101", meetings=[Meeting(), meeting]))
        assert failure.fields == {f"course.meetings[1].{path}".rstrip("."): rule}

    async def test_one_day(self, registrar: Registrar) -> None:
        """A meeting may take place on one day, and its weekdays are sorted without duplicates."""
        day = Date(year=2018, month=9, day=4)
        meeting = Meeting(weekdays=[FRIDAY, MONDAY, FRIDAY], start_date=day, end_date=day)
        created = await registrar.add_course("CS-101", meetings=[meeting])
        assert list(created.meetings) == [Meeting(weekdays=[MONDAY, FRIDAY], start_date=day, end_date=day)]


class TestGet:
    """GetCourse."""

    async def test_not_found(self, intro: Registrar) -> None:
        """A course that does not exist, or is deleted without show_deleted, is not found."""
        assert await refused(get(intro, "nothing")) == not_found("nothing")
        deleted = await delete(intro)
        assert await refused(get(intro)) == not_found("CS-101")
        assert await get(intro, show_deleted=True) == deleted

    async def test_bad_id(self, sqlite_registrar: Registrar) -> None:
        """The id is required and must be valid."""
        assert (await refused(get(sqlite_registrar, ""))).fields == {"course_id": f"is required and {ID_RULE}"}


class TestSearch:
    """SearchCourses; ``test_paging.py`` tests its pages."""

    @pytest.fixture
    async def catalogue(self, registrar: Registrar) -> Registrar:
        """Five courses, of which one is full, one cancelled and one deleted."""
        await registrar.add_course("a", code="CS 101", title="Introduction to Computing", term="2018-fall")
        await registrar.add_course("b", code="CS 101", title="Introduction to Computing", term="2019-spring")
        await registrar.add_course("B", code="MA 100", title="100% Élan", term="2018-fall", capacity=0)
        await registrar.add_course("c", code="CS 201", title="Algorithms", capacity=1, state=COURSE_STATE_CANCELLED)
        await registrar.add_course("gone", code="CS 301", title="Computing")
        await delete(registrar, "gone")
        return registrar

    async def test_filters(self, catalogue: Registrar) -> None:
        """Courses match every filter, words match code and title in any case, and ids are in byte order."""
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["B", "a", "b", "c"]),
            ({"show_deleted": True}, ["B", "a", "b", "c", "gone"]),
            ({"query": "computing"}, ["a", "b"]),
            ({"query": "COMPUTING cs"}, ["a", "b"]),
            ({"query": "élan"}, ["B"]),
            ({"query": "%"}, ["B"]),
            ({"query": "cs algorithms computing"}, []),
            ({"term": "2018-fall"}, ["B", "a"]),
            ({"term": "2018"}, []),
            ({"code": "CS 101"}, ["a", "b"]),
            ({"code": "cs101"}, ["a", "b"]),
            ({"open_only": True}, ["a", "b"]),
            ({"query": "intro", "term": "2018-fall", "code": "CS 101", "open_only": True}, ["a"]),
            ({"query": "computing", "show_deleted": True}, ["a", "b", "gone"]),
        ]
        for filters, ids in cases:
            assert await found(catalogue, **filters) == ids, filters

    async def test_whole(self, intro: Registrar) -> None:
        """Every course is complete, as from GetCourse."""
        answer = await intro.courses.SearchCourses(SearchCoursesRequest())
        assert list(answer.courses) == [await get(intro)]

    async def test_open_while_seats_are_free(self, registrar: Registrar) -> None:
        """open_only finds a course while it has a free seat."""
        await registrar.add_course("CS-101", capacity=1)
        await registrar.add_student("s-1")
        assert await found(registrar, open_only=True) == ["CS-101"]
        await registrar.enroll("s-1", "CS-101")
        assert await found(registrar, open_only=True) == []
        await registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id="CS-101"))
        assert await found(registrar, open_only=True) == ["CS-101"]

    async def test_bad_fields(self, sqlite_registrar: Registrar) -> None:
        """Filters have limited lengths, and the page size must not be negative."""
        call = found(sqlite_registrar, query="x" * 201, term="x" * 65, code="\0", page_size=-1)
        assert set((await refused(call)).fields) == {"query", "term", "code", "page_size"}


class TestUpdate:
    """UpdateCourse."""

    async def test_masked(self, intro: Registrar) -> None:
        """Only the fields in the mask change, whatever the message contains."""
        before = await get(intro)
        after = await update(intro, "title", "capacity", title="Computing", capacity=40, code="?")
        assert after.etag != before.etag
        before.MergeFrom(Course(title="Computing", capacity=40, seats_available=40, etag=after.etag))
        before.update_time.CopyFrom(after.update_time)
        assert after == before
        assert await get(intro) == after

    async def test_every_field(self, intro: Registrar) -> None:
        """Every settable field is cleared if the mask names it and the message does not contain it."""
        after = await update(intro, *INTRO)
        expected = Course(
            course_id="CS-101",
            credits="0",
            state=COURSE_STATE_OPEN,
            etag=after.etag,
            create_time=after.create_time,
            update_time=after.update_time,
        )
        assert after == expected

    async def test_without_mask(self, intro: Registrar) -> None:
        """Without a mask every populated field changes, including a capacity of 0, and no field is cleared."""
        after = await update(intro, title="Computing", capacity=0)
        assert (after.title, after.capacity, after.seats_available) == ("Computing", 0, 0)
        assert after.code == "CS 101"
        assert list(after.meetings) == MEETINGS

    async def test_nothing_changes(self, intro: Registrar, engine: Engine) -> None:
        """An update to the current values changes nothing and records no event."""
        before = await get(intro)
        assert await update(intro, *INTRO, **INTRO) == before
        assert event_types(engine) == ["COURSE_CREATED"]

    async def test_event(self, intro: Registrar, engine: Engine) -> None:
        """One event contains the old and new value of each changed field, and the capacity after the change."""
        await update(intro, "credits", "capacity", "enroll_close_time", credits="4", capacity=None)
        with engine.connect() as connection:
            query = select(Event.changes, Event.capacity).where(Event.type == "COURSE_UPDATED")
            ((changes, capacity),) = connection.execute(query)
        closed = datetime.fromtimestamp(CLOSES.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert sorted(changes) == [["capacity", "30", None], ["credits", "3", "4"], ["enroll_close_time", closed, None]]
        assert capacity is None

    async def test_capacity_under_the_count(self, registrar: Registrar, engine: Engine) -> None:
        """A capacity below the seats taken is accepted: enrolled students keep their seats, and others get none."""
        await registrar.add_course("CS-101", capacity=2)
        for student_id in ("s-1", "s-2", "s-3"):
            await registrar.add_student(student_id)
        await registrar.enroll("s-1", "CS-101")
        await registrar.enroll("s-2", "CS-101")
        after = await update(registrar, capacity=1)
        assert (after.capacity, after.enrolled_count, after.seats_available) == (1, 2, 0)
        assert (await refused(registrar.enroll("s-3", "CS-101"))).reason == "COURSE_FULL"
        await registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-1", course_id="CS-101"))
        assert (await refused(registrar.enroll("s-3", "CS-101"))).reason == "COURSE_FULL"
        assert_consistent(engine)

    async def test_capacity_raised(self, registrar: Registrar, engine: Engine) -> None:
        """A student can enroll in an added seat."""
        await registrar.add_course("CS-101", capacity=0)
        await registrar.add_student("s-1")
        await update(registrar, capacity=1)
        await registrar.enroll("s-1", "CS-101")
        assert_consistent(engine)

    async def test_counters_stay(self, registrar: Registrar) -> None:
        """An update does not change the counters, and an enrollment does not change the etag."""
        created = await registrar.add_course("CS-101", capacity=2)
        await registrar.add_student("s-1")
        await registrar.enroll("s-1", "CS-101")
        after = await update(registrar, title="Computing", etag=created.etag)
        assert (after.enrolled_count, after.seats_available) == (1, 1)

    @pytest.mark.parametrize("end", ["enroll_open_time", "enroll_close_time"])
    async def test_empty_window(self, intro: Registrar, end: str) -> None:
        """A new end of the window is checked against the stored other end."""
        moved: dict[str, Any] = {end: {"enroll_open_time": CLOSES, "enroll_close_time": OPENS}[end]}
        failure = await refused(update(intro, end, **moved))
        assert failure.fields == {"course.enroll_close_time": "must be after enroll_open_time"}

    async def test_window_moved(self, intro: Registrar) -> None:
        """Both ends may move together, even if neither may move alone."""
        opens, closes = Timestamp(seconds=CLOSES.seconds + 1), Timestamp(seconds=CLOSES.seconds + 2)
        after = await update(intro, enroll_open_time=opens, enroll_close_time=closes)
        assert (after.enroll_open_time, after.enroll_close_time) == (opens, closes)

    async def test_etag(self, intro: Registrar) -> None:
        """An update with the current etag succeeds, and one with an older etag is refused."""
        first = await get(intro)
        second = await update(intro, title="Computing", etag=first.etag)
        failure = await refused(update(intro, title="?", etag=first.etag))
        assert failure == Failure(
            StatusCode.ABORTED,
            f'The course "CS-101" has changed since it was read: its etag is now "{second.etag}". Read it again.',
            (info("ETAG_MISMATCH", course_id="CS-101"),),
        )
        assert await get(intro) == second

    async def test_not_found(self, intro: Registrar) -> None:
        """A deleted course is not found."""
        await delete(intro)
        assert await refused(update(intro, title="?")) == not_found("CS-101")

    async def test_validate_only(self, intro: Registrar) -> None:
        """validate_only returns the response of the call without time and etag, and changes nothing."""
        before = await get(intro)
        preview = await update(intro, "title", title="Computing", validate_only=True)
        assert await get(intro) == before
        before.title = "Computing"
        before.ClearField("etag")
        before.ClearField("update_time")
        assert preview == before

    async def test_bad_mask(self, sqlite_registrar: Registrar) -> None:
        """A mask with unknown or output-only paths is an invalid field."""
        failure = await refused(update(sqlite_registrar, "enrolled_count", "meetings.location", title="x" * 501))
        settable = ", ".join(SETTABLE[records.Course])
        unknown = '"enrolled_count", "meetings.location"'
        assert failure.fields == {"update_mask": f"{unknown} cannot be updated; must be among {settable}"}


class TestDelete:
    """DeleteCourse and UndeleteCourse."""

    async def test_deletes_softly(self, intro: Registrar) -> None:
        """A deleted course has a delete_time and is returned only if show_deleted is set."""
        before = await get(intro)
        deleted = await delete(intro, etag=before.etag)
        assert deleted.delete_time == deleted.update_time
        assert deleted.etag != before.etag
        assert await found(intro) == []
        assert await refused(delete(intro)) == not_found("CS-101")

    async def test_undelete(self, intro: Registrar, engine: Engine) -> None:
        """Undeleting restores the course, and undeleting a live course changes nothing."""
        before = await get(intro)
        await delete(intro)
        restored = await undelete(intro)
        assert await undelete(intro) == restored == await get(intro)
        before.etag = restored.etag
        before.update_time.CopyFrom(restored.update_time)
        assert restored == before
        assert event_types(engine) == ["COURSE_CREATED", "COURSE_DELETED", "COURSE_UNDELETED"]
        assert await refused(undelete(intro, "nothing")) == not_found("nothing")

    async def test_stale_etag(self, intro: Registrar) -> None:
        """A course that has changed since the etag was read is not deleted."""
        stale = (await get(intro)).etag
        await update(intro, title="Computing")
        assert (await refused(delete(intro, etag=stale))).reason == "ETAG_MISMATCH"

    async def test_has_enrollments(self, registrar: Registrar, engine: Engine) -> None:
        """Live enrollments prevent a deletion; force drops them, and undeleting does not restore them."""
        await registrar.add_course("CS-101", capacity=2)
        for student_id in ("s-1", "s-2"):
            await registrar.add_student(student_id)
            await registrar.enroll(student_id, "CS-101")
        sentence = 'Course "CS-101" still has live enrollments (2); end them first, or use force.'
        assert await refused(delete(registrar)) == Failure(
            StatusCode.FAILED_PRECONDITION,
            sentence,
            (
                info("COURSE_HAS_ENROLLMENTS", course_id="CS-101"),
                precondition("COURSE_HAS_ENROLLMENTS", "CS-101", sentence),
            ),
        )
        assert (await delete(registrar, force=True)).enrolled_count == 0
        assert (await undelete(registrar)).seats_available == 2
        request = ListRosterRequest(course_id="CS-101", states=[ENROLLMENT_STATE_DROPPED])
        entries = (await registrar.enrollments.ListRoster(request)).entries
        assert [entry.enrollment.reason for entry in entries] == ["COURSE_DELETED"] * 2
        assert_consistent(engine)

    async def test_validate_only(self, registrar: Registrar) -> None:
        """validate_only returns the response of the call, also with force, and changes nothing."""
        await registrar.add_course("CS-101", capacity=2)
        await registrar.add_student("s-1")
        await registrar.enroll("s-1", "CS-101")
        before = await get(registrar)
        assert (await refused(delete(registrar, validate_only=True))).reason == "COURSE_HAS_ENROLLMENTS"
        preview = await delete(registrar, validate_only=True, force=True)
        assert (preview.enrolled_count, preview.etag, preview.HasField("delete_time")) == (0, "", False)
        assert await get(registrar) == before
