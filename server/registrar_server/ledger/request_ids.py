"""What the server does by itself from time to time."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, select, tuple_

from registrar_server.storage.database import Database
from registrar_server.storage.models import RequestId

PURGE_CHUNK = 5_000


def purge_request_ids(
    database: Database, before: int, chunk: int = PURGE_CHUNK, *, may_go_on: Callable[[], bool] = lambda: True
) -> int:
    """Delete the answers kept for request ids given before ``before`` (microseconds since 1970 UTC).

    Deletes in chunks, each by itself, so that nobody waits long for it, and as long as ``may_go_on`` says so. Returns
    how many it deleted.
    """
    key = tuple_(RequestId.caller, RequestId.request_id)
    oldest = select(RequestId.caller, RequestId.request_id).where(RequestId.create_time < before).limit(chunk)
    deleted = 0
    with database.autocommit.connect() as connection:
        while may_go_on() and (count := connection.execute(delete(RequestId).where(key.in_(oldest))).rowcount):
            connection.commit()
            deleted += count
    return deleted
