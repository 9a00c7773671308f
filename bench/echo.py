"""The least that a gRPC server in Python does: it parses the request and serializes a prepared response."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import uvloop

from registrar.v1 import enrollment_service_pb2 as pb

ENROLLED_FILE = "enrolled.bin"
LISTED_FILE = "listed.bin"

Method = Callable[[Any, Any], Awaitable[Any]]


class Echo:
    """Returns recorded responses of Registrar, which have the real size and shape."""

    def __init__(self, folder: Path) -> None:
        self._enrolled = pb.EnrollStudentResponse.FromString((folder / ENROLLED_FILE).read_bytes())
        self._listed = pb.ListCoursesResponse.FromString((folder / LISTED_FILE).read_bytes())

    async def enroll(self, _request: pb.EnrollStudentRequest, _context: Any) -> pb.EnrollStudentResponse:
        return self._enrolled

    async def list_courses(self, _request: pb.ListCoursesRequest, _context: Any) -> pb.ListCoursesResponse:
        return self._listed


def handler(method: Method, request: Any, response: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler that the generated code would make for a servicer's method."""
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )


async def serve(handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
    """Serve on a free port, and log its address, until the process ends."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("registrar.v1.EnrollmentService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"event": "server_started", "address": f"127.0.0.1:{port}"}), file=sys.stderr, flush=True)
    await asyncio.Event().wait()


def _handlers(echo: Echo) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    return {
        "EnrollStudent": handler(echo.enroll, pb.EnrollStudentRequest, pb.EnrollStudentResponse),
        "ListCourses": handler(echo.list_courses, pb.ListCoursesRequest, pb.ListCoursesResponse),
    }


if __name__ == "__main__":
    uvloop.run(serve(_handlers(Echo(Path(sys.argv[1])))))
