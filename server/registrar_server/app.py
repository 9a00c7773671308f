"""The composition root: settings, then database, ledger, lanes, servicers, and a gRPC server over them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from sqlalchemy.engine import URL

from registrar.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    history_service_pb2,
    history_service_pb2_grpc,
    student_service_pb2,
    student_service_pb2_grpc,
)
from registrar_server import migrate
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.ledger import Answer, Call, Ledger, microseconds_now
from registrar_server.ledger.request_ids import purge_request_ids
from registrar_server.reading.lookups import Lookup
from registrar_server.reading.queries import Queries
from registrar_server.reading.reader import Reader
from registrar_server.reading.reads import Reads
from registrar_server.rpc.course_service import CourseService
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.enrollment_service import EnrollmentService
from registrar_server.rpc.history_service import HistoryService
from registrar_server.rpc.reflection import add_reflection
from registrar_server.rpc.student_service import StudentService
from registrar_server.settings import Settings
from registrar_server.storage.database import Database

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (enrollment_service_pb2, "EnrollmentService"),
        (student_service_pb2, "StudentService"),
        (course_service_pb2, "CourseService"),
        (history_service_pb2, "HistoryService"),
    )
)
PURGE_INTERVAL_S = 600.0
PING_TIMEOUT_S = 5.0
LINGER_S = 0.2
MAX_PENDING = 20_000
REST_S = 5.0

log = structlog.get_logger()


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


class Server:
    """A server that is serving. Made by ``start``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(
            settings.database_url.get_secret_value(),
            writers=settings.write_lanes,
            readers=settings.read_lanes + 2,  # Lists beside pings and the purge, previews beside lookups.
        )
        ledger = Ledger(self._database)
        reader = Reader(self._database)
        limits = Limits(settings.max_batch, settings.max_waiting)
        self._changes = Lanes[Call, Answer](
            [Batcher(ledger.run, f"write-{lane}", limits) for lane in range(self._database.writers)],
            key=lambda call: call.command.lane_key,
        )
        self._lookups = Batcher[Lookup, Any](reader.look_up, "read", limits)
        self._queries = Queries(settings.read_lanes, settings.max_waiting)
        reads = Reads(reader, self._lookups, self._queries)
        self._dispatcher = Dispatcher(ledger, self._changes, reads, self._queries, settings.max_message_bytes)
        self._pings = ThreadPoolExecutor(1, thread_name_prefix="ping")
        self._chores = ThreadPoolExecutor(1, thread_name_prefix="chore")
        self._stopping = False
        self._health = health.aio.HealthServicer()
        self._grpc = grpc.aio.server(options=_options(settings))
        self._tasks: list[asyncio.Task[None]] = []
        self.address = ""
        """Where the server can be reached, host:port."""

    async def start(self) -> None:
        """Bind, serve, and look after the database from then on."""
        dispatcher = self._dispatcher
        enrollment_service_pb2_grpc.add_EnrollmentServiceServicer_to_server(EnrollmentService(dispatcher), self._grpc)
        student_service_pb2_grpc.add_StudentServiceServicer_to_server(StudentService(dispatcher), self._grpc)
        course_service_pb2_grpc.add_CourseServiceServicer_to_server(CourseService(dispatcher), self._grpc)
        history_service_pb2_grpc.add_HistoryServiceServicer_to_server(HistoryService(dispatcher), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        add_reflection(self._grpc, (*SERVICES, health.SERVICE_NAME))
        self.address = _bind(self._grpc, self._settings)
        await self._tell_health(serving=True)
        await self._grpc.start()
        self._tasks = [
            asyncio.create_task(_every(self._settings.health_interval, self._watch_database)),
            asyncio.create_task(_every(PURGE_INTERVAL_S, self._purge)),
        ]
        log.info("server_started", address=self.address, database=_shown(self._settings.url))

    async def stop(self, grace: float | None = None) -> bool:
        """Take no more calls, finish those under way within ``grace`` seconds, and let go of everything.

        Returns whether all was finished; where not, threads are still in the hands of a database that does not answer.
        """
        log.info("server_stopping")
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._health.enter_graceful_shutdown()
        seconds = self._settings.shutdown_grace if grace is None else grace
        finished = await self._finish_calls(max(seconds, LINGER_S))
        if finished:
            # Calls sent before their callers heard of it come in meanwhile, and are refused instead of cut off.
            await asyncio.sleep(min(seconds, LINGER_S))
        # Streams such as health's Watch have no end of their own, and nobody's work is in them.
        await self._grpc.stop(LINGER_S)
        # Callers whose grace is over are cut off by now; what the database still does for them may come to its end.
        finished = finished or await self._finish_calls(REST_S)
        if finished:
            self._database.close()
        log.info("server_stopped", finished=finished)
        return finished

    async def _finish_calls(self, seconds: float) -> bool:
        """Refuse new calls as SHUTTING_DOWN, while the door is still open, and finish those under way."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(self._changes.close(), self._lookups.close(), self._queries.close())
                for threads in (self._pings, self._chores):
                    await asyncio.to_thread(threads.shutdown, cancel_futures=True)
        except TimeoutError:
            return False
        return True

    async def _tell_health(self, *, serving: bool) -> None:
        response = health_pb2.HealthCheckResponse
        for name in ("", *SERVICES):
            await self._health.set(name, response.SERVING if serving else response.NOT_SERVING)

    async def _watch_database(self) -> None:
        # A database that hangs keeps the one pinging thread waiting; the time-out then speaks for it.
        ping = asyncio.get_running_loop().run_in_executor(self._pings, self._database.ping)
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets the answer, and stop would wait on.
            async with asyncio.timeout(PING_TIMEOUT_S):
                await ping
        except Exception as error:
            log.warning("database_unreachable", error=next(iter(str(error).splitlines()), "it does not answer"))
            await self._tell_health(serving=False)
        else:
            await self._tell_health(serving=True)

    async def _purge(self) -> None:
        before = microseconds_now() - int(self._settings.request_id_ttl * 1_000_000)
        purge = partial(purge_request_ids, self._database, before, may_continue=lambda: not self._stopping)
        deleted = await asyncio.get_running_loop().run_in_executor(self._chores, purge)
        if deleted:
            log.info("request_ids_purged", deleted=deleted)


async def start(settings: Settings) -> Server:
    """Start a server on a database whose schema is up to date.

    Raises ``StartError`` when the schema is not the one this version knows, or the address cannot be had.
    """
    try:
        report = await asyncio.to_thread(migrate.check, settings.database_url.get_secret_value())
    except migrate.MigrationError as error:
        raise StartError(str(error)) from error
    if report.state is not migrate.MigrationState.UP_TO_DATE:
        raise StartError(f"{report} (registrar-server serve --migrate does so before it serves.)")
    server = Server(settings)
    await server.start()
    return server


def _shown(url: URL) -> str:
    """Return a database's URL without the password, which may stand in the query too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Without this a second server silently shares the port and takes half of the calls.
        ("grpc.so_reuseport", 0),
        # By default a burst of some thousand calls is thinned out with a bare CANCELLED; our own queue refuses better.
        ("grpc.server.max_pending_requests", max(MAX_PENDING, 2 * settings.max_waiting)),
        ("grpc.server.max_pending_requests_hard_limit", 2 * max(MAX_PENDING, 2 * settings.max_waiting)),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # By default a server tells ordinary clients that ping every few seconds to go away.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    try:
        if settings.tls_cert_file and settings.tls_key_file:
            port = server.add_secure_port(settings.listen, _credentials(settings))
        else:
            if not settings.listens_on_loopback:
                log.warning("serving_without_tls", address=settings.listen)
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise StartError(
            f"REGISTRAR_LISTEN={settings.listen}: the address is taken or is not this machine's; choose another."
        ) from error
    return f"{settings.listen.rpartition(':')[0]}:{port}"


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    def read(file: Path | None) -> bytes | None:
        return file.read_bytes() if file else None

    _check_certificates(settings)
    clients = read(settings.tls_client_ca_file)
    pair = (read(settings.tls_key_file) or b"", read(settings.tls_cert_file) or b"")
    return grpc.ssl_server_credentials([pair], root_certificates=clients, require_client_auth=clients is not None)


def _check_certificates(settings: Settings) -> None:
    """Refuse files that gRPC would refuse too, but without saying so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password of ours, a key that is encrypted would have it asked for on the terminal.
        context.load_cert_chain(str(settings.tls_cert_file), str(settings.tls_key_file), password="")
    except OSError as error:
        raise StartError(
            f"REGISTRAR_TLS_CERT_FILE={settings.tls_cert_file}, REGISTRAR_TLS_KEY_FILE={settings.tls_key_file}: must be"
            f" a PEM certificate chain and its private key, not encrypted ({error})"
        ) from error
    try:
        if settings.tls_client_ca_file:
            context.load_verify_locations(settings.tls_client_ca_file)
    except OSError as error:
        raise StartError(
            f"REGISTRAR_TLS_CLIENT_CA_FILE={settings.tls_client_ca_file}: must be PEM certificates ({error})"
        ) from error


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await action()
        except Exception as error:
            log.warning("housekeeping_failed", error=str(error))
        await asyncio.sleep(seconds)
