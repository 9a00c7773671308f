"""Fixtures for the client's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
