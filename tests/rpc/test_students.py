"""StudentService over gRPC: create, get, list, update, delete and undelete."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from sqlalchemy import Engine, select, text

from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED
from registrar.v1.enrollment_service_pb2 import ListRosterRequest
from registrar.v1.student_pb2 import STUDENT_STATE_ACTIVE, STUDENT_STATE_INACTIVE, Hold, Student
from registrar.v1.student_service_pb2 import (
    CreateStudentRequest,
    DeleteStudentRequest,
    GetStudentRequest,
    ListStudentsRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from registrar_server.core import records
from registrar_server.core.records import SETTABLE
from registrar_server.storage.models import Event
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, precondition, refused, resource
from tests.support.servers import Registrar

ADA = {
    "given_name": "Ada",
    "family_name": "Byron",
    "email": "ada@example.edu",
    "state": STUDENT_STATE_INACTIVE,
    "max_credits": "18.500",
}
ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
DECIMAL = "must be a decimal from 0 to 1000 with up to 3 decimals, such as 3 or 1.5"


async def get(registrar: Registrar, student_id: str, **options: Any) -> Student:
    return (await registrar.students.GetStudent(GetStudentRequest(student_id=student_id, **options))).student


async def update(registrar: Registrar, *paths: str, **fields: Any) -> Student:
    """Update s-1 with these fields and paths."""
    mask = FieldMask(paths=paths) if paths else None
    request = UpdateStudentRequest(student=Student(student_id="s-1", **fields), update_mask=mask)
    return (await registrar.students.UpdateStudent(request)).student


async def delete(registrar: Registrar, student_id: str = "s-1", **options: Any) -> Student:
    return (await registrar.students.DeleteStudent(DeleteStudentRequest(student_id=student_id, **options))).student


async def undelete(registrar: Registrar, student_id: str) -> Student:
    return (await registrar.students.UndeleteStudent(UndeleteStudentRequest(student_id=student_id))).student


async def listed(registrar: Registrar, **fields: Any) -> list[str]:
    answer = await registrar.students.ListStudents(ListStudentsRequest(**fields))
    return [student.student_id for student in answer.students]


def not_found(student_id: str) -> Failure:
    sentence = f'There is no student "{student_id}".'
    details = (info("STUDENT_NOT_FOUND", student_id=student_id), resource("Student", student_id, sentence))
    return Failure(StatusCode.NOT_FOUND, sentence, details)


def event_types(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT type FROM events ORDER BY revision")))


class TestCreate:
    """CreateStudent."""

    async def test_all_fields(self, registrar: Registrar) -> None:
        """Create and get return a student as created, with normalized credits, times and an etag."""
        created = await registrar.add_student("s-1", **ADA)
        expected = Student(student_id="s-1", **{**ADA, "max_credits": "18.5"})  # type: ignore[arg-type]
        expected.MergeFrom(Student(etag=created.etag, create_time=created.create_time, update_time=created.create_time))
        assert created == expected
        assert created.etag
        assert created.create_time.seconds > 0
        assert created.create_time.nanos % 1000 == 0
        assert await get(registrar, "s-1") == created

    async def test_defaults(self, registrar: Registrar) -> None:
        """No field is required: a student is active and may take any number of credits."""
        created = await registrar.add_student("s-1")
        assert created.state == STUDENT_STATE_ACTIVE
        assert not created.HasField("max_credits")

    async def test_made_ids(self, registrar: Registrar) -> None:
        """If the id is empty, the server generates one, and later ids sort later."""
        ids = [(await registrar.add_student("")).student_id for _ in range(3)]
        assert ids == sorted(set(ids))
        assert await listed(registrar) == ids

    async def test_output_only(self, registrar: Registrar) -> None:
        """Output-only fields of a request are ignored."""
        then = Timestamp(seconds=1)
        created = await registrar.add_student(
            "s-1", etag="99", create_time=then, update_time=then, delete_time=then, holds=[Hold(code="BURSAR")]
        )
        assert created.etag != "99"
        assert created.create_time.seconds > 1
        assert not created.holds
        assert not created.HasField("delete_time")

    async def test_names(self, registrar: Registrar) -> None:
        """Names may contain any characters, up to the limit of their length."""
        created = await registrar.add_student("s-1", given_name="\U0001d50a" * 200, family_name="Ødegård-Nuñez\u200d王")
        assert await get(registrar, "s-1") == created

    async def test_exists(self, registrar: Registrar) -> None:
        """An id is used once, even if its student is deleted."""
        sentence = 'There is already a student "s-1", or was one: deleted ids are not given again.'
        expected = Failure(
            StatusCode.ALREADY_EXISTS,
            sentence,
            (info("STUDENT_EXISTS", student_id="s-1"), resource("Student", "s-1", sentence)),
        )
        await registrar.add_student("s-1")
        assert await refused(registrar.add_student("s-1")) == expected
        await delete(registrar)
        assert await refused(registrar.add_student("s-1")) == expected

    async def test_every_bad_field(self, sqlite_registrar: Registrar) -> None:
        """One refusal names every invalid field by its path."""
        student = Student(
            student_id="s 1",
            given_name="x" * 201,
            family_name="a\0b",
            email="ada",
            state=7,  # type: ignore[arg-type]
            max_credits="-1",
        )
        request = CreateStudentRequest(student=student, request_id="x")
        failure = await refused(sqlite_registrar.students.CreateStudent(request))
        assert failure.details[0] == info("INVALID_FIELD")
        assert failure.fields == {
            "request_id": 'must be a UUID, such as 0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11, and not "x"',
            "student.student_id": f'{ID_RULE}: "s 1" contains a blank',
            "student.given_name": "must have at most 200 characters, has 201",
            "student.family_name": "must not contain U+0000",
            "student.email": "must contain exactly one @",
            "student.state": "must be one of ACTIVE, INACTIVE",
            "student.max_credits": DECIMAL,
        }

    @pytest.mark.parametrize(
        "good", ["0", "7.5", "18.000", "1000", "0.001", "0018", "3.0000", "1000.0000000", ".5", "3."]
    )
    async def test_credits(self, sqlite_registrar: Registrar, good: str) -> None:
        """Credits are decimals from 0 to 1,000 that need up to three decimals, and are returned without more zeros."""
        created = await sqlite_registrar.add_student("s-1", max_credits=good)
        assert created.max_credits == f"{float(good):g}"

    @pytest.mark.parametrize(
        "bad",
        ["", "1000.001", "1.0001", "1,5", "1e2", "-0.5", "٣", " 3", "NaN", "+1", ".", "9" * 5000, "0." + "0" * 5000],
    )
    async def test_invalid_credits(self, sqlite_registrar: Registrar, bad: str) -> None:
        """Any other text is an invalid field, including empty text in a populated field."""
        failure = await refused(sqlite_registrar.add_student("s-1", max_credits=bad))
        assert failure.fields == {"student.max_credits": DECIMAL}


class TestGet:
    """GetStudent."""

    async def test_not_found(self, registrar: Registrar) -> None:
        """A student who does not exist is not found."""
        assert await refused(get(registrar, "s-1")) == not_found("s-1")

    async def test_deleted(self, registrar: Registrar) -> None:
        """A deleted student is returned only if show_deleted is set."""
        await registrar.add_student("s-1")
        deleted = await delete(registrar)
        assert await refused(get(registrar, "s-1")) == not_found("s-1")
        assert await get(registrar, "s-1", show_deleted=True) == deleted

    async def test_bad_id(self, sqlite_registrar: Registrar) -> None:
        """The id is required and must be valid."""
        assert (await refused(get(sqlite_registrar, ""))).fields == {"student_id": f"is required and {ID_RULE}"}


class TestList:
    """ListStudents; ``test_paging.py`` tests its pages."""

    @pytest.fixture
    async def campus(self, registrar: Registrar) -> Registrar:
        """Three students and a deleted one."""
        await registrar.add_student("b", given_name="Ada", family_name="Byron", email="ada@example.edu")
        await registrar.add_student("a", given_name="Alan", family_name="Turing", email="alan@example.org")
        await registrar.add_student("B", given_name="ÉMILIE", family_name="du Châtelet 100%_")
        await registrar.add_student("gone", given_name="Ada")
        await delete(registrar, "gone")
        return registrar

    async def test_byte_order(self, campus: Registrar) -> None:
        """Students are listed in the byte order of their ids, without deleted students by default."""
        assert await listed(campus) == ["B", "a", "b"]
        assert await listed(campus, show_deleted=True) == ["B", "a", "b", "gone"]

    async def test_whole(self, campus: Registrar) -> None:
        """Every student is complete, as from GetStudent."""
        answer = await campus.students.ListStudents(ListStudentsRequest(query="turing"))
        assert list(answer.students) == [await get(campus, "a")]

    async def test_query(self, campus: Registrar) -> None:
        """Every word must occur in the names or the e-mail address, ignoring case and without wildcards."""
        everybody = ["B", "a", "b"]
        for query, found in {
            "ada": ["b"],
            "  BYRON\tada ": ["b"],
            "example a": ["a", "b"],
            "ada turing": [],
            "émilie châtelet": ["B"],
            "%": ["B"],
            "0%_": ["B"],
            "_": ["B"],
            "\\": [],
            "' OR 1=1 --": [],
            " ": everybody,
            "": everybody,
        }.items():
            assert await listed(campus, query=query) == found, query

    async def test_bad_fields(self, sqlite_registrar: Registrar) -> None:
        """The query has a limited length, and the page size must not be negative."""
        failure = await refused(listed(sqlite_registrar, query="\0" + "x" * 200, page_size=-5))
        assert set(failure.fields) == {"query", "page_size"}


class TestUpdate:
    """UpdateStudent."""

    @pytest.fixture
    async def campus(self, registrar: Registrar) -> Registrar:
        """A student s-1 with all fields."""
        await registrar.add_student("s-1", **ADA)
        return registrar

    async def test_masked(self, campus: Registrar) -> None:
        """Only the fields in the mask change, whatever the message contains."""
        before = await get(campus, "s-1")
        after = await update(campus, "family_name", family_name="King", given_name="?")
        assert after.etag != before.etag
        assert after.update_time.ToMicroseconds() > before.update_time.ToMicroseconds()
        before.family_name, before.etag = "King", after.etag
        before.update_time.CopyFrom(after.update_time)
        assert after == before
        assert await get(campus, "s-1") == after

    async def test_cleared(self, campus: Registrar) -> None:
        """A field in the mask that the message does not contain is cleared; a cleared state is ACTIVE."""
        after = await update(campus, "given_name", "email", "state", "max_credits")
        assert (after.given_name, after.email, after.state) == ("", "", STUDENT_STATE_ACTIVE)
        assert not after.HasField("max_credits")
        assert after.family_name == "Byron"

    async def test_without_mask(self, campus: Registrar) -> None:
        """Without a mask every populated field changes, and no field is cleared."""
        after = await update(campus, given_name="Augusta", max_credits="0")
        assert (after.given_name, after.family_name, after.max_credits) == ("Augusta", "Byron", "0")

    async def test_nothing_changes(self, campus: Registrar, engine: Engine) -> None:
        """An update to the current values changes neither etag nor time, and records no event."""
        before = await get(campus, "s-1")
        assert await update(campus, "given_name", given_name="Ada") == before
        assert await update(campus) == before
        assert event_types(engine) == ["STUDENT_CREATED"]

    async def test_found_by_the_new_name(self, campus: Registrar) -> None:
        """QueryThreads find the new name and no longer the old one."""
        await update(campus, "given_name", given_name="Augusta")
        assert await listed(campus, query="augusta") == ["s-1"]
        assert await listed(campus, query="ada byron") == ["s-1"]  # The e-mail address still contains "ada".
        assert await listed(campus, query="ada@example.com") == []

    async def test_event(self, campus: Registrar, engine: Engine) -> None:
        """One event contains the old and new value of each changed field, formatted for people."""
        await update(campus, "max_credits", "email", max_credits="20.50")
        with engine.connect() as connection:
            (changes,) = connection.scalars(select(Event.changes).where(Event.type == "STUDENT_UPDATED"))
        assert sorted(changes) == [["email", "ada@example.edu", None], ["max_credits", "18.5", "20.5"]]

    async def test_etag(self, campus: Registrar) -> None:
        """An update with the current etag succeeds, and one with an older etag is refused."""
        first = await get(campus, "s-1")
        second = await update(campus, "given_name", given_name="Augusta", etag=first.etag)
        failure = await refused(update(campus, "given_name", given_name="?", etag=first.etag))
        assert failure == Failure(
            StatusCode.ABORTED,
            f'The student "s-1" has changed since it was read: its etag is now "{second.etag}". Read it again.',
            (info("ETAG_MISMATCH", student_id="s-1"),),
        )
        assert await get(campus, "s-1") == second

    async def test_not_found(self, campus: Registrar) -> None:
        """A student who does not exist or is deleted is not found."""
        request = UpdateStudentRequest(student=Student(student_id="nobody", given_name="?"))
        assert await refused(campus.students.UpdateStudent(request)) == not_found("nobody")
        await delete(campus)
        assert await refused(update(campus, given_name="?")) == not_found("s-1")

    async def test_bad_mask(self, sqlite_registrar: Registrar) -> None:
        """The refusal names every path that is unknown, output-only or the id."""
        call = update(sqlite_registrar, "given_name", "holds", "student_id", "hold.code", "etag", given_name="x" * 201)
        failure = await refused(call)
        assert failure.fields["student.given_name"] == "must have at most 200 characters, has 201"
        settable = ", ".join(SETTABLE[records.Student])
        unknown = '"holds", "student_id", "hold.code", "etag"'
        assert failure.fields["update_mask"] == f"{unknown} cannot be updated; must be among {settable}"

    async def test_bad_fields_outside_the_mask(self, campus: Registrar) -> None:
        """Fields outside the mask are not checked."""
        assert (await update(campus, "email", email="a@b", given_name="x" * 201)).email == "a@b"

    async def test_id_is_required(self, sqlite_registrar: Registrar) -> None:
        """The id of the student is required."""
        failure = await refused(sqlite_registrar.students.UpdateStudent(UpdateStudentRequest()))
        assert failure.fields == {"student.student_id": f"is required and {ID_RULE}"}


class TestDelete:
    """DeleteStudent and UndeleteStudent."""

    @pytest.fixture
    async def campus(self, registrar: Registrar) -> Registrar:
        """A student s-1."""
        await registrar.add_student("s-1")
        return registrar

    async def test_deletes_softly(self, campus: Registrar) -> None:
        """A deleted student has a delete_time and is returned only if show_deleted is set."""
        before = await get(campus, "s-1")
        deleted = await delete(campus, etag=before.etag)
        assert deleted.delete_time == deleted.update_time
        assert deleted.etag != before.etag
        assert await listed(campus) == []

    async def test_twice(self, campus: Registrar) -> None:
        """A deleted student is not found by a second deletion."""
        await delete(campus)
        assert await refused(delete(campus)) == not_found("s-1")

    async def test_undelete(self, campus: Registrar) -> None:
        """Undeleting restores the student."""
        before = await get(campus, "s-1")
        await delete(campus)
        restored = await undelete(campus, "s-1")
        assert not restored.HasField("delete_time")
        assert await get(campus, "s-1") == restored
        before.etag = restored.etag
        before.update_time.CopyFrom(restored.update_time)
        assert restored == before

    async def test_undelete_live(self, campus: Registrar, engine: Engine) -> None:
        """Undeleting a live student changes nothing."""
        assert await undelete(campus, "s-1") == await get(campus, "s-1")
        assert event_types(engine) == ["STUDENT_CREATED"]

    async def test_undelete_unknown(self, campus: Registrar) -> None:
        """Undeleting a student who does not exist is refused."""
        assert await refused(undelete(campus, "nobody")) == not_found("nobody")

    async def test_stale_etag(self, campus: Registrar) -> None:
        """A student who has changed since the etag was read is not deleted."""
        stale = (await get(campus, "s-1")).etag
        await update(campus, given_name="Ada")
        assert (await refused(delete(campus, etag=stale))).reason == "ETAG_MISMATCH"

    async def test_has_enrollments(self, campus: Registrar) -> None:
        """Live enrollments prevent a deletion."""
        for course_id in ("CS-101", "CS-102"):
            await campus.add_course(course_id)
            await campus.enroll("s-1", course_id)
        sentence = 'Student "s-1" still has live enrollments (2); end them first, or use force.'
        assert await refused(delete(campus)) == Failure(
            StatusCode.FAILED_PRECONDITION,
            sentence,
            (
                info("STUDENT_HAS_ENROLLMENTS", student_id="s-1"),
                precondition("STUDENT_HAS_ENROLLMENTS", "s-1", sentence),
            ),
        )

    async def test_force(self, campus: Registrar, engine: Engine) -> None:
        """With force the deletion drops the enrollments, and undeleting does not restore them."""
        for course_id in ("CS-101", "CS-102"):
            await campus.add_course(course_id, capacity=1)
            await campus.enroll("s-1", course_id)
        await delete(campus, force=True)
        await undelete(campus, "s-1")
        for course_id in ("CS-101", "CS-102"):
            assert (await campus.course(course_id)).enrolled_count == 0
            request = ListRosterRequest(course_id=course_id, states=[ENROLLMENT_STATE_DROPPED])
            (entry,) = (await campus.enrollments.ListRoster(request)).entries
            assert entry.enrollment.reason == "STUDENT_DELETED"
        assert event_types(engine)[-4:-1] == ["STUDENT_UNENROLLED", "STUDENT_UNENROLLED", "STUDENT_DELETED"]
        assert_consistent(engine)

    async def test_validate_only(self, campus: Registrar) -> None:
        """validate_only returns the response of the call without times and etag, and changes nothing."""
        before = await get(campus, "s-1")
        preview = await delete(campus, validate_only=True)
        assert preview == Student(student_id="s-1", state=STUDENT_STATE_ACTIVE, create_time=before.create_time)
        assert await get(campus, "s-1") == before
        assert await refused(delete(campus, "nobody", validate_only=True)) == not_found("nobody")
