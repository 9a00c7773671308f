"""Runs a real Registrar server in the process, for tests of code that uses the client.

    from registrar_client import RegistrarClient, testing

    @pytest.fixture
    def registrar():
        with testing.server() as address, RegistrarClient(address) as client:
            yield client

Each server has its own empty database and a free port on 127.0.0.1. It serves gRPC, but no HTTP. It ignores settings in
the environment. It does not sweep, so that only your calls change something: ``courses.settle`` gives free seats to
waiters when your test wants it. It needs the server's libraries: ``pip install 'registrar-enrollment[server]'``.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from registrar_client._stopping import outcome

try:
    from registrar_server import app, logs, migrate
    from registrar_server.settings import Settings
except ModuleNotFoundError as missing:
    raise ImportError(
        f"registrar_client.testing runs a real server, which needs more than the client ({missing}): "
        "pip install 'registrar-enrollment[server]'"
    ) from missing

Result = TypeVar("Result")


@contextlib.contextmanager
def server(*, database_url: str | None = None) -> Iterator[str]:
    """Run a server on an event loop in its own thread. The value is the address, as ``host:port``.

    Use it for tests with ``RegistrarClient``. Tests with ``AsyncRegistrarClient`` use ``async_server``, because gRPC
    needs all asyncio calls of a process on one event loop.

    Args:
        database_url: A database to migrate and use. Defaults to a new SQLite file.
    """
    with _LoopThread() as loop:
        running = async_server(database_url=database_url)
        address = loop.run(running.__aenter__())
        try:
            yield address
        finally:
            loop.run(running.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def async_server(*, database_url: str | None = None) -> AsyncIterator[str]:
    """Run a server on the running event loop. The value is the address, as ``host:port``.

    Args:
        database_url: A database to migrate and use. Defaults to a new SQLite file.
    """
    logs.stay_quiet()
    with tempfile.TemporaryDirectory(prefix="registrar-") as folder:
        url = await asyncio.to_thread(_prepare, database_url, Path(folder))
        running = await app.start(_settings(url))
        try:
            yield running.address
        finally:
            await running.stop(grace=0)


def _prepare(database_url: str | None, folder: Path) -> str:
    if database_url is None:
        return f"sqlite:///{shutil.copy(_migrated_file(), folder)}"
    migrate.upgrade(database_url)
    return database_url


@functools.cache
def _template_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="registrar-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _migrated_file() -> Path:
    # A migration takes longer than many tests, so migrate once per process and copy the file.
    file = _template_folder() / "registrar.db"
    migrate.upgrade(f"sqlite:///{file}")
    return file


def _settings(database_url: str) -> Settings:
    # Arguments override the environment, which may hold the settings of another server.
    values: dict[str, Any] = {name: field.get_default() for name, field in Settings.model_fields.items()}
    # A sweep would promote students between two calls of a test.
    fixed = {"listen": "127.0.0.1:0", "http_listen": "", "database_url": database_url, "settle_interval": 0}
    return Settings(**{**values, **fixed})


class _LoopThread:
    """An event loop in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registrar-server", daemon=True)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and return its result."""
        return outcome(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
