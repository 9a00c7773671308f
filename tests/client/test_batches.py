"""``batch`` makes many changes with one call, and ``writes`` describes them."""

from __future__ import annotations

import copy
import inspect
import pickle
import uuid
from types import ModuleType
from typing import Any, assert_type

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from registrar.v1 import batch_service_pb2 as pb
from registrar.v1 import enrollment_service_pb2, error_reason_pb2
from registrar_client import (
    AsyncRegistrarClient,
    BatchFailed,
    BatchResults,
    CourseFull,
    CourseNotFound,
    Enrolled,
    EnrollmentState,
    ErrorReason,
    FailedPrecondition,
    InvalidField,
    NotFound,
    RegistrarClient,
    RegistrarError,
    RequestIdReused,
    Student,
    StudentHold,
    StudentNotFound,
    Unavailable,
    writes,
)
from registrar_client._calls import courses, enrollment_reads
from tests.support.both_clients import Caller
from tests.support.client_fakes import METHODS, Driver, Failure, method_of, sent
from tests.support.client_samples import REQUEST_ID, SURFACE

CHANGING = [rpc for rpc in SURFACE if "request_id" in METHODS[rpc].input_type.fields_by_name and rpc != "BatchWrite"]


def enroll(*student_ids: str, course_id: str = "CS-101", **others: Any) -> list[writes.Write[Enrolled]]:
    return [writes.enroll(student_id=each, course_id=course_id, **others) for each in student_ids]


def answer(*errors: status_pb2.Status | None, **fields: Any) -> pb.BatchWriteResponse:
    """Return a response to writes that enroll: an empty one for None, or an error."""
    results = [
        pb.WriteResult(enroll_student=enrollment_service_pb2.EnrollStudentResponse())
        if error is None
        else pb.WriteResult(error=error)
        for error in errors
    ]
    return pb.BatchWriteResponse(results=results, refused_count=sum(map(bool, errors)), **fields)


def status(code: StatusCode, reason: str) -> status_pb2.Status:
    message = status_pb2.Status(code=code.value[0], message=f"because of {reason}")
    message.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="registrar"))
    return message


class TestWrites:
    """The functions of ``registrar_client.writes``."""

    def test_there_is_one_for_each_call_that_changes_something(self) -> None:
        assert functions(writes) == {SURFACE[rpc][0] for rpc in CHANGING}

    @pytest.mark.parametrize("rpc", CHANGING)
    def test_it_is_the_function_behind_the_methods(self, rpc: str) -> None:
        name, _ = SURFACE[rpc]
        function = method_of(writes, name)
        assert inspect.unwrap(method_of(RegistrarClient(), name).__func__) is function
        assert inspect.unwrap(method_of(AsyncRegistrarClient(), name).__func__) is function

    @pytest.mark.parametrize("rpc", CHANGING)
    def test_a_batch_carries_its_request(self, driver: Driver, rpc: str) -> None:
        name, arguments = SURFACE[rpc]
        write = method_of(writes, name)(**arguments, request_id=REQUEST_ID)
        answered = pb.BatchWriteResponse(results=[pb.WriteResult(error=status(StatusCode.NOT_FOUND, ""))])
        request = sent(driver, "batch", answered, writes=[write], check=False)
        (carried,) = request.writes
        assert getattr(carried, carried.WhichOneof("write")) == write.request


def functions(module: ModuleType, prefix: str = "") -> set[str]:
    """Return the names of the public functions of ``writes`` and of its parts."""
    found = set()
    for name in module.__dict__["__all__"]:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            found |= functions(value, f"{name}.")
        elif inspect.isfunction(value):
            found.add(prefix + name)
    return found


class TestRequests:
    """What a batch sends."""

    def test_the_options(self, driver: Driver) -> None:
        request = sent(driver, "batch", answer(None), writes=enroll("s-1"), unordered=True, request_id=REQUEST_ID)
        assert (request.atomic, request.unordered, request.validate_only) == (False, True, False)
        assert request.request_id == REQUEST_ID

    def test_any_iterable(self, driver: Driver) -> None:
        request = sent(driver, "batch", answer(None, None), writes=(each for each in enroll("s-1", "s-2")))
        assert [write.enroll_student.student_id for write in request.writes] == ["s-1", "s-2"]

    def test_the_timeout_of_a_write_travels_with_it(self, driver: Driver) -> None:
        both = [*enroll("s-1", timeout=1.5), *enroll("s-2")]
        first, second = sent(driver, "batch", answer(None, None), writes=both).writes
        assert first.timeout == Duration(seconds=1, nanos=500_000_000)
        assert not second.HasField("timeout")

    def test_the_writes_of_the_caller_stay_as_they_are(self, driver: Driver) -> None:
        """They can be sent again, in another batch or with ``bulk``."""
        (write,) = enroll("s-1")
        before = copy.deepcopy(write.request)
        sent(driver, "batch", answer(None), writes=[write])
        assert write.request == before

    @pytest.mark.parametrize(
        ("wrong", "description"),
        [
            (enrollment_reads.get_enrollment(enrollment_id="e-1"), "must be changes, and GetEnrollment is not one"),
            (courses.search(), "must be changes, and ListCall is not one"),
            ({"student_id": "s-1"}, "must be changes, and dict is not one"),
        ],
        ids=["a read", "a list", "no call"],
    )
    def test_only_changes_are_sent(self, driver: Driver, wrong: Any, description: str) -> None:
        with pytest.raises(InvalidField) as invalid:
            driver.call("batch", writes=[wrong])
        assert [(each.field, each.description) for each in invalid.value.field_violations] == [("writes", description)]
        assert driver.script.requests == []

    @pytest.mark.parametrize(
        "wrong", [None, 7, *enroll("s-1"), "s-1", {"s-1": 1}], ids=lambda each: type(each).__name__
    )
    def test_the_writes_must_be_a_sequence(self, driver: Driver, wrong: Any) -> None:
        kind = "None" if wrong is None else type(wrong).__name__
        with pytest.raises(InvalidField, match=f"^writes: must be a sequence of writes, not {kind}$"):
            driver.call("batch", writes=wrong)

    def test_too_many_writes_are_not_sent(self, driver: Driver) -> None:
        with pytest.raises(InvalidField, match=r"^writes: must be at most 1,000, not 1,001: bulk makes any"):
            driver.call("batch", writes=enroll("s-1") * 1_001)
        assert driver.script.requests == []

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), True])
    def test_a_wrong_timeout_of_a_write_is_not_sent(self, driver: Driver, timeout: float) -> None:
        with pytest.raises(InvalidField, match="timeout: must be"):
            driver.call("batch", writes=enroll("s-1", timeout=timeout))

    def test_a_retry_repeats_the_request_with_its_request_id(self, driver: Driver) -> None:
        driver.script.answers.extend([Failure(StatusCode.UNAVAILABLE), answer(None)])
        driver.call("batch", writes=enroll("s-1"))
        first, second = driver.script.requests
        assert first == second
        assert uuid.UUID(first.request_id).version == 4


class TestResults:
    """What a batch returns and raises."""

    async def test_typed_results_by_position(self, caller: Caller) -> None:
        created = writes.students.create(student_id="s-1", given_name="Ada")
        course = writes.courses.create(course_id="CS-101")
        results = await caller("batch", [created, course, *enroll("s-1")])
        student, _, enrolled = results
        assert isinstance(results, BatchResults)
        assert isinstance(student, Student)
        assert isinstance(enrolled, Enrolled)
        assert (student.given_name, results[1].course_id, enrolled.state) == ("Ada", "CS-101", EnrollmentState.ENROLLED)
        assert results[-1] is enrolled
        assert results[:2] == [student, results[1]]
        assert results.revision == (await caller("history.list"))[-1].revision == 3
        assert not results.errors
        assert not results.abridged
        assert repr(results) == "BatchResults(3 writes, 0 refused, revision 3)"

    async def test_a_refused_write_raises_after_all_writes_were_made(self, caller: Caller) -> None:
        await caller("courses.create", course_id="CS-101", capacity=1)
        await caller("batch", [writes.students.create(student_id=each) for each in ("s-1", "s-2", "s-3")])
        with pytest.raises(BatchFailed) as failed:
            await caller("batch", [*enroll("s-1", "s-2", "nobody"), writes.students.delete(student_id="s-3")])
        error = failed.value
        assert str(error) == '2 refused; writes[1]: The only seat is taken in "CS-101".'
        assert (error.status, error.reason) == (StatusCode.FAILED_PRECONDITION, ErrorReason.COURSE_FULL)
        assert error.violations == error.errors[1].violations != ()
        assert {place: type(one) for place, one in error.errors.items()} == {1: CourseFull, 2: StudentNotFound}
        assert error.results is not None
        assert error.results.errors == error.errors
        assert len(error.results) == 4
        assert [student.student_id for student in await caller("students.list")] == ["s-1", "s-2"]

    async def test_without_check_the_errors_are_in_the_results(self, caller: Caller) -> None:
        results = await caller("batch", [*enroll("nobody"), writes.students.create(student_id="s-1")], check=False)
        assert {place: type(one) for place, one in results.errors.items()} == {0: StudentNotFound}
        assert results[1].student_id == "s-1"
        assert results.outcomes[0] is results.errors[0]
        with pytest.raises(StudentNotFound):
            results[0]
        with pytest.raises(StudentNotFound):
            list(results)

    async def test_an_error_names_the_request_id_under_which_its_write_was_sent(self, caller: Caller) -> None:
        own = str(uuid.uuid4())
        results = await caller(
            "batch", [*enroll("nobody", request_id=own), *enroll("nobody")], check=False, request_id=REQUEST_ID
        )
        assert results.errors[0].request_id == own
        assert results.errors[1].request_id == str(uuid.uuid5(uuid.UUID(REQUEST_ID), "1"))

    async def test_an_atomic_batch_makes_all_writes_or_none(self, caller: Caller) -> None:
        await caller("batch", [writes.students.create(student_id="s-1"), writes.courses.create(course_id="CS-101")])
        await caller("students.place_hold", student_id="s-1", code="BURSAR")
        undone = writes.students.create(student_id="s-2")
        for check in (True, False):
            with pytest.raises(BatchFailed) as failed:
                await caller("batch", [undone, *enroll("s-1", "nobody")], atomic=True, check=check)
            error = failed.value
            assert error.results is None
            assert {place: type(one) for place, one in error.errors.items()} == {1: StudentHold, 2: StudentNotFound}
            assert error.errors[1].violations[0].values
            assert error.metadata["index"] == "1"
            assert str(error) == f"2 refused; writes[1]: {str(error.errors[1]).removeprefix('writes[1]: ')}"
        assert [student.student_id for student in await caller("students.list")] == ["s-1"]
        assert len(await caller("batch", [undone, *enroll("s-2")], atomic=True)) == 2

    async def test_a_preview_changes_nothing(self, caller: Caller) -> None:
        plan = [
            writes.students.create(student_id="s-1"),
            writes.courses.create(course_id="CS-101", capacity=1),
            *enroll("s-1"),
        ]
        results = await caller("batch", plan, validate_only=True)
        assert results[2].state is EnrollmentState.ENROLLED
        assert results.revision == 0
        assert await caller("history.list") == []

    async def test_a_repetition_answers_everything_and_makes_what_was_refused(self, caller: Caller) -> None:
        plan = [writes.students.create(student_id="s-1"), *enroll("s-1")]
        first = await caller("batch", plan, check=False, request_id=REQUEST_ID)
        assert isinstance(first.errors[1], CourseNotFound)
        await caller("courses.create", course_id="CS-101")
        second = await caller("batch", plan, request_id=REQUEST_ID)
        assert second[0] == first[0]
        assert second[1].state is EnrollmentState.ENROLLED
        with pytest.raises(RequestIdReused):
            await caller("batch", plan, request_id=REQUEST_ID, unordered=True)

    async def test_unordered_writes_are_answered_by_position(self, caller: Caller) -> None:
        await caller("batch", [writes.courses.create(course_id=f"CS-{number}") for number in range(10)])
        await caller("students.create", student_id="s-1")
        wanted = [course for number in range(10) for course in enroll("s-1", course_id=f"CS-{number}")]
        results = await caller("batch", wanted, unordered=True)
        assert [one.course_id for one in results] == [f"CS-{number}" for number in range(10)]

    async def test_the_server_refuses_a_batch_without_writes(self, caller: Caller) -> None:
        with pytest.raises(InvalidField, match="writes: must have from 1 to 1000 entries") as invalid:
            await caller("batch", [])
        assert not isinstance(invalid.value, BatchFailed)

    def test_a_failed_call_is_not_a_failed_batch(self, driver: Driver) -> None:
        driver.script.answers.append(Failure(StatusCode.UNAVAILABLE))
        with pytest.raises(Unavailable) as failed:
            driver.call("batch", writes=enroll("s-1"), timeout=0.001)
        assert failed.value.request_id == driver.script.requests[0].request_id

    def test_abridged_results(self, driver: Driver) -> None:
        """The server leaves out what does not fit into a message, at worst everything but the errors."""
        refused = status(StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND")
        response = answer(None, refused, abridged=True, revision=7)
        response.results[0].enroll_student.enrollment.enrollment_id = "e-1"
        response.results.add()
        driver.script.answers.append(response)
        results = driver.call("batch", writes=enroll("s-1", "s-2", "s-3"), check=False)
        assert results.abridged
        assert results.revision == 7
        assert [one.enrollment_id for one in (results[0], results[2])] == ["e-1", ""]
        assert isinstance(results.errors[1], StudentNotFound)

    def test_errors_keep_reasons_that_only_newer_servers_know(self, driver: Driver) -> None:
        driver.script.answers.append(answer(status(StatusCode.FAILED_PRECONDITION, "MOON_IN_WRONG_PHASE")))
        with pytest.raises(BatchFailed) as failed:
            driver.call("batch", writes=enroll("s-1"))
        assert type(failed.value.errors[0]) is FailedPrecondition
        assert failed.value.reason == "MOON_IN_WRONG_PHASE"

    async def test_an_atomic_batch_says_what_is_wrong_with_each_write(self, caller: Caller) -> None:
        with pytest.raises(BatchFailed) as failed:
            await caller("batch", enroll("s-1", "/", "s-3"), atomic=True)
        first, second, third = failed.value.errors.values()
        assert str(first) == 'writes[0]: There is no student "s-1".'
        assert str(second).startswith("student_id: must match")
        assert str(third) == 'There is no student "s-3".'

    def test_an_atomic_batch_lists_reasons_that_only_newer_servers_know(self, driver: Driver) -> None:
        refusals = error_reason_pb2.BatchRefusals(
            refusals=[
                error_reason_pb2.BatchRefusal(index=0, reasons=[error_reason_pb2.ERROR_REASON_STUDENT_NOT_FOUND]),
                error_reason_pb2.BatchRefusal(index=2, reasons=[99]),  # type: ignore[list-item]
            ]
        )
        driver.script.answers.append(
            Failure(StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND", details=[refusals], metadata={"index": "0"})
        )
        with pytest.raises(BatchFailed) as failed:
            driver.call("batch", writes=enroll("s-1", "s-2", "s-3"), atomic=True)
        assert {place: one.reason for place, one in failed.value.errors.items()} == {
            0: ErrorReason.STUDENT_NOT_FOUND,
            2: ErrorReason.UNKNOWN,
        }

    def test_a_failed_batch_survives_pickling_and_copying(self, driver: Driver) -> None:
        driver.script.answers.append(answer(None, status(StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND")))
        with pytest.raises(BatchFailed) as failed:
            driver.call("batch", writes=enroll("s-1", "s-2"))
        error = failed.value
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is BatchFailed
            assert (str(twin), twin.status, twin.reason) == (str(error), NotFound.status, "STUDENT_NOT_FOUND")
            assert list(map(type, twin.errors.values())) == [StudentNotFound]
            assert twin.results is not None
            assert error.results is not None
            assert twin.results[0] == error.results[0]


def test_type_checkers_see_precise_types() -> None:
    """Mypy checks this test. Its inner functions do not run."""

    def precise(client: RegistrarClient) -> None:
        assert_type(client.batch(enroll("s-1")), BatchResults[Enrolled])
        assert_type(client.batch([writes.enroll(student_id="s", course_id="c")])[0], Enrolled)
        mixed = [writes.students.create(student_id="s"), writes.enroll(student_id="s", course_id="c")]
        assert_type(client.batch(mixed), BatchResults[object])
        client.batch(["s"])  # type: ignore[arg-type]
        client.batch(enroll("s-1"), True)  # type: ignore[call-arg]

    async def precise_async(client: AsyncRegistrarClient) -> None:
        assert_type(await client.batch(enroll("s-1")), BatchResults[Enrolled])

    def first(error: BatchFailed) -> RegistrarError:
        assert_type(error.results, BatchResults[object] | None)
        return error.errors[0]

    assert precise.__annotations__
    assert precise_async.__annotations__
    assert first.__annotations__
