"""Direct access to a database: single statements, locks, and a description of its schema to compare."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, NullPool, Row, create_engine, inspect, text
from sqlalchemy.engine import Inspector

# The tables of Alembic and yoyo, which no model describes.
BOOKKEEPING = {"alembic_version", "_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"}


def execute(url: str, statement: str, **parameters: Any) -> list[Row[Any]]:
    """Execute one statement in its own transaction and return its rows, if any."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(statement), parameters)
        return list(result) if result.returns_rows else []


@contextlib.contextmanager
def holding_the_courses(engine: Engine) -> Iterator[None]:
    """Hold the locks that enrollments need within the ``with`` block."""
    with engine.connect() as holder:
        if engine.dialect.name == "sqlite":
            holder.exec_driver_sql("BEGIN IMMEDIATE")
        holder.execute(text("UPDATE courses SET title = 'held'"))
        yield
        holder.rollback()


def tables(url: str) -> set[str]:
    """Return the names of the project's tables."""
    return set(described(url))


def described(url: str) -> dict[str, dict[str, Any]]:
    """Return the schema of the project's tables: columns in order, constraints and indexes by name."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        inspector = inspect(connection)
        names = set(inspector.get_table_names()) - BOOKKEEPING
        return {name: _table(inspector, name) for name in names}


def _table(inspector: Inspector, name: str) -> dict[str, Any]:
    columns = [_plain(column) for column in inspector.get_columns(name)]
    described = [
        inspector.get_pk_constraint(name),
        *inspector.get_foreign_keys(name),
        *inspector.get_unique_constraints(name),
        *inspector.get_check_constraints(name),
        *inspector.get_indexes(name),
    ]
    return {"columns": columns, "constraints": {str(item["name"]): _plain(item) for item in described}}


def _plain(value: Any) -> Any:
    """Convert types and SQL expressions, which do not compare by content, to text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool) else str(value)
