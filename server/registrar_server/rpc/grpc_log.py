"""Keeps gRPC from logging errors with tracebacks for what callers do.

- A caller sends bytes that are no message: one line names the method.
- A caller no longer wants a response. gRPC notices the cancellation and fails to send the response at the same moment.
  If it sees the failure first, it logs an error, although the caller has only given up.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar

import grpc
import structlog
from google.protobuf.message import DecodeError

_response: ContextVar[bytes | None] = ContextVar("response", default=None)
_METHOD = re.compile(r"\[(/[^]]*)\]")

note_response = _response.set
"""Note the response of the call of this task before gRPC sends it."""

log = structlog.get_logger()


class CallerFaultFilter(logging.Filter):
    """Drops the errors that gRPC logs for faults of callers, but not for a response that is too large to send."""

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__()
        self._max_message_bytes = max_message_bytes
        self._logger = logging.getLogger("grpc._cython.cygrpc")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. gRPC logs in the task of the call, which has noted its response."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DecodeError):
            path = _METHOD.search(record.getMessage())
            log.info("request_malformed", path=path[1] if path else "", error=str(error))
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
