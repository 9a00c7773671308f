"""The least that a gRPC server in Python does: it returns prepared bytes, without a look at the request.

It answers each call at once. A server that answers in bursts can cost less per call than this one, since gRPC itself
costs less then.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import uvloop

from registrar_server import settings
from registrar_server.rpc.transport import server_options

ENROLLED_FILE = "enrolled.bin"
LISTED_FILE = "listed.bin"

Method = Callable[[Any, Any], Awaitable[Any]]


def echo(response: bytes) -> Method:
    """Return a method that returns a recorded response of Registrar, which has the real size and shape."""

    async def answer(_request: bytes, _context: Any) -> bytes:
        return response

    return answer


async def serve(handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
    """Serve on a free port, and log its address, until the process ends."""
    # The options and the garbage collection are those of Registrar, see `registrar_server.cli`.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    server = grpc.aio.server(options=server_options(settings.load()))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("registrar.v1.EnrollmentService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "server_started", "address": f"127.0.0.1:{port}"}), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


def _handlers(folder: Path) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    files = {"EnrollStudent": ENROLLED_FILE, "ListCourses": LISTED_FILE}
    return {
        name: grpc.unary_unary_rpc_method_handler(echo((folder / file).read_bytes())) for name, file in files.items()
    }


if __name__ == "__main__":
    uvloop.run(serve(_handlers(Path(sys.argv[1]))))
