"""Both clients against real servers: TLS, deadlines on the wire, closing, and `registrar_client.testing`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_client import (
    AsyncRegistrarClient,
    Cancelled,
    CourseFull,
    DeadlineExceeded,
    EnrollmentState,
    RegistrarClient,
    StudentNotFound,
    TlsOptions,
    Unavailable,
    testing,
)
from registrar_server import app
from tests.support.certificates import Certificates


class _Echo(grpc.GenericRpcHandler):
    """Responds with the caller's authorization. A call for the id `slow` gets its response when the server stops."""

    def __init__(self) -> None:
        self.slow_arrived = threading.Event()
        self.stopping = threading.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        headers = dict(handler_call_details.invocation_metadata or ())

        def answer(request: pb.GetEnrollmentRequest, _context: grpc.ServicerContext) -> pb.GetEnrollmentResponse:
            if request.enrollment_id == "slow":
                self.slow_arrived.set()
                self.stopping.wait()
            response = pb.GetEnrollmentResponse()
            response.enrollment.reason = str(headers.get("authorization", ""))
            return response

        return grpc.unary_unary_rpc_method_handler(
            answer, pb.GetEnrollmentRequest.FromString, pb.GetEnrollmentResponse.SerializeToString
        )


class _Served(NamedTuple):
    port: int
    handler: _Echo


def _serve(credentials: grpc.ServerCredentials | None) -> Iterator[_Served]:
    handler = _Echo()
    server = grpc.server(futures.ThreadPoolExecutor(2), [handler])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield _Served(port, handler)
    handler.stopping.set()
    server.stop(None).wait()


@pytest.fixture
def plain() -> Iterator[_Served]:
    """A server without TLS."""
    yield from _serve(None)


@pytest.fixture
def plain_port(plain: _Served) -> int:
    """The port of a server without TLS."""
    return plain.port


@pytest.fixture
def known(certificates: Certificates) -> TlsOptions:
    """The options of a client that trusts the test's authority and has its certificate."""
    return TlsOptions(
        ca_file=certificates.authority,
        client_cert_file=certificates.client,
        client_key_file=certificates.client_key,
    )


@pytest.fixture(params=[False, True], ids=["tls", "mtls"])
def tls_port(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[int]:
    """The port of a server with TLS, and of one that also requires client certificates."""
    pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
    authority = certificates.authority.read_bytes()
    credentials = grpc.ssl_server_credentials([pair], authority if request.param else None, request.param)
    yield from (served.port for served in _serve(credentials))


def test_tls_and_mutual_tls_with_a_token(tls_port: int, known: TlsOptions) -> None:
    with RegistrarClient(f"localhost:{tls_port}", tls=known, token="secret") as client:
        assert client.get_enrollment(enrollment_id="e-1").reason == "Bearer secret"


async def test_tls_and_mutual_tls_with_a_token_for_asyncio(tls_port: int, known: TlsOptions, gather: bool) -> None:
    async with AsyncRegistrarClient(f"localhost:{tls_port}", tls=known, token="secret", gather=gather) as client:
        assert (await client.get_enrollment(enrollment_id="e-1")).reason == "Bearer secret"


def test_an_untrusted_server_is_unavailable(tls_port: int) -> None:
    with (
        RegistrarClient(f"localhost:{tls_port}", tls=TlsOptions(), timeout=1) as client,
        pytest.raises(Unavailable),
    ):
        client.get_enrollment(enrollment_id="e-1")


def test_the_certificate_must_be_for_the_name(tls_port: int, known: TlsOptions) -> None:
    wrong = replace(known, server_name="registrar.example.edu")
    with RegistrarClient(f"localhost:{tls_port}", tls=wrong, timeout=1) as client, pytest.raises(Unavailable):
        client.get_enrollment(enrollment_id="e-1")


def test_the_deadline_holds_on_the_wire(plain_port: int) -> None:
    with RegistrarClient(f"127.0.0.1:{plain_port}") as client, pytest.raises(DeadlineExceeded):
        client.get_enrollment(enrollment_id="slow", timeout=0.2)


async def test_the_deadline_holds_on_the_wire_for_asyncio(plain_port: int, gather: bool) -> None:
    async with AsyncRegistrarClient(f"127.0.0.1:{plain_port}", timeout=0.2, gather=gather) as client:
        with pytest.raises(DeadlineExceeded):
            await client.get_enrollment(enrollment_id="slow")


async def test_a_cancelled_task_stays_cancelled(plain_port: int, gather: bool) -> None:
    async with AsyncRegistrarClient(f"127.0.0.1:{plain_port}", gather=gather) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.get_enrollment(enrollment_id="slow")


def test_an_unreachable_server_is_retried_until_the_timeout() -> None:
    with RegistrarClient("127.0.0.1:1", timeout=0.5) as client, pytest.raises(Unavailable) as failure:
        client.get_enrollment(enrollment_id="e-1")
    assert isinstance(failure.value.__cause__, grpc.RpcError)


def test_close_cancels_the_calls_of_other_threads(plain: _Served) -> None:
    client = RegistrarClient(f"127.0.0.1:{plain.port}")
    with futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.get_enrollment, enrollment_id="slow")
        plain.handler.slow_arrived.wait()
        client.close()
        with pytest.raises(Cancelled):
            under_way.result()


def test_a_closed_client_raises(plain_port: int) -> None:
    client = RegistrarClient(f"127.0.0.1:{plain_port}")
    client.get_enrollment(enrollment_id="e-1")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="this client is closed"):
        client.get_enrollment(enrollment_id="e-1")


async def test_a_closed_client_raises_for_asyncio(plain_port: int, gather: bool) -> None:
    for used in (True, False):
        client = AsyncRegistrarClient(f"127.0.0.1:{plain_port}", gather=gather)
        if used:
            await client.get_enrollment(enrollment_id="e-1")
        await client.close()
        await client.close()
        with pytest.raises(RuntimeError, match="this client is closed"):
            await client.get_enrollment(enrollment_id="e-1")


def test_a_channel_of_the_caller_stays_open(plain_port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{plain_port}") as channel:
        for _ in range(2):
            with RegistrarClient(channel=channel) as client:
                client.get_enrollment(enrollment_id="e-1")


async def test_a_channel_of_the_caller_stays_open_for_asyncio(plain_port: int, gather: bool) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plain_port}") as channel:
        for _ in range(2):
            async with AsyncRegistrarClient(channel=channel, gather=gather) as client:
                await client.get_enrollment(enrollment_id="e-1")


def test_the_testing_server_serves_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # A server for tests must ignore the environment, above all the database of another server.
    monkeypatch.setenv("REGISTRAR_DATABASE_URL", "postgresql://nobody@nowhere.example/production")
    with testing.server() as address, RegistrarClient(address) as client:
        client.students.create(student_id="s-1", given_name="Ada")
        client.students.create(student_id="s-2")
        client.courses.create(course_id="CS-101", capacity=1)
        assert client.enroll(student_id="s-1", course_id="CS-101").state is EnrollmentState.ENROLLED
        with pytest.raises(CourseFull) as full:
            client.enroll(student_id="s-2", course_id="CS-101")
        assert full.value.violations[0].values["capacity"] == "1"
        assert [entry.course.course_id for entry in client.list_courses(student_id="s-1")] == ["CS-101"]
        assert client.unenroll(student_id="s-1", course_id="CS-101").promoted == ()


def test_a_thread_settles_a_course_and_compares_what_it_enrolled() -> None:
    """Results of ``enroll`` are equal to the enrollments that other calls return, and can be keys beside them."""
    with testing.server() as address, RegistrarClient(address) as client:
        client.courses.create(course_id="CS-101", capacity=1, waitlist_capacity=5)
        for student_id in ("s-1", "s-2", "s-3"):
            client.students.create(student_id=student_id)
        seat, waiting = (client.enroll(student_id=student_id, course_id="CS-101") for student_id in ("s-1", "s-2"))
        assert client.get_enrollment(enrollment_id=seat.enrollment_id) == seat
        assert [entry.enrollment for entry in client.list_roster(course_id="CS-101")] == [seat, waiting]
        assert len({seat, client.get_enrollment(enrollment_id=seat.enrollment_id), waiting}) == 2
        client.complete(student_id="s-1", course_id="CS-101")
        settled = client.courses.settle(course_id="CS-101")
        assert [one.enrollment_id for one in settled.promoted] == [waiting.enrollment_id]
        assert client.enroll(student_id="s-3", course_id="CS-101").promoted == ()


def test_a_testing_server_does_not_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the calls of a test promote students. A server that sweeps would begin at its start."""
    swept: list[app.Server] = []

    async def sweep(server: app.Server) -> None:
        swept.append(server)

    monkeypatch.setattr(app.Server, "sweep", sweep)
    with testing.server() as address, RegistrarClient(address) as client:
        client.students.create(student_id="s-1")
    assert swept == []


def test_every_testing_server_starts_empty() -> None:
    for _ in range(2):
        with testing.server() as address, RegistrarClient(address) as client:
            assert list(client.students.list()) == []
            client.students.create(student_id="s-1")


@pytest.fixture
async def asynchronous(gather: bool) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a real server, both on the test's event loop."""
    async with testing.async_server() as address, AsyncRegistrarClient(address, gather=gather) as client:
        yield client


async def test_the_testing_server_serves_asyncio(asynchronous: AsyncRegistrarClient) -> None:
    await asynchronous.courses.create(course_id="CS-101", capacity=1)
    with pytest.raises(StudentNotFound):
        await asynchronous.enroll(student_id="nobody", course_id="CS-101")
    created = await asyncio.gather(*(asynchronous.students.create(student_id=f"s-{n}") for n in range(5)))
    assert [student async for student in asynchronous.students.list(page_size=2)] == created


def test_the_testing_server_can_use_another_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'kept.db'}"
    for expected in (0, 1):
        with testing.server(database_url=url) as address, RegistrarClient(address) as client:
            assert len(list(client.students.list())) == expected
            client.students.create()
