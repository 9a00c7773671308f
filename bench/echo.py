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
from registrar_server.identity.callers import Caller, Role, with_contained
from registrar_server.identity.identity import Identity, Verified
from registrar_server.rpc.access import check_role
from registrar_server.rpc.endpoint import Handle, Handler, MethodHandlers, credentials_of
from registrar_server.rpc.transport import server_options

ENROLLED_FILE = "enrolled.bin"
LISTED_FILE = "listed.bin"
SERVICE = "registrar.v1.EnrollmentService"

AUTHORIZATION = f"Bearer rk_{'01' * 8}_{'23' * 32}"

Method = Callable[[Any, Any], Awaitable[Any]]


class _Keys:
    """Knows the caller of every bearer, and for good."""

    def takes(self, _bearer: str) -> bool:
        return True

    async def verify(self, _bearer: str, _now: float) -> Verified:
        return Verified(Caller("key:bench", with_contained([Role.REGISTRAR])), float("inf"))


def echo(response: bytes) -> Method:
    """Return a method that returns a recorded response of Registrar, which has the real size and shape."""

    async def answer(_request: bytes, _context: Any) -> bytes:
        return response

    return answer


def identified(method: Method) -> Handle:
    """Return a method that first finds its caller, as each method of Registrar does if it identifies callers."""
    identity = Identity([_Keys()], is_on=True)

    async def answer(metadata: Any, request: bytes, context: Any) -> bytes:
        credentials = credentials_of(metadata, context)
        caller = identity.recall(credentials) or await identity.identify(credentials)
        check_role(caller, "EnrollStudent")
        answered: bytes = await method(request, context)
        return answered

    return answer


def service_of(handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> grpc.GenericRpcHandler:
    """Return a service of handlers by the names of their RPCs."""
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


async def serve(service: grpc.GenericRpcHandler) -> None:
    """Serve on a free port, and log its address, until the process ends."""
    # The options and the garbage collection are those of Registrar, see `registrar_server.cli`.
    gc.collect()
    gc.freeze()
    gc.set_threshold(40_000, 10, 10)
    server = grpc.aio.server(options=server_options(settings.load()))
    server.add_generic_rpc_handlers([service])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "server_started", "address": f"127.0.0.1:{port}"}), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


def _service(folder: Path, *, identify: bool) -> grpc.GenericRpcHandler:
    files = {"EnrollStudent": ENROLLED_FILE, "ListCourses": LISTED_FILE}
    methods = {name: echo((folder / file).read_bytes()) for name, file in files.items()}
    if not identify:
        return service_of({name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()})
    return MethodHandlers({f"/{SERVICE}/{name}": Handler(identified(method)) for name, method in methods.items()})


if __name__ == "__main__":
    uvloop.run(serve(_service(Path(sys.argv[1]), identify="identify" in sys.argv[2:])))
