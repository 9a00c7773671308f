"""Logging: structlog to standard error, as JSON lines or as text for a terminal.

Event names are constants, data are keywords, ids are strings. Warnings and errors that libraries log through the
standard library have the same format; their other messages, such as SQL statements, are dropped. Tracebacks never show
the values of variables, because these may be secrets.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import sys
import threading
from typing import Any, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SHARED: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]

# One encoder for all lines is twice as fast as json.dumps, which creates one for every line if it has options.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _as_json(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    head = {name: event.pop(name) for name in ("time", "level", "event")}
    return _encode(head | event)


class LineBuffer:
    """A stream that buffers the lines of one turn of the event loop and writes them together.

    A finished batch logs dozens of lines at once, and each separate write would be a system call. Threads without an
    event loop write immediately.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._scheduled = False
        atexit.register(self.write_out)

    def write(self, line: str) -> None:
        """Buffer a line."""
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Schedule the buffered lines to be written in the next turn of the event loop."""
        if self._scheduled:
            return
        try:
            asyncio.get_running_loop().call_soon(self.write_out)
            self._scheduled = True
        except RuntimeError:
            self.write_out()

    def write_out(self) -> None:
        """Write the buffered lines immediately."""
        self._scheduled = False
        with self._lock:
            lines, self._lines = self._lines, []
            self._stream.write("".join(lines))
            self._stream.flush()


_buffers: list[LineBuffer] = []


def write_out() -> None:
    """Write the buffered lines immediately, before an exit that runs no cleanup."""
    for buffer in _buffers:
        buffer.write_out()


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Configure logging for this process; ``log_format`` is auto, console or json."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderers = _console_renderers(stream) if console else _json_renderers()
    buffer = LineBuffer(stream)
    _buffers[:] = [buffer]
    structlog.configure(
        processors=[*_SHARED, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", buffer)),
        cache_logger_on_first_use=True,
    )
    _redirect_standard_library(renderers, stream)


def stay_quiet() -> None:
    """Log only errors, for use inside another program. If that has configured structlog, keep its configuration."""
    if not structlog.is_configured():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS["error"]))


def _console_renderers(stream: TextIO) -> list[Any]:
    plain = structlog.dev.plain_traceback
    colors = stream.isatty()
    # Each line names its values in the order of their importance, so keep that order.
    return [
        structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, timestamp_key="time", exception_formatter=plain)
    ]


def _json_renderers() -> list[Any]:
    return [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), _as_json]


def _redirect_standard_library(renderers: list[Any], stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
