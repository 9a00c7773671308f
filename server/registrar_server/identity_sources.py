"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

from registrar_server.identity.certificate_roles import CertificateRoles
from registrar_server.identity.identity import Bearers, Identity
from registrar_server.identity.key_sets import KeySetError
from registrar_server.identity.key_sources import KeyFile, key_source
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.settings import Settings, SettingsError


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates.

    Raises ``SettingsError`` if the file of a source is invalid.
    """

    def __init__(self, settings: Settings) -> None:
        bearers: list[Bearers] = []
        roles = CertificateRoles(settings.cert_roles) if settings.cert_roles else None
        self.watched = [roles.watched] if roles else []
        """The files that may change while the server runs."""
        is_on = settings.identity == "required" or (
            settings.identity == "auto" and bool(settings.jwt_keys or settings.cert_roles)
        )
        self.identity = Identity(bearers, roles.caller if roles else None, is_on=is_on)
        self._token_keys = _token_keys(settings, self.identity) if settings.jwt_keys else None
        if self._token_keys is not None:
            rules = TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_algorithms)
            bearers.append(Tokens(rules, self._token_keys))

    async def watch(self) -> None:
        """Read the sources again and again, until this is cancelled."""
        if self._token_keys is not None:
            await self._token_keys.watch()

    async def reload(self) -> None:
        """Read the sources now. A source that fails keeps what it has, and the log says so."""
        if self._token_keys is not None:
            await self._token_keys.refresh()


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
