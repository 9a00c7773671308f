"""Keeps gRPC from logging an error with a traceback for what only the caller has done.

Metadata that is no UTF-8 may be a secret with one wrong byte, and gRPC would log all of it.

A caller may no longer want a response. gRPC notices the cancellation and fails to send the response at the same moment.
If it sees the failure first, it logs an error, although the caller has only given up.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

import grpc

_response: ContextVar[bytes | None] = ContextVar("response", default=None)

note_response = _response.set
"""Note the response of the call of this task before gRPC sends it."""


class CallerFaultFilter(logging.Filter):
    """Drops the errors that gRPC logs for broken metadata and when a caller gives up.

    An error for a response that is too large to send is kept.
    """

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__()
        self._max_message_bytes = max_message_bytes
        self._logger = logging.getLogger("grpc._cython.cygrpc")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. gRPC logs in the task of the call, which has noted its response."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UnicodeDecodeError):
            return False
        if not isinstance(error, grpc.aio.InternalError) or "execute_batch" not in str(error):
            return True
        response = _response.get()
        return response is not None and len(response) > self._max_message_bytes

    def install(self) -> None:
        """Apply the filter to the log of gRPC."""
        self._logger.addFilter(self)

    def remove(self) -> None:
        """Undo ``install``."""
        self._logger.removeFilter(self)
