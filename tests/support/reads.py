"""The reads of a server, packed as it packs them, without the server."""

from __future__ import annotations

from functools import partial

from registrar_server.reading.lookups import look_up
from registrar_server.reading.reader import Reader
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.paging import MAX_PAGE_BYTES
from registrar_server.storage.database import Database
from registrar_server.storage.stores import Store


def packed_reads(database: Database, store: Store, max_page_bytes: int = MAX_PAGE_BYTES) -> PackedReads:
    """Return the reads of a database, with lookups over this store."""
    return PackedReads(partial(look_up, store), store.pause, Reader(database), max_page_bytes)
