"""Makes any number of changes, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator, Sized
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID

from registrar_client import _bulk_sync
from registrar_client._bulk_chunks import Answer, Chunks, options
from registrar_client._bulk_delivery import Delivery, OnProgress, OnResult
from registrar_client._bulk_reports import BulkReport
from registrar_client._call import Call
from registrar_client._runners import AsyncRunner

Result = TypeVar("Result")

TURN = 64
"""After reading so many writes, other tasks get a turn: a source may never wait for anything."""


class AsyncOwner(Protocol):
    """A client."""

    @property
    def _runner(self) -> AsyncRunner: ...


async def bulk(
    self: AsyncOwner,
    writes: Iterable[Call[Result]] | AsyncIterable[Call[Result]],
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
    # The docstring is that of the other client, below.
    chosen = options(
        writes,
        (Iterable, AsyncIterable),
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
    with delivery.tally.telling():
        async with (
            contextlib.aclosing(_cut(writes, delivery.chunks)) as source,
            _Tasks[Result](self._runner) as sent,
        ):
            async for chunk in source:
                while len(sent) >= chosen.in_flight:
                    await _exhaust(delivery.deliver(await sent.next()))
                sent.send(chunk)
            while sent:
                await _exhaust(delivery.deliver(await sent.next()))
            delivery.chunks.check()
    return delivery.tally.report()


bulk.__doc__ = _bulk_sync.bulk.__doc__


async def _cut(
    writes: Iterable[Call[Result]] | AsyncIterable[Call[Result]], chunks: Chunks[Result]
) -> AsyncGenerator[Call[Answer[Result]], None]:
    """Cut a source into chunks. Its error becomes ``chunks.failure``, so that the writes before it are sent."""
    source = aiter(writes if isinstance(writes, AsyncIterable) else _each(writes))
    left = TURN
    try:
        async for write in source:
            if chunk := chunks.add(write):
                yield chunk
            left -= 1
            if left == 0:
                left = TURN
                await asyncio.sleep(0)
    except Exception as error:
        chunks.failure = error
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if chunk := chunks.rest():
        yield chunk


async def _each(writes: Iterable[Call[Result]]) -> AsyncGenerator[Call[Result], None]:
    source = iter(writes)
    try:
        for write in source:
            yield write
    finally:
        if isinstance(source, Generator):
            source.close()


class _Tasks(Generic[Result]):
    """The chunks under way, each in a task. At the end of the ``with`` block, those that are left are cancelled."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner
        self._sent = deque[asyncio.Task[Answer[Result]]]()

    def __len__(self) -> int:
        return len(self._sent)

    def send(self, chunk: Call[Answer[Result]]) -> None:
        """Begin to send a chunk."""
        self._sent.append(asyncio.create_task(self._runner.run(chunk)))

    async def next(self) -> Answer[Result]:
        """Wait for the answer to the first chunk that has not been returned yet."""
        answer = await self._sent[0]
        self._sent.popleft()
        return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._sent:
            task.cancel()
        if kind is not GeneratorExit:  # A coroutine that is closed may not wait.
            await asyncio.gather(*self._sent, return_exceptions=True)


async def _exhaust(results: Iterator[object]) -> None:
    """Await what coroutine functions returned."""
    for result in results:
        if inspect.isawaitable(result):
            await result
