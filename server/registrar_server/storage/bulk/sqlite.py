"""The shapes in SQLite's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from registrar_server.storage.bulk.shapes import Append, Dialect, Heads, Insert, Lock, Rows, Select, Statement, Update


class SQLite(Dialect):
    """The sqlite3 module: keys are read from one JSON array, rows are written with ``executemany``.

    A write transaction holds the whole database, so nothing is locked by row, and whatever is asked for is locked.
    """

    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Run one select after the other."""
        return [self._fetch(connection, *request) for request in requests]

    def _fetch(self, connection: Any, statement: Statement, rows: Rows) -> Rows:
        if isinstance(statement, Lock):
            return rows
        if isinstance(statement, Heads):
            return self._heads(connection, statement, rows)
        keys = [row[0] for row in rows] if len(statement.key) == 1 else [list(row) for row in rows]
        found: Rows = connection.execute(_sqlite(statement), (json.dumps(keys),)).fetchall()
        return found

    def _heads(self, connection: Any, statement: Heads, rows: Rows) -> Rows:
        """Ask how long each head is, then read only those there are: SQLite has no lateral joins."""
        lengths = connection.execute(_lengths(statement), (json.dumps([list(row) for row in rows]),)).fetchall()
        head = _sqlite(statement)
        return [row for length in lengths for row in connection.execute(head, length)]

    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Run one statement after the other, then commit."""
        for statement, rows in requests:
            if isinstance(statement, Append):
                raise_counter = f"UPDATE {statement.counter} SET {statement.number} = {statement.number} + ?"
                (last,) = connection.execute(f"{raise_counter} RETURNING {statement.number}", (len(rows),)).fetchone()
                rows = [(last - len(rows) + ordinal, *row) for ordinal, row in enumerate(rows, start=1)]
            connection.executemany(_sqlite(statement), rows)
        connection.execute("COMMIT")


@cache
def _sqlite(statement: Statement) -> str:
    name = statement.table
    match statement:
        case Select(columns=columns, computed=computed, where=where):
            shown = ", ".join((*(str(statement.column(column)) for column in columns), *computed))
            joined = f" JOIN {statement.join} USING ({statement.using})" if statement.join else ""
            return f"SELECT {shown} FROM {name}{joined} WHERE {_sqlite_key(statement)} AND {where}"
        case Heads(columns=columns, where=where, order=order):
            found = f"SELECT {', '.join(columns)} FROM {name} WHERE {statement.key[0]} = ? AND {where}"
            return f"{found} ORDER BY {order} LIMIT ?"
        case Update(columns=columns):
            # Numbered parameters let the row give its key first, although SQL names it last.
            first = len(statement.key) + 1
            assignments = ", ".join(f"{column} = ?{place}" for place, column in enumerate(columns, start=first))
            matches = " AND ".join(f"{column} = ?{place}" for place, column in enumerate(statement.key, start=1))
            return f"UPDATE {name} SET {assignments} WHERE {matches}"
        case Insert(columns=columns):
            return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        case Append(columns=columns, number=number):
            marks = ", ".join("?" * (len(columns) + 1))
            return f"INSERT INTO {name} ({number}, {', '.join(columns)}) VALUES ({marks})"
    raise TypeError(f"not a statement: {statement!r}")


@cache
def _lengths(statement: Heads) -> str:
    given = "SELECT json_extract(value, '$[0]') AS key, json_extract(value, '$[1]') AS number FROM json_each(?)"
    group = f"{statement.groups}.{statement.key[0]}"
    lengths = f"SELECT {group} AS key, {statement.limit} AS length FROM ({given}) AS given"
    return f"SELECT key, length FROM ({lengths} JOIN {statement.groups} ON {group} = given.key) WHERE length > 0"


def _sqlite_key(statement: Statement) -> str:
    if len(statement.key) == 1:
        return f"{statement.key[0]} IN (SELECT value FROM json_each(?))"
    parts = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(statement.key)))
    return f"({', '.join(statement.key)}) IN (SELECT {parts} FROM json_each(?))"
