"""Reading a whole database as it is at one moment, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row

AnyRow = Row[*tuple[Any, ...]]
Rows = Iterator[AnyRow]

CHUNK = 2_000

# What protects a server from clients that stall would here end a long look; it holds no lock that others wait for. The
# last says that cursors are read to their end, so that plans are made for all rows rather than for the first.
_POSTGRESQL_SETTINGS = (
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL cursor_tuple_fraction = 1",
)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Begin a read transaction that sees the database as it is at its first query; writers go on meanwhile."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            for setting in _POSTGRESQL_SETTINGS:
                connection.exec_driver_sql(setting)
        else:
            # Python's own module would begin none for reading, and every SELECT would see a moment of its own.
            connection.exec_driver_sql("BEGIN")
        yield connection


def stream(connection: Connection, query: Executable) -> Rows:
    """Run a query whose rows are read as they are needed."""
    return iter(connection.execute(query, execution_options={"yield_per": CHUNK}))


def side_by_side(*streams: Rows) -> Iterator[tuple[str, list[Rows]]]:
    """Go through streams that are in the order of their first column: every key, with the rows each stream has of it.

    The rows of a key must be read before the next key is asked for.
    """
    groups = [groupby(rows, key=itemgetter(0)) for rows in streams]
    heads = [next(group, None) for group in groups]
    while keys := [head[0] for head in heads if head]:
        key = min(keys)
        at = [head is not None and head[0] == key for head in heads]
        yield key, [head[1] if head and here else iter(()) for head, here in zip(heads, at, strict=True)]
        heads = [next(group, None) if here else head for group, head, here in zip(groups, heads, at, strict=True)]
