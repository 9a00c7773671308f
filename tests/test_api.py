"""The three core RPCs over gRPC: every response and every refusal of EnrollStudent, ListCourses and Unenroll."""

from __future__ import annotations

import time

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from sqlalchemy import Engine, text

from registrar.v1 import enrollment_pb2
from registrar.v1.course_service_pb2 import DeleteCourseRequest
from registrar.v1.enrollment_pb2 import Enrollment, Override
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    EnrollStudentResponse,
    ListCoursesRequest,
    ListCoursesResponse,
    StudentCourse,
    UnenrollRequest,
    UnenrollResponse,
)
from registrar.v1.error_reason_pb2 import (
    ERROR_REASON_COURSE_CANCELLED,
    ERROR_REASON_COURSE_FULL,
    ERROR_REASON_SCHEDULE_CONFLICT,
    ERROR_REASON_STUDENT_HOLD,
    RuleViolation,
    RuleViolations,
)
from registrar.v1.student_service_pb2 import DeleteStudentRequest
from registrar_server.storage import engines
from tests.support.databases import holding_the_courses
from tests.support.refusals import Failure, info, precondition, refused, resource
from tests.support.servers import Registrar, registrar_on

ENROLLED = enrollment_pb2.ENROLLMENT_STATE_ENROLLED
WAITLISTED = enrollment_pb2.ENROLLMENT_STATE_WAITLISTED
DROPPED = enrollment_pb2.ENROLLMENT_STATE_DROPPED
COMPLETED = enrollment_pb2.ENROLLMENT_STATE_COMPLETED
ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
OVERRIDABLE = (
    "COURSE_FULL, CREDIT_LIMIT_EXCEEDED, DROP_DEADLINE_PASSED, DUPLICATE_COURSE, ENROLLMENT_CLOSED,"
    " ENROLLMENT_NOT_OPEN, PREREQUISITE_UNMET, SCHEDULE_CONFLICT, STUDENT_HOLD"
)
NO_STUDENT = Failure(
    StatusCode.NOT_FOUND,
    'There is no student "nobody".',
    (
        info("STUDENT_NOT_FOUND", student_id="nobody"),
        resource("Student", "nobody", 'There is no student "nobody".'),
    ),
)
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
    """Two students, s-1 and s-2, and a course CS-101 with two seats."""
    await registrar.add_student("s-1")
    await registrar.add_student("s-2")
    await registrar.add_course("CS-101", capacity=2)
    return registrar


def full(course_id: str, capacity: int, sentence: str, enrolled: int | None = None) -> Failure:
    """Return the refusal of s-1 by a full course."""
    count = capacity if enrolled is None else enrolled
    violation = RuleViolation(
        reason=ERROR_REASON_COURSE_FULL,
        description=sentence,
        values={"capacity": str(capacity), "enrolled_count": str(count)},
        overridable=True,
        override_rule=ERROR_REASON_COURSE_FULL,
    )
    return Failure(
        StatusCode.FAILED_PRECONDITION,
        sentence,
        (
            info("COURSE_FULL", student_id="s-1", course_id=course_id),
            precondition("COURSE_FULL", f"s-1/{course_id}", sentence),
            RuleViolations(violations=[violation]),
        ),
    )


async def counts(registrar: Registrar, course_id: str = "CS-101") -> tuple[int, int, int]:
    """Return the numbers of enrolled students, waiting students and free seats."""
    course = await registrar.course(course_id)
    return course.enrolled_count, course.waitlisted_count, course.seats_available


async def drop(registrar: Registrar, student_id: str, course_id: str) -> Enrollment:
    request = UnenrollRequest(student_id=student_id, course_id=course_id)
    return (await registrar.enrollments.Unenroll(request)).enrollment


async def courses_of(
    registrar: Registrar, student_id: str, *states: enrollment_pb2.EnrollmentState.ValueType
) -> list[StudentCourse]:
    request = ListCoursesRequest(student_id=student_id, states=states)
    return list((await registrar.enrollments.ListCourses(request)).courses)


async def queued(registrar: Registrar) -> Enrollment:
    """Put s-1 on the waitlist of ONE, whose only seat s-2 takes."""
    await registrar.add_course("ONE", capacity=1, waitlist_capacity=5)
    await registrar.enroll("s-2", "ONE")
    return await registrar.enroll("s-1", "ONE")


async def complete(registrar: Registrar, student_id: str, course_id: str) -> Enrollment:
    request = CompleteEnrollmentRequest(student_id=student_id, course_id=course_id)
    return (await registrar.enrollments.CompleteEnrollment(request)).enrollment


class TestEnrollStudent:
    """EnrollStudent succeeds."""

    async def test_a_seat(self, campus: Registrar) -> None:
        """A student gets a free seat, and the response contains the whole enrollment."""
        before = time.time()
        enrollment = await campus.enroll("s-1", "CS-101")
        assert before - 1 < enrollment.create_time.ToNanoseconds() / 1e9 < time.time() + 1
        assert enrollment == Enrollment(
            enrollment_id=enrollment.enrollment_id,
            student_id="s-1",
            course_id="CS-101",
            state=ENROLLED,
            attempt=1,
            create_time=enrollment.create_time,
            update_time=enrollment.create_time,
            etag=enrollment.etag,
        )
        assert enrollment.enrollment_id
        assert enrollment.etag

    async def test_the_course_counts_it(self, campus: Registrar) -> None:
        """An enrollment changes the counters of the course, but not its etag and update_time."""
        before = await campus.course("CS-101")
        await campus.enroll("s-1", "CS-101")
        after = await campus.course("CS-101")
        assert (after.enrolled_count, after.seats_available) == (1, 1)
        before.enrolled_count, before.seats_available = 1, 1
        assert after == before

    async def test_its_event(self, campus: Registrar, engine: Engine) -> None:
        """One event records the enrollment, with the comment, the capacity and the count of enrolled students."""
        enrollment = await campus.enroll("s-1", "CS-101", comment="by phone")
        query = (
            "SELECT student_id, course_id, enrollment_id, state, previous_state, capacity, enrolled_count, comment"
            " FROM events WHERE type = 'STUDENT_ENROLLED'"
        )
        with engine.connect() as connection:
            (event,) = connection.execute(text(query))
        assert event == ("s-1", "CS-101", enrollment.enrollment_id, "ENROLLED", "", 2, 1, "by phone")

    async def test_the_last_seat(self, campus: Registrar) -> None:
        """As many students can enroll as there are seats."""
        await campus.enroll("s-1", "CS-101")
        await campus.enroll("s-2", "CS-101")
        assert await counts(campus) == (2, 0, 0)

    async def test_unlimited(self, campus: Registrar) -> None:
        """A course without a capacity always has a free seat, and no number of available seats."""
        await campus.add_course("MOOC")
        await campus.enroll("s-1", "MOOC")
        course = await campus.course("MOOC")
        assert course.enrolled_count == 1
        assert not course.HasField("seats_available")

    async def test_again_after_dropping(self, campus: Registrar) -> None:
        """Enrolling again creates another enrollment with the next attempt, and the old one remains unchanged."""
        first = await campus.enroll("s-1", "CS-101")
        dropped = await drop(campus, "s-1", "CS-101")
        second = await campus.enroll("s-1", "CS-101")
        assert (second.attempt, second.state) == (2, ENROLLED)
        assert second.enrollment_id != first.enrollment_id
        history = await courses_of(campus, "s-1", ENROLLED, DROPPED)
        assert [entry.enrollment for entry in history] == [dropped, second]
        assert await counts(campus) == (1, 0, 1)

    async def test_allow_existing(self, campus: Registrar) -> None:
        """With allow_existing the response contains the existing enrollment."""
        first = await campus.enroll("s-1", "CS-101", allow_existing=True)
        again = await campus.enroll("s-1", "CS-101", allow_existing=True)
        assert again == first
        assert await counts(campus) == (1, 0, 1)

    async def test_no_waitlist(self, campus: Registrar) -> None:
        """With no_waitlist a student still gets a free seat."""
        assert (await campus.enroll("s-1", "CS-101", no_waitlist=True)).state == ENROLLED

    async def test_override(self, campus: Registrar) -> None:
        """An override gives a seat beyond the capacity, and the enrollment records the bypassed rule."""
        await campus.add_course("FULL", capacity=0)
        override = Override(rules=[ERROR_REASON_COURSE_FULL, ERROR_REASON_STUDENT_HOLD], reason="the dean's child")
        enrollment = await campus.enroll("s-1", "FULL", override=override)
        assert enrollment.state == ENROLLED
        assert enrollment.bypassed_rules == [ERROR_REASON_COURSE_FULL]
        assert await counts(campus, "FULL") == (1, 0, 0)

    async def test_override_without_need(self, campus: Registrar) -> None:
        """An override of a rule that would not refuse is not recorded."""
        override = Override(rules=[ERROR_REASON_COURSE_FULL], reason="to be safe")
        enrollment = await campus.enroll("s-1", "CS-101", override=override)
        assert not enrollment.bypassed_rules

    async def test_override_of_another_rule(self, campus: Registrar) -> None:
        """A rule that the override does not name still refuses."""
        await campus.add_course("FULL", capacity=0)
        override = Override(rules=[ERROR_REASON_STUDENT_HOLD], reason="paid today")
        failure = await refused(campus.enroll("s-1", "FULL", override=override))
        assert failure == full("FULL", 0, 'There are no seats in "FULL".')

    async def test_validate_only(self, campus: Registrar) -> None:
        """validate_only returns the response of the call without generated fields, and changes nothing."""
        request = EnrollStudentRequest(student_id="s-1", course_id="CS-101", validate_only=True)
        answer = await campus.enrollments.EnrollStudent(request)
        expected = Enrollment(student_id="s-1", course_id="CS-101", state=ENROLLED, attempt=1)
        assert answer == EnrollStudentResponse(enrollment=expected)
        assert await counts(campus) == (0, 0, 2)
        assert not await courses_of(campus, "s-1")

    async def test_validate_only_refused(self, campus: Registrar) -> None:
        """validate_only is refused as the call would be."""
        await campus.add_course("FULL", capacity=0)
        failure = await refused(campus.enroll("s-1", "FULL", validate_only=True))
        assert failure == full("FULL", 0, 'There are no seats in "FULL".')


class TestEnrollStudentRefused:
    """EnrollStudent refuses, with all details."""

    async def test_student_not_found(self, campus: Registrar) -> None:
        """A student who does not exist is not found."""
        assert await refused(campus.enroll("nobody", "CS-101")) == NO_STUDENT

    async def test_course_not_found(self, campus: Registrar) -> None:
        """A course that does not exist is not found."""
        assert await refused(campus.enroll("s-1", "nothing")) == NO_COURSE

    async def test_student_first(self, campus: Registrar) -> None:
        """If both are missing, the refusal names the student."""
        assert await refused(campus.enroll("nobody", "nothing")) == NO_STUDENT

    async def test_deleted(self, campus: Registrar) -> None:
        """A deleted student or course is not found."""
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="s-1"))
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101"))
        assert (await refused(campus.enroll("s-1", "CS-101"))).message == 'There is no student "s-1".'
        assert (await refused(campus.enroll("s-2", "CS-101"))).message == 'There is no course "CS-101".'

    async def test_already_enrolled(self, campus: Registrar) -> None:
        """A second seat in a course is refused, and the refusal names the existing enrollment."""
        enrollment = await campus.enroll("s-1", "CS-101")
        sentence = 'Student "s-1" is already enrolled in "CS-101".'
        ids = {"student_id": "s-1", "course_id": "CS-101", "enrollment_id": enrollment.enrollment_id}
        assert await refused(campus.enroll("s-1", "CS-101")) == Failure(
            StatusCode.ALREADY_EXISTS,
            sentence,
            (info("ALREADY_ENROLLED", **ids), resource("Enrollment", enrollment.enrollment_id, sentence)),
        )
        assert await counts(campus) == (1, 0, 1)

    async def test_already_waitlisted(self, campus: Registrar) -> None:
        """A second place on a waitlist is refused, and the refusal names the existing enrollment."""
        enrollment = await queued(campus)
        sentence = 'Student "s-1" is already on the waitlist of "ONE". The only seat is taken in "ONE".'
        ids = {"student_id": "s-1", "course_id": "ONE", "enrollment_id": enrollment.enrollment_id}
        assert await refused(campus.enroll("s-1", "ONE")) == Failure(
            StatusCode.ALREADY_EXISTS,
            sentence,
            (info("ALREADY_WAITLISTED", **ids), resource("Enrollment", enrollment.enrollment_id, sentence)),
        )
        assert await counts(campus, "ONE") == (1, 1, 0)

    @pytest.mark.parametrize(
        ("capacity", "sentence"),
        [
            (0, 'There are no seats in "FULL".'),
            (1, 'The only seat is taken in "FULL".'),
            (2, 'All 2 seats are taken in "FULL".'),
        ],
    )
    async def test_course_full(self, registrar: Registrar, capacity: int, sentence: str) -> None:
        """If every seat is taken, the message and the details contain the number of seats."""
        await registrar.add_course("FULL", capacity=capacity)
        await registrar.add_student("s-1")
        for number in range(capacity):
            await registrar.add_student(f"other-{number}")
            await registrar.enroll(f"other-{number}", "FULL")
        assert await refused(registrar.enroll("s-1", "FULL")) == full("FULL", capacity, sentence)
        assert await counts(registrar, "FULL") == (capacity, 0, 0)

    async def test_already_enrolled_before_full(self, campus: Registrar) -> None:
        """For an enrolled student, a full course refuses with ALREADY_ENROLLED."""
        await campus.add_course("ONE", capacity=1)
        await campus.enroll("s-1", "ONE")
        assert (await refused(campus.enroll("s-1", "ONE"))).reason == "ALREADY_ENROLLED"

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        request = EnrollStudentRequest(
            course_id="CS 101",
            request_id="one",
            override=Override(rules=[ERROR_REASON_SCHEDULE_CONFLICT, ERROR_REASON_COURSE_CANCELLED]),
            comment="x" * 1001,
        )
        failure = await refused(sqlite_registrar.enrollments.EnrollStudent(request))
        expected = {
            "request_id": 'must be a UUID, such as 0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11, and not "one"',
            "student_id": f"is required and {ID_RULE}",
            "course_id": f'{ID_RULE}: "CS 101" contains a blank',
            "override.rules[1]": f"must be one of {OVERRIDABLE}",
            "override.reason": "is required",
            "comment": "must have at most 1000 characters, has 1001",
        }
        assert failure.code is StatusCode.INVALID_ARGUMENT
        assert failure.details[0] == info("INVALID_FIELD")
        assert failure.fields == expected
        assert len(failure.details) == 2
        sentences = "; ".join(f"{path}: {problem}" for path, problem in expected.items())
        assert failure.message == sentences

    @pytest.mark.parametrize(
        ("bad", "fault"),
        [
            ("-x", '"-x" begins with "-"'),
            (" x", '" x" begins with a blank'),
            ("x ", '"x " ends with a blank'),
            ("a/b", '"a/b" contains a slash'),
            ("\ufeffs-1", '"\\ufeffs-1" begins with a byte order mark, U+FEFF'),
            ("ä", '"\\u00e4" begins with U+00E4 (LATIN SMALL LETTER A WITH DIAERESIS)'),
            ("x" * 129, f'"{"x" * 40}..." has 129 characters, more than 128'),
            ("a\n", '"a\\n" ends with a line break'),
            ("a\0b", '"a\\u0000b" contains U+0000'),
            (".", '"." begins with "."'),
        ],
    )
    async def test_ids(self, sqlite_registrar: Registrar, bad: str, fault: str) -> None:
        """An invalid id is an invalid field, not a missing student: the refusal shows it and says what is wrong."""
        failure = await refused(sqlite_registrar.enroll(bad, "CS-101"))
        assert failure.message == f"student_id: {ID_RULE}: {fault}"
        assert failure.fields == {"student_id": f"{ID_RULE}: {fault}"}

    @pytest.mark.parametrize("good", ["x" * 128, "0", "a.b_c~d@e-f", "_x", "course-v1:MITx+6.00x+2T2026"])
    async def test_ids_of_all_forms(self, sqlite_registrar: Registrar, good: str) -> None:
        """Ids may have every allowed character and the maximum length."""
        assert (await refused(sqlite_registrar.enroll(good, "CS-101"))).reason == "STUDENT_NOT_FOUND"

    async def test_empty_override(self, sqlite_registrar: Registrar) -> None:
        """An override must name rules and a reason without NUL."""
        failure = await refused(sqlite_registrar.enroll("s-1", "CS-101", override=Override(reason="\0")))
        assert failure.fields == {
            "override.rules": f"must name at least one of {OVERRIDABLE}",
            "override.reason": "must not contain U+0000",
        }

    async def test_contention(self, database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """If another transaction locks the course for too long, the call is ABORTED with a retry delay."""
        monkeypatch.setattr(engines, "LOCK_TIMEOUT_MS", 50)
        async with registrar_on(database_url) as registrar:
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_courses(engine):
                failure = await refused(registrar.enroll("s-1", "CS-101"))
            await registrar.enroll("s-1", "CS-101")
        assert failure == Failure(
            StatusCode.ABORTED,
            "Other transactions held the same rows for too long; nothing was changed. Try again.",
            (info("CONTENTION"), RetryInfo(retry_delay=Duration(nanos=50_000_000))),
        )


class TestUnenroll:
    """Unenroll succeeds."""

    async def test_a_seat_given_back(self, campus: Registrar) -> None:
        """The enrollment becomes DROPPED, with the reason and its end time."""
        enrollment = await campus.enroll("s-1", "CS-101")
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", reason="too hard")
        answer = await campus.enrollments.Unenroll(request)
        end = answer.enrollment.end_time
        assert end.ToNanoseconds() > enrollment.create_time.ToNanoseconds()
        assert answer.enrollment.etag not in ("", enrollment.etag)
        enrollment.MergeFrom(
            Enrollment(state=DROPPED, reason="too hard", end_time=end, update_time=end, etag=answer.enrollment.etag)
        )
        enrollment.update_time.CopyFrom(end)
        assert answer == UnenrollResponse(enrollment=enrollment)
        assert await counts(campus) == (0, 0, 2)

    async def test_its_event(self, campus: Registrar, engine: Engine) -> None:
        """One event records the drop, with the reason, the comment, and the capacity and count after it."""
        await campus.enroll("s-1", "CS-101")
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", reason="moved", comment="by phone")
        await campus.enrollments.Unenroll(request)
        query = (
            "SELECT student_id, course_id, state, previous_state, capacity, enrolled_count, reason, comment"
            " FROM events WHERE type = 'STUDENT_UNENROLLED'"
        )
        with engine.connect() as connection:
            (event,) = connection.execute(text(query))
        assert event == ("s-1", "CS-101", "DROPPED", "ENROLLED", 2, 0, "moved", "by phone")

    async def test_the_seat_is_free(self, campus: Registrar) -> None:
        """Another student can take the dropped seat."""
        await campus.add_course("ONE", capacity=1)
        await campus.enroll("s-1", "ONE")
        await drop(campus, "s-1", "ONE")
        assert (await campus.enroll("s-2", "ONE")).state == ENROLLED
        assert await counts(campus, "ONE") == (1, 0, 0)

    async def test_from_the_waitlist(self, campus: Registrar) -> None:
        """Unenroll removes a student from the waitlist, and no seat becomes free."""
        await queued(campus)
        dropped = await drop(campus, "s-1", "ONE")
        assert (dropped.state, dropped.waitlist_position) == (DROPPED, 0)
        assert await counts(campus, "ONE") == (1, 0, 0)

    async def test_allow_missing(self, campus: Registrar) -> None:
        """With allow_missing the response has no enrollment if there is nothing to drop."""
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", allow_missing=True)
        assert await campus.enrollments.Unenroll(request) == UnenrollResponse()

    async def test_allow_missing_drops(self, campus: Registrar) -> None:
        """With allow_missing an existing enrollment is dropped."""
        await campus.enroll("s-1", "CS-101")
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", allow_missing=True)
        assert (await campus.enrollments.Unenroll(request)).enrollment.state == DROPPED

    async def test_validate_only(self, campus: Registrar) -> None:
        """validate_only returns the response of the call without times and etag, and changes nothing."""
        enrollment = await campus.enroll("s-1", "CS-101")
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", reason="perhaps", validate_only=True)
        answer = await campus.enrollments.Unenroll(request)
        expected = Enrollment(state=DROPPED, reason="perhaps")
        expected.MergeFrom(
            Enrollment(
                enrollment_id=enrollment.enrollment_id,
                student_id="s-1",
                course_id="CS-101",
                attempt=1,
                create_time=enrollment.create_time,
            )
        )
        assert answer == UnenrollResponse(enrollment=expected)
        assert [entry.enrollment for entry in await courses_of(campus, "s-1")] == [enrollment]


class TestUnenrollRefused:
    """Unenroll refuses, with all details."""

    NOT_ENROLLED = Failure(
        StatusCode.NOT_FOUND,
        'Student "s-1" has no live enrollment in "CS-101".',
        (info("NOT_ENROLLED", student_id="s-1", course_id="CS-101"),),
    )

    async def test_not_enrolled(self, campus: Registrar) -> None:
        """A student who never enrolled cannot drop."""
        assert await refused(drop(campus, "s-1", "CS-101")) == self.NOT_ENROLLED

    async def test_dropped_already(self, campus: Registrar) -> None:
        """A dropped enrollment cannot be dropped again."""
        await campus.enroll("s-1", "CS-101")
        await drop(campus, "s-1", "CS-101")
        assert await refused(drop(campus, "s-1", "CS-101")) == self.NOT_ENROLLED
        assert await counts(campus) == (0, 0, 2)

    async def test_completed(self, campus: Registrar) -> None:
        """A completed enrollment cannot be dropped."""
        await campus.enroll("s-1", "CS-101")
        await complete(campus, "s-1", "CS-101")
        assert await refused(drop(campus, "s-1", "CS-101")) == self.NOT_ENROLLED

    @pytest.mark.parametrize("allow_missing", [False, True])
    async def test_not_found(self, campus: Registrar, allow_missing: bool) -> None:
        """An unknown student or course is refused, even with allow_missing."""

        def unenroll(student_id: str, course_id: str) -> UnenrollRequest:
            return UnenrollRequest(student_id=student_id, course_id=course_id, allow_missing=allow_missing)

        call = campus.enrollments.Unenroll
        assert await refused(call(unenroll("nobody", "CS-101"))) == NO_STUDENT
        assert await refused(call(unenroll("s-1", "nothing"))) == NO_COURSE
        assert await refused(call(unenroll("nobody", "nothing"))) == NO_STUDENT

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        request = UnenrollRequest(
            student_id="?",
            request_id="6ba7b810-9dad-11d1-80b4-00c04fd430c",
            override=Override(reason="x" * 1001),
            reason="x" * 201,
            comment="a\0b",
        )
        failure = await refused(sqlite_registrar.enrollments.Unenroll(request))
        assert failure.details[0] == info("INVALID_FIELD")
        assert failure.fields == {
            "request_id": "must be a UUID, such as 0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11,"
            ' and not "6ba7b810-9dad-11d1-80b4-00c04fd430c"',
            "student_id": f'{ID_RULE}: "?" begins with "?"',
            "course_id": f"is required and {ID_RULE}",
            "override.rules": f"must name at least one of {OVERRIDABLE}",
            "override.reason": "must have at most 1000 characters, has 1001",
            "reason": "must have at most 200 characters, has 201",
            "comment": "must not contain U+0000",
        }


class TestListCourses:
    """ListCourses succeeds."""

    async def test_courses_with_enrollments(self, campus: Registrar) -> None:
        """Each entry has the complete course and the enrollment, as from GetCourse and EnrollStudent."""
        enrollment = await campus.enroll("s-1", "CS-101")
        entry = StudentCourse(course=await campus.course("CS-101"), enrollment=enrollment)
        answer = await campus.enrollments.ListCourses(ListCoursesRequest(student_id="s-1"))
        assert answer == ListCoursesResponse(courses=[entry])

    async def test_none(self, campus: Registrar) -> None:
        """A student without courses has an empty list."""
        answer = await campus.enrollments.ListCourses(ListCoursesRequest(student_id="s-1"))
        assert answer == ListCoursesResponse()

    @pytest.mark.parametrize("page_size", [0, 4, 1000], ids=["usual", "full", "large"])
    async def test_byte_order(self, campus: Registrar, page_size: int) -> None:
        """Courses are listed in the byte order of their ids, on every database and for every page size."""
        for course_id in ("b", "B", "a-1", "a.1"):
            await campus.add_course(course_id)
            await campus.enroll("s-1", course_id)
        request = ListCoursesRequest(student_id="s-1", page_size=page_size)
        answer = await campus.enrollments.ListCourses(request)
        assert [entry.course.course_id for entry in answer.courses] == ["B", "a-1", "a.1", "b"]
        assert not answer.next_page_token

    async def test_states(self, campus: Registrar) -> None:
        """Live enrollments are listed unless the request names other states, in any order and with duplicates."""
        await campus.add_course("ART-1")
        await campus.enroll("s-1", "ART-1")
        completed = await complete(campus, "s-1", "ART-1")
        enrolled = await campus.enroll("s-1", "CS-101")
        await campus.add_course("ONE", capacity=1, waitlist_capacity=5)
        await campus.enroll("s-1", "ONE")
        dropped = await drop(campus, "s-1", "ONE")
        await campus.enroll("s-2", "ONE")
        waiting = await campus.enroll("s-1", "ONE")

        async def listed(*states: enrollment_pb2.EnrollmentState.ValueType) -> list[Enrollment]:
            return [entry.enrollment for entry in await courses_of(campus, "s-1", *states)]

        assert await listed() == [enrolled, waiting]
        assert await listed(WAITLISTED, ENROLLED, WAITLISTED) == [enrolled, waiting]
        assert await listed(ENROLLED) == [enrolled]
        assert await listed(WAITLISTED) == [waiting]
        assert await listed(DROPPED) == [dropped]
        assert await listed(COMPLETED) == [completed]
        assert await listed(COMPLETED, DROPPED, WAITLISTED, ENROLLED) == [completed, enrolled, dropped, waiting]

    async def test_deleted_course(self, campus: Registrar) -> None:
        """A deleted course is listed with its delete_time, and the enrollment has the reason COURSE_DELETED."""
        await campus.enroll("s-1", "CS-101")
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
        (entry,) = await courses_of(campus, "s-1", DROPPED)
        assert entry.course.HasField("delete_time")
        assert entry.enrollment.reason == "COURSE_DELETED"
        assert not await courses_of(campus, "s-1")

    async def test_only_the_students_own(self, campus: Registrar) -> None:
        """The courses of other students are not listed."""
        await campus.enroll("s-2", "CS-101")
        assert not await courses_of(campus, "s-1")


class TestListCoursesRefused:
    """ListCourses refuses, with all details."""

    @pytest.mark.parametrize("page_size", [0, 7], ids=["usual", "other"])
    async def test_student_not_found(self, campus: Registrar, page_size: int) -> None:
        """A student who does not exist or is deleted is not found."""
        request = ListCoursesRequest(student_id="nobody", page_size=page_size)
        assert await refused(campus.enrollments.ListCourses(request)) == NO_STUDENT
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="s-1"))
        request = ListCoursesRequest(student_id="s-1", page_size=page_size)
        assert (await refused(campus.enrollments.ListCourses(request))).reason == "STUDENT_NOT_FOUND"

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        request = ListCoursesRequest(student_id="", states=[ENROLLED, 0, 99], page_size=-1)  # type: ignore[list-item]
        failure = await refused(sqlite_registrar.enrollments.ListCourses(request))
        states = "must be one of ENROLLED, WAITLISTED, DROPPED, COMPLETED, VOIDED"
        assert failure.code is StatusCode.INVALID_ARGUMENT
        assert failure.details[0] == info("INVALID_FIELD")
        assert failure.fields == {
            "student_id": f"is required and {ID_RULE}",
            "states[1]": states,
            "states[2]": states,
            "page_size": "must not be negative; 0 means 50",
        }

    async def test_page_token(self, campus: Registrar) -> None:
        """A token that does not come from this list is refused."""
        request = ListCoursesRequest(student_id="s-1", page_token="page-2")
        failure = await refused(campus.enrollments.ListCourses(request))
        expected = "must be a next_page_token of the same list with the same filters"
        assert failure.code is StatusCode.INVALID_ARGUMENT
        assert failure.message == f"page_token {expected}."
        assert failure.details[0] == info("INVALID_PAGE_TOKEN")
        assert failure.fields == {"page_token": expected}
