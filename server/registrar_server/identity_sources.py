"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from registrar_server.identity.api_keys import ApiKeys
from registrar_server.identity.identity import Bearers, Identity
from registrar_server.migrate.migration_errors import translate_errors
from registrar_server.settings import PREFIX, Settings
from registrar_server.storage.database import Database

POLL_S = 10.0
"""How often a server that does not identify callers looks whether an API key was made."""
SOURCES = ("jwt_keys", "cert_roles")
"""The settings that are sources of identity. If one is set, the server identifies its callers."""

log = structlog.get_logger()


class UnidentifiedError(Exception):
    """The server would let everyone in whom the network lets in; the message says what to set."""


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates. Tests may inject the clock."""

    def __init__(self, settings: Settings, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._keys = ApiKeys(database)
        bearers: list[Bearers] = [self._keys]
        self._sources = [f"{PREFIX}{name.upper()}" for name in SOURCES if getattr(settings, name, None)]
        is_on = settings.identity == "required" or (settings.identity == "auto" and bool(self._sources))
        self.identity = Identity(bearers, is_on=is_on, clock=clock)

    async def start(self) -> None:
        """Turn identity on if an API key was ever made.

        Raises ``UnidentifiedError`` if other machines can reach the server and it does not identify its callers.
        """
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
        """Turn identity on when the first API key is made."""
        while self._settings.identity == "auto" and not self.identity.is_on:
            await asyncio.sleep(POLL_S)
            try:
                self.identity.is_on = await self._keys.were_made()
            except Exception as error:  # An outage has log lines of its own.
                log.debug("keys_not_read", error=type(error).__name__)
            if self.identity.is_on:
                log.info("identity_on")

    async def close(self) -> None:
        """Return when all work in the database is done."""
        await self._keys.close()


def _unidentified(name: str, address: str) -> str:
    return (
        f"{name}={address} can be reached from other machines, and nothing identifies callers yet: make a key with"
        f" `registrar-server keys create`, or set {PREFIX}JWT_KEYS, {PREFIX}CERT_ROLES or {PREFIX}IDENTITY=required"
    )
