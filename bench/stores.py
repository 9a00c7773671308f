"""Seeded databases: each kind is migrated, seeded and analyzed once, then copied for each measured system."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text

from bench.messages import COURSES, COURSES_EACH, ROUNDS, Crowd, first_caller
from registrar_server import migrate, verify
from registrar_server.storage.database import Database
from tests.support.databases import execute
from tests.support.postgres import Cluster

CAPACITY = 1_000_000

_SEED = Path(__file__).with_name("seed.sql")
_COUNTS = Path(__file__).with_name("counts.sql")


class Store:
    """One system's database, and the number of calls that must have changed it, including the seeded ones."""

    def __init__(self, url: str, stored: int) -> None:
        self.url = url
        self._expected = stored

    def check(self, changes: int) -> str:
        """Return what is wrong with the counts after ``changes`` more calls, or an empty string."""
        self._expected += changes
        *found, miscounted = map(int, execute(self.url, _COUNTS.read_text())[0])
        if found == [self._expected] * len(found) and not miscounted:
            return ""
        expected, self._expected = self._expected, found[0]
        return f"expected {expected} everywhere, found {found}, {miscounted} courses miscount"

    def disagreements(self) -> list[str]:
        """Return the findings of ``registrar-server verify``."""
        database = Database(self.url)
        with verify.open_snapshot(database.autocommit) as connection:
            found = list(verify.disagreements(connection))
        database.close()
        return found


class Stores:
    """Makes the stores; seeds each kind once."""

    def __init__(self, folder: Path, cluster: Cluster, callers: int, crowd: Crowd) -> None:
        self._folder = folder
        self._cluster = cluster
        self._callers = callers
        self._crowd = crowd
        self._templates: dict[tuple[str, int], str] = {}
        self._made = 0

    def make(self, database: str, stored: int) -> Store:
        """Return a new store with ``stored`` enrollments."""
        self._made += 1
        template = self._template(database, stored)
        if database == "sqlite":
            file = self._folder / f"store-{self._made}.db"
            shutil.copy(self._folder / template, file)
            return Store(f"sqlite:///{file}", stored)
        return Store(self._cluster.create_database(f"store_{self._made}", template), stored)

    def _template(self, database: str, stored: int) -> str:
        if (database, stored) not in self._templates:
            name = f"seeded_{stored}"
            sqlite = f"sqlite:///{self._folder / name}"
            url = sqlite if database == "sqlite" else self._cluster.create_database(name)
            migrate.upgrade(url)
            _seed(url, stored, self._callers, self._crowd)
            self._templates[database, stored] = name
        return self._templates[database, stored]


def _seed(url: str, stored: int, callers: int, crowd: Crowd) -> None:
    given = {
        "stored": stored,
        "students": first_caller(stored) + callers,
        "courses": COURSES,
        "each": COURSES_EACH,
        # One more, for the calls before the first round.
        "rounds": ROUNDS + 1,
        "capacity": CAPACITY,
        "seats": crowd.seats,
        "places": crowd.waiters,
        # The current time, since the server purges old request ids.
        "now": time.time_ns() // 1000,
        "fingerprint": b"\xab" * 32,
        "response": b"\xcd" * 150,
    }
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in _statements(engine.dialect.name):
            connection.execute(text(statement), given)
    # Without statistics, the first thousands of calls would use plans for empty tables.
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))


def _statements(dialect: str) -> list[str]:
    seed = _SEED.read_text().split(";\n")[:-1]
    if dialect == "sqlite":
        return seed
    # SQLite stores documents as text; PostgreSQL needs a cast. The replica role skips foreign keys, which this engine
    # does not check on SQLite either; a million checks would take a third of the time.
    cast = (statement.replace("/* document */", "::jsonb") for statement in seed)
    return ["SET LOCAL session_replication_role = replica", *cast]
