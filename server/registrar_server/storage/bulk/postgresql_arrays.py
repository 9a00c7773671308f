"""The parameters of each shape for PostgreSQL: one array literal per column.

An array in the text form that PostgreSQL reads itself costs one join per column, where psycopg's own arrays cost one
conversion per value. Each parameter has one type, so every statement is prepared once on a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from registrar_server.storage.bulk.postgresql_text import type_name
from registrar_server.storage.bulk.shapes import Append, Heads, Insert, Lock, Rows, Statement, Update


def parameters(statement: Statement, rows: Rows) -> list[bytes]:
    """Return the parameters of a statement for these rows."""
    columns = zip(_writers(statement), zip(*rows, strict=True), strict=True)
    arrays = [write(column).encode() for write, column in columns]
    if isinstance(statement, Append):
        arrays.insert(0, b"%d" % len(rows))
    return arrays


@cache
def _writers(statement: Statement) -> tuple[Callable[[Sequence[Any]], str], ...]:
    """Return the function that writes each column of a statement's rows."""
    match statement:
        case Insert(columns=columns) | Append(columns=columns):
            given = columns
        case Update(key=key, columns=columns):
            given = (*key, *columns)
        case Lock(heads=Heads(given=numbers)):
            return (_array_of_text, _array_of_text, *(_array for _ in numbers))
        case Heads(given=numbers):
            return (_array_of_text, *(_array for _ in numbers))
        case _:
            given = statement.key
    types = (type_name(statement.model.c[column]) for column in given)
    return tuple(_array if name in ("bigint", "boolean") else _array_of_text for name in types)


def _array(values: Sequence[Any]) -> str:
    """Write numbers, truth values or None as an array literal."""
    first = values[0]
    # Most columns of a large batch have one value, such as the time, and to write it once saves most of the work.
    texts = [str(first)] * len(values) if values.count(first) == len(values) else map(str, values)
    return f"{{{','.join(texts)}}}".replace("None", "NULL")


def _array_of_text(values: Sequence[Any]) -> str:
    """Write text, bytes or None as an array literal."""
    try:
        joined = '","'.join(values)
    except TypeError:
        joined = ""
    # Ids, names and states rarely need escapes. Then the only quotes are those between the values.
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
