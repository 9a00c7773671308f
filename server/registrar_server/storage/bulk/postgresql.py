"""Runs the shapes on PostgreSQL, through psycopg's libpq connection.

Each column is sent as one array (``unnest``), which costs a third less than a VALUES list. All statements of a step are
sent together in libpq's pipeline mode, with one wait for all results. psycopg's own pipeline waits after each
statement, and each wait hands the interpreter to another thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import Connection, OperationalError, abc
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from registrar_server.storage.bulk.postgresql_arrays import parameters
from registrar_server.storage.bulk.postgresql_text import text_of
from registrar_server.storage.bulk.shapes import Append, Dialect, Query, Rows, Statement

Execution = tuple[str, list[bytes]]

BEGIN: Execution = ("BEGIN", [])
DISCARD_PLANS: Execution = ("DISCARD PLANS", [])
COMMIT: Execution = ("COMMIT", [])
ROLLBACK: Execution = ("ROLLBACK", [])

FIRST_PLANS_S = 1.0
"""How long the first plans of a connection are used."""
LATER_PLANS_S = 60.0
"""How long plans are used at most."""
PIECE = 500
"""How many rows are read at once. The interpreter cannot change to another thread meanwhile."""

# Every result is compared with these, and plain numbers compare faster than members of an enum.
_OK = frozenset(map(int, (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)))
_FATAL_ERROR = int(ExecStatus.FATAL_ERROR)
_PIPELINE_SYNC = int(ExecStatus.PIPELINE_SYNC)
_LOST = int(ConnStatus.BAD)


class PostgreSQL(Dialect):
    """psycopg 3. All reads with their BEGIN take one round trip, all writes with their COMMIT another."""

    def read(self, connection: Any, requests: Sequence[tuple[Query[Any], Rows]]) -> list[Rows]:
        """Send all statements, then wait once. Outside of autocommit, the first read begins the transaction."""
        exchange = reading(connection, requests)
        _converse(connection, exchange)
        return exchange.rows()

    def write(
        self,
        connection: Any,
        requests: Sequence[tuple[Statement, Rows]],
        reads: Sequence[tuple[Query[Any], Rows]] = (),
    ) -> list[Rows]:
        """Send all statements with the commit, then wait once. If a statement fails, the commit fails too."""
        exchange = writing(connection, requests, reads)
        _converse(connection, exchange)
        return exchange.rows()


class Exchange:
    """Statements that a connection sends together, and whose results come together.

    Whoever drives the connection starts the exchange with ``send``, calls ``receive`` each time when input has arrived
    until it returns True, and then reads the results with ``check`` or ``rows``. After an error of ``send`` or
    ``receive`` the connection must be closed: a late result would be taken for the result of a later exchange.
    """

    __slots__ = ("_connection", "_executions", "_new", "_pgconn", "_prepared", "_reads", "_results")

    def __init__(
        self,
        connection: Connection[Any],
        reads: Sequence[Execution] = (),
        *,
        before: Sequence[Execution] = (),
        after: Sequence[Execution] = (),
    ) -> None:
        """Send ``reads``, whose rows are wanted, between other statements."""
        self._connection = connection
        self._pgconn = connection.pgconn
        self._reads = slice(len(before), len(before) + len(reads))
        self._executions = [*before, *reads, *after]
        self._prepared = prepared_on(connection).names
        self._new = _new(self._executions, self._prepared)
        self._results: list[PGresult] = []

    def send(self) -> bool:
        """Put all statements into the output buffer, and return whether the network has taken all of them at once."""
        pgconn, prepared = self._pgconn, self._prepared
        names = prepared | self._new if self._new else prepared
        pgconn.enter_pipeline_mode()
        for text, name in self._new.items():
            pgconn.send_prepare(name, text.encode())
        for text, values in self._executions:
            pgconn.send_query_prepared(names[text], values)
        pgconn.pipeline_sync()
        return not pgconn.flush()

    def receive(self) -> bool:
        """Read the input that has arrived without waiting for more, and return whether all results are there."""
        pgconn, results = self._pgconn, self._results
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # The results of a statement end with None, and so does a connection.
                if pgconn.status == _LOST:
                    raise OperationalError("the connection to the database is lost")
            elif result.status == _PIPELINE_SYNC:
                pgconn.exit_pipeline_mode()
                return True
            else:
                results.append(result)
        return False

    def check(self) -> Sequence[PGresult]:
        """Return the results of the reads, or raise the first error of any statement."""
        results = self._results
        # A statement stays prepared even if the transaction fails, but is not prepared after an earlier one failed.
        for (text, name), result in zip(self._new.items(), results, strict=False):
            if result.status in _OK:
                self._prepared[text] = name
        for result in results:
            if result.status not in _OK:
                raise _error_of(result)
        return results[len(self._new) :][self._reads]

    def row_count(self) -> int:
        """Return how many rows the results have."""
        return sum([result.ntuples for result in self._results])

    def rows(self) -> list[Rows]:
        """Return the rows of each read, or raise the first error of any statement."""
        loader = Transformer(self._connection)
        return [_rows(loader, result) for result in self.check()]


def reading(connection: Connection[Any], requests: Iterable[tuple[Query[Any], Rows]]) -> Exchange:
    """Return the exchange that runs selects and locks; outside of autocommit, the first one begins a transaction."""
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return Exchange(connection, _executions(requests))
    before = [DISCARD_PLANS] if prepared_on(connection).plans_are_old() else []
    if not connection.autocommit:
        before.append(BEGIN)
    return Exchange(connection, _executions(requests), before=before)


def writing(
    connection: Connection[Any],
    requests: Sequence[tuple[Statement, Rows]],
    reads: Iterable[tuple[Query[Any], Rows]] = (),
) -> Exchange:
    """Return the exchange that runs inserts and updates, announces appended rows, reads, and commits."""
    writes = [*_executions(requests), *_announcements(requests)]
    return Exchange(connection, _executions(reads), before=writes, after=[COMMIT])


def rolling_back(connection: Connection[Any]) -> Exchange:
    """Return the exchange that rolls a transaction back."""
    return Exchange(connection, before=[ROLLBACK])


class Prepared:
    """The statements that are prepared on a connection, and the age of their plans.

    PostgreSQL makes a plan when a statement is first executed, and makes a new one only after ANALYZE. A plan for empty
    tables reads whole tables, and a load that fills them would become slower with each row. So plans are discarded
    after 1 s, after 2 s more and so on: tables hardly grow to more than twice their size in between. To make the plans
    again takes about 5 ms.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.names: dict[str, bytes] = {}
        """The names of the statements by their texts."""
        self._clock = clock
        self._pause = FIRST_PLANS_S
        self._due = clock() + self._pause

    def plans_are_old(self) -> bool:
        """Return whether to discard the plans now."""
        now = self._clock()
        if now < self._due:
            return False
        self._pause = min(2 * self._pause, LATER_PLANS_S)
        self._due = now + self._pause
        return True


_all_prepared: WeakKeyDictionary[Connection[Any], Prepared] = WeakKeyDictionary()


def prepared_on(connection: Connection[Any]) -> Prepared:
    """Return what is prepared on a connection."""
    try:
        return _all_prepared[connection]
    except KeyError:
        return _all_prepared.setdefault(connection, Prepared())


def _executions(requests: Iterable[tuple[Statement, Rows]]) -> list[Execution]:
    return [(text_of(statement), parameters(statement, rows)) for statement, rows in requests]


def _announcements(requests: Iterable[tuple[Statement, Rows]]) -> Iterator[Execution]:
    for statement, _ in requests:
        if isinstance(statement, Append) and statement.channel:
            yield f"NOTIFY {statement.channel}", []


def _new(executions: Sequence[Execution], prepared: dict[str, bytes]) -> dict[str, bytes]:
    """Return new names of the statements that are not prepared yet, by their texts."""
    new = dict.fromkeys([text for text, _ in executions if text not in prepared], b"")
    return {text: b"registrar_%d" % place for place, text in enumerate(new, start=len(prepared))} if new else new


def _converse(connection: Connection[Any], exchange: Exchange) -> None:
    try:
        connection.wait(_steps(exchange, connection))
    except BaseException:
        connection.close()
        raise


def _steps(exchange: Exchange, connection: Connection[Any]) -> PQGen[None]:
    """Carry an exchange out; yields whenever it has to wait for the connection."""
    sent = exchange.send()
    while not sent:
        # PostgreSQL does not read on while it cannot send results, so take these while statements are sent.
        if (yield Wait.RW) & Ready.R:
            exchange.receive()
        sent = not connection.pgconn.flush()
    yield Wait.R
    while not exchange.receive():
        yield Wait.R


def _error_of(result: PGresult) -> Exception:
    if result.status == _FATAL_ERROR:
        return error_from_result(result, encoding="utf-8")
    return OperationalError(f"unexpected answer from the database: {ExecStatus(result.status).name}")


def _rows(loader: abc.Transformer, result: PGresult) -> Rows:
    loader.set_pgresult(result)
    count = result.ntuples
    rows: list[tuple[Any, ...]] = loader.load_rows(0, min(count, PIECE), tuple)
    for first in range(PIECE, count, PIECE):
        rows += loader.load_rows(first, min(first + PIECE, count), tuple)
    return rows
