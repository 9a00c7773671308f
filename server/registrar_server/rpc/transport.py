"""How the server listens: channel options, the address and TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import structlog

from registrar_server.addresses import is_loopback
from registrar_server.settings import Settings

MAX_PENDING = 20_000

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


def bind(server: grpc.aio.Server, settings: Settings) -> str:
    """Bind a server to the configured address and return the address with its actual port.

    Raises ``ListenError`` if the address is not available or a TLS file is invalid.
    """
    try:
        if settings.tls_cert_file and settings.tls_key_file:
            port = server.add_secure_port(settings.listen, _credentials(settings))
        else:
            warn_without_tls(settings.listen)
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise ListenError(
            f"REGISTRAR_LISTEN={settings.listen}: the address is taken or is not this machine's; choose another."
        ) from error
    return f"{settings.listen.rpartition(':')[0]}:{port}"


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    def read(file: Path | None) -> bytes | None:
        return file.read_bytes() if file else None

    tls_context(settings)  # gRPC refuses invalid files too, but without naming the cause.
    clients = read(settings.tls_client_ca_file)
    pair = (read(settings.tls_key_file) or b"", read(settings.tls_cert_file) or b"")
    return grpc.ssl_server_credentials([pair], root_certificates=clients, require_client_auth=clients is not None)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return how the server encrypts, and which clients it accepts. Raises ``ListenError`` if a file is invalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # With an explicit password, OpenSSL does not ask for one on the terminal if the key is encrypted.
        context.load_cert_chain(str(settings.tls_cert_file), str(settings.tls_key_file), password="")
    except OSError as error:
        raise ListenError(
            f"REGISTRAR_TLS_CERT_FILE={settings.tls_cert_file}, REGISTRAR_TLS_KEY_FILE={settings.tls_key_file}: must be"
            f" a PEM certificate chain and its private key, not encrypted ({error})"
        ) from error
    try:
        if settings.tls_client_ca_file:
            context.load_verify_locations(settings.tls_client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ListenError(
            f"REGISTRAR_TLS_CLIENT_CA_FILE={settings.tls_client_ca_file}: must be PEM certificates ({error})"
        ) from error
    return context
