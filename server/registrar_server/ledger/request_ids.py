"""The responses that are kept by ``request_id``, so that a retried call gets the first response again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from sqlalchemy import delete, select, tuple_

from registrar_server import ids
from registrar_server.storage.database import Database
from registrar_server.storage.models import RequestId
from registrar_server.storage.statements import INSERT_RESPONSES, StoredResponse

PURGE_CHUNK = 5_000
PROBE_BYTES = 65_536


class Responses:
    """The responses that a batch may repeat: those stored before, and those of its own earlier calls."""

    def __init__(self, stored: Iterable[StoredResponse]) -> None:
        self._known = {(one.caller, one.request_id): one for one in stored}
        self.added: list[StoredResponse] = []
        """The responses that the batch has to store."""

    def find(self, caller: str, request_id: str) -> StoredResponse | None:
        """Return the response to a request id of a caller, if any."""
        return self._known.get((caller, request_id)) if request_id else None

    def add(self, response: StoredResponse) -> None:
        """Keep the response to a call of this batch."""
        self._known[response.caller, response.request_id] = response
        self.added.append(response)


def purge_request_ids(
    database: Database, before: int, chunk: int = PURGE_CHUNK, *, may_continue: Callable[[], bool] = lambda: True
) -> int:
    """Delete the responses stored before ``before`` (microseconds since 1970 UTC), and return their number.

    Each chunk is a transaction of its own, so that other calls do not wait long. The purge ends early when
    ``may_continue`` returns False.
    """
    key = tuple_(RequestId.caller, RequestId.request_id)
    oldest = select(RequestId.caller, RequestId.request_id).where(RequestId.create_time < before).limit(chunk)
    deleted = 0
    with database.autocommit.connect() as connection:
        while may_continue() and (count := connection.execute(delete(RequestId).where(key.in_(oldest))).rowcount):
            connection.commit()
            deleted += count
    return deleted


def probe_writes(database: Database, now: int) -> None:
    """Commit a row and delete it; raises if the database cannot store it.

    The row is as large as the writes of many calls, and random, so that it needs new space on the disk. It belongs to
    no call, since its id is new. The purge removes it if this process ends before it deletes it.
    """
    probe = StoredResponse("", ids.new_id(now), b"", os.urandom(PROBE_BYTES), now)
    with database.transaction() as transaction:
        transaction.commit((INSERT_RESPONSES, [probe]))
    with database.autocommit.connect() as connection:
        connection.execute(delete(RequestId).where(RequestId.caller == "", RequestId.request_id == probe.request_id))
        connection.commit()
