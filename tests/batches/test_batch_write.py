"""BatchWrite: many changes with one call, each with the checks, answers, events and log lines of a call of its own."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from registrar.v1.batch_service_pb2 import BATCH_VIEW_ERRORS, BATCH_VIEW_FULL, BatchWriteRequest, Write, WriteResult
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import (
    DeleteCourseRequest,
    SettleCourseRequest,
    UndeleteCourseRequest,
    UpdateCourseRequest,
)
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    RecordCompletionRequest,
    SwapEnrollmentRequest,
    UnenrollRequest,
    VoidCompletionRequest,
)
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import (
    DeleteStudentRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from registrar_server.rpc.methods import Change
from registrar_server.rpc.table import METHODS
from tests.support.batches import (
    FIELDS,
    ID,
    answer,
    batch,
    carried_out,
    create_course,
    create_student,
    enroll,
    id_of,
    kinds_of,
    masked,
    reasons,
    sent,
    status_of,
    unenroll,
    write,
)
from tests.support.history_calls import history
from tests.support.refusals import refused
from tests.support.servers import Log, Registrar, registrar_on
from tests.support.single_calls import send

TITLE = FieldMask(paths=["title"])


def story(completion: str) -> list[Message]:
    """Return requests of every kind, some of which are refused; ``completion`` is the id of a completion of s-0."""
    full = Course(course_id="CS-101", capacity=2)
    return [
        *(create_student(f"s-{number}", given_name="Ada") for number in (1, 2, 3)),
        create_student("s-1"),
        create_course("CS-101", capacity=1, waitlist_capacity=1),
        create_course("CS-102", prerequisite_course_ids=["CS-101"]),
        enroll("s-1"),
        enroll("s-2"),
        enroll("s-3"),
        enroll("s-1", "CS-102"),
        enroll("/"),
        enroll("s-9"),
        unenroll("s-1"),
        RecordCompletionRequest(student_id="s-1", course_id="CS-101", grade="A", passed=True),
        enroll("s-1", "CS-102"),
        CompleteEnrollmentRequest(student_id="s-2", course_id="CS-101", grade="B", passed=True),
        SwapEnrollmentRequest(student_id="s-1", from_course_id="CS-102", to_course_id="CS-101"),
        VoidCompletionRequest(enrollment_id=completion, reason="by mistake"),
        VoidCompletionRequest(enrollment_id=completion, reason="again"),
        UpdateStudentRequest(student=Student(student_id="s-1", given_name="Grace")),
        PlaceHoldRequest(student_id="s-3", code="BURSAR", reason="unpaid"),
        enroll("s-3"),
        ReleaseHoldRequest(student_id="s-3", code="BURSAR"),
        ReleaseHoldRequest(student_id="s-3", code="BURSAR"),
        UpdateCourseRequest(course=full, update_mask=FieldMask(paths=["capacity"])),
        UpdateCourseRequest(course=Course(course_id="CS-101", title="Logic", etag="CS-101/1"), update_mask=TITLE),
        SettleCourseRequest(course_id="CS-101"),
        DeleteCourseRequest(course_id="CS-101"),
        DeleteCourseRequest(course_id="CS-101", force=True),
        UndeleteCourseRequest(course_id="CS-101"),
        DeleteStudentRequest(student_id="s-3"),
        UndeleteStudentRequest(student_id="s-3"),
        UnenrollRequest(student_id="s-3", course_id="CS-101", allow_missing=True),
    ]


async def prepared(registrar: Registrar) -> list[Message]:
    """Create the student s-0 with a completion, and return the requests of the story."""
    await registrar.add_student("s-0")
    await registrar.add_course("CS-100")
    record = RecordCompletionRequest(student_id="s-0", course_id="CS-100")
    completion = (await registrar.enrollments.RecordCompletion(record)).enrollment
    requests = story(completion.enrollment_id)
    for place, request in enumerate(requests):
        request.request_id = id_of(place)  # type: ignore[attr-defined]
    return requests


async def outcome(registrar: Registrar, request: Message) -> Message:
    """Make a single call, and return its response, or the status of its refusal as a batch has it."""
    try:
        return await send(registrar, request)
    except grpc.aio.AioRpcError as error:
        return status_of(error)


class TestTable:
    """Every RPC that changes something can be a write."""

    def test_every_change_is_a_write(self) -> None:
        """``Write`` has a field for the request of every change, and no other; ``WriteResult`` for every response."""
        changes = [
            (name, change)
            for methods in METHODS.values()
            for name, change in methods.items()
            if isinstance(change, Change)
        ]
        results = kinds_of(WriteResult, "result")
        del results[Status.DESCRIPTOR.full_name]
        assert FIELDS.keys() == {change.request.DESCRIPTOR.full_name for _, change in changes}
        assert results.keys() == {change.response.DESCRIPTOR.full_name for _, change in changes}
        for name, change in changes:
            field = FIELDS[change.request.DESCRIPTOR.full_name]
            assert field == results[change.response.DESCRIPTOR.full_name]
            assert field.replace("_", "") == name.lower()

    def test_the_story_has_every_kind(self) -> None:
        """The tests below carry out writes of every kind."""
        assert {request.DESCRIPTOR.full_name for request in story("x")} == FIELDS.keys()


class TestLikeSingleCalls:
    """A batch does what the same calls do one after the other."""

    @pytest.mark.parametrize("max_batch", [256, 5, 1])
    async def test_answers_events_and_log(self, database_url: str, other_url: str, log: Log, max_batch: int) -> None:
        """Answers, reasons, details, events and log lines are the same, in any number of pieces."""
        async with registrar_on(other_url) as one_by_one:
            requests = await prepared(one_by_one)
            log.lines.clear()
            expected = [await outcome(one_by_one, request) for request in requests]
            lines, events = log.lines[:], await history(one_by_one)
        async with registrar_on(database_url, max_batch=max_batch) as registrar:
            requests = await prepared(registrar)
            log.lines.clear()
            response = await carried_out(registrar, *requests)
            logged, recorded = log.lines[:], await history(registrar)
        assert masked(map(answer, response.results)) == masked(expected)
        assert response.refused_count == 9
        assert masked(recorded) == masked(events)
        assert {event.request_id for event in recorded[-20:]} <= {id_of(place) for place in range(len(requests))}
        *of_writes, of_batch = logged
        for is_call in (True, False):
            kept = sorted(
                (line for line in of_writes if (line["event"] == "rpc") is is_call),
                # A write that cannot be read is refused before its piece begins.
                key=lambda line: line.get("write", 0),
            )
            assert masked(map(of_call, kept)) == masked(
                of_call(line) for line in lines if (line["event"] == "rpc") is is_call
            )
        assert of_batch.items() >= {"method": "BatchWrite", "writes": len(requests), "refused": 9}.items()
        assert "write" not in of_batch

    async def test_the_revision(self, registrar: Registrar) -> None:
        """No event of the writes has a higher revision than the response."""
        response = await carried_out(registrar, create_student("s-1"), create_student("s-2"))
        answer = await registrar.history.ListEvents(ListEventsRequest())
        assert [event.revision for event in answer.events] == [1, 2]
        assert response.revision == 2

    async def test_the_revision_of_a_batch_that_changes_nothing(self, database_url: str) -> None:
        """A server that has made no change yet repeats and refuses writes with the revision of the history."""
        async with registrar_on(database_url) as registrar:
            await carried_out(registrar, create_student("s-1"), create_student("s-2"), request_id=ID)
        async with registrar_on(database_url) as registrar:
            assert (await carried_out(registrar, create_student("s-1"))).revision == 2
        async with registrar_on(database_url) as registrar:
            repeated = await carried_out(registrar, create_student("s-1"), create_student("s-2"), request_id=ID)
            assert repeated.revision == 2

    async def test_events_of_a_write_by_its_request_id(self, registrar: Registrar) -> None:
        """The events of a write have the id that follows from its place."""
        await carried_out(registrar, create_student("s-1"), create_course("CS-101"), enroll("s-1"), request_id=ID)
        found = await history(registrar)
        assert [event.request_id for event in found] == [id_of(place) for place in range(3)]


def of_call(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the log without what differs between a write and a call of its own."""
    return {name: value for name, value in line.items() if name not in ("write", "duration_ms", "peer")}


class TestResults:
    """What a batch answers."""

    async def test_a_refused_write_disturbs_no_other(self, registrar: Registrar) -> None:
        """The call succeeds. The place of a refused write has its error, and it is counted."""
        await registrar.add_course("CS-101", capacity=1)
        response = await carried_out(
            registrar, create_student("s-1"), enroll("s-9"), enroll("s-1"), create_student("s-2"), enroll("s-2")
        )
        assert reasons(response) == ["", "STUDENT_NOT_FOUND", "", "", "COURSE_FULL"]
        assert response.refused_count == 2
        assert (await registrar.course("CS-101")).enrolled_count == 1

    async def test_errors_only(self, registrar: Registrar) -> None:
        """``BATCH_VIEW_ERRORS`` leaves the results of writes that went well empty."""
        writes = [create_student("s-1"), create_student("s-1"), create_student("s-2")]
        response = await carried_out(registrar, *writes, view=BATCH_VIEW_ERRORS)
        assert list(map(answer, response.results))[::2] == [None, None]
        assert reasons(response) == ["", "STUDENT_EXISTS", ""]
        assert response.refused_count == 1
        assert not response.abridged

    async def test_full_view(self, registrar: Registrar) -> None:
        """``BATCH_VIEW_FULL`` is the default."""
        response = await carried_out(registrar, create_student("s-1"), view=BATCH_VIEW_FULL)
        assert answer(response.results[0]).student.student_id == "s-1"

    async def test_an_empty_response(self, registrar: Registrar) -> None:
        """A response without any field is still the response of its write."""
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        response = await carried_out(registrar, unenroll("s-1", allow_missing=True))
        assert response.results[0].WhichOneof("result") == "unenroll"


class TestWrongBatches:
    """Faults of the batch refuse all of it, and faults of a write only the write."""

    @pytest.mark.parametrize(
        ("request_", "fields"),
        [
            (BatchWriteRequest(), ["writes"]),
            (batch(*[enroll("s-1")] * 1001), ["writes"]),
            (batch(enroll("s-1"), atomic=True, unordered=True), ["unordered"]),
            (batch(enroll("s-1"), view=7), ["view"]),
            (batch(enroll("s-1"), request_id="7"), ["request_id"]),
            (BatchWriteRequest(view=9, request_id="7", atomic=True, unordered=True), 4),  # type: ignore[arg-type]
        ],
        ids=["none", "too_many", "atomic_and_unordered", "view", "request_id", "all"],
    )
    async def test_the_batch(self, sqlite_registrar: Registrar, request_: BatchWriteRequest, fields: Any) -> None:
        failure = await refused(sent(sqlite_registrar, request_))
        assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert len(failure.fields) == fields if isinstance(fields, int) else list(failure.fields) == fields

    async def test_a_thousand_writes(self, registrar: Registrar) -> None:
        """The largest batch is carried out."""
        response = await carried_out(registrar, *(create_student(f"s-{number}") for number in range(1000)))
        assert (len(response.results), response.refused_count, response.revision) == (1000, 0, 1000)

    @pytest.mark.parametrize("options", [{}, {"unordered": True}, {"validate_only": True}], ids=str)
    async def test_writes(self, registrar: Registrar, options: dict[str, bool]) -> None:
        """A write without a request, with a ``validate_only`` of its own or a wrong timeout is refused alone."""
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        endless = write(enroll("s-1"))
        endless.timeout.seconds = 315_576_000_001
        mixed = write(enroll("s-1"), timeout=1)
        mixed.timeout.nanos = -1
        writes = [
            Write(),
            enroll("s-1", validate_only=True),
            write(enroll("s-1"), timeout=0),
            write(enroll("s-1"), timeout=-1),
            endless,
            mixed,
            write(enroll("/", request_id="x", validate_only=True), timeout=0),
            write(create_student("s-2"), timeout=3600),
        ]
        response = await carried_out(registrar, *writes, **options)
        assert reasons(response) == ["INVALID_FIELD"] * 7 + [""]
        assert [faults(result) for result in response.results[:7]] == [
            ["write"],
            ["validate_only"],
            *[["timeout"]] * 4,
            ["request_id", "student_id", "timeout", "validate_only"],
        ]

    async def test_the_refusal_of_an_unknown_write(self, sqlite_registrar: Registrar, log: Log) -> None:
        """A write of a newer client, which this server does not know, is refused and named in the log."""
        newer = Write.FromString(b"\xf2\x06\x02\x0a\x00")
        response = await carried_out(sqlite_registrar, newer)
        assert reasons(response) == ["INVALID_FIELD"]
        assert [line["method"] for line in log.of("rpc", write=0)] == ["Write"]


def faults(result: WriteResult) -> list[str]:
    """Return the paths of the invalid fields of a write."""
    found = BadRequest()
    assert result.error.details[1].Unpack(found)
    return sorted(one.field for one in found.field_violations)
