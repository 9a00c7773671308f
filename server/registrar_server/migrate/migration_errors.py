"""The errors that a migration raises, with messages for an operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, OperationalError


class MigrationError(Exception):
    """A database cannot be migrated as requested; the message says why and never contains a password."""


class DatabaseUnreachableError(MigrationError):
    """The database does not answer, or refuses the connection."""


@contextmanager
def translate_errors(message: str) -> Iterator[None]:
    """Raise the errors of SQLAlchemy and Alembic as a ``MigrationError`` that begins with ``message``."""
    try:
        yield
    except OperationalError as error:
        # An error without a statement comes from connecting.
        kind = MigrationError if error.statement else DatabaseUnreachableError
        raise kind(f"{message}: {error.orig}") from error
    except DBAPIError as error:
        raise MigrationError(f"{message}: {error.orig}") from error
    except CommandError as error:
        raise MigrationError(f"{message}: {error}") from error
