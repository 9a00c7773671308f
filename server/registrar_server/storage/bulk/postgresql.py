"""Runs the shapes on PostgreSQL, through psycopg's libpq connection.

Each column is sent as one array (``unnest``), which costs a third less than a VALUES list. All statements of a step are
sent together in libpq's pipeline mode, with one wait for all results. psycopg's own pipeline waits after each
statement, and each wait hands the interpreter to another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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

from registrar_server.storage.bulk.postgresql_arrays import parameters
from registrar_server.storage.bulk.postgresql_text import text_of
from registrar_server.storage.bulk.shapes import Dialect, Query, Rows, Statement

Execution = tuple[str, list[bytes]]

BEGIN: Execution = ("BEGIN", [])
COMMIT: Execution = ("COMMIT", [])


class PostgreSQL(Dialect):
    """psycopg 3. All reads with their BEGIN take one round trip, all writes with their COMMIT another."""

    def __init__(self) -> None:
        self._prepared: WeakKeyDictionary[Connection[Any], dict[str, bytes]] = WeakKeyDictionary()

    def read(self, connection: Any, requests: Sequence[tuple[Query[Any], Rows]]) -> list[Rows]:
        """Send all statements, then wait once. Outside of autocommit, the first read begins the transaction."""
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        begin = [] if connection.autocommit or not idle else [BEGIN]
        results = self._exchange(connection, [*begin, *_executions(requests)])
        return [_rows(connection, result) for result in results[len(begin) :]]

    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Send all statements with the commit, then wait once. If a statement fails, the commit fails too."""
        self._exchange(connection, [*_executions(requests), COMMIT])

    def _exchange(self, connection: Connection[Any], executions: Sequence[Execution]) -> list[PGresult]:
        """Execute the statements, and return the result of each, or raise the first error."""
        prepared = self._prepared.setdefault(connection, {})
        new = {text: b"registrar_%d" % (len(prepared) + place) for place, text in enumerate(_new(executions, prepared))}
        names = prepared | new
        pgconn = connection.pgconn
        queue = [partial(pgconn.send_prepare, name, text.encode()) for text, name in new.items()]
        queue += [partial(pgconn.send_query_prepared, names[text], values) for text, values in executions]
        results = _converse(connection, queue)
        # A statement stays prepared even if the transaction fails, but is not prepared after an earlier one failed.
        for (text, name), result in zip(new.items(), results, strict=False):
            if result.status == ExecStatus.COMMAND_OK:
                prepared[text] = name
        for result in results:
            _check(result)
        return results[len(new) :]


def _executions(requests: Sequence[tuple[Statement, Rows]]) -> list[Execution]:
    return [(text_of(statement), parameters(statement, rows)) for statement, rows in requests]


def _new(executions: Sequence[Execution], prepared: dict[str, bytes]) -> list[str]:
    return [text for text in dict.fromkeys(text for text, _ in executions) if text not in prepared]


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
        connection.close()  # A late result would be taken for the result of a later one.
        raise
    return results


def _check(result: PGresult) -> None:
    if result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result, encoding="utf-8")
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise OperationalError(f"unexpected answer from the database: {ExecStatus(result.status).name}")


def _results(pgconn: PGconn, count: int) -> PQGen[list[PGresult]]:
    """Flush the output buffer while reading input, then fetch the result of each execution and of the sync."""
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
