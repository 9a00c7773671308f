"""Operating the server: start, health, reflection, message sizes, TLS and stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from sqlalchemy import Engine

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.student_service_pb2 import GetStudentRequest, ListStudentsRequest
from registrar_server import migrate
from registrar_server.app import Server, StartError, start
from registrar_server.storage.database import Database
from tests.support.api_keys import ACCEPTED, add, answer_to
from tests.support.certificates import Certificates
from tests.support.databases import execute, holding_the_courses
from tests.support.outages import database_outage
from tests.support.postgres import Cluster
from tests.support.refusals import info, refused
from tests.support.servers import (
    Log,
    Registrar,
    ServerProcess,
    calling,
    over,
    registrar_on,
    server_process,
    serving,
    settings,
)

SERVICES = [f"registrar.v1.{name}Service" for name in ("Batch", "Course", "Enrollment", "History", "Student")]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
REFLECTION = "grpc.reflection.{}.ServerReflection"


async def failed(call: Any) -> StatusCode:
    """Return the status of a call that gRPC itself fails, without the server's details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


class TestStart:
    """A server starts, or reports why it cannot."""

    async def test_free_port(self, database_url: str, log: Log) -> None:
        """Port 0 selects a free port, and the server logs its address and database."""
        async with serving(database_url) as server:
            assert int(server.address.removeprefix("127.0.0.1:")) > 0
        (line,) = log.of("server_started")
        assert (line["address"], line["database"]) == (server.address, database_url)

    @pytest.mark.parametrize("host", ["localhost", "[::1]"])
    async def test_other_loopback(self, sqlite_url: str, host: str) -> None:
        """The server listens on other names of loopback and on its IPv6 address."""
        async with serving(sqlite_url, listen=f"{host}:0") as server, calling(server.address) as registrar:
            assert server.address.startswith(f"{host}:")
            await registrar.add_student("s-1")

    async def test_port_taken(self, sqlite_url: str) -> None:
        """A second server on the same port refuses to start, so that it does not receive half of the calls."""
        async with serving(sqlite_url) as server:
            with pytest.raises(StartError) as refusal:
                await start(settings(sqlite_url, listen=server.address))
        assert str(refusal.value) == (
            f"REGISTRAR_LISTEN={server.address}: the address is taken or is not this machine's; choose another."
        )

    async def test_schema_empty(self, empty_database_url: str) -> None:
        """On an empty database the server reports how to migrate it, and leaves it empty."""
        with pytest.raises(StartError) as refusal:
            await start(settings(empty_database_url))
        assert str(refusal.value) == (
            "The database is empty. Run `registrar-server migrate upgrade`."
            " (registrar-server serve --migrate does so before it serves.)"
        )
        assert migrate.check(empty_database_url).state is migrate.MigrationState.EMPTY

    async def test_schema_behind(self, database_url: str) -> None:
        """On an older schema the server reports the missing revisions."""
        migrate.downgrade(database_url, "-1")
        with pytest.raises(StartError, match=r"and lacks: .*Run `registrar-server migrate upgrade`"):
            await start(settings(database_url))

    async def test_schema_unknown(self, database_url: str) -> None:
        """On the schema of a newer version the server reports this and does not suggest an upgrade."""
        execute(database_url, "UPDATE alembic_version SET version_num = '20991231_2359'")
        with pytest.raises(StartError, match=r"20991231_2359\. A newer version made them: run that one") as refusal:
            await start(settings(database_url))
        assert "migrate upgrade" not in str(refusal.value)

    async def test_database_unreachable(self, tmp_path: Path) -> None:
        """If the database cannot be reached, the server reports why, without the password."""
        with pytest.raises(StartError, match="The folder of the SQLite file does not exist"):
            await start(settings(f"sqlite:///{tmp_path}/nowhere/registrar.db"))
        with pytest.raises(StartError, match="connection") as refusal:
            await start(settings("postgresql://someone:s3cret@127.0.0.1:1/registrar"))
        assert "s3cret" not in str(refusal.value)

    async def test_insecure(self, sqlite_url: str, log: Log) -> None:
        """Serving without TLS on an address that is not loopback logs a warning."""
        async with serving(sqlite_url, listen="0.0.0.0:0", insecure=True, identity="required") as server:
            port = server.address.removeprefix("0.0.0.0:")
            async with calling(f"127.0.0.1:{port}") as registrar:
                assert await answer_to(registrar, add(sqlite_url)) == ACCEPTED
        (line,) = log.of("serving_without_tls")
        assert (line["level"], line["address"]) == ("warning", "0.0.0.0:0")


class TestHealth:
    """The health service, for load balancers."""

    @pytest.mark.parametrize("service", ["", *SERVICES])
    async def test_serving(self, sqlite_registrar: Registrar, service: str) -> None:
        """The server as a whole and each of its services are SERVING."""
        answer = await health(sqlite_registrar).Check(HealthCheckRequest(service=service))
        assert answer.status == SERVING

    async def test_unknown_service(self, sqlite_registrar: Registrar) -> None:
        """An unknown service is NOT_FOUND."""
        check = health(sqlite_registrar).Check(HealthCheckRequest(service="registrar.v1.Lunch"))
        assert await failed(check) is StatusCode.NOT_FOUND

    @pytest.mark.parametrize("service", ["", SERVICES[0]])
    async def test_database_outage(
        self, database_url: str, request: pytest.FixtureRequest, service: str, log: Log
    ) -> None:
        """The server is NOT_SERVING while the database is unreachable, and SERVING afterwards."""
        async with (
            registrar_on(database_url, health_interval=0.02) as registrar,
            watching(registrar, service) as next_status,
        ):
            assert await next_status() == SERVING
            with database_outage(database_url, request):
                assert await next_status() == NOT_SERVING
            assert await next_status() == SERVING
        (lost,) = log.of("database_lost")
        assert lost["level"] == "error"

    async def test_watchers_do_not_depend_on_each_other(
        self, database_url: str, request: pytest.FixtureRequest
    ) -> None:
        """A caller that stops watching leaves the other watchers of the same service informed."""
        async with registrar_on(database_url, health_interval=0.02) as registrar, watching(registrar) as next_status:
            async with watching(registrar) as next_of_other:
                assert (await next_status(), await next_of_other()) == (SERVING, SERVING)
            # The other stream ends, also in the server, before the same connection has answered this call.
            await health(registrar).Check(HealthCheckRequest())
            with database_outage(database_url, request):
                assert await next_status() == NOT_SERVING
            assert await next_status() == SERVING

    async def test_watching_an_unknown_service(self, sqlite_registrar: Registrar) -> None:
        """A watched service that the server does not have is SERVICE_UNKNOWN."""
        async with watching(sqlite_registrar, "registrar.v2.CourseService") as next_status:
            assert await next_status() == HealthCheckResponse.SERVICE_UNKNOWN

    async def test_calls_during_an_outage(
        self, postgresql_url: str, cluster: Cluster, request: pytest.FixtureRequest
    ) -> None:
        """Calls during an outage are refused with a retry delay, and succeed afterwards."""
        async with registrar_on(postgresql_url) as registrar:
            await registrar.add_student("s-1")
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "change": lambda: registrar.add_student("s-2"),
                "lookup": lambda: registrar.students.GetStudent(GetStudentRequest(student_id="s-1")),
                "list": lambda: registrar.students.ListStudents(ListStudentsRequest()),
            }
            with database_outage(postgresql_url, request):
                for name, call in calls.items():
                    failure = await refused(call())
                    assert failure.code is StatusCode.UNAVAILABLE, name
                    assert failure.message == "The database is not reachable; nothing was changed. Try again."
                    assert failure.details[0] == info("DATABASE_UNAVAILABLE")
                    assert failure.the(RetryInfo).retry_delay.ToSeconds() == 1
            for call in calls.values():
                await call()

    async def test_stopping(self, sqlite_url: str) -> None:
        """A server that is stopping is NOT_SERVING before it refuses calls."""
        server = await start(settings(sqlite_url))
        async with calling(server.address) as registrar:
            async with watching(registrar) as next_status:
                assert await next_status() == SERVING
                stopping = asyncio.create_task(server.stop(grace=5))
                assert await next_status() == NOT_SERVING
            await stopping


def health(registrar: Registrar) -> Any:
    """Return the stub of the health service, whose methods are untyped."""
    return HealthStub(registrar.channel)


@contextlib.asynccontextmanager
async def watching(registrar: Registrar, service: str = "") -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Watch the health of a service; each call waits for the next status."""
    watch = health(registrar).Watch(HealthCheckRequest(service=service))

    async def next_status() -> int:
        async with asyncio.timeout(20):
            status: int = (await watch.read()).status
            return status

    yield next_status
    watch.cancel()


class TestReflection:
    """Server reflection, so that grpcurl and buf curl can call the server without its protos."""

    @pytest.fixture(params=["v1", "v1alpha"])
    def ask(self, sqlite_registrar: Registrar, request: pytest.FixtureRequest) -> Any:
        """Return a function that sends one request to one version of the service."""
        method = sqlite_registrar.channel.stream_stream(
            f"/{REFLECTION.format(request.param)}/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )

        async def ask(**question: Any) -> ServerReflectionResponse:
            (answer,) = [answer async for answer in method(iter([ServerReflectionRequest(**question)]))]
            assert isinstance(answer, ServerReflectionResponse)
            return answer

        return ask

    async def test_services(self, ask: Any) -> None:
        """All services are listed, including health and both versions of reflection."""
        answer = await ask(list_services="")
        assert sorted(service.name for service in answer.list_services_response.service) == [
            "grpc.health.v1.Health",
            REFLECTION.format("v1"),
            REFLECTION.format("v1alpha"),
            *SERVICES,
        ]

    @pytest.mark.parametrize(
        ("symbol", "file"),
        [
            ("registrar.v1.EnrollmentService", "registrar/v1/enrollment_service.proto"),
            ("registrar.v1.EnrollmentService.EnrollStudent", "registrar/v1/enrollment_service.proto"),
            ("registrar.v1.Course", "registrar/v1/course.proto"),
            ("grpc.health.v1.Health", "grpc_health/v1/health.proto"),
        ],
    )
    async def test_symbols(self, ask: Any, symbol: str, file: str) -> None:
        """Services, methods and messages are found in the file that declares them."""
        answer = await ask(file_containing_symbol=symbol)
        files = answer.file_descriptor_response.file_descriptor_proto
        assert FileDescriptorProto.FromString(files[0]).name == file

    async def test_unknown_symbol(self, ask: Any) -> None:
        """An unknown symbol is answered with NOT_FOUND, and the stream continues."""
        answer = await ask(file_containing_symbol="registrar.v1.LunchService.Eat")
        assert answer.error_response.error_code == StatusCode.NOT_FOUND.value[0]


class TestSizes:
    """Limits on the size of messages."""

    async def test_request(self, sqlite_url: str) -> None:
        """A request above the limit is refused by gRPC, and one below it is read by the server."""
        async with registrar_on(sqlite_url, max_message_bytes=300_000) as registrar:
            short = CreateCourseRequest(course=Course(description="x" * 290_000))
            assert (await refused(registrar.courses.CreateCourse(short))).reason == "INVALID_FIELD"
            large = CreateCourseRequest(course=Course(description="x" * 310_000))
            assert await failed(registrar.courses.CreateCourse(large)) is StatusCode.RESOURCE_EXHAUSTED

    async def test_default(self, sqlite_registrar: Registrar) -> None:
        """The default limit is four megabytes, which is more than any valid request needs."""
        large = CreateCourseRequest(course=Course(description="x" * 3_900_000))
        assert (await refused(sqlite_registrar.courses.CreateCourse(large))).reason == "INVALID_FIELD"
        larger = CreateCourseRequest(course=Course(description="x" * 4_200_000))
        assert await failed(sqlite_registrar.courses.CreateCourse(larger)) is StatusCode.RESOURCE_EXHAUSTED


class TestTls:
    """Serving with TLS."""

    @contextlib.asynccontextmanager
    async def secure(self, server: Server, certificates: Certificates, *, known: bool) -> AsyncIterator[Registrar]:
        """Return stubs over TLS, with or without a client certificate."""
        credentials = grpc.ssl_channel_credentials(
            certificates.authority.read_bytes(),
            certificates.client_key.read_bytes() if known else None,
            certificates.client.read_bytes() if known else None,
        )
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            yield over(channel)

    async def test_tls(self, sqlite_url: str, certificates: Certificates) -> None:
        """With a certificate and a key, the server accepts only TLS connections."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.server_key}
        async with serving(sqlite_url, **files) as server:
            async with self.secure(server, certificates, known=False) as registrar:
                await registrar.add_student("s-1")
            async with calling(server.address) as plain:
                call = plain.students.GetStudent(GetStudentRequest(student_id="s-1"))
                assert await failed(call) is StatusCode.UNAVAILABLE

    async def test_client_certificates(self, sqlite_url: str, certificates: Certificates) -> None:
        """With a client authority, the server accepts only clients with its certificates."""
        files = {
            "tls_cert_file": certificates.server,
            "tls_key_file": certificates.server_key,
            "tls_client_ca_file": certificates.authority,
        }
        async with serving(sqlite_url, **files) as server:
            async with self.secure(server, certificates, known=True) as registrar:
                await registrar.add_student("s-1")
            async with self.secure(server, certificates, known=False) as stranger:
                call = stranger.students.GetStudent(GetStudentRequest(student_id="s-1"))
                assert await failed(call) is StatusCode.UNAVAILABLE

    async def test_listen_on_all_addresses(self, sqlite_url: str, certificates: Certificates, log: Log) -> None:
        """With TLS, the server listens on all addresses without a warning."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.server_key}
        async with serving(sqlite_url, listen="0.0.0.0:0", identity="required", **files):
            assert not log.of("serving_without_tls")

    @pytest.mark.parametrize("wrong", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
    async def test_invalid_files(self, sqlite_url: str, certificates: Certificates, tmp_path: Path, wrong: str) -> None:
        """The error names the file that does not contain a certificate or key, not the address."""
        junk = tmp_path / "junk.pem"
        junk.write_text("-----BEGIN NONSENSE-----\n")
        files = {
            "tls_cert_file": certificates.server,
            "tls_key_file": certificates.server_key,
            "tls_client_ca_file": certificates.authority,
            wrong: junk,
        }
        with pytest.raises(StartError, match=f"REGISTRAR_{wrong.upper()}"):
            await start(settings(sqlite_url, **files))

    async def test_mismatched_key(self, sqlite_url: str, certificates: Certificates) -> None:
        """A key of another certificate is refused."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.client_key}
        with pytest.raises(StartError, match="REGISTRAR_TLS_KEY_FILE"):
            await start(settings(sqlite_url, **files))


class TestStop:
    """A server process stops."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_exit_status(self, sqlite_url: str, tmp_path: Path, number: signal.Signals) -> None:
        """After a signal, the process logs its stop, releases its address and exits with 0."""
        async with server_process(sqlite_url, tmp_path) as server:
            address = await server.address()
            server.signal(number)
            assert await server.wait() == 0
        assert [line["event"] for line in server.lines][-2:] == ["server_stopping", "server_stopped"]
        assert not server.others
        async with serving(sqlite_url, listen=address):
            pass

    async def test_drains(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """Calls in progress at SIGTERM are answered, and later calls are refused."""
        async with server_process(database_url, tmp_path) as server, calling(await server.address()) as registrar:
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_courses(engine):
                in_progress = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                server.signal(signal.SIGTERM)
                await server.logged("server_stopping")
                assert await self.refuses(server)
            assert (await in_progress).student_id == "s-1"
            assert await server.wait() == 0
        assert execute(database_url, "SELECT student_id FROM enrollments") == [("s-1",)]

    async def test_grace_ends(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """A call that takes longer than the grace period is cut off, and the process exits with 0."""
        async with (
            server_process(database_url, tmp_path, SHUTDOWN_GRACE="50ms") as server,
            calling(await server.address()) as registrar,
        ):
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_courses(engine):
                in_progress = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                server.signal(signal.SIGTERM)
                assert await failed(in_progress) in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
            assert await server.wait() == 0
        assert not server.others

    @pytest.mark.parametrize("below", [(), ("timeout", "60")], ids=["group", "group-below-timeout"])
    async def test_repeated_signal(
        self, database_url: str, engine: Engine, tmp_path: Path, below: tuple[str, ...]
    ) -> None:
        """The same request to stop, sent twice to the whole process group, does not skip the grace.

        systemd, make and GNU timeout do so; timeout itself signals its child and then the group.
        """
        async with (
            server_process(database_url, tmp_path, below=below) as server,
            calling(await server.address()) as registrar,
        ):
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_courses(engine):
                in_progress = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    server.signal_group(number)
                await server.logged("server_stopping")
            assert (await in_progress).student_id == "s-1"
            await server.wait()
        assert await server.logged("server_stopped")
        assert not [line for line in server.lines if line["event"] == "server_left_at_once"]

    async def test_later_signal(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """A signal that is sent a second after the first one ends the process immediately with 1."""
        async with (
            server_process(database_url, tmp_path) as server,
            calling(await server.address()) as registrar,
        ):
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_courses(engine):
                in_progress = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                begun = time.monotonic()
                while not server.ended:
                    server.signal(signal.SIGTERM)
                    await asyncio.sleep(0.05)
                assert time.monotonic() - begun >= 0.9
                assert await server.wait() == 1
                assert await failed(in_progress) is StatusCode.UNAVAILABLE
        assert await server.logged("server_left_at_once")

    async def started(self, registrar: Registrar, call: Any) -> asyncio.Task[Any]:
        """Start a call and wait until the server has received it, which is so once it answers a later call."""
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        await registrar.course("CS-101")
        assert not task.done()
        return task

    async def refuses(self, server: ServerProcess) -> bool:
        """Return whether the server refuses new connections."""
        async with calling(await server.address()) as late:
            return await failed(late.students.GetStudent(GetStudentRequest(student_id="s-1"))) is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("turns", range(8))
async def test_stop_during_a_ping(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """The server stops in whichever turn of the event loop it receives the result of a ping."""
    asked, answer = threading.Event(), threading.Event()

    def ping(_database: Database) -> None:
        asked.set()
        answer.wait()

    monkeypatch.setattr(Database, "ping", ping)
    server = await start(settings(sqlite_url))
    await asyncio.to_thread(asked.wait)
    answer.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await server.stop()


async def test_stop_waits_for_the_purge(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopping server ends the purge and waits for it before it closes the database."""
    begun, ended = threading.Event(), threading.Event()

    def purge(_database: Any, *, before: int, may_continue: Callable[[], bool]) -> int:
        begun.set()
        while may_continue():
            pass
        ended.set()
        return 0

    monkeypatch.setattr("registrar_server.housekeeping.purge_request_ids", purge)
    server = await start(settings(sqlite_url))
    assert await asyncio.to_thread(begun.wait, 10)
    assert await server.stop(grace=0)
    assert ended.is_set()
