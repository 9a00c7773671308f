"""PostgreSQL in the event loop with TLS.

libpq may take a part of a record from the layer of encryption, and the rest of the record does not make the socket
readable again. PostgreSQL 17 and poolers fill records up to 16 KB, libpq reads 8 KB at least.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from registrar_server import migrate
from registrar_server.storage.database import Database
from registrar_server.storage.loop_store import LoopStore
from tests.support.certificates import Certificates
from tests.support.databases import execute
from tests.support.drivers import INSERT_RESPONSES, SELECT_RESPONSES
from tests.support.network import encryption_of, network_to
from tests.support.postgres import Cluster

ROW_BYTES = 350
ROWS = 120
ENCRYPTED = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = 'encrypted'"


@pytest.fixture(scope="module")
def encrypted_url(cluster: Cluster, certificates: Certificates) -> Iterator[str]:
    """A database that encrypts its connections."""
    if not execute(cluster.url("postgres"), "SHOW ssl_library")[0][0]:
        pytest.skip("this build of PostgreSQL has no TLS")
    with Cluster(durable=False, certificates=certificates) as encrypted:
        url = encrypted.create_database("encrypted")
        migrate.upgrade(url)
        yield f"{url}?sslmode=require"


@pytest.fixture(params=["by PostgreSQL", "in full records"])
def url(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[str]:
    """A database with TLS, either PostgreSQL's own or that of a pooler that sends each answer in full records."""
    if request.param == "by PostgreSQL":
        yield request.getfixturevalue("encrypted_url")
        return
    encryption = encryption_of(certificates.server, certificates.server_key)
    with network_to(request.getfixturevalue("postgresql_url"), encryption) as network:
        yield network.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[LoopStore]:
    """A store whose exchanges fail soon if it does not notice that a result has arrived."""
    database = Database(url)
    store = LoopStore(database, exchange_timeout=2)
    yield store
    await store.close()
    database.close()


async def insert(store: LoopStore, count: int, size: int) -> list[tuple[str, str]]:
    """Insert responses of this many bytes, and return their keys."""
    name = f"{asyncio.get_running_loop().time()}"
    rows = [("", f"{name}-{number}", b"", b"x" * size, 0) for number in range(count)]
    async with store.transaction() as transaction:
        await transaction.commit((INSERT_RESPONSES, rows))
    return [row[:2] for row in rows]


async def count(store: LoopStore, *keys: tuple[str, str]) -> int:
    async with store.snapshot() as snapshot:
        return len((await snapshot.read({SELECT_RESPONSES: keys}))[SELECT_RESPONSES])


async def test_results_of_all_sizes_arrive(store: LoopStore) -> None:
    keys = await insert(store, ROWS, ROW_BYTES)
    for number in range(1, ROWS):
        assert await count(store, *keys[:number]) == number


@pytest.mark.parametrize("size", range(4_000, 33_000, 2_000))
async def test_single_rows_of_all_sizes_arrive(store: LoopStore, size: int) -> None:
    """A row is twice as large on its way, since its bytes are written in hexadecimal digits."""
    (key,) = await insert(store, 1, size)
    assert await count(store, key) == 1


async def test_many_megabytes_in_both_directions_at_once(store: LoopStore) -> None:
    keys = await insert(store, 40, 100_000)
    unknown = [("", f"{number:0100}") for number in range(40_000)]
    assert await count(store, *keys, *unknown) == 40


async def test_connections_are_encrypted(encrypted_url: str) -> None:
    database = Database(encrypted_url)
    store = LoopStore(database)
    assert await count(store, ("", "r-1")) == 0
    assert (await asyncio.to_thread(execute, encrypted_url, ENCRYPTED))[0][0] >= 2
    await store.close()
    database.close()
