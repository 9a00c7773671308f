"""Checks that must hold in a database at any moment, made from its rows and its history alone."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, select

from registrar_server import verify
from registrar_server.storage.models import Event, RequestId


def assert_consistent(engine: Engine) -> None:
    """Assert that counters, rows, events and request ids agree.

    They agree in any database that only the ledger changed and whose request ids were not purged.
    """
    with verify.open_snapshot(engine) as connection:
        disagreements = list(verify.disagreements(connection))
        assert not disagreements, "\n".join(disagreements)
        _assert_answered(connection)


def _assert_answered(connection: Connection) -> None:
    """Assert that each change has a stored answer. ``verify`` cannot, since it does not know what was purged."""
    asked = connection.execute(select(Event.actor, Event.request_id).where(Event.request_id != "").distinct())
    kept = connection.execute(select(RequestId.caller, RequestId.request_id))
    unanswered = {tuple(key) for key in asked} - {tuple(key) for key in kept}
    assert not unanswered, f"changed without a stored answer: {unanswered}"
