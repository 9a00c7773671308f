"""Explains why a server was never reached, or does not accept the caller.

gRPC reports an error of one address only, although "localhost" often has two, and its text does not say what to change.
A server does not know how its caller passes credentials.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import grpc

from registrar_client._connection import Connection, is_loopback
from registrar_client._enums import ErrorReason
from registrar_client.errors import RegistrarError, Unavailable

_PROBE_SECONDS = 0.5
# Every server has this method or answers that it does not.
_PROBE = "/grpc.health.v1.Health/Check"
_UNCONNECTED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_CLOSED = (
    "Socket closed|[Cc]onnection reset|ALERT_(?:HANDSHAKE_FAILURE|CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA)"
)


_ADVICE: Mapping[str, str] = {
    ErrorReason.CREDENTIALS_MISSING: (
        "Pass token= to the client, or set REGISTRAR_TOKEN or REGISTRAR_TOKEN_FILE and use from_env()."
    ),
    ErrorReason.CREDENTIALS_INVALID: (
        "Pass another token= to the client. If its tokens expire, pass a callable that returns the newest one."
    ),
}
_TOO_OLD = "The server does not have this call, so it is probably too old for this client."


class _Hint(NamedTuple):
    """What the words of gRPC mean for a kind of connection."""

    words: str
    applies: Callable[[Connection], bool]
    text: str


def _plaintext(connection: Connection) -> bool:
    return connection.given is None and connection.tls is None


def _anonymous(connection: Connection) -> bool:
    return connection.tls is not None and connection.tls.client_cert_file is None


def _certified(connection: Connection) -> bool:
    return connection.tls is not None and connection.tls.client_cert_file is not None


def _any(_connection: Connection) -> bool:
    return True


_HINTS = (
    _Hint(
        "WRONG_VERSION_NUMBER",
        _any,
        "It uses plaintext, but this client uses TLS. Pass insecure=True, or leave out tls for a loopback address.",
    ),
    _Hint(
        "CERTIFICATE_VERIFY_FAILED",
        _any,
        "This client does not trust the server's certificate. Pass its authority: tls=TlsOptions(ca_file=…).",
    ),
    _Hint(
        "Hostname Verification Check failed",
        _any,
        "The server's certificate is for another name. Pass that name: tls=TlsOptions(server_name=…).",
    ),
    _Hint("http1.x server", _any, "It uses HTTP/1, but gRPC needs HTTP/2."),
    _Hint(
        _CLOSED,
        _plaintext,
        "It closed the connection, probably because it uses TLS, but this client uses plaintext. "
        "Pass tls=TlsOptions(…).",
    ),
    _Hint(
        _CLOSED,
        _anonymous,
        "It closed the connection, probably because it requires a client certificate. "
        "Pass tls=TlsOptions(client_cert_file=…, client_key_file=…).",
    ),
    _Hint(
        _CLOSED, _certified, "It closed the connection, probably because it does not trust the client's certificate."
    ),
)


def advise(failure: RegistrarError) -> None:
    """Add a note that says what to change if the server does not accept the caller or does not have the call."""
    advice = _TOO_OLD if failure.status is grpc.StatusCode.UNIMPLEMENTED else _ADVICE.get(failure.reason)
    if advice is not None:
        failure.add_note(advice)


def is_unconnected(failure: RegistrarError) -> bool:
    """Return whether an attempt failed before there was a connection, so that nothing was sent."""
    return failure.status is grpc.StatusCode.UNAVAILABLE and str(failure).startswith(_UNCONNECTED)


def unreached(connection: Connection, failure: RegistrarError) -> Unavailable:
    """Return the error for a server that was never reached. It can take half a second to find the cause."""
    hint, details = _explanation(connection, str(failure))
    place = connection.target if connection.given is None else "the given channel"
    text = f"The server at {place} was never reached. {hint}gRPC reports: {details}"
    return Unavailable(text, request_id=failure.request_id)


def _explanation(connection: Connection, reported: str) -> tuple[str, str]:
    """Return a hint and the words of gRPC that it is for."""
    if hint := _hint(connection, reported):
        return hint, reported
    for details in _details_by_address(connection):
        if hint := _hint(connection, details):
            return hint, details
    return "", reported


def _hint(connection: Connection, details: str) -> str:
    texts = (hint.text for hint in _HINTS if hint.applies(connection) and re.search(hint.words, details))
    return "".join(f"{text} " for text in list(texts)[:1])


def _details_by_address(connection: Connection) -> Iterator[str]:
    """Connect to each address of a name by itself, and yield the words of gRPC for those that fail."""
    host, port = _name_and_port(connection)
    channels = [_channel(connection, host, address) for address in _addresses(host, port)]
    calls = [_probe(channel) for channel in channels]
    for call in calls:
        if isinstance(call.exception(), grpc.RpcError):
            yield call.details() or ""
    for channel in channels:
        channel.close()


def _probe(channel: grpc.Channel) -> Any:
    method: Any = channel.unary_unary(_PROBE)
    return method.future(b"", timeout=_PROBE_SECONDS)


def _name_and_port(connection: Connection) -> tuple[str, str]:
    """Return the name of a target, which can have several addresses. It is empty for a target without a name."""
    found = re.fullmatch(r"(?:dns:(?:///)?)?([\w.-]*[A-Za-z][\w.-]*):(\d+)", connection.target)
    proxied = not is_loopback(connection.target) and any(map(os.environ.get, _PROXIES))
    return ("", "") if found is None or proxied or connection.given is not None else (found[1], found[2])


def _addresses(host: str, port: str) -> list[str]:
    """Return the targets of the addresses of a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except OSError:
        return []
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"ipv6:[{each}]:{port}" if ":" in each else f"ipv4:{each}:{port}" for each in hosts]


def _channel(connection: Connection, host: str, address: str) -> grpc.Channel:
    if connection.tls is None:
        return grpc.insecure_channel(address, connection.options())
    # The certificate is for the name, not for the address.
    named = replace(connection, tls=replace(connection.tls, server_name=connection.tls.server_name or host))
    return grpc.secure_channel(address, connection.tls.credentials(), named.options())
