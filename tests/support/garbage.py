"""Objects of the server that only a garbage collection would free: calls should leave none behind."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from types import FrameType

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

import registrar_server
from registrar.v1.batch_service_pb2 import BatchWriteRequest
from registrar_server.errors import Refusal
from registrar_server.http.connections import Connection
from registrar_server.http.event_streams import EventStream
from registrar_server.http.refusals import HttpRefusal
from registrar_server.ledger.calls import Block, Call
from registrar_server.reading.spans import Span
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.opening import Opened

Garbage = Callable[[], list[object]]

_OF_CALLS = (Arrival, BatchWriteRequest, Block, Call, Opened, Refusal, Span)
_OF_HTTP = (Connection, EventStream, HttpRefusal, RequestResponseCycle)


@contextlib.contextmanager
def collecting_by_hand() -> Iterator[Garbage]:
    """Collect no garbage within a ``with`` block; its function collects it, and returns what belongs to the server.

    Whatever exists before the block is left out, so that nothing of other tests is found.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield _collect
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


def _collect() -> list[object]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    return [one for one in gc.garbage if isinstance(one, _OF_CALLS + _OF_HTTP) or _is_frame_of_server(one)]


def _is_frame_of_server(one: object) -> bool:
    return isinstance(one, FrameType) and one.f_code.co_filename.startswith(registrar_server.__path__[0])
