"""A scripted server for both clients, without a network: the fake channel of grpcio-testing, and one for asyncio.

Time is fake too. Only scripted answers and the pauses of the clients advance it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import grpc
import grpc_testing
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from registrar.v1 import (
    batch_service_pb2,
    course_service_pb2,
    enrollment_service_pb2,
    history_service_pb2,
    student_service_pb2,
)
from registrar_client import AsyncPager, AsyncRegistrarClient, AsyncWatch, InvalidField, Pager, RegistrarClient, Watch
from registrar_client._gathered_batch import WRITE_FIELDS
from registrar_client._retry import Timing

SERVICES = [
    service
    for module in (
        enrollment_service_pb2,
        student_service_pb2,
        course_service_pb2,
        history_service_pb2,
        batch_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS: dict[str, MethodDescriptor] = {method.name: method for service in SERVICES for method in service.methods}


def empty_answer(rpc: str) -> Message:
    """Return an empty response of an RPC."""
    return message_factory.GetMessageClass(METHODS[rpc].output_type)()


@dataclass(frozen=True)
class Failure:
    """A failed call, with the details that a server sends."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "the call failed"
    details: Sequence[Message] = ()
    retry_delay: Duration | None = None
    domain: str = "registrar"
    metadata: dict[str, str] = field(default_factory=dict)

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        status = self.status()
        return (("grpc-status-details-bin", status.SerializeToString()),) if status.details else ()

    def status(self) -> status_pb2.Status:
        """Return the failure as the error of a write of a batch."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self._all_details():
            status.details.add().Pack(detail)
        return status

    def _all_details(self) -> list[Message]:
        details: list[Message] = []
        if self.reason:
            details.append(error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata))
        details.extend(self.details)
        if self.retry_delay is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=self.retry_delay))
        return details


@dataclass(frozen=True)
class Late:
    """An answer after some seconds."""

    seconds: float
    answer: Answer


Answer = Message | Failure | Late
UNSCRIPTED = Failure(grpc.StatusCode.UNIMPLEMENTED, message="the script has no more answers")


@dataclass
class Attempt:
    """One attempt at a call, as the server receives it."""

    rpc: str
    request: Any
    timeout: float | None
    metadata: dict[str, str]
    at: float


class Script:
    """The next answers, the attempts so far, the pauses between them, and the time."""

    def __init__(self) -> None:
        self.time = grpc_testing.strict_fake_time(0)
        self.jitter = 0.5
        self.attempts: list[Attempt] = []
        self.pauses: list[float] = []
        self.answers: deque[Answer] = deque()

    @property
    def requests(self) -> list[Any]:
        """The requests of all attempts."""
        return [attempt.request for attempt in self.attempts]

    @property
    def timing(self) -> Timing:
        """The fake clock, for a client."""
        return Timing(now=self.time.time, jitter=lambda: self.jitter)

    def pause(self, seconds: float) -> None:
        """Advance the time while a client waits."""
        self.pauses.append(seconds)
        self.time.sleep_for(seconds)

    async def async_pause(self, seconds: float) -> None:
        """Advance the time while an asynchronous client waits."""
        self.pause(seconds)

    def wait(self, _event: threading.Event, seconds: float) -> None:
        """Advance the time while a watch waits."""
        self.pause(seconds)

    async def async_wait(self, _event: asyncio.Event, seconds: float) -> None:
        """Advance the time while an asynchronous watch waits."""
        self.pause(seconds)

    def record(self, rpc: str, request: Message, timeout: float | None, metadata: Any) -> None:
        """Record an attempt."""
        copy = type(request)()
        copy.CopyFrom(request)
        headers = dict(metadata or ())
        self.attempts.append(Attempt(rpc, copy, timeout, headers, self.time.time()))

    def next_answer(self) -> Message | Failure:
        """Remove the next answer from the script, and advance the time by its delay."""
        answer = self.answers.popleft() if self.answers else UNSCRIPTED
        while isinstance(answer, Late):
            self.time.sleep_for(answer.seconds)
            answer = answer.answer
        return answer


class Driver(Protocol):
    """A client of either kind, with its scripted server."""

    script: Script

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Make a call by its name, such as `students.create`. Return its result, or all items of a list.

        A watch only begins. The result is its revision then.
        """

    def watched(self, count: int, /, **arguments: Any) -> list[tuple[Any, int | None]]:
        """Return the first items of a watch, each with the revision of the watch when the caller has it."""

    def pages(self, name: str, /, **arguments: Any) -> list[Any]:
        """Return all pages of a list."""


def sent(driver: Driver, name: str, answer: Answer, /, **arguments: Any) -> Any:
    """Make a call and return the one request that it sends."""
    driver.script.answers.append(answer)
    driver.call(name, **arguments)
    (request,) = driver.script.requests
    return request


def method_of(client: object, name: str) -> Any:
    """Find a method by its name."""
    for part in name.split("."):
        client = getattr(client, part)
    return client


class _ScriptedStream:
    """A stream of both kinds of clients that is answered by the script whenever the client reads."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __next__(self) -> Message:
        answer = self._script.next_answer()
        if isinstance(answer, Failure):
            raise grpc.aio.AioRpcError(
                answer.code, grpc.aio.Metadata(), grpc.aio.Metadata(*answer.trailers()), answer.message
            )
        return answer

    async def read(self) -> Message:
        return next(self)

    def cancel(self) -> None:
        """Nothing waits for this stream."""


class _Streaming:
    """The part of a fake channel for RPCs that are answered with a stream."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def unary_stream(self, path: str, *_args: Any, **_kwargs: Any) -> Callable[..., _ScriptedStream]:
        def begin(request: Message, *, timeout: float | None = None, metadata: Any = None) -> _ScriptedStream:
            self._script.record(_rpc(path), request, timeout, metadata)
            return _ScriptedStream(self._script)

        return begin


class _TimedChannel(_Streaming):
    """Records the timeout of each call, which the channel of grpcio-testing does not."""

    def __init__(self, channel: grpc_testing.Channel, script: Script) -> None:
        super().__init__(script)
        self._channel = channel

    def unary_unary(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return _TimedMethod(
            self._channel.unary_unary(path, *args, **kwargs), partial(self._arrive, METHODS[_rpc(path)])
        )

    def _arrive(self, method: MethodDescriptor, request: Message, timeout: float | None, metadata: Any) -> None:
        self._script.record(method.name, request, timeout, metadata)
        threading.Thread(target=self._answer, args=(method,), daemon=True).start()

    def _answer(self, method: MethodDescriptor) -> None:
        _, _, rpc = self._channel.take_unary_unary(method)
        answer = self._script.next_answer()
        if isinstance(answer, Failure):
            rpc.terminate(None, answer.trailers(), answer.code, answer.message)
        else:
            rpc.terminate(answer, (), grpc.StatusCode.OK, "")


class _TimedMethod:
    """A method whose calls are recorded, with and without waiting for the answer."""

    def __init__(self, method: Any, arrive: Callable[[Message, float | None, Any], None]) -> None:
        self._method = method
        self._arrive = arrive

    def __call__(self, request: Message, timeout: float | None = None, metadata: Any = None) -> Any:
        self._arrive(request, timeout, metadata)
        return self._method(request, timeout=timeout, metadata=metadata)

    def future(self, request: Message, timeout: float | None = None, metadata: Any = None) -> Any:
        self._arrive(request, timeout, metadata)
        return self._method.future(request, timeout=timeout, metadata=metadata)


def _rpc(path: str) -> str:
    return path.rpartition("/")[2]


class SyncDriver:
    """RegistrarClient over the fake channel of grpcio-testing."""

    def __init__(self, **options: Any) -> None:
        self.script = Script()
        channel: Any = _TimedChannel(grpc_testing.channel(SERVICES, self.script.time), self.script)
        self.client = RegistrarClient(channel=channel, **options)
        self.client._runner.timing = self.script.timing
        self.client._runner.sleep = self.script.pause
        self.client._runner.wait = self.script.wait

    def call(self, name: str, /, **arguments: Any) -> Any:
        result = method_of(self.client, name)(**arguments)
        if isinstance(result, Watch):
            with result as watch:
                return watch.revision
        return list(result) if isinstance(result, Pager) else result

    def watched(self, count: int, /, **arguments: Any) -> list[tuple[Any, int | None]]:
        watch = self.client.history.watch(**arguments)
        return [(next(watch), watch.revision) for _ in range(count)]

    def pages(self, name: str, /, **arguments: Any) -> list[Any]:
        return list(method_of(self.client, name)(**arguments).pages())


class _AsyncChannel(_Streaming):
    """A fake channel for asyncio that answers at once. grpcio-testing has none."""

    def unary_unary(self, path: str, *args: Any, **kwargs: Any) -> Callable[..., Awaitable[Message]]:
        async def call(request: Message, *, timeout: float | None = None, metadata: Any = None) -> Message:
            self._script.record(_rpc(path), request, timeout, metadata)
            answer = self._script.next_answer()
            if isinstance(answer, Failure):
                empty, trailers = grpc.aio.Metadata(), grpc.aio.Metadata(*answer.trailers())
                raise grpc.aio.AioRpcError(answer.code, empty, trailers, details=answer.message)
            return answer

        return call


class AsyncDriver:
    """AsyncRegistrarClient over a fake channel."""

    _gather = False

    def __init__(self, **options: Any) -> None:
        self.script = Script()
        channel = self._channel()
        self.client = AsyncRegistrarClient(channel=channel, gather=self._gather, **options)
        self.client._runner.timing = self.script.timing
        self.client._runner.sleep = self.script.async_pause
        self.client._runner.wait = self.script.async_wait

    def _channel(self) -> Any:
        return _AsyncChannel(self.script)

    def call(self, name: str, /, **arguments: Any) -> Any:
        return asyncio.run(self._call(method_of(self.client, name)(**arguments)))

    async def _call(self, result: Any) -> Any:
        if isinstance(result, AsyncWatch):
            async with result as watch:
                return watch.revision
        return [item async for item in result] if isinstance(result, AsyncPager) else await result

    def watched(self, count: int, /, **arguments: Any) -> list[tuple[Any, int | None]]:
        return asyncio.run(self._watched(count, self.client.history.watch(**arguments)))

    async def _watched(self, count: int, watch: AsyncWatch[Any]) -> list[tuple[Any, int | None]]:
        return [(await anext(watch), watch.revision) for _ in range(count)]

    def pages(self, name: str, /, **arguments: Any) -> list[Any]:
        return asyncio.run(self._pages(method_of(self.client, name)(**arguments)))

    async def _pages(self, pager: AsyncPager[Any]) -> list[Any]:
        return [page async for page in pager.pages()]


COMPANION = "companion"
"""The student of the call that travels with those of a test."""


class _GatheringChannel(_AsyncChannel):
    """Takes a call of a test out of the batch in which it travels with its companion, and answers it by the script."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.alone: list[str] = []
        """The changing calls that did not travel in a batch."""

    def unary_unary(self, path: str, *args: Any, **kwargs: Any) -> Callable[..., Awaitable[Message]]:
        rpc = path.rpartition("/")[2]
        plain = super().unary_unary(path)

        async def call(request: Any, *, timeout: float | None = None, metadata: Any = None) -> Message:
            if rpc == "BatchWrite" and any(_is_companion(write.enroll_student) for write in request.writes):
                return self._answer_all(request, metadata)
            if _is_companion(request):
                return enrollment_service_pb2.EnrollStudentResponse()
            if rpc in WRITE_FIELDS and not getattr(request, "validate_only", False):
                self.alone.append(rpc)
            return await plain(request, timeout=timeout, metadata=metadata)

        return call

    def _answer_all(self, request: Any, metadata: Any) -> batch_service_pb2.BatchWriteResponse:
        assert request.unordered
        assert not request.request_id
        results = [self._answer(write, metadata) for write in request.writes]
        return batch_service_pb2.BatchWriteResponse(results=results)

    def _answer(self, write: Any, metadata: Any) -> batch_service_pb2.WriteResult:
        result = batch_service_pb2.WriteResult()
        name = write.WhichOneof("write")
        if _is_companion(write.enroll_student):
            result.enroll_student.SetInParent()
            return result
        request = getattr(write, name)
        rpc = request.DESCRIPTOR.name.removesuffix("Request")
        self._script.record(rpc, request, write.timeout.ToNanoseconds() / 1e9, metadata)
        answer = self._script.next_answer()
        if isinstance(answer, Failure):
            result.error.CopyFrom(answer.status())
        else:
            getattr(result, name).CopyFrom(answer)
        return result


def _is_companion(request: Any) -> bool:
    return getattr(request, "student_id", "") == COMPANION


class GatheringDriver(AsyncDriver):
    """AsyncRegistrarClient that gathers. Each attempt at a changing call travels with that at another call."""

    _gather = True

    def _channel(self) -> Any:
        self._fake = _GatheringChannel(self.script)
        return self._fake

    def call(self, name: str, /, **arguments: Any) -> Any:
        self._on_behalf_of = arguments.get("on_behalf_of")  # Calls for different people do not travel together.
        return super().call(name, **arguments)

    async def _call(self, result: Any) -> Any:
        called = asyncio.ensure_future(super()._call(result))
        while not called.done():
            try:
                await self.client.enroll(student_id=COMPANION, course_id=COMPANION, on_behalf_of=self._on_behalf_of)
            except InvalidField:  # The call of the test fails too, but in its own turn.
                await asyncio.sleep(0)
        assert self._fake.alone == []
        return called.result()
