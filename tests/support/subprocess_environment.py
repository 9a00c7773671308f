"""The environment that tests and the bench pass to the processes they start."""

from __future__ import annotations

import os


def environment_without(*prefixes: str) -> dict[str, str]:
    """Return this process's environment without the variables whose names have these prefixes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
