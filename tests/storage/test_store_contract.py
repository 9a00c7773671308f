"""What both kinds of stores promise to the ledger and to lookups, on both databases; and what those for threads add."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import psycopg
import pytest

from registrar_server.immediate import complete
from registrar_server.storage.database import Database
from registrar_server.storage.failures import Failure, classify
from registrar_server.storage.stores import BlockingStore, Exchanges
from tests.support.drivers import (
    INSERT_STUDENTS,
    LOCK_STUDENTS,
    SELECT_RESPONSES,
    SELECT_STUDENTS,
    UPDATE_STUDENTS,
    student_row,
)
from tests.support.outages import database_outage
from tests.support.running_stores import RunningStore


@pytest.fixture
def running(database: Database, each_store: str) -> RunningStore:
    """A store of each kind, on a database without students."""
    return RunningStore(database)


async def insert(running: RunningStore, *student_ids: str) -> None:
    """Create students in one transaction."""
    async with running.store.transaction() as transaction:
        await transaction.read({LOCK_STUDENTS: [(one,) for one in student_ids]})
        await transaction.commit((INSERT_STUDENTS, [student_row(one) for one in student_ids]))


async def names(exchanges: Exchanges, *student_ids: str) -> list[str]:
    """Return which of these students exist."""
    found = await exchanges.read({SELECT_STUDENTS: [(one,) for one in student_ids]})
    return sorted(row[0] for row in found[SELECT_STUDENTS])


def stored(running: RunningStore) -> list[str]:
    """Return the students that exist."""
    return running.run(running.store.look(lambda snapshot: names(snapshot, "a", "b", "c")))


class TestTransactions:
    """A transaction changes everything or nothing."""

    def test_a_commit(self, running: RunningStore) -> None:
        """What is committed stays, and the next transaction sees it."""
        running.run(insert(running, "a", "b"))
        running.run(insert(running, "c"))
        assert stored(running) == ["a", "b", "c"]

    def test_what_it_reads(self, running: RunningStore) -> None:
        """Each query has its own rows; a query without parameters finds nothing, and a lock the rows that exist."""

        async def work() -> tuple[Sequence[object], ...]:
            async with running.store.transaction() as transaction:
                nothing = await transaction.read({SELECT_STUDENTS: []})
                found = await transaction.read({SELECT_STUDENTS: [("a",)], SELECT_RESPONSES: [("", "1")]})
                return nothing[SELECT_STUDENTS], [row[0] for row in found[SELECT_STUDENTS]], found[SELECT_RESPONSES]

        running.run(insert(running, "a"))
        assert running.run(work()) == ([], ["a"], [])

    def test_no_commit(self, running: RunningStore) -> None:
        """A transaction that only reads releases its locks at its end."""

        async def read() -> list[str]:
            async with running.store.transaction() as transaction:
                await transaction.read({LOCK_STUDENTS: [("a",)]})
                return await names(transaction, "a")

        running.run(insert(running, "a"))
        for _ in range(3):
            assert running.run(read()) == ["a"]
        update(running)

    @pytest.mark.parametrize("reads", [0, 1, 2])
    def test_an_error(self, running: RunningStore, reads: int) -> None:
        """An error between the reads and the commit is raised as it is, and the store can be used as before."""
        error = ZeroDivisionError()

        async def fail() -> None:
            async with running.store.transaction() as transaction:
                for _ in range(reads):
                    await transaction.read({LOCK_STUDENTS: [("a",)]})
                raise error

        running.run(insert(running, "a"))
        with pytest.raises(ZeroDivisionError) as raised:
            running.run(fail())
        assert raised.value is error
        update(running)

    def test_a_statement_that_fails(self, running: RunningStore) -> None:
        """If the database refuses a write, nothing is changed, and the error says what it refused."""
        with pytest.raises(Exception) as raised:  # noqa: PT011
            running.run(insert(running, "a", "b", "a"))
        assert classify(raised.value) is Failure.TAKEN
        assert stored(running) == []
        running.run(insert(running, "a"))
        assert stored(running) == ["a"]

    def test_an_outage(self, running: RunningStore, database_url: str, request: pytest.FixtureRequest) -> None:
        """Without a database a transaction fails as unavailable, and works again afterwards."""
        running.run(insert(running, "a"))
        with database_outage(database_url, request):
            for _ in range(2):  # A connection from before is lost at first; later ones cannot be opened.
                with pytest.raises(Exception) as raised:  # noqa: PT011
                    running.run(insert(running, "b"))
                assert classify(raised.value) is Failure.UNAVAILABLE
        running.run(insert(running, "c"))
        assert stored(running) == ["a", "c"]


def update(running: RunningStore) -> None:
    """Change the student a, which fails while another transaction still holds its lock."""

    async def work() -> None:
        async with running.store.transaction() as transaction:
            await transaction.read({LOCK_STUDENTS: [("a",)]})
            await transaction.commit((UPDATE_STUDENTS, [("a", "x", None, "[]", None)]))

    running.run(work())


class TestLooking:
    """A read on a snapshot is retried once if the connection was lost."""

    def test_sees_what_is_committed(self, running: RunningStore) -> None:
        """A transaction that is not committed yet neither shows nor blocks."""

        async def work() -> list[str]:
            async with running.store.transaction() as transaction:
                await transaction.read({LOCK_STUDENTS: [("a",)]})
                found = await running.store.look(lambda snapshot: names(snapshot, "a", "b"))
                await transaction.commit((INSERT_STUDENTS, [student_row("b")]))
            return found

        running.run(insert(running, "a"))
        assert running.run(work()) == ["a"]
        assert stored(running) == ["a", "b"]

    @pytest.mark.parametrize(
        ("lost", "tries"), [(0, 1), (1, 2), (2, 2)], ids=["not-lost", "lost-once", "lost-again-and-again"]
    )
    def test_a_lost_connection(self, running: RunningStore, lost: int, tries: int) -> None:
        """The second try has a new connection. If it is lost too, the error is raised and reading counts as failed."""
        tried: list[Exchanges] = []

        async def read(snapshot: Exchanges) -> list[str]:
            tried.append(snapshot)
            if len(tried) <= lost:
                raise psycopg.OperationalError("lost")
            return await names(snapshot, "a")

        running.run(insert(running, "a"))
        if lost < 2:
            assert running.run(running.store.look(read)) == ["a"]
        else:
            with pytest.raises(psycopg.OperationalError):
                running.run(running.store.look(read))
        assert len(tried) == tries
        assert running.store.availability.fails("reading") is (lost == 2)
        assert stored(running) == ["a"]
        assert not running.store.availability.fails("reading")

    def test_another_error(self, running: RunningStore) -> None:
        """Any other error is raised at once."""
        tries: list[Exchanges] = []

        async def read(snapshot: Exchanges) -> None:
            tries.append(snapshot)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            running.run(running.store.look(read))
        assert len(tries) == 1
        assert not running.store.availability.fails("reading")


@pytest.mark.parametrize("microseconds", [1, 100_000])
class TestComputing:
    """A function is called with its arguments, wherever it runs."""

    def test_its_result(self, running: RunningStore, microseconds: int) -> None:
        assert running.run(running.store.compute(microseconds, divmod, 7, 2)) == (3, 1)

    def test_its_error(self, running: RunningStore, microseconds: int) -> None:
        with pytest.raises(ZeroDivisionError):
            running.run(running.store.compute(microseconds, divmod, 7, 0))


class TestBlockingStore:
    """A store for threads does everything in the thread that uses it, at once."""

    def test_pauses_block_the_thread(self, database: Database) -> None:
        """A pause sleeps, unless it only lets others go on, of whom a thread has none."""
        slept: list[float] = []
        store = BlockingStore(database, sleep=slept.append)
        for seconds in (0.5, 0, 0.25):
            complete(store.pause(seconds))
        assert slept == [0.5, 0.25]

    def test_it_needs_no_event_loop(self, database: Database) -> None:
        """Several threads can use one store, each on a connection of its own."""
        store = BlockingStore(database)
        found: list[list[str]] = []

        async def look_and_compute() -> list[str]:
            thread = await store.compute(1_000_000, threading.current_thread)
            return [thread.name, *await store.look(lambda snapshot: names(snapshot, "a"))]

        complete(insert(RunningStore(database), "a"))
        threads = [
            threading.Thread(target=lambda: found.append(complete(look_and_compute())), name=name) for name in "xyz"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [["x", "a"], ["y", "a"], ["z", "a"]]
