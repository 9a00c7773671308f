"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from registrar_server.identity.api_keys import ApiKeys
from registrar_server.identity.certificate_roles import CertificateRoles
from registrar_server.identity.identity import Bearers, Identity
from registrar_server.identity.key_sets import KeySetError
from registrar_server.identity.key_sources import KeyFile, key_source
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.migrate.migration_errors import translate_errors
from registrar_server.settings import PREFIX, Settings, SettingsError
from registrar_server.storage.database import Database

POLL_S = 10.0
"""How often a server that does not identify callers looks whether an API key was made."""
SOURCES = ("jwt_keys", "cert_roles")
"""The settings that are sources of identity. If one is set, the server identifies its callers."""

log = structlog.get_logger()


class UnidentifiedError(Exception):
    """The server would let everyone in whom the network lets in; the message says what to set."""


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates. Tests may inject the clock.

    ``others`` know bearers besides what the settings name, and are asked first. Raises ``SettingsError`` if the file of
    a source is invalid.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        others: Iterable[Bearers] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keys = ApiKeys(database)
        bearers: list[Bearers] = [*others, self._keys]
        roles = CertificateRoles(settings.cert_roles) if settings.cert_roles else None
        self.watched = [roles.watched] if roles else []
        """The files that may change while the server runs."""
        self._sources = [f"{PREFIX}{name.upper()}" for name in SOURCES if getattr(settings, name)]
        is_on = settings.identity == "required" or (settings.identity == "auto" and bool(self._sources))
        self.identity = Identity(bearers, roles.caller if roles else None, is_on=is_on, clock=clock)
        self._token_keys = _token_keys(settings, self.identity) if settings.jwt_keys else None
        if self._token_keys is not None:
            rules = TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_algorithms)
            bearers.append(Tokens(rules, self._token_keys))

    async def start(self) -> None:
        """Read the keys for tokens, and turn identity on if an API key was ever made.

        Raises ``UnidentifiedError`` if other machines can reach the server and it does not identify its callers.
        """
        await self.reload()
        if self.identity.is_on:
            return
        with translate_errors("The API keys cannot be read"):
            found = await self._keys.were_made()
        if self._settings.identity == "off":
            if sources := [*self._sources, *(["API keys"] if found else [])]:
                log.warning("identity_off", unused=", ".join(sources))
            return
        self.identity.is_on = found
        if not found and (exposed := self._settings.exposed_addresses):
            raise UnidentifiedError("\n".join(_unidentified(*one) for one in exposed.items()))

    async def watch(self) -> None:
        """Follow the sources while the server runs: the keys for tokens, and whether an API key was made."""
        await asyncio.gather(self._watch_token_keys(), self._watch_api_keys())

    async def _watch_token_keys(self) -> None:
        if self._token_keys is not None:
            await self._token_keys.watch()

    async def _watch_api_keys(self) -> None:
        """Turn identity on when the first API key is made."""
        while self._settings.identity == "auto" and not self.identity.is_on:
            await asyncio.sleep(POLL_S)
            try:
                self.identity.is_on = await self._keys.were_made()
            except Exception as error:  # An outage has log lines of its own.
                log.debug("keys_not_read", error=type(error).__name__)
            if self.identity.is_on:
                log.info("identity_on")

    async def reload(self) -> None:
        """Read the keys for tokens now. If that fails, the log says so, and the keys stay as they are."""
        if self._token_keys is not None:
            await self._token_keys.refresh()

    async def close(self) -> None:
        """Return when all work in the database is done."""
        await self._keys.close()


def _token_keys(settings: Settings, identity: Identity) -> TrustedKeys:
    """Return the keys for tokens. Those of a file are read at once; those of a server by ``reload``."""
    source = key_source(settings.jwt_keys)
    keys = TrustedKeys(source, settings.jwt_algorithms, identity.forget_all)
    if isinstance(source, KeyFile):
        try:
            keys.load()
        except KeySetError as error:
            raise SettingsError(f"REGISTRAR_JWT_KEYS={source}: {error}") from None
    return keys


def _unidentified(name: str, address: str) -> str:
    return (
        f"{name}={address} can be reached from other machines, and nothing identifies callers yet: make a key with"
        f" `registrar-server keys create`, or set {PREFIX}JWT_KEYS, {PREFIX}CERT_ROLES or {PREFIX}IDENTITY=required"
    )
