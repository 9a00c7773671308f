"""The queues that calls wait in, and what carries them out, on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from registrar_server.ledger.batching import Batcher, Lanes, Limits, Run
from registrar_server.ledger.calls import Answer, Block, Call, Outcome
from registrar_server.ledger.lane_thread import LaneThread
from registrar_server.ledger.ledger import Ledger
from registrar_server.ledger.loading import ExpectedWaiters
from registrar_server.ledger.previews import Previews
from registrar_server.reading.commit_poll import CommitPoll
from registrar_server.reading.feed import Feed, Lookout
from registrar_server.reading.lookups import latest_revisions, look_up
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.reader import Reader
from registrar_server.reading.spans import read_span
from registrar_server.rpc.batch_answers import BatchAnswers
from registrar_server.rpc.batches import Batches, BatchLimits
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.methods import LookupPlan
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.twins import Twins
from registrar_server.rpc.watch_forms import pack
from registrar_server.rpc.watchers import WATCH_TIMES, WatchTimes
from registrar_server.settings import Settings
from registrar_server.storage.database import Database
from registrar_server.storage.listening import Listener
from registrar_server.storage.loop_store import LoopStore
from registrar_server.storage.stores import BlockingStore

BLOCK_DEPTH = 3
"""The number of blocks at work on PostgreSQL: while the database carries out one, the server decides another."""


def writers(lanes: int) -> int:
    """Return how many transactions this number of lanes writes at once on PostgreSQL."""
    return lanes + BLOCK_DEPTH


class CallQueues:
    """Lanes for changes, lookups and revisions, and threads for queries; ``dispatcher`` sends calls to them."""

    def __init__(self, database: Database, settings: Settings, times: WatchTimes = WATCH_TIMES) -> None:
        self._store = BlockingStore(database) if database.is_sqlite else LoopStore(database)
        self._loop = asyncio.get_running_loop()
        self._threads: list[LaneThread[Any, Any]] = []
        limits = Limits(settings.max_batch, settings.max_waiting)
        expected = ExpectedWaiters()
        ledger = Ledger(self._store, expected, recorded=self._notice)
        max_page_bytes = settings.max_message_bytes * 3 // 4  # The rest of a message is for its envelope.
        reader = Reader(database)
        reads = PackedReads(partial(look_up, self._store), self._store.pause, reader, max_page_bytes)
        count = 1 if database.is_sqlite else settings.write_lanes
        lanes = [Batcher[Any, Any](self._lane(ledger.work, f"write-{lane}"), limits) for lane in range(count)]
        self.changes = Lanes[Call, Answer](lanes, key=lambda call: call.command.lane_key)
        # On PostgreSQL blocks have a lane of their own. On SQLite, which has one writer, single calls go before them.
        of_blocks = Batcher[Any, Any](ledger.work, limits, depth=BLOCK_DEPTH)
        self.blocks: Batcher[Block, Sequence[Outcome]] = lanes[0] if database.is_sqlite else of_blocks
        self.lookups = Batcher[LookupPlan, Answer](self._lane(reads.look_up, "read"), limits)
        self.queries = QueryThreads(settings.read_lanes, settings.max_waiting)
        twins = Twins(self.changes, settings.max_waiting)
        previews = Previews(BlockingStore(database), expected)
        run = self._lane(partial(latest_revisions, self._store), "revision")
        self._revisions = Batcher[None, int](run, Limits(settings.max_waiting, settings.max_waiting))
        self.batches = Batches(
            twins,
            self.blocks,
            partial(self.queries.run, previews.preview_all),
            lambda: ledger.revision,
            BatchAnswers(settings.max_message_bytes),
            BatchLimits(settings.max_batch, settings.max_waiting),
        )
        self.feed = Feed(
            partial(read_span, reader, pack),
            partial(self._revisions.submit, None),
            interval=times.poll,
            max_watchers=settings.max_watchers,
            lookout=self._lookout(database, settings, times),
        )
        self.dispatcher = Dispatcher(twins, self.batches, self.lookups, previews, reads, self.queries)

    def _lookout(self, database: Database, settings: Settings, times: WatchTimes) -> Lookout:
        """Return what tells the feed of the commits of other processes."""
        if database.is_sqlite:
            return CommitPoll(database, times.poll_sqlite, self._notice)
        return Listener(settings.direct_url, self._notice)

    def _notice(self) -> None:
        """Tell the feed of a commit, from the thread or the event loop that made it."""
        if isinstance(self._store, LoopStore):
            self.feed.notice()
        else:
            self._loop.call_soon_threadsafe(self.feed.notice)

    def _lane(self, run: Run[Any, Any], name: str) -> Run[Any, Any]:
        """Return how a lane carries out its batches: in a thread, if the driver of the database blocks."""
        if isinstance(self._store, LoopStore):
            return run
        self._threads.append(LaneThread(run, name))
        return self._threads[-1]

    async def close(self) -> None:
        """Refuse new calls, and return when all calls in progress are done."""
        queues = (self.changes, self.blocks, self.batches, self.lookups, self.queries, self.feed)
        await asyncio.gather(*(queue.close() for queue in queues))
        await self._revisions.close()  # The feed asks for the revision until it is closed.

    async def disconnect(self) -> None:
        """End the threads and close the connections of the queues, which must be closed."""
        for thread in self._threads:
            thread.close()
        await self._store.close()
