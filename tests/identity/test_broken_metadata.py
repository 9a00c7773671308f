"""Metadata that is no text: gRPC's own log must not show it, because it may be a secret with one wrong byte."""

from __future__ import annotations

import asyncio

import pytest

from bench.hpack import RequestHeaders
from bench.http2 import DATA, END_HEADERS, END_STREAM, FRAME, HEADERS, MESSAGE, PREFACE, SETTINGS
from tests.support.api_keys import add
from tests.support.servers import Log, serving

PATH = "/registrar.v1.StudentService/GetStudent"


def call_with(name: bytes, value: bytes) -> bytes:
    """Return a call whose metadata has these bytes, which gRPC's clients would not send."""
    block = RequestHeaders("localhost").encode(PATH)
    block += b"\x10" + bytes((len(name),)) + name + bytes((len(value),)) + value
    head = FRAME.pack(0, len(block), HEADERS, END_HEADERS, 1) + block
    message = FRAME.pack(0, MESSAGE.size, DATA, END_STREAM, 1) + MESSAGE.pack(0, 0)
    return PREFACE + FRAME.pack(0, 0, SETTINGS, 0, 0) + head + message


@pytest.mark.parametrize("name", ["authorization", "registrar-on-behalf-of"])
async def test_metadata_that_is_no_text_is_not_logged(
    sqlite_url: str, log: Log, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    key = add(sqlite_url)
    async with serving(sqlite_url) as server:
        host, _, port = server.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(call_with(name.encode(), f"Bearer {key}".encode() + b"\xa0"))
        line = await log.one("rpc")
        writer.close()
        await writer.wait_closed()
    assert line["status"] == "UNAUTHENTICATED"
    assert key not in caplog.text
    assert not caplog.records
