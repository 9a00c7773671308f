"""How the server listens: channel options and the address."""

from __future__ import annotations

import grpc
import structlog

from registrar_server.addresses import is_loopback
from registrar_server.settings import Settings

MAX_PENDING = 20_000
MAX_METADATA_BYTES = 16_384
"""The most metadata of a call, with 32 bytes more for each value: twice the longest token."""

log = structlog.get_logger()


class ListenError(Exception):
    """The server cannot listen with these settings; the message names the variable and the cause."""


def server_options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the gRPC server."""
    max_pending = max(MAX_PENDING, 2 * settings.max_waiting)
    return [
        # Without this, a second server silently shares the port and receives half of the calls.
        ("grpc.so_reuseport", 0),
        # By default gRPC cancels part of a burst of thousands of calls without details; the lanes refuse with details.
        ("grpc.server.max_pending_requests", max_pending),
        ("grpc.server.max_pending_requests_hard_limit", 2 * max_pending),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # By default gRPC refuses some of the calls with more than 8 KiB, at random, so that a long token gets through
        # now and then.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # By default a server disconnects clients that ping every few seconds.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def warn_without_tls(address: str) -> None:
    """Warn about serving without TLS on an address that other machines can reach."""
    if not is_loopback(address):
        exposed = "the network can read keys, tokens and the data of students"
        log.warning("serving_without_tls", address=address, exposed=exposed)


def bind(server: grpc.aio.Server, settings: Settings, credentials: grpc.ServerCredentials | None) -> str:
    """Bind a server to the configured address and return the address with its actual port.

    ``credentials`` is None for a server without TLS. Raises ``ListenError`` if the address is not available.
    """
    try:
        if credentials:
            port = server.add_secure_port(settings.listen, credentials)
        else:
            warn_without_tls(settings.listen)
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise ListenError(
            f"REGISTRAR_LISTEN={settings.listen}: the address is taken or is not this machine's; choose another."
        ) from error
    return f"{settings.listen.rpartition(':')[0]}:{port}"
