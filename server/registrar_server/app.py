"""The composition root: builds the database, ledger, lanes and handlers from the settings, and serves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

import grpc
import structlog
from sqlalchemy.engine import URL

from registrar_server import migrate
from registrar_server.call_queues import CallQueues, writers
from registrar_server.housekeeping import INTERVAL_S, Housekeeping, repeat
from registrar_server.http.connection_limits import PATIENCE, Patience
from registrar_server.http.listener import HttpListener
from registrar_server.http.probes import Readiness
from registrar_server.http.site import make_app
from registrar_server.identity.identity import Bearers
from registrar_server.identity_sources import IdentitySources, UnidentifiedError
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.ledger.sweeping import Sweep, Swept
from registrar_server.ledger.unsettled import Memory, Unsettled, find_unsettled
from registrar_server.ledger.write_probe import probe_writes
from registrar_server.rpc.endpoint import Entrance, Intake
from registrar_server.rpc.grpc_log import CallerFaultFilter
from registrar_server.rpc.health import Health
from registrar_server.rpc.services import SERVICE_NAMES, add_services
from registrar_server.rpc.tls_files import TlsFiles
from registrar_server.rpc.transport import ListenError, bind, server_options
from registrar_server.rpc.watchers import WATCH_TIMES, Watchers, WatchTimes
from registrar_server.settings import Settings, SettingsError
from registrar_server.storage.database import Database
from registrar_server.watched_files import Watched, WatchedFiles

LOOK_INTERVAL_S = 2.0
"""How often the server looks for files that have changed; it reads a file that two looks find unchanged."""
LINGER_S = 0.2
"""How long a stopping server keeps refusing calls before it closes its connections."""
OVERTIME_S = 5.0
"""How long work in the database may continue after its caller was cut off."""

log = structlog.get_logger()


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


class Server:
    """A running server, created by ``start``."""

    def __init__(
        self,
        settings: Settings,
        check_schema: Callable[[], migrate.MigrationReport],
        patience: Patience = PATIENCE,
        bearers: Iterable[Bearers] = (),
        clock: Callable[[], float] = time.monotonic,
        times: WatchTimes = WATCH_TIMES,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._database = Database(
            settings.database_url.get_secret_value(),
            writers=writers(settings.write_lanes),
            # Lists run beside pings, housekeeping and watchers, previews beside lookups and the lane for revisions.
            readers=settings.read_lanes + 2,
        )
        self._sources = IdentitySources(settings, self._database, bearers, clock)
        self._health = Health(
            self._database.ping,
            partial(probe_writes, self._database, microseconds_now),
            SERVICE_NAMES,
            self._database.availability,
        )
        self._readiness = Readiness(self._health, partial(self._look_at_schema, check_schema))
        self._queues = CallQueues(self._database, settings, times)
        self._watchers = Watchers(self._queues.feed, self._sources.identity, settings.max_watchers, times)
        self._files = WatchedFiles(self._sources.watched)
        self._sweep = Sweep(self._find_unsettled, self._queues.changes)
        self._housekeeping = Housekeeping(self._database, settings.request_id_ttl)
        self._grpc = grpc.aio.server(options=server_options(settings))
        self._grpc_log = CallerFaultFilter(settings.max_message_bytes)
        self._tasks: list[asyncio.Task[None]] = []
        self._http: HttpListener | None = None
        self.address = ""
        """The address that the server listens on for gRPC, host:port."""
        self.http_address = ""
        """The address that the server listens on for HTTP, host:port; empty if it serves no HTTP."""

    async def start(self) -> None:
        """Bind the addresses, serve, and start the periodic tasks."""
        entrance = Entrance(Intake(self._queues.dispatcher.open_all), self._watchers, self._sources.identity)
        slow_call, reflection = self._settings.slow_call, self._settings.reflection
        add_services(self._grpc, entrance, self._health, slow_call=slow_call, reflection=reflection)
        self._health.report(serving=True)
        try:
            await self._sources.start()
            await self._listen(entrance)
        except (ListenError, UnidentifiedError, migrate.MigrationError) as error:
            await self._abandon()
            raise StartError(str(error)) from error
        self._grpc_log.install()
        await self._grpc.start()
        self._tasks = [
            asyncio.create_task(self._health.watch(self._settings.health_interval)),
            asyncio.create_task(self._sources.watch()),
            *(asyncio.create_task(repeat(INTERVAL_S, work)) for work in self._housekeeping.works),
            asyncio.create_task(repeat(LOOK_INTERVAL_S, self._files.look)),
        ]
        if self._settings.settle_interval:
            self._tasks.append(asyncio.create_task(repeat(self._settings.settle_interval, self.sweep)))
        log.info(
            "server_started",
            address=self.address,
            http=self.http_address,
            database=_without_password(self._settings.url),
        )

    async def _listen(self, entrance: Entrance) -> None:
        """Bind the address of HTTP, then that of gRPC, which a server that never started would not free."""
        tls = TlsFiles.of(self._settings)
        if tls:
            self._files.add(tls.watched)
        if self._settings.http_listen:
            app = make_app(entrance, self._settings, self._readiness)
            self._http = HttpListener(app, self._settings, tls.http_context if tls else None, self._patience)
            self.http_address = await self._http.start()
        self.address = bind(self._grpc, self._settings, tls.grpc_credentials() if tls else None)

    async def _abandon(self) -> None:
        """Free what a server has that could not start."""
        self._health.end()
        if self._http:
            await self._http.close()
            self._http.end()
        if await self._finish_calls(OVERTIME_S):
            await self._disconnect()

    async def reload(self) -> None:
        """Read the certificates, the keys for tokens, the roles of callers and the log level again, and log that."""
        await self._files.read_all()
        await self._sources.reload()

    def watch(self, watched: Watched) -> None:
        """Read more files again when they change, and at each ``reload``."""
        self._files.add(watched)

    async def stop(self, grace: float | None = None) -> bool:
        """Refuse new calls, finish the calls in progress within ``grace`` seconds, and close the database.

        Returns whether all work finished. If not, threads still wait for a database that does not answer.
        """
        log.info("server_stopping")
        self._housekeeping.stop()
        # Streams never end by themselves. They end before the grace begins to run out, so that their readers go on at
        # another server at once.
        await self._watchers.close()
        if self._http:
            await self._http.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._health.end()
        seconds = self._settings.shutdown_grace if grace is None else grace
        begun = asyncio.get_running_loop().time()
        finished = await self._finish_calls(max(seconds, LINGER_S))
        if finished:
            left = seconds - (asyncio.get_running_loop().time() - begun)
            await self._see_callers_off(min(seconds, LINGER_S), max(left, 0.0))
        # Streams such as health's Watch never end by themselves, and no work depends on them.
        await self._grpc.stop(LINGER_S)
        if self._http:
            self._http.end()
        # gRPC has cut off the callers whose grace has expired; the database may still finish their work.
        finished = finished or await self._finish_calls(OVERTIME_S)
        if finished:
            await self._disconnect()
        self._grpc_log.remove()
        log.info("server_stopped", finished=finished)
        return finished

    async def _see_callers_off(self, linger: float, left: float) -> None:
        """Refuse the calls of callers that do not know of the shutdown yet, and let callers of HTTP read their answers.

        ``linger`` and ``left`` are the seconds for the one and for the other.
        """
        await asyncio.gather(asyncio.sleep(linger), self._http.finish(left) if self._http else asyncio.sleep(0))

    async def _disconnect(self) -> None:
        await self._queues.disconnect()
        self._database.close()

    async def _finish_calls(self, seconds: float) -> bool:
        """Refuse new calls as SHUTTING_DOWN and wait for those in progress; return whether they finished in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._queues.close()
                await self._health.close()
                await self._sources.close()
                await self._housekeeping.close()
        except TimeoutError:
            return False
        return True

    @property
    def identifies_callers(self) -> bool:
        """Whether calls need credentials."""
        return self._sources.identity.is_on

    async def sweep(self) -> Swept:
        """Give the free seats of all courses to their waiters, as every ``settle_interval``; return what changed."""
        # Until the completions of an older version's servers are counted, a sweep could give their seats away.
        await self._housekeeping.recount()
        return await self._sweep.run()

    def _look_at_schema(self, check_schema: Callable[[], migrate.MigrationReport]) -> migrate.MigrationReport:
        """Check the schema of a database that answers: a SQLite file that was moved away would look empty."""
        self._database.ping()
        return check_schema()

    async def _find_unsettled(self, memory: Memory) -> Unsettled:
        """Find the courses to settle in a thread for queries, since nothing is written."""
        return await self._queues.queries.run(find_unsettled, self._database, microseconds_now(), memory)


async def start(
    settings: Settings,
    patience: Patience = PATIENCE,
    bearers: Iterable[Bearers] = (),
    *,
    clock: Callable[[], float] = time.monotonic,
    times: WatchTimes = WATCH_TIMES,
) -> Server:
    """Start a server on a database whose schema is up to date.

    ``patience`` says how long the server waits for HTTP clients. ``bearers`` identify callers besides what the settings
    name. Tests may inject the clock that says how long a caller is remembered, and the times of streams. Raises
    ``StartError`` if this version does not know the schema, if the server cannot listen, or if a file that a setting
    names is invalid.
    """
    url = settings.database_url.get_secret_value()
    try:
        report = await asyncio.to_thread(migrate.check, url)
        check_schema = await asyncio.to_thread(migrate.checker, url)
    except migrate.MigrationError as error:
        raise StartError(str(error)) from error
    if report.state is not migrate.MigrationState.UP_TO_DATE:
        raise StartError(f"{report} (registrar-server serve --migrate does so before it serves.)")
    try:
        server = Server(settings, check_schema, patience, bearers, clock, times)
    except SettingsError as error:
        raise StartError(str(error)) from error
    await server.start()
    return server


def _without_password(url: URL) -> str:
    """Return a database URL without its password and its query, which may contain a password too."""
    return url.set(query={}).render_as_string(hide_password=True)
