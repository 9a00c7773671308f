"""The shapes in PostgreSQL's words, and how they travel.

Each column travels as one array (``unnest``), which costs a third less than a VALUES list. It travels in the text form
that the database reads itself: one join per column instead of one conversion per value, and one type per parameter, so
that every statement is prepared exactly once on a connection.

All statements of a step are sent in one go, in libpq's pipeline mode, and waited for once. psycopg's own pipeline waits
after each, which in a busy process means giving up the interpreter a dozen times per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait
from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, SmallInteger, Table
from sqlalchemy.types import JSON

from registrar_server.storage.bulk.shapes import Append, Dialect, Heads, Insert, Lock, Rows, Select, Statement, Update

Command = tuple[str, list[bytes]]

BEGIN: Command = ("BEGIN", [])
COMMIT: Command = ("COMMIT", [])


class PostgreSQL(Dialect):
    """psycopg 3: all reads with their BEGIN are one round trip, all writes with their COMMIT another."""

    def __init__(self) -> None:
        self._prepared: WeakKeyDictionary[Connection[Any], dict[str, bytes]] = WeakKeyDictionary()

    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Send everything, then wait once; outside of autocommit the first read begins the transaction."""
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        begin = [] if connection.autocommit or not idle else [BEGIN]
        results = self._exchange(connection, [*begin, *(_command(*request) for request in requests)])
        return [_rows(connection, result) for result in results[len(begin) :]]

    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Send everything with the commit, then wait once; a statement that fails takes the commit with it."""
        self._exchange(connection, [*(_command(*request) for request in requests), COMMIT])

    def _exchange(self, connection: Connection[Any], commands: Sequence[Command]) -> list[PGresult]:
        """Send the commands, and return the result of each or raise the first error."""
        prepared = self._prepared.setdefault(connection, {})
        new = {text: b"registrar_%d" % (len(prepared) + place) for place, text in enumerate(_new(commands, prepared))}
        names = prepared | new
        pgconn = connection.pgconn
        queue = [partial(pgconn.send_prepare, name, text.encode()) for text, name in new.items()]
        queue += [partial(pgconn.send_query_prepared, names[text], values) for text, values in commands]
        results = _converse(connection, queue)
        # A statement is prepared whatever becomes of the transaction, but not once an earlier one has failed.
        for (text, name), result in zip(new.items(), results, strict=False):
            if result.status == ExecStatus.COMMAND_OK:
                prepared[text] = name
        for result in results:
            _check(result)
        return results[len(new) :]


def _new(commands: Sequence[Command], prepared: dict[str, bytes]) -> list[str]:
    return [text for text in dict.fromkeys(text for text, _ in commands) if text not in prepared]


def _converse(connection: Connection[Any], queue: Sequence[Callable[[], None]]) -> list[PGresult]:
    pgconn = connection.pgconn
    try:
        pgconn.enter_pipeline_mode()
        for send in queue:
            send()
        pgconn.pipeline_sync()
        results = connection.wait(_results(pgconn, len(queue)))
        pgconn.exit_pipeline_mode()
    except BaseException:
        connection.close()  # What may still arrive on it would be taken for the answer to something else.
        raise
    return results


def _check(result: PGresult) -> None:
    if result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result, encoding="utf-8")
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise OperationalError(f"unexpected answer from the database: {ExecStatus(result.status).name}")


def _results(pgconn: PGconn, count: int) -> PQGen[list[PGresult]]:
    """Send what is buffered, while taking what arrives; then take the result of each command and of the sync."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[PGresult] = []
    for _ in range(count):
        results.extend((yield from fetch_many(pgconn)))
    yield from fetch_many(pgconn)
    return results


def _rows(connection: Connection[Any], result: PGresult) -> Rows:
    loader = Transformer(connection)
    loader.set_pgresult(result)
    rows: Rows = loader.load_rows(0, result.ntuples, tuple)
    return rows


def _command(statement: Statement, rows: Rows) -> Command:
    columns = zip(_writers(statement), zip(*rows, strict=True), strict=True)
    arrays = [write(column).encode() for write, column in columns]
    if isinstance(statement, Append):
        arrays.insert(0, b"%d" % len(rows))
    return _text(statement), arrays


@cache
def _writers(statement: Statement) -> tuple[Callable[[Sequence[Any]], str], ...]:
    """Return what writes each column of a statement's rows as an array literal."""
    match statement:
        case Insert(columns=columns) | Append(columns=columns):
            given = [statement.model.c[column] for column in columns]
        case Update(key=key, columns=columns):
            given = [statement.model.c[column] for column in (*key, *columns)]
        case Lock(heads=Heads()):
            return (_array_of_text, _array_of_text, _array)
        case Heads():
            return (_array_of_text, _array)
        case _:
            given = [statement.model.c[column] for column in statement.key]
    return tuple(_array if _type(column) in ("bigint", "boolean") else _array_of_text for column in given)


def _array(values: Sequence[Any]) -> str:
    """Write numbers or truth values, or None, as an array literal."""
    return f"{{{','.join(map(str, values))}}}".replace("None", "NULL")


def _array_of_text(values: Sequence[Any]) -> str:
    """Write what needs quotes, or None, as an array literal."""
    try:
        joined = '","'.join(values)
    except TypeError:
        joined = ""
    # Ids, names and states seldom need escapes: then the only quotes are those of the joints.
    if joined and "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
        return f'{{"{joined}"}}'
    return f"{{{','.join(map(_quoted, values))}}}"


def _quoted(value: str | bytes | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@cache
def _text(statement: Statement) -> str:
    table, name = statement.model, statement.table
    key = ", ".join(statement.key)
    match statement:
        case Select(columns=columns, computed=computed, where=where):
            shown = ", ".join((*(_shown(statement.column(column)) for column in columns), *computed))
            return f"SELECT {shown} FROM {name}{_joined(statement)} WHERE {_key(statement)} AND {where}"
        case Heads(columns=columns):
            shown = ", ".join(_shown(table.c[column], "head") for column in columns)
            return _heads(statement, shown, f"unnest({_arrays(table, statement.key)}, $2::bigint[])")
        case Lock(heads=None):
            return f"SELECT {key} FROM {name} WHERE {_key(statement)} ORDER BY {key} FOR NO KEY UPDATE"
        case Lock(heads=Heads() as heads):
            group = f"unnest({_arrays(heads.model, heads.key, first=2)}, $3::bigint[])"
            # As an array, what is to be locked is known before the locking starts, and is looked up by the key's index.
            wanted = f"SELECT unnest({_arrays(table, statement.key)}) UNION ALL {_heads(heads, f'head.{key}', group)}"
            return f"SELECT {key} FROM {name} WHERE {key} = ANY(ARRAY({wanted})) ORDER BY {key} FOR NO KEY UPDATE"
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
                f"WITH raised AS (UPDATE {counter} SET {number} = {number} + $1::bigint RETURNING {number})"
                f" INSERT INTO {name} ({number}, {', '.join(columns)})"
                f" SELECT raised.{number} - $1::bigint + given.ordinal, {', '.join(f'given.{c}' for c in columns)}"
                f" FROM raised, unnest({_arrays(table, columns, first=2)})"
                f" WITH ORDINALITY AS given ({', '.join(columns)}, ordinal)"
            )
    raise TypeError(f"not a statement: {statement!r}")


def _joined(select: Select) -> str:
    """Join row by row: OFFSET 0 keeps the planner from reading the whole second table for the sake of a few rows."""
    if not select.join:
        return ""
    match = f"{select.join}.{select.using} = {select.table}.{select.using}"
    return f" CROSS JOIN LATERAL (SELECT * FROM {select.join} WHERE {match} OFFSET 0) AS {select.join}"


def _heads(heads: Heads, shown: str, given: str) -> str:
    (key,) = heads.key
    of_group = f"{heads.table}.{key} = {heads.groups}.{key} AND {heads.where}"
    head = f"SELECT * FROM {heads.table} WHERE {of_group} ORDER BY {heads.order} LIMIT {heads.limit}"
    groups = f"{given} AS given ({key}, number) JOIN {heads.groups} ON {heads.groups}.{key} = given.{key}"
    return f"SELECT {shown} FROM {groups} CROSS JOIN LATERAL ({head}) AS head WHERE {heads.limit} > 0"


def _key(statement: Statement) -> str:
    arrays = _arrays(statement.model, statement.key)
    if len(statement.key) == 1:
        return f"{statement.key[0]} = ANY({arrays})"
    return f"({', '.join(statement.key)}) IN (SELECT * FROM unnest({arrays}))"


def _arrays(table: Table, columns: Iterable[str], first: int = 1) -> str:
    return ", ".join(f"${place}::{_type(table.c[column])}[]" for place, column in enumerate(columns, start=first))


def _shown(column: Column[Any], source: str = "") -> str:
    """Show documents as the text that the ledger reads."""
    return f"{source or column.table}.{column.name}{'::text' if _type(column) == 'jsonb' else ''}"


def _type(column: Column[Any]) -> str:
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
