"""Set-based statements: many rows, one statement, the same few shapes on both databases.

A ``Select``, ``Insert`` or ``Update`` describes a statement by table and columns; a dialect renders it once, as
constant text that can be prepared, and turns rows into its parameters. PostgreSQL takes each column as one array
(``unnest``), which costs a third less than a VALUES list; SQLite reads keys from one JSON array and writes with
``executemany``, which in-process is the fastest there is.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from sqlalchemy import BigInteger, Boolean, LargeBinary, SmallInteger, Table
from sqlalchemy.types import JSON

from registrar_server.models import Base

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Statement:
    """What every shape names: a table, and the columns that identify rows. Each is made once and equals only itself."""

    table: str
    key: tuple[str, ...]

    @cached_property
    def model(self) -> Table:
        """The table's definition."""
        return Base.metadata.tables[self.table]


@dataclass(frozen=True, eq=False)
class Select(Statement):
    """Rows by key; documents come as their JSON text."""

    columns: tuple[str, ...] = ()
    where: str = "TRUE"


@dataclass(frozen=True, eq=False)
class Lock(Statement):
    """Lock rows by key, in the order of the key, without reading them.

    The lock is its own statement: one that locks and loads at once would, under READ COMMITTED, wait for the lock
    and then answer with what it saw before the wait. FOR NO KEY UPDATE lets foreign-key checks of others pass.
    """


@dataclass(frozen=True, eq=False)
class Insert(Statement):
    """New rows; ``key`` is not needed."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Update(Statement):
    """Set ``columns`` of rows by key; each row gives its key first."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Append(Statement):
    """New rows numbered by a counter that is raised in the same breath: ``number`` continues ``counter``."""

    columns: tuple[str, ...] = ()
    number: str = ""
    counter: str = ""


class Dialect(ABC):
    """Renders the shapes and runs them on a driver's connection."""

    @abstractmethod
    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Run selects and locks in order, and return the rows of each."""

    @abstractmethod
    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Run inserts and updates in order, and commit."""


def _is_document(table: Table, column: str) -> bool:
    return isinstance(table.c[column].type, JSON)


class PostgreSQL(Dialect):
    """psycopg 3 in pipeline mode: all reads are one round trip, all writes with their commit another."""

    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Send everything, then wait once."""
        with connection.pipeline():
            cursors = [self._execute(connection, *request) for request in requests]
        return [cursor.fetchall() for cursor in cursors]

    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Send everything with the commit, then wait once; a statement that fails takes the commit with it."""
        with connection.pipeline():
            for request in requests:
                self._execute(connection, *request)
            connection.commit()

    def _execute(self, connection: Any, statement: Statement, rows: Rows) -> Any:
        arrays: list[Any] = [list(column) for column in zip(*rows, strict=True)]
        if isinstance(statement, Append):
            arrays = [len(rows), len(rows), *arrays]
        return connection.execute(_postgresql(statement), arrays, prepare=True)


@cache
def _postgresql(statement: Statement) -> str:
    table, name = statement.model, statement.table
    key = ", ".join(statement.key)
    match statement:
        case Select(columns=columns, where=where):
            shown = ", ".join(f"{column}::text" if _is_document(table, column) else column for column in columns)
            return f"SELECT {shown} FROM {name} WHERE {_postgresql_key(statement)} AND {where}"
        case Lock():
            found = f"SELECT {key} FROM {name} WHERE {_postgresql_key(statement)} ORDER BY {key}"
            return f"{found} FOR NO KEY UPDATE"
        case Insert(columns=columns):
            return f"INSERT INTO {name} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(table, columns)})"
        case Update(columns=columns):
            given = (*statement.key, *columns)
            values = f"unnest({_arrays(table, given)}) AS given ({', '.join(given)})"
            assignments = ", ".join(f"{column} = given.{column}" for column in columns)
            matches = " AND ".join(f"{name}.{column} = given.{column}" for column in statement.key)
            return f"UPDATE {name} SET {assignments} FROM {values} WHERE {matches}"
        case Append(columns=columns, number=number, counter=counter):
            return (
                f"WITH raised AS (UPDATE {counter} SET {number} = {number} + %s RETURNING {number})"
                f" INSERT INTO {name} ({number}, {', '.join(columns)})"
                f" SELECT raised.{number} - %s + given.ordinal, {', '.join(f'given.{c}' for c in columns)}"
                f" FROM raised, unnest({_arrays(table, columns)})"
                f" WITH ORDINALITY AS given ({', '.join(columns)}, ordinal)"
            )
    raise TypeError(f"not a statement: {statement!r}")


def _postgresql_key(statement: Statement) -> str:
    arrays = _arrays(statement.model, statement.key)
    if len(statement.key) == 1:
        return f"{statement.key[0]} = ANY({arrays})"
    return f"({', '.join(statement.key)}) IN (SELECT * FROM unnest({arrays}))"


def _arrays(table: Table, columns: Iterable[str]) -> str:
    return ", ".join(f"%s::{_postgresql_type(table, column)}[]" for column in columns)


def _postgresql_type(table: Table, column: str) -> str:
    match table.c[column].type:
        case BigInteger() | SmallInteger():
            return "bigint"
        case Boolean():
            return "boolean"
        case LargeBinary():
            return "bytea"
        case JSON():
            return "jsonb"
    return "text"


class SQLite(Dialect):
    """The sqlite3 module; a write transaction holds the whole database, so there is nothing to lock by row."""

    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Run one select after the other."""
        return [self._fetch(connection, *request) for request in requests]

    def _fetch(self, connection: Any, statement: Statement, rows: Rows) -> Rows:
        if isinstance(statement, Lock):
            return []
        keys = [row[0] for row in rows] if len(statement.key) == 1 else [list(row) for row in rows]
        found: Rows = connection.execute(_sqlite(statement), (json.dumps(keys),)).fetchall()
        return found

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
        case Select(columns=columns, where=where):
            return f"SELECT {', '.join(columns)} FROM {name} WHERE {_sqlite_key(statement)} AND {where}"
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


def _sqlite_key(statement: Statement) -> str:
    if len(statement.key) == 1:
        return f"{statement.key[0]} IN (SELECT value FROM json_each(?))"
    parts = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(statement.key)))
    return f"({', '.join(statement.key)}) IN (SELECT {parts} FROM json_each(?))"
