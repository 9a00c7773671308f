"""The baseline of a bulk load: COPY of the same rows, from files, into copies of the tables with all indexes.

Each table is copied in a transaction of its own, and their times are added up. Nothing is decided and nothing is
looked up, except for the foreign keys.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.measurements import Sample
from bench.meters import Meter, Usage

ROWS = {
    "enrollments": "SELECT * FROM enrollments",
    "events": "SELECT * FROM events WHERE type = 'STUDENT_ENROLLED'",
    "request_ids": "SELECT * FROM request_ids WHERE length(response) > 0",
}
"""The rows to copy, by table: those of the load, and a few that were stored before it and beside it."""
FOREIGN_KEYS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'"
BLOCK_BYTES = 1 << 20

Connection = psycopg.Connection[Any]


def run(*, source: str, target: str, folder: str, database: int) -> dict[str, Any]:
    """Copy the rows of one database into another and return the sample. Each enrollment counts as a call."""
    files = {table: Path(folder, f"{table}.copy") for table in ROWS}
    with psycopg.connect(source, autocommit=True) as connection:
        for table, file in files.items():
            _export(connection, table, file)
    used: list[Usage] = []
    copied: list[int] = []
    with psycopg.connect(target, autocommit=True) as connection:
        for table, file in files.items():
            rows, usage = _import(connection, table, file, Meter(database=database))
            copied.append(rows)
            used.append(usage)
            file.unlink()
    return _sample(copied, used).as_dict()


def _export(connection: Connection, table: str, file: Path) -> None:
    statement = sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(ROWS[table]))
    with file.open("wb") as out, connection.cursor().copy(statement) as copy:
        for block in copy:
            out.write(block)


def _import(connection: Connection, table: str, file: Path, meter: Meter) -> tuple[int, Usage]:
    """Copy one file into a new table like this one, which is then dropped; return the number of rows."""
    new = create_like(connection, table)
    cursor = connection.cursor()
    meter.begin()
    with file.open("rb") as rows, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(new)) as copy:
        while block := rows.read(BLOCK_BYTES):
            copy.write(block)
    usage = meter.end()
    connection.execute(sql.SQL("DROP TABLE {}").format(new))
    return cursor.rowcount, usage


def create_like(connection: Connection, table: str) -> sql.Identifier:
    """Create an empty table with the columns, the indexes and the constraints of this one, and return its name."""
    new = sql.Identifier(f"copied_{table}")
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(new, sql.Identifier(table)))
    for (key,) in connection.execute(FOREIGN_KEYS, [table]).fetchall():
        connection.execute(sql.SQL("ALTER TABLE {} ADD {}").format(new, sql.SQL(key)))
    return new


def _sample(copied: list[int], used: list[Usage]) -> Sample:
    total, rows = Usage.total(used), copied[0]
    failed = Counter() if copied == [rows] * len(ROWS) else Counter({f"copied {copied} rows": 1})
    sample = Sample.of([usage.seconds for usage in used], total.seconds, failed=failed, **total.per_call(rows))
    return replace(sample, calls_per_s=rows / total.seconds)
