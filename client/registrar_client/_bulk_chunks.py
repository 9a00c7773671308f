"""Cuts the source of ``bulk`` into chunks, and reads their answers."""

from __future__ import annotations

import inspect
import operator
import uuid
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from registrar.v1 import batch_service_pb2 as pb
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call
from registrar_client._call_metadata import person
from registrar_client._calls import batches
from registrar_client._grpc_errors import from_status
from registrar_client._request_ids import deriving
from registrar_client.errors import FieldViolation, RegistrarError

Result = TypeVar("Result")

MAX_BYTES = 2 * 1024 * 1024
"""By default, a server takes messages of 4 MiB. The last write of a chunk may exceed the limit."""
_CHUNK_SIZE = f"must be an integer from 1 to {batches.MAX_WRITES}"


class Answer(NamedTuple, Generic[Result]):
    """The answer to a chunk."""

    first: int
    """The place of its first write in the source."""
    writes: Sequence[Call[Result]]
    outcomes: Sequence[Result | RegistrarError]
    """The result or the error of each write. Empty if only errors were asked for."""
    errors: Sequence[RegistrarError]
    revision: int

    def items(self) -> Iterator[tuple[int, Call[Result], Result | RegistrarError]]:
        """Return the place, the write and the outcome of each write."""
        return zip(range(self.first, self.first + len(self.writes)), self.writes, self.outcomes, strict=True)


@dataclass(frozen=True, slots=True)
class Options:
    """The checked arguments of ``bulk``."""

    operation_id: uuid.UUID
    chunk_size: int
    in_flight: int
    max_errors: int | None
    timeout: float | None
    on_behalf_of: str | None


def options(
    writes: object,
    sources: tuple[type, ...],
    *,
    operation_id: str | uuid.UUID | None,
    chunk_size: int,
    in_flight: int,
    max_errors: int | None,
    on_progress: object,
    on_result: object,
    timeout: float | None,
    on_behalf_of: str | None,
) -> Options:
    """Check the arguments of ``bulk``, whose client can read these kinds of sources; raise InvalidField."""
    callbacks = {"on_progress": on_progress, "on_result": on_result}
    wrong = [*_wrong_source(writes, sources), *_wrong_callbacks(callbacks, can_await=AsyncIterable in sources)]

    def check(name: str, convert: Callable[[Any], Any], value: object, requirement: str) -> Any:
        try:
            return convert(value)
        except (TypeError, ValueError):
            wrong.append(FieldViolation(field=name, description=f"{requirement}, not {value!r}"))
            return None

    found = Options(
        check("operation_id", _uuid, operation_id, "must be a UUID"),
        check("chunk_size", _integer(1, batches.MAX_WRITES), chunk_size, _CHUNK_SIZE),
        check("in_flight", _integer(1), in_flight, "must be an integer of at least 1"),
        None
        if max_errors is None
        else check("max_errors", _integer(0), max_errors, "must be None or an integer of at least 0"),
        timeout,
        on_behalf_of,
    )
    if wrong:
        raise to_wire.invalid_fields(wrong)
    if timeout is not None:
        batches.duration(timeout)
    if on_behalf_of is not None:
        person(on_behalf_of)
    return found


def _wrong_source(writes: object, sources: tuple[type, ...]) -> Iterator[FieldViolation]:
    if not isinstance(writes, sources):
        description = f"must be an iterable of writes, not {type(writes).__name__}"
        yield FieldViolation(field="writes", description=description)


def _wrong_callbacks(callbacks: Mapping[str, object], *, can_await: bool) -> Iterator[FieldViolation]:
    for name, callback in callbacks.items():
        if callback is not None and not callable(callback):
            yield FieldViolation(field=name, description=f"must be a function, not {callback!r}")
        elif inspect.iscoroutinefunction(callback) and not can_await:
            description = "must not be a coroutine function: only AsyncRegistrarClient awaits it"
            yield FieldViolation(field=name, description=description)


def _uuid(value: Any) -> uuid.UUID:
    return uuid.uuid4() if value is None else uuid.UUID(str(value))


def _integer(low: int, high: int | None = None) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = operator.index(value)
        if number < low or (high is not None and number > high):
            raise ValueError(number)
        return number

    return convert


class Chunks(Generic[Result]):
    """Puts the writes of a source into chunks."""

    def __init__(self, options: Options, *, with_results: bool) -> None:
        self._options = options
        self._derive = deriving(options.operation_id)
        self._view = pb.BATCH_VIEW_FULL if with_results else pb.BATCH_VIEW_ERRORS
        self._next = 0
        self.failure: Exception | None = None
        """The error that ended the source."""
        self._begin()

    def _begin(self) -> None:
        self._writes: list[Call[Result]] = []
        self._request = pb.BatchWriteRequest(view=self._view)
        self._bytes = 0

    def add(self, write: Call[Result]) -> Call[Answer[Result]] | None:
        """Add the next write of the source. Return the call for a chunk if this write is its last one."""
        added = batches.add_to(self._request, write)
        if not added.request_id:
            added.request_id = self._derive(self._next)
        self._writes.append(write)
        self._next += 1
        self._bytes += added.ByteSize()
        is_full = len(self._writes) == self._options.chunk_size or self._bytes >= MAX_BYTES
        return self.rest() if is_full else None

    def rest(self) -> Call[Answer[Result]] | None:
        """Return the call for the writes that are not in a chunk yet, None if there are none."""
        if not self._writes:
            return None
        read = _reader(self._next - len(self._writes), self._writes, self._request)
        call = Call(batches.BATCH_WRITE, self._request, read, self._options.timeout, self._options.on_behalf_of)
        self._begin()
        return call

    def check(self) -> None:
        """Raise the error that ended the source."""
        if self.failure is not None:
            raise self.failure


def _reader(
    first: int, writes: Sequence[Call[Result]], request: pb.BatchWriteRequest
) -> Callable[[pb.BatchWriteResponse], Answer[Result]]:
    def read(response: pb.BatchWriteResponse) -> Answer[Result]:
        if request.view == pb.BATCH_VIEW_FULL:
            outcomes = batches.outcomes(writes, request, response)
            errors = [one for one in outcomes if isinstance(one, RegistrarError)]
        else:
            outcomes, errors = [], list(_errors(request, response))
        return Answer(first, writes, outcomes, errors, response.revision)

    return read


def _errors(request: pb.BatchWriteRequest, response: pb.BatchWriteResponse) -> Iterator[RegistrarError]:
    if response.refused_count:
        for place, result in enumerate(response.results):
            if result.HasField("error"):
                yield from_status(result.error, batches.id_of(request, place))
