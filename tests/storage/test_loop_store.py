"""PostgreSQL in the event loop: transactions, their connections, and what becomes of both when something fails."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text

from registrar_server.storage import engines
from registrar_server.storage.bulk import id_rows
from registrar_server.storage.database import Database
from registrar_server.storage.failures import CommitUncertain, Failure, classify
from registrar_server.storage.loop_store import LONG_US, LoopStore
from registrar_server.storage.stores import BlockingStore, Exchanges
from tests.support.drivers import (
    INSERT_RESPONSES,
    INSERT_STUDENTS,
    LOCK_STUDENTS,
    SELECT_RESPONSES,
    SELECT_STUDENTS,
    UPDATE_STUDENTS,
    student_row,
)
from tests.support.network import Network, network_to
from tests.support.sessions import end_sessions, sessions, wait_until_blocked, wait_until_ended

LIMIT_S = 0.2


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """The server's access to PostgreSQL."""
    database = Database(postgresql_url)
    yield database
    database.close()


@pytest.fixture
async def store(database: Database) -> AsyncIterator[LoopStore]:
    """A store in the event loop of the test."""
    store = LoopStore(database)
    yield store
    await store.close()


@pytest.fixture
def network(postgresql_url: str) -> Iterator[Network]:
    """A network between the server and its database."""
    with network_to(postgresql_url) as network:
        yield network


@pytest.fixture
async def far_store(network: Network) -> AsyncIterator[LoopStore]:
    """A store that reaches its database through the network, and waits for no more than a moment."""
    database = Database(network.url)
    store = LoopStore(database, exchange_timeout=LIMIT_S)
    yield store
    await store.close()
    database.close()


@pytest.fixture
def other_engine(postgresql_url: str) -> Iterator[Engine]:
    """The access of another process."""
    engine = create_engine(postgresql_url)
    yield engine
    engine.dispose()


async def add_students(store: LoopStore | BlockingStore, *student_ids: str) -> None:
    async with store.transaction() as transaction:
        await transaction.read({LOCK_STUDENTS: id_rows(student_ids)})
        await transaction.commit((INSERT_STUDENTS, [student_row(student_id) for student_id in student_ids]))


async def students(store: LoopStore, *student_ids: str) -> list[str]:
    """Return those of these students that exist."""
    async with store.snapshot() as snapshot:
        return await students_in(snapshot, *student_ids)


async def students_in(exchanges: Exchanges, *student_ids: str) -> list[str]:
    found = await exchanges.read({SELECT_STUDENTS: id_rows(student_ids)})
    return sorted(row[0] for row in found[SELECT_STUDENTS])


async def test_a_committed_transaction_is_seen_by_later_ones(store: LoopStore) -> None:
    await add_students(store, "s-1", "s-2")
    assert await students(store, "s-1", "s-2", "s-3") == ["s-1", "s-2"]


async def test_a_transaction_without_a_commit_is_rolled_back_and_its_connection_kept(
    store: LoopStore, postgresql_url: str, other_engine: Engine
) -> None:
    await add_students(store, "s-1")
    before = await asyncio.to_thread(sessions, postgresql_url)
    async with store.transaction() as transaction:
        await transaction.read({LOCK_STUDENTS: id_rows(["s-1"])})
    with other_engine.begin() as other:
        other.execute(text("SELECT 1 FROM students FOR UPDATE NOWAIT"))
    await add_students(store, "s-2")
    assert before <= await asyncio.to_thread(sessions, postgresql_url)


async def test_a_failed_statement_fails_its_transaction_alone(store: LoopStore, postgresql_url: str) -> None:
    await add_students(store, "s-1")
    before = await asyncio.to_thread(sessions, postgresql_url)
    with pytest.raises(Exception, match="duplicate key") as failed:
        await add_students(store, "s-1")
    assert classify(failed.value) is Failure.TAKEN
    await add_students(store, "s-2")
    assert await asyncio.to_thread(sessions, postgresql_url) == before, "the same connection is used again"


async def test_a_read_without_parameters_asks_nothing(far_store: LoopStore, network: Network) -> None:
    assert await students(far_store, "s-1") == []
    network.stop()
    assert await students(far_store) == []
    network.resume()


async def test_many_rows_in_both_directions_at_once(store: LoopStore) -> None:
    """The database sends results of one statement while it still receives the next ones."""
    responses = [("", f"r-{number}", b"", b"x" * 100_000, 0) for number in range(40)]
    async with store.transaction() as transaction:
        await transaction.commit((INSERT_RESPONSES, responses))
    unknown = [f"{number:0100}" for number in range(40_000)]
    async with store.snapshot() as snapshot:
        found = await snapshot.read(
            {
                SELECT_RESPONSES: [row[:2] for row in responses],
                LOCK_STUDENTS: id_rows(unknown),
                SELECT_STUDENTS: id_rows(unknown),
            }
        )
    assert len(found[SELECT_RESPONSES]) == 40
    assert found[SELECT_STUDENTS] == []


async def test_other_work_goes_on_while_a_statement_waits_for_a_lock(
    store: LoopStore, postgresql_url: str, other_engine: Engine
) -> None:
    await add_students(store, "s-1")
    with other_engine.connect() as other:
        other.execute(text("SELECT 1 FROM students FOR UPDATE"))
        waiting = asyncio.create_task(update(store, "s-1"))
        await asyncio.to_thread(wait_until_blocked, postgresql_url)
        await add_students(store, "s-2")
        assert not waiting.done()
        other.rollback()
        await waiting


async def update(store: LoopStore, student_id: str) -> None:
    async with store.transaction() as transaction:
        await transaction.commit((UPDATE_STUDENTS, [(student_id, "Ada", None, "[]", None)]))


async def test_a_cancelled_transaction_closes_its_connection(
    store: LoopStore, postgresql_url: str, other_engine: Engine
) -> None:
    await add_students(store, "s-1")
    with other_engine.connect() as other:
        other.execute(text("SELECT 1 FROM students FOR UPDATE"))
        waiting = asyncio.create_task(update(store, "s-1"))
        await asyncio.to_thread(wait_until_blocked, postgresql_url)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other.rollback()
    assert await students(store, "s-1") == ["s-1"]
    await add_students(store, "s-2")


async def test_a_transaction_that_is_cancelled_between_its_statements_is_rolled_back(
    store: LoopStore, other_engine: Engine
) -> None:
    await add_students(store, "s-1")
    reads = asyncio.Event()

    async def read_and_wait() -> None:
        async with store.transaction() as transaction:
            await transaction.read({LOCK_STUDENTS: id_rows(["s-1"])})
            reads.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(read_and_wait())
    await reads.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with other_engine.begin() as other:
        await asyncio.to_thread(other.execute, text("SELECT 1 FROM students FOR UPDATE"))


async def test_a_connection_whose_caller_left_while_it_was_made_is_closed(
    database: Database, postgresql_url: str
) -> None:
    store = LoopStore(database)
    asking = asyncio.create_task(students(store, "s-1"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await students(store, "s-1") == []
    await store.close()
    await asyncio.to_thread(wait_until_ended, postgresql_url)


async def test_a_connection_that_is_made_while_the_store_closes_is_closed(
    database: Database, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun, goes_on = LoopStore(database), threading.Event(), threading.Event()
    connect = database.looker.raw_connection

    def connect_slowly() -> Any:
        begun.set()
        goes_on.wait(10)
        return connect()

    monkeypatch.setattr(database.looker, "raw_connection", connect_slowly)
    asking = asyncio.create_task(students(store, "s-1"))
    await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.05)
    goes_on.set()
    await closing
    await asyncio.to_thread(wait_until_ended, postgresql_url)


async def test_an_unanswered_read_ends_within_the_limit_and_can_be_repeated(
    far_store: LoopStore, network: Network
) -> None:
    assert await students(far_store, "s-1") == []
    network.stop()
    with pytest.raises(Exception, match=r"no answer from the database within 0\.2 s") as failed:
        await students(far_store, "s-1")
    assert classify(failed.value) is Failure.UNAVAILABLE
    network.resume()
    assert await students(far_store, "s-1") == []


async def test_an_unanswered_commit_is_uncertain(far_store: LoopStore, network: Network) -> None:
    await add_students(far_store, "s-1")
    async with far_store.transaction() as transaction:
        assert await students_in(transaction, "s-1") == ["s-1"]
        network.stop()
        with pytest.raises(CommitUncertain):
            await transaction.commit((INSERT_STUDENTS, [student_row("s-2")]))
    network.resume()
    await add_students(far_store, "s-3")


async def test_a_commit_that_the_network_does_not_take_is_uncertain(far_store: LoopStore, network: Network) -> None:
    """More is sent than the buffers of all sockets hold."""
    large = [("", f"r-{number}", b"", b"x" * 1_000_000, 0) for number in range(16)]
    async with far_store.transaction() as transaction:
        await transaction.read({LOCK_STUDENTS: id_rows(["s-1"])})
        network.stop()
        with pytest.raises(CommitUncertain):
            await transaction.commit((INSERT_RESPONSES, large))
    network.resume()
    await add_students(far_store, "s-1")


async def test_a_rollback_that_is_not_answered_closes_the_connection(far_store: LoopStore, network: Network) -> None:
    async with far_store.transaction() as transaction:
        await students_in(transaction, "s-1")
        network.stop()
    network.resume()
    await add_students(far_store, "s-1")


async def test_a_connection_that_is_cut_during_a_commit_is_uncertain(
    far_store: LoopStore, network: Network, postgresql_url: str, other_engine: Engine
) -> None:
    await add_students(far_store, "s-1")
    with other_engine.connect() as other:
        other.execute(text("SELECT 1 FROM students FOR UPDATE"))
        writing = asyncio.create_task(update(far_store, "s-1"))
        await asyncio.to_thread(wait_until_blocked, postgresql_url)
        network.cut()
        with pytest.raises(CommitUncertain):
            await writing
        other.rollback()
    await add_students(far_store, "s-2")


async def test_a_session_that_the_database_ends_fails_its_statement(
    store: LoopStore, postgresql_url: str, other_engine: Engine
) -> None:
    await add_students(store, "s-1")
    with other_engine.connect() as other:
        other.execute(text("SELECT 1 FROM students FOR UPDATE"))

        async def lock() -> None:
            async with store.transaction() as transaction:
                await transaction.read({LOCK_STUDENTS: id_rows(["s-1"])})

        waiting = asyncio.create_task(lock())
        await asyncio.to_thread(wait_until_blocked, postgresql_url)
        await asyncio.to_thread(end_sessions, postgresql_url)
        with pytest.raises(Exception, match=r"terminat|closed") as failed:
            await waiting
        assert classify(failed.value) is Failure.UNAVAILABLE
        other.invalidate()
    await add_students(store, "s-2")


async def test_connections_that_the_database_closed_while_idle_are_replaced_without_a_failure(
    store: LoopStore, postgresql_url: str
) -> None:
    await add_students(store, "s-1")
    assert await students(store, "s-1") == ["s-1"]
    await asyncio.to_thread(end_sessions, postgresql_url)
    await add_students(store, "s-2")
    assert await students(store, "s-1", "s-2") == ["s-1", "s-2"]


async def test_a_transaction_whose_session_ended_between_its_statements_fails_for_certain(
    store: LoopStore, postgresql_url: str
) -> None:
    """The event loop hears of it, so it sends nothing, and the batch may run again."""
    async with store.transaction() as transaction:
        await students_in(transaction, "s-1")
        await asyncio.to_thread(end_sessions, postgresql_url)
        connection: Any = transaction
        while connection.is_open:  # The event loop hears of the end soon after the database has ended the session.
            await asyncio.to_thread(sessions, postgresql_url)
        with pytest.raises(psycopg.OperationalError, match="lost") as failed:
            await transaction.commit((INSERT_STUDENTS, [student_row("s-1")]))
    assert classify(failed.value) is Failure.UNAVAILABLE
    await add_students(store, "s-1")


async def test_connections_are_replaced_after_a_reconnect(
    store: LoopStore, database: Database, postgresql_url: str
) -> None:
    await add_students(store, "s-1")
    before = await asyncio.to_thread(sessions, postgresql_url)
    await asyncio.to_thread(database.reconnect)
    await add_students(store, "s-2")
    await asyncio.to_thread(wait_until_ended, postgresql_url, before)


async def test_transactions_at_once_use_a_connection_each(store: LoopStore) -> None:
    async with store.transaction() as first, store.transaction() as second:
        assert await students_in(first, "s-1") == await students_in(second, "s-1") == []
        await first.commit((INSERT_STUDENTS, [student_row("s-1")]))
        assert await students_in(second, "s-1") == ["s-1"]


async def test_more_transactions_than_connections_are_refused_after_a_while(
    monkeypatch: pytest.MonkeyPatch, postgresql_url: str
) -> None:
    monkeypatch.setattr(engines, "CONNECT_TIMEOUT_S", 0.05)
    database = Database(f"{postgresql_url}?connect_timeout=5", writers=1)
    store = LoopStore(database)
    async with store.transaction(), store.transaction():
        with pytest.raises(Exception, match="QueuePool") as failed:
            async with store.transaction():
                pass
    assert classify(failed.value) is Failure.UNAVAILABLE
    await store.close()
    database.close()


async def test_threads_use_the_connections_that_the_event_loop_does_not(store: LoopStore, database: Database) -> None:
    """The pool has a connection for each lane and one for housekeeping."""
    async with store.transaction() as first, store.transaction() as second:
        await first.read({LOCK_STUDENTS: id_rows(["s-1"])})
        await second.read({LOCK_STUDENTS: id_rows(["s-2"])})

        def add() -> None:
            with database.transaction() as transaction:
                transaction.commit((INSERT_STUDENTS, [student_row("s-3")]))

        await asyncio.to_thread(add)
    assert await students(store, "s-3") == ["s-3"]


async def test_long_work_runs_in_a_thread(store: LoopStore) -> None:
    mine = threading.get_ident()
    assert await store.compute(LONG_US - 1, threading.get_ident) == mine
    assert await store.compute(LONG_US, threading.get_ident) != mine


async def test_connections_are_made_while_the_threads_of_the_event_loop_are_busy(store: LoopStore) -> None:
    released = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        asyncio.get_running_loop().set_default_executor(busy)
        working = asyncio.create_task(asyncio.to_thread(released.wait))
        await add_students(store, "s-1")
        released.set()
        await working


async def test_a_closed_store_leaves_no_connection(database: Database, postgresql_url: str) -> None:
    """A socket that nobody closed would be a warning, and warnings are errors."""
    store = LoopStore(database)
    await add_students(store, "s-1")
    assert await students(store, "s-1") == ["s-1"]
    await store.close()
    await asyncio.to_thread(wait_until_ended, postgresql_url)
    gc.collect()
