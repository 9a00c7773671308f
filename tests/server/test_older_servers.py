"""A server starts beside servers of the previous version, and completes what they have written."""

from __future__ import annotations

from sqlalchemy import Engine

from registrar_server.core.commands import (
    Complete,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    Unenroll,
)
from registrar_server.ledger.sweeping import Swept
from tests.support.consistency import assert_consistent
from tests.support.ledgers import carry_out_on
from tests.support.older_server import as_an_older_server
from tests.support.servers import Log, serving


async def test_a_server_counts_at_its_start_what_older_servers_completed(
    database_url: str, engine: Engine, log: Log
) -> None:
    """The log says how many rows it completed. A course that it counts gets its flag of waiters too."""
    carry_out_on(database_url, CreateCourse("c-1", {"capacity": 1, "waitlist_capacity": 1}))
    with as_an_older_server(engine):
        carry_out_on(database_url, *map(CreateStudent, ("s-1", "s-2")))
        carry_out_on(database_url, Enroll("s-1", "c-1"), Enroll("s-2", "c-1"), Complete("s-1", "c-1", "A"))
    async with serving(database_url):
        counted = await log.one("rows_recounted")
    assert counted["rows"] == 1
    assert_consistent(engine)


async def test_a_sweep_counts_first_what_older_servers_completed(database_url: str, engine: Engine) -> None:
    """It gives away no seat that a student has completed at an older server, and finds the waiters of such servers."""
    carry_out_on(database_url, *(CreateCourse(one, {"capacity": 1, "waitlist_capacity": 1}) for one in ("c-1", "c-2")))
    async with serving(database_url) as server:
        with as_an_older_server(engine):
            carry_out_on(database_url, *map(CreateStudent, ("s-1", "s-2")))
            carry_out_on(database_url, Enroll("s-1", "c-1"), Enroll("s-2", "c-1"), Complete("s-1", "c-1", "A"))
            carry_out_on(database_url, Enroll("s-1", "c-2"), Enroll("s-2", "c-2"), PlaceHold("s-2", "BURSAR"))
            carry_out_on(database_url, Unenroll("s-1", "c-2"), ReleaseHold("s-2", "BURSAR"))
        assert await server.sweep() == Swept(courses=1, promoted=1)
    assert_consistent(engine)
