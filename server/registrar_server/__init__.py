"""The Registrar server."""

from importlib import metadata


def version() -> str:
    """Return the version of the installed package, or ``0+unknown`` if it is not installed."""
    try:
        return metadata.version("registrar-enrollment")
    except metadata.PackageNotFoundError:
        return "0+unknown"
