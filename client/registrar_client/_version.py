"""Finds the version of the installed distribution."""

from __future__ import annotations

DISTRIBUTION = "registrar-enrollment"


def distribution_version() -> str:
    """Return the version, or ``0+unknown`` if the client runs from a folder that no distribution installed."""
    # This import takes longer than others of the client, and few programs ask for the version.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+unknown"
