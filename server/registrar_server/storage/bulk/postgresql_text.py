"""The text of each shape for PostgreSQL, with one array parameter per column."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, singledispatch
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, SmallInteger, Table
from sqlalchemy.types import JSON

from registrar_server.storage.bulk.shapes import Append, Heads, Insert, Lock, Select, Statement, Update


@cache
def text_of(statement: Statement) -> str:
    """Return the text of a statement, which is the same for any rows."""
    return _render(statement)


def type_name(column: Column[Any]) -> str:
    """Return the PostgreSQL type of a column."""
    match column.type:
        case BigInteger() | SmallInteger():
            return "bigint"
        case Boolean():
            return "boolean"
        case LargeBinary():
            return "bytea"
        case JSON():
            return "jsonb"
    return "text"


@singledispatch
def _render(statement: Statement) -> str:
    raise TypeError(f"not a statement: {statement!r}")


@_render.register(Select)
def _select(select: Select[Any]) -> str:
    computed = "".join(f", {expression}" for expression in select.computed.values())
    found = f"SELECT {_columns(select)}{computed} FROM {select.table}{_joined(select)}"
    return f"{found} WHERE {_key(select)} AND {select.where}"


def _columns(select: Select[Any]) -> str:
    return ", ".join(_shown(select.column(column)) for column in select.columns)


def _joined(select: Select[Any]) -> str:
    if not select.join:
        return ""
    match = f"{select.join}.{select.using} = {select.table}.{select.using}"
    # OFFSET 0 makes the planner join row by row, instead of reading the whole second table for a few rows.
    return f" CROSS JOIN LATERAL (SELECT * FROM {select.join} WHERE {match} OFFSET 0) AS {select.join}"


@_render.register(Heads)
def _heads(heads: Heads[Any]) -> str:
    shown = ", ".join(_shown(heads.model.c[column], "head") for column in heads.columns)
    return _heads_of(heads, shown, first=1)


def _heads_of(heads: Heads[Any], shown: str, first: int) -> str:
    (key,) = heads.key
    numbers = "".join(f", ${place}::bigint[]" for place, _ in enumerate(heads.given, start=first + 1))
    given = f"unnest({_arrays(heads.model, heads.key, first)}{numbers}) AS given ({', '.join((key, *heads.given))})"
    of_group = f"{heads.table}.{key} = {heads.groups}.{key} AND {heads.where}"
    head = f"SELECT * FROM {heads.table} WHERE {of_group} ORDER BY {heads.order} LIMIT {heads.limit}"
    groups = f"{given} JOIN {heads.groups} ON {heads.groups}.{key} = given.{key}"
    return f"SELECT {shown} FROM {groups} CROSS JOIN LATERAL ({head}) AS head WHERE {heads.limit} > 0"


@_render.register(Lock)
def _lock(lock: Lock[Any]) -> str:
    key = ", ".join(lock.key)
    condition = _key(lock)
    if lock.heads is not None:
        heads = _heads_of(lock.heads, f"head.{key}", first=2)
        # As one array, all keys are known before the first lock is taken, and the planner looks them up by index.
        condition = f"{key} = ANY(ARRAY(SELECT unnest({_arrays(lock.model, lock.key)}) UNION ALL {heads}))"
    return f"SELECT {_columns(lock)} FROM {lock.table} WHERE {condition} ORDER BY {key} FOR NO KEY UPDATE"


@_render.register(Insert)
def _insert(insert: Insert) -> str:
    columns = ", ".join(insert.columns)
    return f"INSERT INTO {insert.table} ({columns}) SELECT * FROM unnest({_arrays(insert.model, insert.columns)})"


@_render.register(Update)
def _update(update: Update) -> str:
    given = (*update.key, *update.columns)
    values = f"unnest({_arrays(update.model, given)}) AS given ({', '.join(given)})"
    assignments = ", ".join(f"{column} = given.{column}" for column in update.columns)
    matches = " AND ".join(f"{update.table}.{column} = given.{column}" for column in update.key)
    return f"UPDATE {update.table} SET {assignments} FROM {values} WHERE {matches}"


@_render.register(Append)
def _append(append: Append) -> str:
    number, columns = append.number, append.columns
    return (
        f"WITH raised AS (UPDATE {append.counter} SET {number} = {number} + $1::bigint RETURNING {number})"
        f" INSERT INTO {append.table} ({number}, {', '.join(columns)})"
        f" SELECT raised.{number} - $1::bigint + given.ordinal, {', '.join(f'given.{column}' for column in columns)}"
        f" FROM raised, unnest({_arrays(append.model, columns, first=2)})"
        f" WITH ORDINALITY AS given ({', '.join(columns)}, ordinal)"
    )


def _key(statement: Statement) -> str:
    arrays = _arrays(statement.model, statement.key)
    if len(statement.key) == 1:
        return f"{statement.key[0]} = ANY({arrays})"
    return f"({', '.join(statement.key)}) IN (SELECT * FROM unnest({arrays}))"


def _arrays(table: Table, columns: Iterable[str], first: int = 1) -> str:
    return ", ".join(f"${place}::{type_name(table.c[column])}[]" for place, column in enumerate(columns, start=first))


def _shown(column: Column[Any], source: str = "") -> str:
    """Return a column as it is selected: documents as their text."""
    return f"{source or column.table}.{column.name}{'::text' if type_name(column) == 'jsonb' else ''}"
