"""Reads a whole database in one snapshot, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Row

AnyRow = Row[*tuple[Any, ...]]
RowStream = Iterator[AnyRow]

FETCH_SIZE = 2_000

# A role's timeouts protect the server from stalled clients, but would end a long check, which blocks no writer. The
# last setting makes the planner optimize for all rows of a cursor, since every cursor is read to its end.
_POSTGRESQL_SETTINGS = (
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL cursor_tuple_fraction = 1",
)


@contextmanager
def open_snapshot(engine: Engine) -> Iterator[Connection]:
    """Begin a read transaction that sees the database as of its first query; it does not block writers."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            for setting in _POSTGRESQL_SETTINGS:
                connection.exec_driver_sql(setting)
        else:
            # Python's sqlite3 begins no transaction for a SELECT, so each one would see a different moment.
            connection.exec_driver_sql("BEGIN")
        yield connection


def stream(connection: Connection, query: Executable) -> RowStream:
    """Execute a query and fetch its rows as they are needed."""
    return iter(connection.execute(query, execution_options={"yield_per": FETCH_SIZE}))


def merge_join(*streams: RowStream) -> Iterator[tuple[str, list[RowStream]]]:
    """Join streams that are sorted by their first column: yield each key with the rows of each stream.

    The rows of a key must be read before the next key is requested.
    """
    groups = [groupby(rows, key=itemgetter(0)) for rows in streams]
    heads = [next(group, None) for group in groups]
    while keys := [head[0] for head in heads if head]:
        key = min(keys)
        at = [head is not None and head[0] == key for head in heads]
        yield key, [head[1] if head and here else iter(()) for head, here in zip(heads, at, strict=True)]
        heads = [next(group, None) if here else head for group, head, here in zip(groups, heads, at, strict=True)]
