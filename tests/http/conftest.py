"""The event loops of the tests of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

ABOUT_CONNECTIONS = ("test_http_stop", "test_listener", "test_rude_clients")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests about connections also in the event loop of the server, whose transports differ."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, **loops} if item.path.stem in ABOUT_CONNECTIONS else loops
