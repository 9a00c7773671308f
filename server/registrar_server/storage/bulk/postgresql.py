"""Runs the shapes on PostgreSQL, through psycopg's libpq connection.

Each column is sent as one array (``unnest``), which costs a third less than a VALUES list. All statements of a step are
sent together in libpq's pipeline mode, with one wait for all results. psycopg's own pipeline waits after each
statement, and each wait hands the interpreter to another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
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
ROLLBACK: Execution = ("ROLLBACK", [])


class PostgreSQL(Dialect):
    """psycopg 3. All reads with their BEGIN take one round trip, all writes with their COMMIT another."""

    def read(self, connection: Any, requests: Sequence[tuple[Query[Any], Rows]]) -> list[Rows]:
        """Send all statements, then wait once. Outside of autocommit, the first read begins the transaction."""
        exchange = reading(connection, requests)
        return exchange.rows(_converse(connection, exchange))

    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Send all statements with the commit, then wait once. If a statement fails, the commit fails too."""
        exchange = writing(connection, requests)
        exchange.check(_converse(connection, exchange))


class Exchange:
    """Statements that a connection sends together, and whose results come together.

    Whoever drives the connection starts the exchange with ``send``, runs ``fetch`` to its end, and reads the results
    with ``check`` or ``rows``.
    """

    def __init__(self, connection: Connection[Any], executions: Sequence[Execution], *, begins: bool = False) -> None:
        self._connection = connection
        self._begins = begins
        self._executions = [BEGIN, *executions] if begins else executions
        self._prepared = _prepared_on(connection)
        self._new = {
            text: b"registrar_%d" % (len(self._prepared) + place)
            for place, text in enumerate(_new(self._executions, self._prepared))
        }

    def send(self) -> None:
        """Put all statements into the output buffer of the connection."""
        pgconn = self._connection.pgconn
        names = self._prepared | self._new if self._new else self._prepared
        pgconn.enter_pipeline_mode()
        for text, name in self._new.items():
            pgconn.send_prepare(name, text.encode())
        for text, values in self._executions:
            pgconn.send_query_prepared(names[text], values)
        pgconn.pipeline_sync()

    def fetch(self) -> PQGen[list[PGresult]]:
        """Send the buffered output and fetch all results; yields whenever it has to wait for the connection."""
        pgconn = self._connection.pgconn
        results = yield from _results(pgconn, len(self._new) + len(self._executions))
        pgconn.exit_pipeline_mode()
        return results

    def check(self, results: Sequence[PGresult]) -> Sequence[PGresult]:
        """Return the results of the statements, or raise the first error."""
        # A statement stays prepared even if the transaction fails, but is not prepared after an earlier one failed.
        for (text, name), result in zip(self._new.items(), results, strict=False):
            if result.status == ExecStatus.COMMAND_OK:
                self._prepared[text] = name
        for result in results:
            _check(result)
        return results[len(self._new) + self._begins :]

    def rows(self, results: Sequence[PGresult]) -> list[Rows]:
        """Return the rows of each statement, or raise the first error."""
        return [_rows(self._connection, result) for result in self.check(results)]


def reading(connection: Connection[Any], requests: Sequence[tuple[Query[Any], Rows]]) -> Exchange:
    """Return the exchange that runs selects and locks; outside of autocommit, the first one begins a transaction."""
    idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
    return Exchange(connection, _executions(requests), begins=idle and not connection.autocommit)


def writing(connection: Connection[Any], requests: Sequence[tuple[Statement, Rows]]) -> Exchange:
    """Return the exchange that runs inserts and updates and commits."""
    return Exchange(connection, [*_executions(requests), COMMIT])


def rolling_back(connection: Connection[Any]) -> Exchange:
    """Return the exchange that rolls a transaction back."""
    return Exchange(connection, [ROLLBACK])


_all_prepared: WeakKeyDictionary[Connection[Any], dict[str, bytes]] = WeakKeyDictionary()


def _prepared_on(connection: Connection[Any]) -> dict[str, bytes]:
    """Return the names of the statements that are prepared on a connection, by their texts."""
    return _all_prepared.setdefault(connection, {})


def _executions(requests: Sequence[tuple[Statement, Rows]]) -> list[Execution]:
    return [(text_of(statement), parameters(statement, rows)) for statement, rows in requests]


def _new(executions: Sequence[Execution], prepared: dict[str, bytes]) -> list[str]:
    return [text for text in dict.fromkeys(text for text, _ in executions) if text not in prepared]


def _converse(connection: Connection[Any], exchange: Exchange) -> list[PGresult]:
    try:
        exchange.send()
        return connection.wait(exchange.fetch())
    except BaseException:
        connection.close()  # A late result would be taken for the result of a later one.
        raise


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
