"""The client for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import grpc

from registrar_client import _bulk_async, _watch_async
from registrar_client._call_metadata import AsyncToken, CallMetadata
from registrar_client._calls import batches, completions, courses, enrollment_reads, enrollments, history, students
from registrar_client._connection import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Connection,
    TlsOptions,
)
from registrar_client._environment import arguments
from registrar_client._methods import async_paged, async_unary
from registrar_client._retry import RetryOptions
from registrar_client._runners import AsyncRunner


class AsyncStudents:
    """The calls for students."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    create = async_unary(students.create)
    get = async_unary(students.get)
    list = async_paged(students.list_)
    update = async_unary(students.update)
    delete = async_unary(students.delete)
    undelete = async_unary(students.undelete)
    place_hold = async_unary(students.place_hold)
    release_hold = async_unary(students.release_hold)


class AsyncCourses:
    """The calls for courses."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    create = async_unary(courses.create)
    get = async_unary(courses.get)
    search = async_paged(courses.search)
    update = async_unary(courses.update)
    delete = async_unary(courses.delete)
    settle = async_unary(courses.settle)
    undelete = async_unary(courses.undelete)


class AsyncHistory:
    """The calls for events."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    list = async_paged(history.list_)
    watch = _watch_async.watch


class AsyncRegistrarClient:
    """``RegistrarClient`` for asyncio: the same calls with ``await``, and lists with ``async for``.

    It takes the arguments of ``RegistrarClient``, with a ``grpc.aio.Channel`` as ``channel``. A client can be made
    outside an event loop. It belongs to the event loop of its first call.

    ``token`` can also be a coroutine function. The timeout of a call includes its time.

    Args:
        gather: Let changing calls that are under way at the same time travel together, which is faster for many
            callers. Each call keeps its result, its error, its ``request_id`` and its timeout. A call that is
            cancelled after it was sent may take effect, as without ``gather``. Calls travel
            together only if they have the same ``on_behalf_of`` and the same token. With a server that is too old, the
            calls travel one by one.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: AsyncToken | None = None,
        on_behalf_of: str | None = None,
        tls: TlsOptions | None = None,
        insecure: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        retry: RetryOptions | None = None,
        channel: grpc.aio.Channel | None = None,
        gather: bool = False,
    ) -> None:
        metadata = CallMetadata(token, on_behalf_of)
        self._connection = Connection.to(
            target, token=token, tls=tls, insecure=insecure, connect_timeout=connect_timeout, given=channel
        )
        self._runner = AsyncRunner(
            self._connection,
            _opener(self._connection) if channel is None else lambda: channel,
            metadata=metadata,
            timeout=timeout,
            retry=retry,
            owned=channel is None,
            gather=gather,
        )
        self._students = AsyncStudents(self._runner)
        self._courses = AsyncCourses(self._runner)
        self._history = AsyncHistory(self._runner)

    @property
    def students(self) -> AsyncStudents:
        """The calls for students, such as ``students.create``. ``help(client.students)`` lists them."""
        return self._students

    @property
    def courses(self) -> AsyncCourses:
        """The calls for courses, such as ``courses.search``. ``help(client.courses)`` lists them."""
        return self._courses

    @property
    def history(self) -> AsyncHistory:
        """The calls for events, such as ``history.list``. ``help(client.history)`` lists them."""
        return self._history

    enroll = async_unary(enrollments.enroll)
    unenroll = async_unary(enrollments.unenroll)
    swap = async_unary(enrollments.swap)
    complete = async_unary(completions.complete)
    record_completion = async_unary(completions.record_completion)
    void_completion = async_unary(completions.void_completion)
    batch = async_unary(batches.batch)
    bulk = _bulk_async.bulk
    get_enrollment = async_unary(enrollment_reads.get_enrollment)
    list_courses = async_paged(enrollment_reads.list_courses)
    list_roster = async_paged(enrollment_reads.list_roster)
    list_enrollments = async_paged(enrollment_reads.list_enrollments)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, gather: bool = False) -> Self:
        """Return a client with arguments from the environment, see ``RegistrarClient.from_env``, and ``gather``."""
        return cls(**arguments(os.environ if environ is None else environ), gather=gather)

    async def close(self) -> None:
        """Close the connection. Active calls in other tasks are cancelled."""
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection})"


def _opener(connection: Connection) -> Callable[[], grpc.aio.Channel]:
    options = connection.options()
    if connection.tls is None:
        return lambda: grpc.aio.insecure_channel(connection.target, options)
    credentials = connection.tls.credentials()
    return lambda: grpc.aio.secure_channel(connection.target, credentials, options)
