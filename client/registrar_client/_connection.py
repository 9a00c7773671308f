"""Checks how a client connects: its target, TLS and channel options."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from registrar_client._docstrings import documented

DEFAULT_TARGET = "localhost:50051"
DEFAULT_PORT = 50051
DEFAULT_TIMEOUT = 10.0
DEFAULT_CONNECT_TIMEOUT = 2.0
LONGEST_TIMEOUT = 1_000_000_000
"""gRPC computes deadlines that are much later wrongly."""

_MOST_MILLISECONDS = 2**31 - 1

# gRPC documents these names in channel_arg_names.h.
_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # The client retries itself, because it knows the reasons and the call's deadline. Retries of gRPC would multiply.
    ("grpc.enable_retries", 0),
    # For the same reason, ignore service configs from DNS. They can configure retries.
    ("grpc.service_config_disable_resolution", 1),
    # Detect a dead connection within 40 seconds while calls are active. The server permits this many pings.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Reconnect soon after the server restarts. By default, gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The server decides the size of a page, and the client trusts it.
    ("grpc.max_receive_message_length", -1),
)


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Options for TLS, or for mutual TLS with a client certificate. The client reads the PEM files when it is made."""

    ca_file: str | os.PathLike[str] | None = None
    """The certificate authorities to trust. ``None`` means those that come with gRPC."""
    client_cert_file: str | os.PathLike[str] | None = None
    """The client's certificate chain. It needs ``client_key_file``."""
    client_key_file: str | os.PathLike[str] | None = None
    """The private key of the client's certificate. It needs ``client_cert_file``."""
    server_name: str | None = None
    """The expected name in the server's certificate if it is not the host of the target, as behind a tunnel."""

    def __post_init__(self) -> None:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file must be given together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files and return the credentials; raise an OSError that names a file that cannot be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca_file),
            private_key=_read(self.client_key_file),
            certificate_chain=_read(self.client_cert_file),
        )


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The checked parameters of a channel."""

    target: str
    tls: TlsOptions | None
    """``None`` means plaintext."""
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    """Seconds until a server that was never reached counts as unreachable."""
    given: object | None = None
    """A channel that the caller opened."""

    @classmethod
    def to(
        cls,
        target: object,
        *,
        token: object | None,
        tls: TlsOptions | None,
        insecure: bool,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        given: object | None,
    ) -> Connection:
        """Check the arguments. Use TLS except for loopback targets and ``insecure``. A token needs TLS or loopback."""
        if not isinstance(target, str) or not target:
            raise ValueError(f"target must be an address such as {DEFAULT_TARGET!r}, not {target!r}")
        if tls is not None and insecure:
            raise ValueError("tls and insecure exclude each other")
        if given is not None and (tls is not None or insecure):
            raise ValueError("tls and insecure are for channels that the client opens, and this one was given")
        local = is_loopback(target)
        if token is not None and insecure and not local:
            raise ValueError(
                f"a token must not travel in plaintext to {target}, which is not a loopback address: "
                "use TLS (leave out insecure) or leave out the token"
            )
        plaintext = insecure or (local and tls is None)
        return cls(
            target=with_port(target),
            tls=None if plaintext else tls or TlsOptions(),
            connect_timeout=positive_seconds("connect_timeout", connect_timeout),
            given=given,
        )

    def __str__(self) -> str:
        if self.given is not None:
            return f"channel={self.given!r}"
        return f"{self.target!r}, {'plaintext' if self.tls is None else 'TLS'}"

    def options(self) -> list[tuple[str, Any]]:
        """Return the options of the channel."""
        options = list(_CHANNEL_OPTIONS)
        # By default, gRPC waits 20 seconds for a connection and two minutes for a name server.
        limit = max(1, min(int(self.connect_timeout * 1000), _MOST_MILLISECONDS))
        options += [("grpc.min_reconnect_backoff_ms", limit), ("grpc.dns_ares_query_timeout", limit)]
        if is_loopback(self.target):
            # A proxy from the environment would send a token to another machine in plaintext.
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def with_port(target: str) -> str:
    """Return a gRPC target with the default port for each host that has none. Sockets of files have no ports."""
    found = re.fullmatch(r"(dns:(?://[^/]*/)?|ipv[46]:(?:///)?)?(.*)", target, re.DOTALL)
    assert found is not None
    scheme, hosts = found[1] or "", found[2]
    each = hosts.split(",") if scheme.startswith("ipv") else [hosts]
    return scheme + ",".join(map(_host_with_port, each))


def _host_with_port(host: str) -> str:
    if re.fullmatch(r"(?:\[[^]]*\]|[^:]+):?", host):
        return f"{host.removesuffix(':')}:{DEFAULT_PORT}"
    try:
        # Several colons without brackets mean an IPv6 address without a port.
        return f"[{ipaddress.IPv6Address(host)}]:{DEFAULT_PORT}"
    except ValueError:
        return host


def is_loopback(target: str) -> bool:
    """Return whether a gRPC target is surely on this machine."""
    scheme, separator, rest = target.partition(":")
    if separator and scheme in ("unix", "unix-abstract"):
        return True
    if separator and scheme in ("ipv4", "ipv6"):
        return all(map(_is_loopback_host, rest.removeprefix("///").split(",")))
    return _is_loopback_host(re.sub(r"^dns:(///)?", "", target))


def _is_loopback_host(address: str) -> bool:
    bracketed = re.fullmatch(r"\[([^]]+)\](:\d+)?", address)
    # Several colons without brackets mean an IPv6 address without a port.
    host = bracketed[1] if bracketed else address if address.count(":") > 1 else address.partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def positive_seconds(name: str, value: float) -> float:
    """Return a timeout; raise a TypeError or ValueError if it is not a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value <= LONGEST_TIMEOUT:
        raise ValueError(f"{name} must be a positive number of seconds up to {LONGEST_TIMEOUT}, not {value}")
    return value
