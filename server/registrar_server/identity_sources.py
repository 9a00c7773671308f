"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

from registrar_server.identity.identity import Bearers, Identity
from registrar_server.settings import Settings


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates."""

    def __init__(self, settings: Settings) -> None:
        bearers: list[Bearers] = []
        self.identity = Identity(bearers, is_on=settings.identity == "required")
