"""Fixtures for the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from registrar_client import testing
from tests.support.both_clients import CALLERS, Caller
from tests.support.client_fakes import AsyncDriver, Driver, GatheringDriver, SyncDriver

DRIVERS: dict[str, Callable[..., Driver]] = {"sync": SyncDriver, "async": AsyncDriver, "gathering": GatheringDriver}


@pytest.fixture(params=DRIVERS)
def make_driver(request: pytest.FixtureRequest) -> Callable[..., Driver]:
    """Makes a client with a scripted server. The test runs once for each kind of client, and with gathering."""
    return DRIVERS[request.param]


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    """A client with a scripted server. The test runs once for each kind of client, and with gathering."""
    return make_driver()


@pytest.fixture(params=CALLERS)
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """A client of a real server, which is empty. The test runs once for each kind of client, and with gathering."""
    async with testing.async_server() as address, CALLERS[request.param](address) as calling:
        yield calling


@pytest.fixture(params=[False, True], ids=["plain", "gathering"])
def gather(request: pytest.FixtureRequest) -> bool:
    """Whether an asynchronous client gathers its calls. The test runs once with each."""
    gathers: bool = request.param
    return gathers
