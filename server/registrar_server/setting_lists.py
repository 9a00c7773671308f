"""Settings that are lists, separated by commas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator


def listed(check: Callable[[str], str]) -> BeforeValidator:
    """Return what reads a list that is separated by commas, and checks each entry."""

    def read(value: Any) -> tuple[str, ...]:
        entries = value.split(",") if isinstance(value, str) else value
        return tuple(check(entry.strip()) for entry in entries if entry.strip())

    return BeforeValidator(read)
