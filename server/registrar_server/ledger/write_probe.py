"""Checks that the database can be written, after writes have failed."""

from __future__ import annotations

import os
from collections.abc import Callable

from sqlalchemy import delete

from registrar_server import ids
from registrar_server.storage.database import Database
from registrar_server.storage.failures import is_read_only
from registrar_server.storage.models import RequestId
from registrar_server.storage.statements import INSERT_RESPONSES, RESPONSES, StoredResponse

PROBE_BYTES = 65_536


def probe_writes(database: Database, clock: Callable[[], int]) -> None:
    """Commit a row and delete it; raises if the database cannot store it. The clock is in microseconds since 1970 UTC.

    If the database seems to be read-only, replace all connections and try again: it may have been read-only only when
    they were opened. After other failures the connections stay, since a full disk may have no room for new ones.
    """
    try:
        _write(database, clock())
    except Exception as error:
        if not is_read_only(error):
            raise
        database.reconnect()
        _write(database, clock())


def _write(database: Database, now: int) -> None:
    """Commit a row as large as the writes of many calls, and random, so that it needs new space on the disk.

    It is stored as the response to a new request id, so it belongs to no call. If this process ends before it deletes
    the row, the purge does.
    """
    probe = StoredResponse("", ids.new_id(now), b"", os.urandom(PROBE_BYTES), now)
    with database.transaction() as transaction:
        transaction.read({RESPONSES: [(probe.caller, probe.request_id)]})
        transaction.commit((INSERT_RESPONSES, [probe]))
    with database.autocommit.connect() as connection:
        connection.execute(delete(RequestId).where(RequestId.request_id == probe.request_id, RequestId.caller == ""))
        connection.commit()
