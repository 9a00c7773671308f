"""Settings from flags, the environment and ``.env``, in this order of precedence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from registrar_server.addresses import check_address, check_host, check_origin, is_loopback
from registrar_server.database_settings import DatabaseSettings
from registrar_server.jwt_settings import JwtSettings
from registrar_server.setting_lists import listed

PREFIX = "REGISTRAR_"

#: Names with our prefix that the client, the migrations or the tests read.
FOREIGN_NAMES = frozenset(
    PREFIX + name
    for name in [
        "TARGET",
        "TOKEN",
        "TOKEN_FILE",
        "CA_FILE",
        "CLIENT_CERT_FILE",
        "CLIENT_KEY_FILE",
        "TIMEOUT",
        "CONNECT_TIMEOUT",
        "INSECURE",
        "MIGRATIONS_DIR",
        "TEST_DATA",
        "TEST_DEPTH",
    ]
)

ENV_FILE = ".env"

_SIMILAR = 0.88
"""How similar a misspelt prefix is to ours: ``REGISTAR_`` is, ``REGISTRY_`` is not."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
MIN_SETTLE_INTERVAL_S = 0.1
MAX_DURATION_S = 3650 * 86400.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class SettingsError(Exception):
    """The settings are invalid; the message names each variable and its allowed values."""


def seconds(value: Any) -> Any:
    """Return the seconds of a duration such as ``500ms``. Raises ValueError if it is none, or longer than 3650 days."""
    if isinstance(value, int | float):
        return float(value)
    if match := _DURATION.fullmatch(str(value).strip()):
        found = float(match[1]) * _SECONDS[match[2]]
        if found <= MAX_DURATION_S:
            return found
    raise ValueError('must be a duration of at most 3650d, such as "500ms", "30s", "5m", "24h" or "7d"')


def _settle_seconds(value: Any) -> float:
    if str(value).strip() in ("0", "0.0"):
        return 0.0
    try:
        found: float = seconds(value)
    except ValueError as error:
        raise ValueError(f"{error}; or 0 to turn the sweep off") from None
    if 0 < found < MIN_SETTLE_INTERVAL_S:
        raise ValueError("must be at least 100ms, or 0 to turn the sweep off")
    return found


Duration = Annotated[float, BeforeValidator(seconds)]


class Settings(DatabaseSettings, JwtSettings):
    """Every setting with its default. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True, validate_default=True
    )

    listen: str = "127.0.0.1:50051"
    """The address to listen on, host:port; port 0 selects a free port. An address that is not loopback needs TLS."""
    http_listen: str = "127.0.0.1:8080"
    """The address to listen on for HTTP, host:port; port 0 selects a free port, empty turns HTTP off."""
    http_max_connections: Annotated[int, Field(ge=1)] = 1_000
    """The largest number of connections of HTTP clients; further ones are refused."""
    http_hosts: Annotated[tuple[str, ...], NoDecode, listed(check_host)] = ()
    """The names, besides those of loopback, that the Host header of a request may have, separated by commas."""
    http_origins: Annotated[tuple[str, ...], NoDecode, listed(check_origin)] = ()
    """The origins of web pages that may send requests, such as https://portal.example.edu, separated by commas."""
    reflection: bool = True
    """Describe the API to everybody who asks: gRPC reflection and /openapi.json."""
    identity: Literal["auto", "required", "off"] = "auto"
    """Whether callers are identified. auto: if there is an API key, or REGISTRAR_JWT_KEYS or REGISTRAR_CERT_ROLES."""
    insecure: bool = False
    """Serve without TLS on an address that is not loopback."""
    tls_cert_file: Path | None = None
    """The server's certificate chain, PEM."""
    tls_key_file: Path | None = None
    """The certificate's private key, PEM."""
    tls_client_ca_file: Path | None = None
    """The authorities that sign client certificates, PEM. If set, clients must present a certificate."""
    cert_roles: Path | None = None
    """The TOML file with the roles of clients by the subject alternative names of their certificates."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """auto selects console on a terminal and json otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    slow_call: Annotated[Duration, Field(ge=0)] = 1.0
    """A call that takes longer is logged as a warning that says where the time went."""
    request_id_ttl: Annotated[Duration, Field(ge=60)] = 86400.0
    """How long the response to a request_id is kept, at least 1m."""
    max_waiting: Annotated[int, Field(ge=1)] = 10_000
    """How many calls may wait in a lane, twins may wait, and writes of batches may be under way, before OVERLOADED."""
    max_watchers: Annotated[int, Field(ge=1)] = 1_000
    """The number of streams of WatchEvents at the same time; further ones are OVERLOADED."""
    max_batch: Annotated[int, Field(ge=1, le=10_000)] = 256
    """The largest number of calls, or of ordered writes of a BatchWrite, in one transaction."""
    write_lanes: Annotated[int, Field(ge=1, le=64)] = 2
    """The number of concurrent write transactions of single calls on PostgreSQL, where blocks have three more; SQLite
    always has one."""
    read_lanes: Annotated[int, Field(ge=1, le=64)] = 4
    """The number of concurrent queries."""
    max_message_bytes: Annotated[int, Field(ge=262_144)] = 4 * 1024 * 1024
    """The largest request and response, in bytes."""
    shutdown_grace: Annotated[Duration, Field(ge=0)] = 30.0
    """How long calls in progress may continue after SIGTERM."""
    health_interval: Annotated[Duration, Field(gt=0)] = 5.0
    """How often the server pings the database."""
    settle_interval: Annotated[float, BeforeValidator(_settle_seconds)] = 30.0
    """How often the sweep settles the courses that have waiters and a free seat, at least 100ms; 0 turns it off."""
    migration_wait: Annotated[Duration, Field(ge=0)] = 300.0
    """How long a migration waits for another process that migrates the same database."""

    @field_validator("listen", "http_listen")
    @classmethod
    def _check_listen(cls, value: str, info: ValidationInfo) -> str:
        return value if info.field_name == "http_listen" and not value else check_address(value)

    @field_validator("log_level", "log_format", "identity", mode="before")
    @classmethod
    def _ignore_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("tls_cert_file", "tls_key_file", "tls_client_ca_file", "cert_roles", mode="before")
    @classmethod
    def _check_file(cls, value: Any) -> Any:
        if value in (None, ""):
            return None
        if not os.access(value, os.R_OK) or not Path(value).is_file():
            raise ValueError("must be a file that can be read")
        return value

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE must be set together")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA_FILE needs {PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE")
        if self.cert_roles and not self.tls_client_ca_file:
            raise ValueError(f"{PREFIX}CERT_ROLES needs {PREFIX}TLS_CLIENT_CA_FILE, which checks the certificates")
        if problems := list(self._exposures()):
            raise ValueError("\n".join(problems))
        return self

    @property
    def exposed_addresses(self) -> Mapping[str, str]:
        """The addresses that other machines reach, by their variables."""
        addresses = {f"{PREFIX}LISTEN": self.listen, f"{PREFIX}HTTP_LISTEN": self.http_listen}
        return {name: address for name, address in addresses.items() if address and not is_loopback(address)}

    def _exposures(self) -> Iterator[str]:
        """Return what is missing to serve on addresses that other machines reach."""
        exposed = self.exposed_addresses
        for name, address in exposed.items():
            if self.identity == "off":
                yield (
                    f"{name}={address} can be reached from other machines: {PREFIX}IDENTITY=off would let all of them"
                    " in; unset it"
                )
            if not (self.tls_cert_file or self.insecure):
                yield (
                    f"{name}={address} can be reached from other machines: set {PREFIX}TLS_CERT_FILE and"
                    f" {PREFIX}TLS_KEY_FILE, or pass --insecure ({PREFIX}INSECURE=true) to serve without encryption"
                )
        if f"{PREFIX}HTTP_LISTEN" in exposed and not self.http_hosts:
            yield (
                f"{PREFIX}HTTP_LISTEN={self.http_listen} can be reached from other machines: set {PREFIX}HTTP_HOSTS to"
                " the names that callers use for this server, such as registrar.example.edu"
            )


_WITH_PASSWORDS = {f"{PREFIX}DATABASE_URL", f"{PREFIX}DATABASE_DIRECT_URL", f"{PREFIX}JWT_KEYS"}
"""Variables with a URL, which may contain a password: messages do not repeat their values."""

_OF_IDENTITY = {f"{PREFIX}IDENTITY", f"{PREFIX}CERT_ROLES"}

_KNOWN_NAMES = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_NAMES


def load(**flags: Any) -> Settings:
    """Read the settings from flags (those that are not None), the environment and ``.env``.

    Raises ``SettingsError`` that names every invalid variable and its allowed values.
    """
    _refuse_misspelt_identity(environment())
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None


def _explain(problem: Mapping[str, Any]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = PREFIX + str(problem["loc"][0]).upper()
    shown = "" if name in _WITH_PASSWORDS else f"={problem['input']!s}"
    return f"{name}{shown}: {message[0].lower()}{message[1:]}"


def environment() -> Mapping[str, str | None]:
    """Return the variables of the environment and of ``.env``; the environment takes precedence."""
    return {**dotenv_values(ENV_FILE), **os.environ}


def _refuse_misspelt_identity(names: Iterable[str]) -> None:
    """Refuse misspelt settings of identity: a server without the setting that was meant would let everyone in."""
    refused = [name for name in unknown_names(names) if _means_identity(name)]
    if refused:
        raise SettingsError("\n".join(f"{name} is not a setting; {nearest_name(name)} is" for name in refused))


def _means_identity(name: str) -> bool:
    return name.upper().startswith(f"{PREFIX}JWT_") or nearest_name(name) in _OF_IDENTITY


def unknown_names(names: Iterable[str]) -> list[str]:
    """Return the variables with our prefix that nothing reads, such as misspelt settings."""
    return sorted(name for name in names if _is_ours(name.upper()) and name.upper() not in _KNOWN_NAMES)


def nearest_name(name: str) -> str:
    """Return the variable that an unknown one was probably meant to be, or an empty string."""
    return next(iter(get_close_matches(name.upper(), sorted(_KNOWN_NAMES), n=1, cutoff=0.7)), "")


def _is_ours(name: str) -> bool:
    """Return whether a variable has our prefix, or a misspelt prefix before the name of a setting."""
    prefix, _, rest = name.partition("_")
    misspelt = SequenceMatcher(None, f"{prefix}_", PREFIX).ratio() > _SIMILAR
    return name.startswith(PREFIX) or (misspelt and rest.lower() in Settings.model_fields)
