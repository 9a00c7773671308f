"""A driver on each kind of database, and both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.drivers import Driver, connect


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test in the event loop of the server, and in that of tests and clients."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
def driver(database_url: str) -> Iterator[Driver]:
    """A driver on a freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    driver = connect(database_url)
    yield driver
    driver.connection.close()
