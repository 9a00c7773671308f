"""The settings of the database."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})
"""The parameters of a PostgreSQL URL that are secrets themselves; others may name the file of one."""


class DatabaseSettings(BaseSettings):
    """Where the database is."""

    database_url: SecretStr = SecretStr("sqlite:///registrar.db")
    """sqlite:///file, relative to the working folder, or postgresql://user:password@host/database."""
    database_direct_url: SecretStr | None = None
    """The same database without a pooler: new events are announced on one connection to it. By default database_url."""

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        problem = _database_problem(value.get_secret_value())
        if problem:
            raise ValueError(f"{problem}; must be sqlite:///file.db or postgresql://user:password@host/database")
        return value

    @field_validator("database_direct_url", mode="before")
    @classmethod
    def _check_direct_url(cls, value: Any) -> Any:
        if value in (None, ""):
            return None
        url = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if _database_problem(url) or make_url(url).get_backend_name() != "postgresql":
            raise ValueError("must be postgresql://user:password@host/database")
        return value

    @property
    def url(self) -> URL:
        """The database URL; its text form hides the password."""
        return make_url(self.database_url.get_secret_value())

    @property
    def direct_url(self) -> URL:
        """The URL of the database without a pooler."""
        return make_url(self.database_direct_url.get_secret_value()) if self.database_direct_url else self.url


def has_password(text: str) -> bool:
    """Return whether a text is a database URL with a password, before the host or as a parameter."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # A URL whose port is no number, for example, may still have one.
        rest = text.partition("://")[2]
        return ":" in rest.rpartition("@")[0] or not _SECRET_PARAMETERS.isdisjoint(parse_qs(rest.partition("?")[2]))
    return bool(url.password) or not _SECRET_PARAMETERS.isdisjoint(url.query)


def _database_problem(value: str) -> str | None:
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        return "is not a database URL"
    backend = url.get_backend_name()
    if backend == "sqlite":
        return (
            "needs a file, since a database in memory would lose what was acknowledged"
            if (url.database in (None, "", ":memory:"))
            else None
        )
    return None if backend == "postgresql" else f"speaks of {backend}, which is not supported"
