"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

from registrar_server.identity.certificate_roles import CertificateRoles
from registrar_server.identity.identity import Bearers, Identity
from registrar_server.settings import Settings


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates.

    Raises ``SettingsError`` if the file of a source is invalid.
    """

    def __init__(self, settings: Settings) -> None:
        bearers: list[Bearers] = []
        roles = CertificateRoles(settings.cert_roles) if settings.cert_roles else None
        self.watched = [roles.watched] if roles else []
        """The files that may change while the server runs."""
        is_on = settings.identity == "required" or (settings.identity == "auto" and roles is not None)
        self.identity = Identity(bearers, roles.caller if roles else None, is_on=is_on)
