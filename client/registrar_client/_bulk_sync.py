"""Makes any number of changes, for scripts and threads."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID

from registrar_client._bulk_chunks import Answer, Chunks, options
from registrar_client._bulk_delivery import Delivery, OnProgress, OnResult
from registrar_client._bulk_reports import BulkReport
from registrar_client._call import Call
from registrar_client._runners import Runner
from registrar_client._stopping import Stop, outcome

Result = TypeVar("Result")


class Owner(Protocol):
    """A client."""

    @property
    def _runner(self) -> Runner: ...


def bulk(  # noqa: D417  # It is a method of the client.
    self: Owner,
    writes: Iterable[Call[Result]],
    *,
    operation_id: str | UUID | None = None,
    chunk_size: int = 500,
    in_flight: int = 1,
    on_progress: OnProgress | None = None,
    on_result: OnResult[Result] | None = None,
    max_errors: int | None = None,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> BulkReport:
    """Make any number of changes. ``registrar_client.writes`` makes the writes.

    The writes are sent in chunks while the source is read, so a generator of millions is never held in memory. A
    refused write does not disturb the others.

    If a run ends early, even because the program was killed, run the same writes in the same order with the same
    ``operation_id`` again, also with another ``chunk_size``. The writes that were made are not made again, and those
    that were refused are decided anew. The server remembers what was made for its ``REGISTRAR_REQUEST_ID_TTL``, by
    default a day. After that time, another run makes the changes again.

    The callbacks run in the order of the source, in this thread or task, between two chunks. With
    ``AsyncRegistrarClient``, they can be coroutine functions, and the source can be an async iterable.

    Args:
        writes: The changes, such as ``(writes.enroll(student_id=s, course_id=c) for s, c in rows)``. A generator is
            closed at the end.
        operation_id: A UUID that makes it safe to run the same writes again. Write ``n``, counted from 0, gets the
            ``request_id`` UUIDv5(``operation_id``, decimal ``n``) unless it has its own. By default, the client makes
            a UUID. Choose one to be able to go on after the program was killed.
        chunk_size: The number of writes in one call, up to 1,000. Chunks of large writes have fewer.
        in_flight: The number of chunks under way at the same time. With 1, all writes are made in order. With more,
            only the writes of one chunk are, so no write must depend on another one.
        on_progress: Called after each chunk with the number of writes that were made so far, the number of those that
            were refused, and the number of all writes. The last one is None if ``writes`` has no length.
        on_result: Called for each write with its place in the source, the write itself, and its result or error. If the
            results of a chunk do not fit into a message, they only have ids, states and counts.
        max_errors: Stop after the chunk in which more writes than this were refused. By default, refusals stop nothing.
        timeout: Seconds for all attempts at one chunk. Defaults to the client's timeout. To outlast a restart of the
            server, allow more time than the restart takes.
        on_behalf_of: Make all writes on behalf of this person. Defaults to the person of the client. An empty string
            means nobody.

    Raises:
        BulkStopped: A chunk failed finally, the source or a callback raised an error, or too many writes were refused.
            ``report`` says how far it came. The writes before an error of the source are made.
        InvalidField: Arguments other than the writes are wrong.
        RegistrarError: The class of both.
    """
    chosen = options(
        writes,
        (Iterable,),
        operation_id=operation_id,
        chunk_size=chunk_size,
        in_flight=in_flight,
        max_errors=max_errors,
        on_progress=on_progress,
        on_result=on_result,
        timeout=timeout,
        on_behalf_of=on_behalf_of,
    )
    delivery = Delivery[Result](chosen, on_progress, on_result, len(writes) if isinstance(writes, Sized) else None)
    with (
        delivery.tally.telling(),
        contextlib.closing(_cut(writes, delivery.chunks)) as source,
        _Threads[Result](self._runner, chosen.in_flight) as sent,
    ):
        for chunk in source:
            while len(sent) >= chosen.in_flight:
                _exhaust(delivery.deliver(sent.next()))
            sent.send(chunk)
        while sent:
            _exhaust(delivery.deliver(sent.next()))
        delivery.chunks.check()
    return delivery.tally.report()


def _cut(writes: Iterable[Call[Result]], chunks: Chunks[Result]) -> Generator[Call[Answer[Result]], None, None]:
    """Cut a source into chunks. Its error becomes ``chunks.failure``, so that the writes before it are sent."""
    source = iter(writes)
    try:
        for write in source:
            if chunk := chunks.add(write):
                yield chunk
    except Exception as error:
        chunks.failure = error
    finally:
        if isinstance(source, Generator):
            source.close()
    if chunk := chunks.rest():
        yield chunk


class _Threads(Generic[Result]):
    """The chunks under way, each in a thread. At the end of the ``with`` block, those that are left are cancelled."""

    def __init__(self, runner: Runner, count: int) -> None:
        self._runner = runner
        self._stop = Stop()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="registrar-bulk")
        self._sent = deque[Future[Answer[Result]]]()

    def __len__(self) -> int:
        return len(self._sent)

    def send(self, chunk: Call[Answer[Result]]) -> None:
        """Begin to send a chunk."""
        self._sent.append(self._pool.submit(self._runner.run, chunk, self._stop))

    def next(self) -> Answer[Result]:
        """Wait for the answer to the first chunk that has not been returned yet."""
        return outcome(self._sent.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.now()
        self._pool.shutdown(cancel_futures=True)


def _exhaust(results: Iterator[object]) -> None:
    for _ in results:
        pass
