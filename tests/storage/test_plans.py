"""PostgreSQL's plans of the prepared statements follow the growth of the tables."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.storage.bulk import postgresql
from registrar_server.storage.bulk.postgresql import FIRST_PLANS_S, LATER_PLANS_S, Prepared, prepared_on
from registrar_server.storage.bulk.postgresql_text import text_of
from registrar_server.storage.database import Database
from tests.support.drivers import SELECT_RESPONSES

STORED = 50_000
FILL = f"""INSERT INTO request_ids (caller, request_id, fingerprint, response, create_time)
           SELECT '', i::text, '', '', 0 FROM generate_series(1, {STORED}) AS numbers(i)"""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the connections that are opened from now on."""
    clock = Clock()
    monkeypatch.setattr(postgresql, "Prepared", lambda: Prepared(clock))
    return clock


def plan_of(connection: Any) -> str:
    """Return the plan that the connection has for a select by key."""
    name = prepared_on(connection).names[text_of(SELECT_RESPONSES)].decode()
    # Without a generic plan, the empty arrays would decide.
    return "\n".join(line for (line,) in connection.execute(f"EXPLAIN EXECUTE {name}('{{}}', '{{}}')").fetchall())


def test_a_plan_for_an_empty_table_is_made_again_when_the_table_has_grown(postgresql_url: str, clock: Clock) -> None:
    """Otherwise each batch of a load would read the whole table, until PostgreSQL analyzes it by itself."""
    database = Database(postgresql_url)
    try:
        for age, reads_whole_table in ((0.0, True), (FIRST_PLANS_S, False)):
            clock.now = age
            with database.transaction() as transaction:
                connection = transaction._connection
                transaction.read({SELECT_RESPONSES: [("", "7")]})
                assert ("Seq Scan" in plan_of(connection)) is reads_whole_table
                if reads_whole_table:
                    connection.execute(FILL)
                transaction.commit()
    finally:
        database.close()


def test_plans_are_used_for_longer_and_longer() -> None:
    clock = Clock()
    prepared = Prepared(clock)
    discarded = []
    for second in range(300):
        clock.now = float(second)
        if prepared.plans_are_old():
            discarded.append(second)
    assert discarded[:5] == [1, 3, 7, 15, 31]
    assert discarded[-1] - discarded[-2] == LATER_PLANS_S
