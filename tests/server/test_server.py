"""The server as an operator meets it: starting, health, reflection, sizes, TLS, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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
from sqlalchemy import Engine, text

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest
from registrar.v1.student_service_pb2 import GetStudentRequest, ListStudentsRequest
from registrar_server import migrate
from registrar_server.app import Server, StartError, start
from registrar_server.storage.database import Database
from registrar_server.storage.engines import sqlite_file
from tests.support.certificates import Certificates
from tests.support.databases import execute
from tests.support.failures import info, refused
from tests.support.postgres import Cluster
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

SERVICES = [
    f"registrar.v1.{name}" for name in ("CourseService", "EnrollmentService", "HistoryService", "StudentService")
]
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
REFLECTION = "grpc.reflection.{}.ServerReflection"


async def failed(call: Any) -> StatusCode:
    """The status of a call that fails in gRPC itself, without details of ours."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


class TestStart:
    """When a server starts, and what it says when it cannot."""

    async def test_free_port(self, database_url: str, log: Log) -> None:
        """Port 0 takes a free one, and the server says which, and on what database."""
        async with serving(database_url) as server:
            assert int(server.address.removeprefix("127.0.0.1:")) > 0
        (line,) = log.of("server_started")
        assert (line["address"], line["database"]) == (server.address, database_url)

    @pytest.mark.parametrize("host", ["localhost", "[::1]"])
    async def test_other_loopback(self, sqlite_url: str, host: str) -> None:
        """Loopback has other names, and an IPv6 address."""
        async with serving(sqlite_url, listen=f"{host}:0") as server, calling(server.address) as registrar:
            assert server.address.startswith(f"{host}:")
            await registrar.add_student("s-1")

    async def test_port_taken(self, sqlite_url: str) -> None:
        """A second server on the same port refuses to start; it does not take half of the calls."""
        async with serving(sqlite_url) as server:
            with pytest.raises(StartError) as refusal:
                await start(settings(sqlite_url, listen=server.address))
        assert str(refusal.value) == (
            f"REGISTRAR_LISTEN={server.address}: the address is taken or is not this machine's; choose another."
        )

    async def test_schema_empty(self, empty_database_url: str) -> None:
        """On an empty database it says how to fill it, and leaves it empty."""
        with pytest.raises(StartError) as refusal:
            await start(settings(empty_database_url))
        assert str(refusal.value) == (
            "The database is empty. Run `registrar-server migrate upgrade`."
            " (registrar-server serve --migrate does so before it serves.)"
        )
        assert migrate.check(empty_database_url).state is migrate.MigrationState.EMPTY

    async def test_schema_behind(self, database_url: str) -> None:
        """On a schema that is behind it says what is missing."""
        migrate.downgrade(database_url, "-1")
        with pytest.raises(StartError, match=r"and lacks: .*Run `registrar-server migrate upgrade`"):
            await start(settings(database_url))

    async def test_schema_unknown(self, database_url: str) -> None:
        """On a schema of a newer version it says so, and does not suggest to upgrade."""
        execute(database_url, "UPDATE alembic_version SET version_num = '20991231_2359'")
        with pytest.raises(StartError, match=r"20991231_2359\. A newer version made them: run that one") as refusal:
            await start(settings(database_url))
        assert "migrate upgrade" not in str(refusal.value)

    async def test_no_database(self, tmp_path: Path) -> None:
        """Where the database cannot be had it says why, without the password."""
        with pytest.raises(StartError, match="The folder of the SQLite file does not exist"):
            await start(settings(f"sqlite:///{tmp_path}/nowhere/registrar.db"))
        with pytest.raises(StartError, match="connection") as refusal:
            await start(settings("postgresql://someone:s3cret@127.0.0.1:1/registrar"))
        assert "s3cret" not in str(refusal.value)

    async def test_insecure_out_loud(self, sqlite_url: str, log: Log) -> None:
        """Whoever insists on serving others without TLS is warned."""
        async with serving(sqlite_url, listen="0.0.0.0:0", insecure=True) as server:
            port = server.address.removeprefix("0.0.0.0:")
            async with calling(f"127.0.0.1:{port}") as registrar:
                await registrar.add_student("s-1")
        (line,) = log.of("serving_without_tls")
        assert (line["level"], line["address"]) == ("warning", "0.0.0.0:0")


class TestHealth:
    """What load balancers ask."""

    @pytest.mark.parametrize("service", ["", *SERVICES])
    async def test_serving(self, sqlite_registrar: Registrar, service: str) -> None:
        """The server as a whole, and each service, is SERVING."""
        answer = await health(sqlite_registrar).Check(HealthCheckRequest(service=service))
        assert answer.status == SERVING

    async def test_unknown_service(self, sqlite_registrar: Registrar) -> None:
        """A service that isn't there is NOT_FOUND."""
        check = health(sqlite_registrar).Check(HealthCheckRequest(service="registrar.v1.Lunch"))
        assert await failed(check) is StatusCode.NOT_FOUND

    @pytest.mark.parametrize("service", ["", SERVICES[0]])
    async def test_database_away_and_back(
        self, database_url: str, request: pytest.FixtureRequest, service: str, log: Log
    ) -> None:
        """While the database is away the server is NOT_SERVING, and SERVING again when it is back."""
        async with (
            registrar_on(database_url, health_interval=0.02) as registrar,
            watching(registrar, service) as next_status,
        ):
            assert await next_status() == SERVING
            with database_away(database_url, request):
                assert await next_status() == NOT_SERVING
            assert await next_status() == SERVING
        (warning, *_) = log.of("database_unreachable")
        assert warning["level"] == "warning"

    async def test_calls_while_away(
        self, postgresql_url: str, cluster: Cluster, request: pytest.FixtureRequest
    ) -> None:
        """Calls are told that the database is away and when to come again, and work when it is back."""
        async with registrar_on(postgresql_url) as registrar:
            await registrar.add_student("s-1")
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "change": lambda: registrar.add_student("s-2"),
                "lookup": lambda: registrar.students.GetStudent(GetStudentRequest(student_id="s-1")),
                "list": lambda: registrar.students.ListStudents(ListStudentsRequest()),
            }
            with database_away(postgresql_url, request):
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
    """The health service's stub, whose methods have no types."""
    return HealthStub(registrar.channel)


@contextlib.asynccontextmanager
async def watching(registrar: Registrar, service: str = "") -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Watch a service's health; each call waits for the next status, for a while."""
    watch = health(registrar).Watch(HealthCheckRequest(service=service))

    async def next_status() -> int:
        async with asyncio.timeout(20):
            status: int = (await watch.read()).status
            return status

    yield next_status
    watch.cancel()


@contextlib.contextmanager
def database_away(url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nobody gets at the database within the ``with`` block: its file is elsewhere, or it takes no connections."""
    if file := sqlite_file(url):
        away = file.rename(file.with_suffix(".away"))
        yield
        away.rename(file)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    admin, name = cluster.url("postgres"), url.rpartition("/")[2]
    execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    execute(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
    yield
    execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


class TestReflection:
    """What lets grpcurl and buf curl call the server without its protos."""

    @pytest.fixture(params=["v1", "v1alpha"])
    def ask(self, sqlite_registrar: Registrar, request: pytest.FixtureRequest) -> Any:
        """Ask one question of one version of the service."""
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
        """All services are listed, the two reflections and health among them."""
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
        """Services, methods and messages are found, in the file that declares them."""
        answer = await ask(file_containing_symbol=symbol)
        files = answer.file_descriptor_response.file_descriptor_proto
        assert FileDescriptorProto.FromString(files[0]).name == file

    async def test_unknown_symbol(self, ask: Any) -> None:
        """What is not there is NOT_FOUND, and the stream lives on to say so."""
        answer = await ask(file_containing_symbol="registrar.v1.LunchService.Eat")
        assert answer.error_response.error_code == StatusCode.NOT_FOUND.value[0]


class TestSizes:
    """How large messages may be."""

    async def test_request(self, sqlite_url: str) -> None:
        """A request beyond the limit is refused before it is read; one under it is served."""
        async with registrar_on(sqlite_url, max_message_bytes=300_000) as registrar:
            short = CreateCourseRequest(course=Course(description="x" * 290_000))
            assert (await refused(registrar.courses.CreateCourse(short))).reason == "INVALID_FIELD"
            large = CreateCourseRequest(course=Course(description="x" * 310_000))
            assert await failed(registrar.courses.CreateCourse(large)) is StatusCode.RESOURCE_EXHAUSTED

    async def test_default(self, sqlite_registrar: Registrar) -> None:
        """By default four megabytes are read, which is more than any valid request needs."""
        large = CreateCourseRequest(course=Course(description="x" * 3_900_000))
        assert (await refused(sqlite_registrar.courses.CreateCourse(large))).reason == "INVALID_FIELD"
        larger = CreateCourseRequest(course=Course(description="x" * 4_200_000))
        assert await failed(sqlite_registrar.courses.CreateCourse(larger)) is StatusCode.RESOURCE_EXHAUSTED


class TestTls:
    """Serving with certificates."""

    @contextlib.asynccontextmanager
    async def secure(self, server: Server, certificates: Certificates, *, known: bool) -> AsyncIterator[Registrar]:
        """Stubs over TLS, with a client certificate or without."""
        credentials = grpc.ssl_channel_credentials(
            certificates.authority.read_bytes(),
            certificates.client_key.read_bytes() if known else None,
            certificates.client.read_bytes() if known else None,
        )
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            yield over(channel)

    async def test_tls(self, sqlite_url: str, certificates: Certificates) -> None:
        """With certificate and key the server speaks TLS, and nothing else."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.server_key}
        async with serving(sqlite_url, **files) as server:
            async with self.secure(server, certificates, known=False) as registrar:
                await registrar.add_student("s-1")
            async with calling(server.address) as plain:
                call = plain.students.GetStudent(GetStudentRequest(student_id="s-1"))
                assert await failed(call) is StatusCode.UNAVAILABLE

    async def test_client_certificates(self, sqlite_url: str, certificates: Certificates) -> None:
        """With an authority for clients only those come in whom it has signed."""
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

    async def test_reachable_from_elsewhere(self, sqlite_url: str, certificates: Certificates, log: Log) -> None:
        """With TLS the server may listen on every address, without a warning."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.server_key}
        async with serving(sqlite_url, listen="0.0.0.0:0", **files):
            assert not log.of("serving_without_tls")

    @pytest.mark.parametrize("wrong", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
    async def test_not_certificates(
        self, sqlite_url: str, certificates: Certificates, tmp_path: Path, wrong: str
    ) -> None:
        """Files without the certificates or key they should have are named, rather than the address."""
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

    async def test_not_the_key(self, sqlite_url: str, certificates: Certificates) -> None:
        """A key that belongs to another certificate is told."""
        files = {"tls_cert_file": certificates.server, "tls_key_file": certificates.client_key}
        with pytest.raises(StartError, match="REGISTRAR_TLS_KEY_FILE"):
            await start(settings(sqlite_url, **files))


class TestStop:
    """How a server process ends."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_exit_status(self, sqlite_url: str, tmp_path: Path, number: signal.Signals) -> None:
        """Told to stop, it says so, lets go of its address, and exits with 0."""
        async with server_process(sqlite_url, tmp_path) as server:
            address = await server.address()
            server.signal(number)
            assert await server.wait() == 0
        assert [line["event"] for line in server.lines][-2:] == ["server_stopping", "server_stopped"]
        assert not server.others
        async with serving(sqlite_url, listen=address):
            pass

    async def test_drains(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """A call that is under way when SIGTERM comes is answered; one that comes after it is not taken."""
        async with server_process(database_url, tmp_path) as server, calling(await server.address()) as registrar:
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_course(engine):
                under_way = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                server.signal(signal.SIGTERM)
                await server.logged("server_stopping")
                assert await self.refuses(server)
            assert (await under_way).student_id == "s-1"
            assert await server.wait() == 0
        assert execute(database_url, "SELECT student_id FROM enrollments") == [("s-1",)]

    async def test_grace_ends(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """A call that takes longer than the grace is broken off, and the server ends all the same."""
        async with (
            server_process(database_url, tmp_path, SHUTDOWN_GRACE="50ms") as server,
            calling(await server.address()) as registrar,
        ):
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_course(engine):
                under_way = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                server.signal(signal.SIGTERM)
                assert await failed(under_way) in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
            assert await server.wait() == 0
        assert not server.others

    async def test_a_second_signal(self, database_url: str, engine: Engine, tmp_path: Path) -> None:
        """Who can't wait for the calls under way says so again; the server leaves at once and tells with its status."""
        async with (
            server_process(database_url, tmp_path) as server,
            calling(await server.address()) as registrar,
        ):
            await registrar.add_student("s-1")
            await registrar.add_course("CS-101")
            with holding_the_course(engine):
                under_way = await self.started(registrar, registrar.enroll("s-1", "CS-101"))
                server.signal(signal.SIGTERM)
                await server.logged("server_stopping")
                server.signal(signal.SIGTERM)
                assert await server.wait() == 1
                assert await failed(under_way) is StatusCode.UNAVAILABLE
        assert await server.logged("server_left_at_once")

    async def started(self, registrar: Registrar, call: Any) -> asyncio.Task[Any]:
        """Start a call, and wait until the server has it: until it has answered one that came later on the wire."""
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        await registrar.course("CS-101")
        assert not task.done()
        return task

    async def refuses(self, server: ServerProcess) -> bool:
        """Whether a new connection finds no server any more."""
        async with calling(await server.address()) as late:
            return await failed(late.students.GetStudent(GetStudentRequest(student_id="s-1"))) is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("turns", range(8))
async def test_stop_in_the_middle_of_a_ping(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """A stop is heard at whichever turn of the event loop the database's answer to a ping is being passed on."""
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


@contextlib.contextmanager
def holding_the_course(engine: Engine) -> Iterator[None]:
    """Hold the lock that enrolling needs, within the ``with`` block."""
    with engine.connect() as holder:
        if engine.dialect.name == "sqlite":
            holder.exec_driver_sql("BEGIN IMMEDIATE")
        holder.execute(text("UPDATE courses SET title = 'held'"))
        yield
        holder.rollback()


async def test_stop_waits_for_the_purge(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge under way is told to end, and the database is let go of only when it has."""
    begun, told = threading.Event(), []

    def purge(_database: Any, _before: int, *, may_continue: Callable[[], bool]) -> int:
        begun.set()
        while may_continue():
            pass
        told.append("to end")
        return 0

    monkeypatch.setattr("registrar_server.app.purge_request_ids", purge)
    server = await start(settings(sqlite_url))
    assert await asyncio.to_thread(begun.wait, 10)
    assert await server.stop(grace=0)
    assert told == ["to end"]
