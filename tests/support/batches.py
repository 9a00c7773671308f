"""Batches of writes over gRPC, and their results as values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from registrar.v1.batch_service_pb2 import BatchWriteRequest, BatchWriteResponse, Write, WriteResult
from registrar.v1.batch_service_pb2_grpc import BatchServiceStub
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest, UnenrollRequest
from registrar.v1.error_reason_pb2 import BatchRefusals, ErrorReason
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest
from registrar_server.ledger.calls import Block, Outcome
from registrar_server.ledger.ledger import Ledger
from tests.support.refusals import DETAILS_KEY, Failure
from tests.support.servers import Registrar

if TYPE_CHECKING:
    from registrar.v1.batch_service_pb2_grpc import BatchServiceAsyncStub

ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
"""The ``request_id`` of a batch."""


def kinds_of(message: Any, choice: str) -> dict[str, str]:
    """Return the fields of a choice in a message, by the full name of their type."""
    return {field.message_type.full_name: field.name for field in message.DESCRIPTOR.oneofs_by_name[choice].fields}


FIELDS = kinds_of(Write, "write")
"""The field of ``Write`` for each request."""


def enroll(student_id: str, course_id: str = "CS-101", **fields: Any) -> EnrollStudentRequest:
    return EnrollStudentRequest(student_id=student_id, course_id=course_id, **fields)


def unenroll(student_id: str, course_id: str = "CS-101", **fields: Any) -> UnenrollRequest:
    return UnenrollRequest(student_id=student_id, course_id=course_id, **fields)


def create_student(student_id: str, **fields: Any) -> CreateStudentRequest:
    return CreateStudentRequest(student=Student(student_id=student_id, **fields))


def create_course(course_id: str, **fields: Any) -> CreateCourseRequest:
    return CreateCourseRequest(course=Course(course_id=course_id, **fields))


def write(request: Message, *, timeout: float | None = None) -> Write:
    """Return the write with this request."""
    made = Write(**{FIELDS[request.DESCRIPTOR.full_name]: request})  # type: ignore[arg-type]
    if timeout is not None:
        made.timeout.CopyFrom(Duration(seconds=int(timeout), nanos=round(timeout % 1 * 1e9)))
    return made


def batch(*writes: Message, **options: Any) -> BatchWriteRequest:
    """Return the request for a batch of writes, or of the requests of such."""
    made = [one if isinstance(one, Write) else write(one) for one in writes]
    return BatchWriteRequest(writes=made, **options)


def sent(registrar: Registrar, request: BatchWriteRequest, **options: Any) -> Any:
    """Send a batch, and return its call."""
    stub: BatchServiceAsyncStub = BatchServiceStub(registrar.channel)
    return stub.BatchWrite(request, **options)


async def carried_out(registrar: Registrar, *writes: Message, **options: Any) -> BatchWriteResponse:
    """Carry out a batch, and return its response."""
    response: BatchWriteResponse = await sent(registrar, batch(*writes, **options))
    return response


def id_of(place: int, batch_id: str = ID) -> str:
    """Return the ``request_id`` of the write at a place of a batch."""
    return str(uuid5(UUID(batch_id), str(place)))


def answer(result: WriteResult) -> Any:
    """Return the response or the error in a result, or None if it is empty."""
    name = result.WhichOneof("result")
    return name and getattr(result, name)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """Return the status of a failed call, as the result of a write has it."""
    return Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])


def reason(error: Status) -> str:
    """Return the reason of an error, or its canonical status if it has none."""
    info = ErrorInfo()
    if error.details and error.details[0].Unpack(info) and info.reason:
        return info.reason
    return next(code.name for code in grpc.StatusCode if code.value[0] == error.code)


def reasons(response: BatchWriteResponse) -> list[str]:
    """Return the reason of each refused write, and an empty text for each other."""
    return [reason(result.error) if result.HasField("error") else "" for result in response.results]


def all_refused(failure: Failure) -> dict[int, list[str]]:
    """Return the reasons of all refused writes of an atomic batch, by place."""
    refusals = failure.the(BatchRefusals).refusals
    return {
        one.index: [ErrorReason.Name(number).removeprefix("ERROR_REASON_") for number in one.reasons]
        for one in refusals
    }


class Blocks:
    """The blocks that ledgers of this process begin; a test may do something before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[Block] = []
        self._actions: dict[int, Callable[[], object]] = {}
        work = Ledger.work

        async def noting(ledger: Ledger, items: Sequence[Any]) -> Sequence[Outcome | list[Outcome]]:
            for item in items:
                if isinstance(item, Block):
                    self.begun.append(item)
                    self._actions.pop(len(self.begun), _nothing)()
            return await work(ledger, items)

        monkeypatch.setattr(Ledger, "work", noting)

    def before(self, number: int, action: Callable[[], object]) -> None:
        """Call ``action`` in the lane before this block begins, counted from 1."""
        self._actions[number] = action

    @property
    def sizes(self) -> list[int]:
        """The number of calls of each block."""
        return [len(block.calls) for block in self.begun]


def _nothing() -> None:
    pass


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|\b1\d{15}\b")


def masked(messages: Iterable[Message | dict[str, Any] | None]) -> list[str]:
    """Return messages as texts, with a number in place of each generated id, and without times.

    The texts of two equal histories are equal: an id has the number of its first appearance.
    """
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"id-{len(numbers) + 1}")

    return [_TIME.sub("TIME", _UUID.sub(number, _as_text(message))) for message in messages]


def _as_text(message: Message | dict[str, Any] | None) -> str:
    plain = MessageToDict(message) if isinstance(message, Message) else message
    return json.dumps(plain, sort_keys=True, default=str)
