"""Refuses bytes that are no message, for the services that have no rows: health and reflection."""

from __future__ import annotations

import time
from typing import NoReturn

import grpc
import structlog

from registrar_server.rpc import status
from registrar_server.rpc.methods import malformed

Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger()


async def refuse_bytes(expected: str, method: str, begun: float, context: Context) -> NoReturn:
    """Refuse a call as INVALID_FIELD, because its bytes are not the expected message, and log its ``rpc`` line.

    ``begun`` is the time of ``perf_counter`` when the call began. The caller must delete its variables afterwards, as
    the handlers in ``rpc/endpoint.py`` do.
    """
    refusal = malformed(expected)
    milliseconds = round((time.perf_counter() - begun) * 1000, 3)
    line = {"method": method, "status": refusal.status, "reason": refusal.reason.value, "duration_ms": milliseconds}
    log.info("rpc", **line, peer=context.peer())
    try:
        await context.abort_with_status(status.of_refusal(refusal))  # type: ignore[arg-type]  # It has the attributes of grpc.Status.
    finally:
        del context
    raise AssertionError("abort_with_status returned")
