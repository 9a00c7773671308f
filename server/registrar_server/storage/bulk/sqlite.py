"""Renders the shapes for SQLite and runs them on a connection of the sqlite3 module."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, singledispatch
from typing import Any

from registrar_server.storage.bulk.shapes import (
    Append,
    Dialect,
    Heads,
    Insert,
    Lock,
    Query,
    Rows,
    Select,
    Statement,
    Update,
)


class SQLite(Dialect):
    """The sqlite3 module. Several keys are passed as one JSON array, rows are written with ``executemany``.

    A write transaction locks the whole database, so a lock of rows only returns them.
    """

    def read(self, connection: Any, requests: Sequence[tuple[Query[Any], Rows]]) -> list[Rows]:
        """Run one select after the other."""
        return [self._fetch(connection, *request) for request in requests]

    def _fetch(self, connection: Any, statement: Query[Any], rows: Rows) -> Rows:
        if isinstance(statement, Heads):
            return self._heads(connection, statement, rows)
        assert isinstance(statement, Select)
        if isinstance(statement, Lock) and statement.heads:
            rows = [(key,) for key, *_ in rows if key]
        found: Rows
        if len(rows) == 1:  # Reading one key from an array takes longer than the rest of the statement.
            found = connection.execute(_text_of_one(statement), rows[0]).fetchall()
            return found
        keys = [row[0] for row in rows] if len(statement.key) == 1 else [list(row) for row in rows]
        found = connection.execute(_text_of(statement), (json.dumps(keys),)).fetchall()
        return found

    def _heads(self, connection: Any, statement: Heads[Any], rows: Rows) -> Rows:
        """Query the length of each head, then read the heads that are not empty: SQLite has no lateral joins."""
        lengths = connection.execute(_lengths(statement), (json.dumps([list(row) for row in rows]),)).fetchall()
        head = _text_of(statement)
        return [row for length in lengths for row in connection.execute(head, length)]

    def write(
        self,
        connection: Any,
        requests: Sequence[tuple[Statement, Rows]],
        reads: Sequence[tuple[Query[Any], Rows]] = (),
    ) -> list[Rows]:
        """Run one statement after the other, then commit."""
        for statement, rows in requests:
            if isinstance(statement, Append):
                raise_counter = f"UPDATE {statement.counter} SET {statement.number} = {statement.number} + ?"
                (last,) = connection.execute(f"{raise_counter} RETURNING {statement.number}", (len(rows),)).fetchone()
                rows = [(last - len(rows) + ordinal, *row) for ordinal, row in enumerate(rows, start=1)]
            connection.executemany(_text_of(statement), rows)
        found = self.read(connection, reads)
        connection.execute("COMMIT")
        return found


@cache
def _text_of(statement: Statement) -> str:
    return _render(statement)


@cache
def _text_of_one(select: Select[Any]) -> str:
    """Return the text of a select by one key, whose parts are the parameters."""
    return _select_where(select, " AND ".join(f"{column} = ?" for column in select.key))


@singledispatch
def _render(statement: Statement) -> str:
    raise TypeError(f"not a statement: {statement!r}")


@_render.register(Select)
def _select(select: Select[Any]) -> str:
    return _select_where(select, _key_in_array(select))


def _select_where(select: Select[Any], key: str) -> str:
    shown = ", ".join((*(str(select.column(column)) for column in select.columns), *select.computed.values()))
    joined = f" JOIN {select.join} USING ({select.using})" if select.join else ""
    return f"SELECT {shown} FROM {select.table}{joined} WHERE {key} AND {select.where}"


@_render.register(Heads)
def _head(heads: Heads[Any]) -> str:
    found = f"SELECT {', '.join(heads.columns)} FROM {heads.table} WHERE {heads.key[0]} = ? AND {heads.where}"
    return f"{found} ORDER BY {heads.order} LIMIT ?"


@cache
def _lengths(heads: Heads[Any]) -> str:
    numbers = (f", json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(heads.given, start=1))
    given = f"SELECT json_extract(value, '$[0]') AS key{''.join(numbers)} FROM json_each(?)"
    group = f"{heads.groups}.{heads.key[0]}"
    lengths = f"SELECT {group} AS key, {heads.limit} AS length FROM ({given}) AS given"
    return f"SELECT key, length FROM ({lengths} JOIN {heads.groups} ON {group} = given.key) WHERE length > 0"


@_render.register(Update)
def _update(update: Update) -> str:
    # Numbered parameters allow the key to come first in the row, although it comes last in the text.
    first = len(update.key) + 1
    assignments = ", ".join(f"{column} = ?{place}" for place, column in enumerate(update.columns, start=first))
    matches = " AND ".join(f"{column} = ?{place}" for place, column in enumerate(update.key, start=1))
    return f"UPDATE {update.table} SET {assignments} WHERE {matches}"


@_render.register(Insert)
def _insert(insert: Insert) -> str:
    return _insert_into(insert.table, insert.columns)


@_render.register(Append)
def _append(append: Append) -> str:
    return _insert_into(append.table, (append.number, *append.columns))


def _insert_into(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _key_in_array(statement: Statement) -> str:
    if len(statement.key) == 1:
        return f"{statement.key[0]} IN (SELECT value FROM json_each(?))"
    parts = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(statement.key)))
    return f"({', '.join(statement.key)}) IN (SELECT {parts} FROM json_each(?))"
