"""The responses that are kept by ``request_id``, so that a retried call gets the first response again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import delete, select, tuple_

from registrar_server.storage.database import Database
from registrar_server.storage.models import RequestId
from registrar_server.storage.statements import StoredResponse

PURGE_CHUNK = 5_000


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
