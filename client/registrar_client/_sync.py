"""The client for scripts and threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import grpc

from registrar_client import _bulk_sync, _watch_sync
from registrar_client._call_metadata import CallMetadata, Token
from registrar_client._calls import batches, completions, courses, enrollment_reads, enrollments, history, students
from registrar_client._connection import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Connection,
    TlsOptions,
)
from registrar_client._environment import arguments
from registrar_client._methods import paged, unary
from registrar_client._retry import RetryOptions
from registrar_client._runners import Runner


class Students:
    """The calls for students."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    create = unary(students.create)
    get = unary(students.get)
    list = paged(students.list_)
    update = unary(students.update)
    delete = unary(students.delete)
    undelete = unary(students.undelete)
    place_hold = unary(students.place_hold)
    release_hold = unary(students.release_hold)


class Courses:
    """The calls for courses."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    create = unary(courses.create)
    get = unary(courses.get)
    search = paged(courses.search)
    update = unary(courses.update)
    delete = unary(courses.delete)
    settle = unary(courses.settle)
    undelete = unary(courses.undelete)


class History:
    """The calls for events."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    list = paged(history.list_)
    watch = _watch_sync.watch


class RegistrarClient:
    """A client of Registrar. Threads may share it. It connects on first use and reconnects when necessary.

    Calls raise ``RegistrarError``. The client retries transient failures until the timeout. Retries are safe: calls
    that change something have a ``request_id``, so the server never makes a change twice.

    Args:
        target: The server, as ``host:port`` or another gRPC target. Without a port, it is 50051.
        token: A key or token to send as ``authorization: Bearer …``. It is never sent to another machine in plaintext.
            For tokens that change, pass a callable that returns the token. The client calls it before every attempt at
            a call, also from several threads, so it should cache the token. Its errors are raised unchanged.
        on_behalf_of: Make all calls on behalf of this person, up to 128 visible ASCII characters. The server keeps the
            name in the history. The caller needs the permission ``on_behalf_of``. A call can name another person.
        tls: The options for TLS. Defaults to TLS with the public authorities, and to plaintext for loopback addresses.
        insecure: Use plaintext for an address that is not loopback.
        timeout: Seconds for all attempts at a call together. A call can have its own timeout.
        connect_timeout: Seconds after which a call fails if the server was never reached. A server that was reached
            and is lost is retried until the timeout.
        retry: How to retry calls.
        channel: A channel to use instead of opening one to ``target``. The caller must close it.

    Raises:
        ValueError: Arguments are invalid or contradict each other, or a token would be sent in plaintext.
        OSError: A file of ``tls`` cannot be read.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: Token | None = None,
        on_behalf_of: str | None = None,
        tls: TlsOptions | None = None,
        insecure: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        retry: RetryOptions | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        metadata = CallMetadata(token, on_behalf_of)
        self._connection = Connection.to(
            target, token=token, tls=tls, insecure=insecure, connect_timeout=connect_timeout, given=channel
        )
        self._runner = Runner(
            self._connection,
            _open(self._connection) if channel is None else channel,
            metadata=metadata,
            timeout=timeout,
            retry=retry,
            owned=channel is None,
        )
        self._students = Students(self._runner)
        self._courses = Courses(self._runner)
        self._history = History(self._runner)

    @property
    def students(self) -> Students:
        """The calls for students, such as ``students.create``. ``help(client.students)`` lists them."""
        return self._students

    @property
    def courses(self) -> Courses:
        """The calls for courses, such as ``courses.search``. ``help(client.courses)`` lists them."""
        return self._courses

    @property
    def history(self) -> History:
        """The calls for events, such as ``history.list``. ``help(client.history)`` lists them."""
        return self._history

    enroll = unary(enrollments.enroll)
    unenroll = unary(enrollments.unenroll)
    swap = unary(enrollments.swap)
    complete = unary(completions.complete)
    record_completion = unary(completions.record_completion)
    void_completion = unary(completions.void_completion)
    batch = unary(batches.batch)
    bulk = _bulk_sync.bulk
    get_enrollment = unary(enrollment_reads.get_enrollment)
    list_courses = paged(enrollment_reads.list_courses)
    list_roster = paged(enrollment_reads.list_roster)
    list_enrollments = paged(enrollment_reads.list_enrollments)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return a client with arguments from the environment.

        The variables are ``REGISTRAR_TARGET`` (default ``localhost:50051``), ``REGISTRAR_TOKEN`` or
        ``REGISTRAR_TOKEN_FILE``, ``REGISTRAR_CA_FILE``, ``REGISTRAR_CLIENT_CERT_FILE``, ``REGISTRAR_CLIENT_KEY_FILE``,
        ``REGISTRAR_TIMEOUT`` and ``REGISTRAR_CONNECT_TIMEOUT`` (seconds, or with a unit such as ``500ms``; default 10
        and 2) and ``REGISTRAR_INSECURE`` (``true`` or ``false``). An empty variable counts as absent. An invalid
        variable raises a ValueError that names it.

        ``REGISTRAR_TOKEN_FILE`` names a file with a token. It is read again for every attempt at a call, so that
        another program can replace it. An OSError or a ValueError names the file if it cannot be read or has no token.
        """
        return cls(**arguments(os.environ if environ is None else environ))

    def close(self) -> None:
        """Close the connection. Active calls in other threads raise Cancelled."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection})"


def _open(connection: Connection) -> grpc.Channel:
    if connection.tls is None:
        return grpc.insecure_channel(connection.target, connection.options())
    return grpc.secure_channel(connection.target, connection.tls.credentials(), connection.options())
