"""Fixtures of the tests of HTTP: a second database, a server with both transports, and the event loops."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.support.http_calls import HttpCaller
from tests.support.servers import FREE_PORT, Registrar, calling, serving

ABOUT_CONNECTIONS = ("test_event_streams", "test_http_stop", "test_listener", "test_rude_clients")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests about connections also in the event loop of the server, whose transports differ."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, **loops} if item.path.stem in ABOUT_CONNECTIONS else loops


@pytest.fixture
def other_url(tmp_path: Path, _migrated_sqlite_file: Path) -> str:
    """A freshly migrated SQLite file besides ``database_url``."""
    return f"sqlite:///{shutil.copy(_migrated_sqlite_file, tmp_path / 'other.db')}"


@pytest.fixture
async def both(sqlite_url: str) -> AsyncIterator[tuple[HttpCaller, Registrar]]:
    """A caller over HTTP and stubs of gRPC for one server on SQLite, with student s-1 and course CS-101."""
    async with serving(sqlite_url, http_listen=FREE_PORT) as server, calling(server.address) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("CS-101")
        yield HttpCaller(server.http_address), registrar


@pytest.fixture
def http(both: tuple[HttpCaller, Registrar]) -> HttpCaller:
    """The caller of ``both``."""
    return both[0]
