"""What needs no credentials over gRPC: health, and reflection where it is on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.support.identities import WRONG, identifying
from tests.support.raw_calls import HEALTH, REFLECTION, RawMethod
from tests.support.servers import OPTIONS


@pytest.mark.parametrize("method", [*HEALTH, *REFLECTION], ids=lambda method: method.path)
async def test_without_credentials(sqlite_url: str, method: RawMethod) -> None:
    async with identifying(sqlite_url) as server, grpc.aio.insecure_channel(server.address, OPTIONS) as channel:
        assert await method.send(channel, b"")


@pytest.mark.parametrize("method", REFLECTION, ids=lambda method: method.path)
async def test_no_credentials_open_reflection_that_is_off(sqlite_url: str, method: RawMethod) -> None:
    async with (
        identifying(sqlite_url, reflection=False) as server,
        grpc.aio.insecure_channel(server.address, OPTIONS) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method.send(channel, b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_wrong_credentials_do_not_matter_to_health(sqlite_url: str) -> None:
    async with identifying(sqlite_url) as server, grpc.aio.insecure_channel(server.address, OPTIONS) as channel:
        call: Any = channel.unary_unary(HEALTH[0].path)
        assert await call(b"", metadata=(("authorization", f"Bearer {WRONG}"),))
