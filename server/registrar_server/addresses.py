"""Addresses to listen on, and the hosts and origins that requests may name."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?(?::([0-9]{1,5}))?", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Host(NamedTuple):
    """A host as requests name it: lowercase, without brackets and without a dot at the end."""

    name: str
    port: str
    """Empty if the port is not named."""


def check_address(value: str) -> str:
    """Return an address to listen on. Raises ValueError if it is not host:port."""
    host, separator, port = value.rpartition(":")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("must be host:port, with an IPv6 address in brackets, such as [::1]:50051")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:50051 or [::1]:50051")
    return value


def is_loopback(address: str) -> bool:
    """Return whether an address, host:port, can be reached only from this machine."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(name: str) -> bool:
    """Return whether a host stands for all addresses of the machine, such as 0.0.0.0."""
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def read_host(text: str) -> Host | None:
    """Return the host of a Host header or of a setting, or None if the text is not name or name:port."""
    match = _HOST.fullmatch(text.lower())
    if match is None:
        return None
    name, port = match[1], match[2] or ""
    if name.startswith("["):
        try:
            name = str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return None
    return Host(name, port)


def check_host(text: str) -> str:
    """Return a host that a setting lists. Raises ValueError if requests cannot name it."""
    host = read_host(text)
    if host is None or is_wildcard(host.name):
        raise ValueError(
            f"{text} is not a host; must be names such as registrar.example.edu or registrar.example.edu:8080,"
            " without a scheme or a path, separated by commas"
        )
    return text


def check_origin(text: str) -> str:
    """Return an origin that a setting lists, as browsers write it. Raises ValueError if it is not scheme://host."""
    scheme, separator, host = text.lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or read_host(host) is None:
        raise ValueError(
            f"{text} is not an origin; must be origins such as https://portal.example.edu or http://localhost:3000,"
            " without a slash or a path at the end, separated by commas"
        )
    return f"{scheme}://{host}".removesuffix(_DEFAULT_PORTS.get(scheme, "/"))
