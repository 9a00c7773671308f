"""What can keep a database from being migrated, in words for the person who tries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, OperationalError


class MigrationError(Exception):
    """A database cannot be migrated, or not as asked; the message says why and never holds a password."""


class DatabaseUnreachableError(MigrationError):
    """The database did not answer, or refused the connection."""


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn what the libraries raise during an action into a ``MigrationError`` that begins with it."""
    try:
        yield
    except OperationalError as error:
        # Without a statement it was connecting that failed.
        kind = MigrationError if error.statement else DatabaseUnreachableError
        raise kind(f"{action}: {error.orig}") from error
    except DBAPIError as error:
        raise MigrationError(f"{action}: {error.orig}") from error
    except CommandError as error:
        raise MigrationError(f"{action}: {error}") from error
