"""``bulk`` makes any number of changes from an iterable, in chunks, and tells how far it came."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, assert_type

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from registrar.v1 import batch_service_pb2 as pb
from registrar_client import (
    AsyncRegistrarClient,
    BulkReport,
    BulkStopped,
    CourseFull,
    Enrolled,
    ErrorReason,
    InvalidField,
    RegistrarClient,
    RegistrarError,
    StudentNotFound,
    Unavailable,
    testing,
    writes,
)
from registrar_client._bulk_chunks import MAX_BYTES
from tests.support.both_clients import Caller
from tests.support.client_fakes import Driver, Failure
from tests.support.client_samples import REQUEST_ID

Write = writes.Write[Any]


def students(count: int) -> list[Write]:
    return [writes.students.create(student_id=f"s-{number}") for number in range(count)]


def enrolls(count: int, course_id: str = "CS-101") -> list[Write]:
    return [writes.enroll(student_id=f"s-{number}", course_id=course_id) for number in range(count)]


def derived(number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(REQUEST_ID), str(number)))


class TestChunks:
    """What ``bulk`` sends, to a scripted server."""

    def test_the_writes_are_cut_into_chunks_in_order(self, driver: Driver) -> None:
        driver.script.answers.extend([pb.BatchWriteResponse()] * 3)
        report = driver.call("bulk", writes=iter(students(7)), chunk_size=3)
        chunks = driver.script.requests
        assert [[write.create_student.student.student_id for write in chunk.writes] for chunk in chunks] == [
            ["s-0", "s-1", "s-2"],
            ["s-3", "s-4", "s-5"],
            ["s-6"],
        ]
        assert not any(chunk.atomic or chunk.unordered or chunk.validate_only for chunk in chunks)
        assert report.done == 7

    @pytest.mark.parametrize("chunk_size", [1, 3, 500])
    def test_the_id_of_a_write_follows_from_its_place_in_the_source(self, driver: Driver, chunk_size: int) -> None:
        driver.script.answers.extend([pb.BatchWriteResponse()] * 7)
        own = str(uuid.uuid4())
        source = [*students(5), writes.students.create(request_id=own), *students(1)]
        driver.call("bulk", writes=source, chunk_size=chunk_size, operation_id=REQUEST_ID)
        sent = [write.create_student.request_id for chunk in driver.script.requests for write in chunk.writes]
        assert sent == [*(derived(number) for number in range(5)), own, derived(6)]

    def test_each_run_has_an_operation_id_of_its_own(self, driver: Driver) -> None:
        driver.script.answers.extend([pb.BatchWriteResponse()] * 2)
        first, second = (driver.call("bulk", writes=students(1)) for _ in range(2))
        assert uuid.UUID(first.operation_id) != uuid.UUID(second.operation_id)
        ids = [chunk.writes[0].create_student.request_id for chunk in driver.script.requests]
        assert ids == [str(uuid.uuid5(uuid.UUID(run.operation_id), "0")) for run in (first, second)]

    def test_the_writes_of_the_caller_stay_as_they_are(self, driver: Driver) -> None:
        driver.script.answers.append(pb.BatchWriteResponse())
        (write,) = source = students(1)
        before = copy.deepcopy(write.request)
        driver.call("bulk", writes=source)
        assert write.request == before

    def test_large_writes_make_smaller_chunks(self, driver: Driver) -> None:
        text = "x" * (MAX_BYTES // 4)
        driver.script.answers.extend([pb.BatchWriteResponse()] * 3)
        driver.call("bulk", writes=[writes.courses.create(description=text)] * 9)
        assert [len(chunk.writes) for chunk in driver.script.requests] == [4, 4, 1]

    def test_a_write_without_any_field_is_sent(self, driver: Driver) -> None:
        driver.script.answers.append(pb.BatchWriteResponse())
        driver.call("bulk", writes=[writes.courses.create()])
        (write,) = driver.script.requests[0].writes
        assert write.WhichOneof("write") == "create_course"

    def test_only_errors_are_asked_for_unless_results_are_wanted(self, driver: Driver) -> None:
        driver.script.answers.append(pb.BatchWriteResponse())
        driver.call("bulk", writes=students(1))
        driver.script.answers.append(pb.BatchWriteResponse(results=[pb.WriteResult()]))
        driver.call("bulk", writes=students(1), on_result=lambda *_: None)
        assert [chunk.view for chunk in driver.script.requests] == [pb.BATCH_VIEW_ERRORS, pb.BATCH_VIEW_FULL]

    def test_the_timeouts_of_chunks_and_writes(self, driver: Driver) -> None:
        driver.script.answers.append(pb.BatchWriteResponse())
        driver.call("bulk", writes=[writes.students.create(timeout=1.5)], timeout=60)
        (attempt,) = driver.script.attempts
        assert attempt.timeout == 60
        assert attempt.request.writes[0].timeout == Duration(seconds=1, nanos=500_000_000)

    def test_a_chunk_is_retried_with_its_request_id(self, driver: Driver) -> None:
        lost = [Failure(StatusCode.UNAVAILABLE), Failure(StatusCode.ABORTED, "CONTENTION")]
        driver.script.answers.extend([*lost, pb.BatchWriteResponse()])
        assert driver.call("bulk", writes=students(3)).done == 3
        first, *others = driver.script.requests
        assert first.request_id
        assert others == [first, first]

    def test_nothing_is_sent_for_an_empty_source(self, driver: Driver) -> None:
        report = driver.call("bulk", writes=[], operation_id=REQUEST_ID)
        assert report == BulkReport(seconds=report.seconds, operation_id=REQUEST_ID)
        assert driver.script.requests == []

    def test_wrong_arguments_are_listed_before_anything_is_read(self, driver: Driver) -> None:
        source = iter(students(2))
        with pytest.raises(InvalidField) as invalid:
            driver.call("bulk", writes=source, operation_id="7", chunk_size=1_001, in_flight=0, max_errors=-1)
        assert {each.field: each.description for each in invalid.value.field_violations} == {
            "operation_id": "must be a UUID, not '7'",
            "chunk_size": "must be an integer from 1 to 1000, not 1001",
            "in_flight": "must be an integer of at least 1, not 0",
            "max_errors": "must be None or an integer of at least 0, not -1",
        }
        with pytest.raises(InvalidField, match="timeout: must be a positive number"):
            driver.call("bulk", writes=source, timeout=0)
        with pytest.raises(InvalidField, match="writes: must be an iterable of writes, not Call"):
            driver.call("bulk", writes=next(source))
        with pytest.raises(InvalidField, match="on_progress: must be a function, not 7; on_result: must be a function"):
            driver.call("bulk", writes=source, on_progress=7, on_result="print")
        assert len(list(source)) == 1


class TestAnswers:
    """What ``bulk`` returns and what the callbacks get, from a real server."""

    async def test_the_report_counts_refusals_by_reason(self, caller: Caller) -> None:
        await caller("courses.create", course_id="CS-101", capacity=3)
        await caller("bulk", students(8))
        source = [*enrolls(8), writes.enroll(student_id="nobody", course_id="CS-101")]
        report = await caller("bulk", source, chunk_size=2)
        assert report.refused == {"COURSE_FULL": 5, "STUDENT_NOT_FOUND": 1}
        assert report.refused[ErrorReason.COURSE_FULL] == 5
        assert (report.done, report.refused_count, report.answered) == (3, 6, 9)
        assert report.revision == (await caller("history.list"))[-1].revision
        assert report.seconds > 0

    async def test_results_come_in_the_order_of_the_source_with_the_writes_themselves(self, caller: Caller) -> None:
        await caller("bulk", [writes.courses.create(course_id="CS-101", capacity=3), *students(5)])
        source, seen = enrolls(5), list[Any]()
        await caller("bulk", source, chunk_size=2, in_flight=3, on_result=lambda *result: seen.append(result))
        places, given, outcomes = zip(*seen, strict=True)
        assert places == (0, 1, 2, 3, 4)
        assert all(one is other for one, other in zip(given, source, strict=True))
        assert sum(isinstance(one, Enrolled) for one in outcomes) == 3
        assert sum(isinstance(one, CourseFull) for one in outcomes) == 2
        assert all(one.student_id == f"s-{place}" for place, _, one in seen if isinstance(one, Enrolled))

    async def test_the_error_of_a_write_names_its_request_id(self, caller: Caller) -> None:
        seen = list[Any]()
        await caller("bulk", enrolls(3), operation_id=REQUEST_ID, chunk_size=2, on_result=lambda *one: seen.append(one))
        assert [outcome.request_id for _, _, outcome in seen] == [derived(number) for number in range(3)]

    async def test_progress_is_told_after_each_chunk(self, caller: Caller) -> None:
        told = list[Any]()
        await caller("bulk", [*students(3), *students(2)], chunk_size=2, on_progress=lambda *one: told.append(one))
        assert told == [(2, 0, 5), (3, 1, 5), (3, 2, 5)]
        told.clear()
        await caller("bulk", iter(students(1)), on_progress=lambda *one: told.append(one))
        assert told == [(0, 1, None)]

    async def test_a_second_run_makes_only_what_was_refused(self, caller: Caller) -> None:
        source = [*students(4), *enrolls(4)]
        first = await caller("bulk", source, operation_id=REQUEST_ID)
        assert (first.done, first.refused) == (4, {"COURSE_NOT_FOUND": 4})
        await caller("courses.create", course_id="CS-101")
        second = await caller("bulk", source, operation_id=uuid.UUID(REQUEST_ID), chunk_size=3)
        assert (second.done, second.refused) == (8, {})
        assert len(await caller("history.list")) == 4 + 1 + 4

    async def test_a_second_run_with_another_source_is_refused(self, caller: Caller) -> None:
        await caller("bulk", students(2), operation_id=REQUEST_ID)
        report = await caller("bulk", students(3)[1:], operation_id=REQUEST_ID)
        assert (report.done, report.refused) == (0, {"REQUEST_ID_REUSED": 2})

    async def test_many_chunks_may_be_under_way(self, caller: Caller) -> None:
        report = await caller("bulk", iter(students(200)), chunk_size=7, in_flight=5)
        assert report.done == 200
        assert len(await caller("students.list")) == 200

    async def test_no_more_writes_exist_than_those_under_way_and_two_chunks(self, caller: Caller) -> None:
        """So a source of any length fits into memory."""
        most, read, others = 0, 0, existing_writes()

        def source() -> Iterator[Write]:
            nonlocal read
            for number in range(400):
                read += 1
                yield writes.students.create(student_id=f"s-{number}")

        def measure(done: int, _refused: int, _total: int | None) -> None:
            nonlocal most
            most = max(most, existing_writes() - others)
            assert read - done <= 2 * 20

        report = await caller("bulk", source(), chunk_size=20, in_flight=2, on_progress=measure)
        assert report.done == read == 400
        # The chunk that was answered, perhaps the one before it, two others, and their own calls.
        assert most <= 4 * 20 + 4


def existing_writes() -> int:
    """Return how many writes are in memory, also those of other tests."""
    return sum(type(one) is writes.Write for one in gc.get_objects())


class TestStops:
    """How ``bulk`` ends before the end of its source, and what it tells."""

    async def test_an_error_of_the_source(self, caller: Caller) -> None:
        """The writes before it are made, as if each were a call of its own."""

        def source() -> Iterator[Write]:
            yield from students(5)
            raise OSError("the file ended")

        with pytest.raises(BulkStopped) as stopped:
            await caller("bulk", source(), chunk_size=3, operation_id=REQUEST_ID)
        error = stopped.value
        assert isinstance(error.__cause__, OSError)
        assert error.report.done == 5 == len(await caller("students.list"))
        assert str(error) == (
            "bulk stopped after the first 5 writes (5 done, 0 refused): OSError: the file ended\n"
            "Later writes may have been made too. To make the others, run the same writes again with "
            f"operation_id='{REQUEST_ID}'."
        )
        assert (error.status, error.reason) == (StatusCode.UNKNOWN, "")

    async def test_a_write_that_cannot_be_sent(self, caller: Caller) -> None:
        names: list[Any] = ["s-1", 2, "s-3"]
        source = (writes.students.create(student_id=name) for name in names)
        with pytest.raises(BulkStopped, match=r"first 1 writes .*InvalidField: student.student_id: must be") as stopped:
            await caller("bulk", source)
        assert stopped.value.reason == "INVALID_FIELD"
        with pytest.raises(BulkStopped, match="writes: must be changes, and str is not one") as stopped:
            await caller("bulk", [*students(2), "s-3"])
        assert stopped.value.report.answered == 2

    @pytest.mark.parametrize("callback", ["on_result", "on_progress"])
    async def test_an_error_of_a_callback(self, caller: Caller, callback: str) -> None:
        def fail(*_: Any) -> None:
            raise KeyError("unknown row")

        with pytest.raises(BulkStopped, match="KeyError: 'unknown row'") as stopped:
            await caller("bulk", students(6), chunk_size=2, **{callback: fail})
        assert stopped.value.report.answered == 2
        assert isinstance(stopped.value.__cause__, KeyError)

    async def test_too_many_refusals(self, caller: Caller) -> None:
        assert (await caller("bulk", enrolls(3), max_errors=3)).refused_count == 3
        results = list[Any]()
        with pytest.raises(BulkStopped, match="4 writes were refused, and max_errors is 2; the last one: ") as stopped:
            await caller("bulk", enrolls(8), max_errors=2, chunk_size=4, on_result=lambda *one: results.append(one))
        assert stopped.value.report.refused == {"STUDENT_NOT_FOUND": 4}
        assert isinstance(stopped.value.__cause__, StudentNotFound)
        assert (stopped.value.status, stopped.value.reason) == (StatusCode.NOT_FOUND, "STUDENT_NOT_FOUND")
        assert len(results) == 4

    async def test_no_refusal_is_permitted(self, caller: Caller) -> None:
        with pytest.raises(BulkStopped):
            await caller("bulk", [*students(3), *students(1), *students(5)[3:]], max_errors=0, chunk_size=2)
        assert len(await caller("students.list")) == 3

    def test_a_chunk_that_fails(self, driver: Driver) -> None:
        lost = Failure(StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        driver.script.answers.extend([pb.BatchWriteResponse(revision=7), lost])
        with pytest.raises(BulkStopped) as stopped:
            driver.call("bulk", writes=students(6), chunk_size=2, timeout=0.001)
        error = stopped.value
        assert isinstance(error.__cause__, Unavailable)
        assert (error.status, error.reason) == (StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert (error.report.answered, error.report.revision) == (2, 7)
        assert len(driver.script.requests) == 2

    def test_the_text_says_what_to_do_about_the_cause(self, driver: Driver) -> None:
        driver.script.answers.append(Failure(StatusCode.UNIMPLEMENTED, message="Method not found!"))
        with pytest.raises(BulkStopped, match=r"Unimplemented: Method not found! The server .* too old"):
            driver.call("bulk", writes=students(1))

    def test_a_signal_to_end_stays_what_it_is(self, driver: Driver) -> None:
        class Ended(BaseException):
            """Stands for Ctrl-C, which would end the tests."""

        def source() -> Iterator[Write]:
            yield from students(4)
            raise Ended

        driver.script.answers.append(pb.BatchWriteResponse())
        with pytest.raises(Ended) as ended:
            driver.call("bulk", writes=source(), chunk_size=2, operation_id=REQUEST_ID)
        (note,) = ended.value.__notes__
        assert note.startswith("bulk stopped after the first 2 writes (2 done, 0 refused).\n")
        assert REQUEST_ID in note

    async def test_nothing_is_left_behind(self, caller: Caller) -> None:
        def fail(*_: Any) -> None:
            raise KeyError

        for _ in range(3):
            with pytest.raises(BulkStopped):
                await caller("bulk", students(50), chunk_size=2, in_flight=4, on_progress=fail)
        assert not [each for each in threading.enumerate() if each.name.startswith("registrar-bulk")]
        assert not [task for task in asyncio.all_tasks() if "AsyncRunner" in repr(task)]

    @pytest.mark.parametrize("stop", [False, True], ids=["at its end", "early"])
    async def test_a_generator_is_closed(self, caller: Caller, stop: bool) -> None:
        closed = False

        def source() -> Iterator[Write]:
            nonlocal closed
            try:
                yield from enrolls(4)
            finally:
                closed = True

        kept = source()  # Without closing, a generator that is kept would stay open.
        if stop:
            with pytest.raises(BulkStopped):
                await caller("bulk", kept, max_errors=0, chunk_size=1)
        else:
            await caller("bulk", kept)
        assert closed

    def test_an_error_survives_pickling_and_copying(self, driver: Driver) -> None:
        with pytest.raises(BulkStopped) as stopped:
            driver.call("bulk", writes=students(1), operation_id=REQUEST_ID)
        error = stopped.value
        for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(twin) is BulkStopped
            assert (str(twin), vars(twin)) == (str(error), vars(error))
            assert twin.status is StatusCode.UNIMPLEMENTED
            assert twin.report.operation_id == REQUEST_ID


def test_only_the_client_for_asyncio_reads_async_iterables() -> None:
    async def source() -> AsyncIterator[Write]:
        yield students(1)[0]

    with RegistrarClient() as client, pytest.raises(InvalidField, match="must be an iterable of writes, not async_gen"):
        client.bulk(source())  # type: ignore[arg-type]


def test_only_the_client_for_asyncio_calls_coroutine_functions() -> None:
    """The other client could not await them, so that no result would arrive."""

    async def on_result(*_: object) -> None:
        raise AssertionError

    with RegistrarClient() as client, pytest.raises(InvalidField, match="on_result: must not be a coroutine function"):
        client.bulk(students(1), on_result=on_result)


class TestAsyncio:
    """What only the asynchronous client can do."""

    async def test_an_async_source_and_coroutine_functions(self, asynchronous: AsyncRegistrarClient) -> None:
        told, closed = list[Any](), False

        async def source() -> AsyncIterator[Write]:
            nonlocal closed
            try:
                for write in students(5):
                    await asyncio.sleep(0)
                    yield write
            finally:
                closed = True

        async def on_result(place: int, _write: Write, _outcome: object) -> None:
            await asyncio.sleep(0)
            told.append(place)

        async def on_progress(done: int, _refused: int, total: int | None) -> None:
            await asyncio.sleep(0)
            told.append((done, total))

        report = await asynchronous.bulk(source(), chunk_size=3, on_result=on_result, on_progress=on_progress)
        assert told == [0, 1, 2, (3, None), 3, 4, (5, None)]
        assert report.done == 5
        assert closed

    async def test_an_error_of_a_coroutine_function(self, asynchronous: AsyncRegistrarClient) -> None:
        async def fail(*_: Any) -> None:
            await asyncio.sleep(0)
            raise KeyError

        with pytest.raises(BulkStopped) as stopped:
            await asynchronous.bulk(students(6), chunk_size=2, on_progress=fail)
        assert stopped.value.report.answered == 2

    async def test_a_cancelled_run_tells_how_far_it_came(self, asynchronous: AsyncRegistrarClient) -> None:
        reached, closed = asyncio.Event(), False

        async def source() -> AsyncIterator[Write]:
            nonlocal closed
            try:
                for write in students(4):
                    yield write
                reached.set()
                await asyncio.Event().wait()
            finally:
                closed = True

        kept = source()
        running = asyncio.create_task(asynchronous.bulk(kept, chunk_size=2, operation_id=REQUEST_ID))
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await running
        (note,) = cancelled.value.__notes__
        assert "bulk stopped after the first 2 writes" in note
        assert closed

    async def test_a_coroutine_that_is_closed_ends_at_once(self, asynchronous: AsyncRegistrarClient) -> None:
        """It may not wait for the chunk under way."""
        before = asyncio.all_tasks()
        running = asynchronous.bulk(students(2))
        running.send(None)
        (chunk,) = asyncio.all_tasks() - before
        running.close()
        await asyncio.wait([chunk])
        assert chunk.cancelled()

    async def test_other_tasks_run_while_a_source_never_waits(self, asynchronous: AsyncRegistrarClient) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        def source() -> Iterator[Write]:
            for write in students(1_000):
                seen.append(turns)
                yield write

        seen = list[int]()
        counting = asyncio.create_task(count())
        await asynchronous.bulk(source(), chunk_size=1_000)
        counting.cancel()
        assert len(set(seen)) > 10


@pytest.fixture
async def asynchronous(gather: bool) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a real server, both on the test's event loop."""
    async with testing.async_server() as address, AsyncRegistrarClient(address, gather=gather) as client:
        yield client


def test_the_report_is_hashable_and_names_the_most_frequent_reason_first(driver: Driver) -> None:
    def refusal(reason: str) -> pb.WriteResult:
        status = status_pb2.Status(code=StatusCode.NOT_FOUND.value[0])
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="registrar"))
        return pb.WriteResult(error=status)

    results = [refusal("COURSE_NOT_FOUND"), refusal("STUDENT_NOT_FOUND"), refusal("STUDENT_NOT_FOUND"), refusal("")]
    driver.script.answers.append(pb.BatchWriteResponse(results=results, refused_count=4))
    report = driver.call("bulk", writes=enrolls(4))
    assert list(report.refused.items()) == [("STUDENT_NOT_FOUND", 2), ("COURSE_NOT_FOUND", 1), ("NOT_FOUND", 1)]
    assert hash(report) == hash(copy.copy(report))


def test_both_clients_have_the_same_arguments_and_documentation() -> None:
    ours, theirs = (inspect.signature(client.bulk) for client in (RegistrarClient, AsyncRegistrarClient))
    arguments = [
        [(each.name, each.kind, each.default) for each in signature.parameters.values()] for signature in (ours, theirs)
    ]
    assert arguments[0] == arguments[1]
    document = RegistrarClient.bulk.__doc__ or ""
    assert AsyncRegistrarClient.bulk.__doc__ == document
    assert all(f"    {name}: " in document for name in ours.parameters if name != "self")


def test_type_checkers_see_precise_types() -> None:
    """Mypy checks this test. Its inner functions do not run."""

    def precise(client: RegistrarClient) -> None:
        def on_result(place: int, write: writes.Write[Enrolled], outcome: Enrolled | RegistrarError) -> None:
            assert_type(place, int)
            assert_type(write, writes.Write[Enrolled])

        source = (writes.enroll(student_id="s", course_id="c") for _ in range(3))
        assert_type(client.bulk(source, on_result=on_result), BulkReport)
        mixed = [writes.students.create(student_id="s"), writes.enroll(student_id="s", course_id="c")]
        assert_type(client.bulk(mixed), BulkReport)
        client.bulk(mixed, on_result=on_result)  # type: ignore[arg-type]
        client.bulk(mixed, 500)  # type: ignore[arg-type, call-arg]

    async def precise_async(client: AsyncRegistrarClient, source: AsyncIterator[writes.Write[Enrolled]]) -> None:
        async def on_result(place: int, write: writes.Write[Enrolled], outcome: Enrolled | RegistrarError) -> None:
            pass

        assert_type(await client.bulk(source, on_result=on_result), BulkReport)
        assert_type(await client.bulk([writes.students.create()]), BulkReport)

    checked: tuple[Callable[..., Any], ...] = (precise, precise_async)
    assert all(each.__annotations__ for each in checked)
