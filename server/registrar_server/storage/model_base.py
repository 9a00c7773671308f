"""What all tables share: the declarative base, the names of constraints, and the types of columns."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import JSON, MetaData, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

ID = String(128).with_variant(String(128, collation="C"), "postgresql")
SORTED = Text().with_variant(Text(collation="C"), "postgresql")
DOCUMENT = JSON().with_variant(JSONB(), "postgresql")


def one_of(column: str, values: Iterable[str]) -> str:
    """Return the SQL condition that a column has one of these values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Base(DeclarativeBase):
    """The declarative base. Its naming convention gives every constraint a name that migrations can use."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
