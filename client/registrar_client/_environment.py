"""Reads the arguments of a client from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypedDict

from registrar_client._call_metadata import Token, TokenFile
from registrar_client._connection import DEFAULT_CONNECT_TIMEOUT, DEFAULT_TARGET, DEFAULT_TIMEOUT, TlsOptions

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}
# The server accepts the same words, because both may read the same environment.
_BOOLEANS = dict.fromkeys(["1", "true", "t", "yes", "y", "on"], True)
_BOOLEANS |= dict.fromkeys(["0", "false", "f", "no", "n", "off"], False)


class Arguments(TypedDict):
    """The arguments of both clients."""

    target: str
    token: Token | None
    tls: TlsOptions | None
    insecure: bool
    timeout: float
    connect_timeout: float


def arguments(environ: Mapping[str, str]) -> Arguments:
    """Read the variables; raise a ValueError that names an invalid one. An empty variable counts as absent."""
    return {
        "target": environ.get("REGISTRAR_TARGET") or DEFAULT_TARGET,
        "token": _token(environ),
        "tls": _tls(environ),
        "insecure": _boolean(environ, "REGISTRAR_INSECURE"),
        "timeout": _seconds(environ, "REGISTRAR_TIMEOUT", DEFAULT_TIMEOUT),
        "connect_timeout": _seconds(environ, "REGISTRAR_CONNECT_TIMEOUT", DEFAULT_CONNECT_TIMEOUT),
    }


def _token(environ: Mapping[str, str]) -> Token | None:
    token, file = environ.get("REGISTRAR_TOKEN") or None, environ.get("REGISTRAR_TOKEN_FILE")
    if not file:
        return token
    if token:
        raise ValueError("REGISTRAR_TOKEN and REGISTRAR_TOKEN_FILE exclude each other")
    found = TokenFile(file)
    found()  # A wrong file fails now, as those of TLS do, and not at the first call.
    return found


def _tls(environ: Mapping[str, str]) -> TlsOptions | None:
    ca_file = environ.get("REGISTRAR_CA_FILE") or None
    cert_file = environ.get("REGISTRAR_CLIENT_CERT_FILE") or None
    key_file = environ.get("REGISTRAR_CLIENT_KEY_FILE") or None
    if (cert_file is None) != (key_file is None):
        raise ValueError("REGISTRAR_CLIENT_CERT_FILE and REGISTRAR_CLIENT_KEY_FILE must be set together")
    if not (ca_file or cert_file):
        return None
    return TlsOptions(ca_file=ca_file, client_cert_file=cert_file, client_key_file=key_file)


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "0"
    try:
        return _BOOLEANS[value.strip().lower()]
    except KeyError:
        raise ValueError(f"{name} must be one of {', '.join(_BOOLEANS)}, not {value!r}") from None


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    value = environ.get(name)
    if not value:
        return default
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", value.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f'{name} must be a positive duration such as "10", "2.5s", "500ms" or "1m", not {value!r}')
    return float(match[1]) * _SECONDS[match[2]]
