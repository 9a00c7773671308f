"""What every command offers to the lanes and to the ledger."""

from __future__ import annotations

from typing import Protocol

from registrar_server.core.scope import Scope


class Command(Protocol):
    """A change that a caller asks for."""

    def touch(self, scope: Scope) -> None:
        """Add the rows that the decision needs to ``scope``."""

    @property
    def lane_key(self) -> str:
        """Commands with the same key go to the same lane: the course, if the command names one."""
