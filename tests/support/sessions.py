"""The sessions of a PostgreSQL database, seen from another database of the same cluster."""

from __future__ import annotations

from sqlalchemy import make_url

from tests.support.databases import execute


def _admin(url: str) -> str:
    return make_url(url).set(database="postgres", query={}).render_as_string(False)


def sessions(url: str) -> set[int]:
    """Return the process ids of the sessions."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = :name AND backend_type = 'client backend'"
    return {row.pid for row in execute(_admin(url), query, name=make_url(url).database)}


def end_sessions(url: str) -> None:
    """End all sessions, and return when they have ended."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    execute(_admin(url), query, name=make_url(url).database)
    wait_until_ended(url)


def wait_until_ended(url: str, some: set[int] | None = None) -> None:
    """Return when these sessions of the database have ended, by default all."""
    while (found := sessions(url)) and (some is None or found & some):
        pass


def wait_until_blocked(url: str) -> None:
    """Return when a session of the cluster waits for a lock."""
    while not execute(_admin(url), "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        pass
