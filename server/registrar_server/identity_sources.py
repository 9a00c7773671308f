"""What identifies callers on one server, as the settings say, and whether callers are identified at all."""

from __future__ import annotations

from collections.abc import Iterable

from registrar_server.identity.identity import Bearers, Identity
from registrar_server.settings import Settings


class IdentitySources:
    """The sources of identity: they know the callers of bearers and certificates.

    ``others`` know bearers that the settings do not name, and are asked first.
    """

    def __init__(self, settings: Settings, others: Iterable[Bearers] = ()) -> None:
        bearers: list[Bearers] = [*others]
        self.identity = Identity(bearers, is_on=settings.identity == "required")
