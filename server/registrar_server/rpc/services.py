"""The services of the server, and their registration with a gRPC server."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health

from registrar_server.rpc.endpoint import Endpoints, Entrance, MethodHandlers
from registrar_server.rpc.health import Health
from registrar_server.rpc.reflection import add_reflection
from registrar_server.rpc.table import METHODS

SERVICE_NAMES = tuple(METHODS)


def add_services(
    server: grpc.aio.Server,
    entrance: Entrance,
    health_service: Health,
    *,
    slow_call: float,
    reflection: bool,
) -> None:
    """Add every service to a gRPC server, together with health and, if callers may ask for it, reflection.

    The handlers of our methods take and return bytes: what is no message is refused with details, and nothing is
    serialized twice. A call that takes longer than ``slow_call`` seconds is logged as slow.
    """
    endpoints = Endpoints(entrance, slow_call)
    for service, methods in METHODS.items():
        handlers = {f"/{service}/{name}": endpoints.handler(method) for name, method in methods.items()}
        server.add_generic_rpc_handlers([MethodHandlers(handlers)])
    health_service.add_to(server)
    if reflection:
        add_reflection(server, (*SERVICE_NAMES, health.SERVICE_NAME))
