"""Fixtures of the tests of callers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.doors import DOORS, Door, entering


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest, sqlite_url: str) -> AsyncIterator[Door]:
    """A server that identifies its callers: the test runs once over gRPC and once over HTTP."""
    async with entering(request.param, sqlite_url) as opened:
        yield opened
