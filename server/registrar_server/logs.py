"""Logging: structlog to standard error, as JSON lines or for the eyes.

Events are constants, data are keywords, ids are strings. What libraries log through the standard library takes the same
way, from warning upward, so that neither SQL nor drivers make noise. Tracebacks never show the values of variables,
among which a secret may be.
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

# An encoder made once is twice as fast as json.dumps with options, which makes one for every line.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _as_json(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    head = {name: event.pop(name) for name in ("time", "level", "event")}
    return _encode(head | event)


class OncePerTurn:
    """A stream that collects the lines of one turn of the event loop and writes them together.

    A released batch logs dozens of lines at once, and each write of its own would be a call into the system. Threads
    without a loop write at once.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._scheduled = False
        atexit.register(self.write_out)

    def write(self, line: str) -> None:
        """Take a line."""
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """See that what was taken is written by the loop's next turn."""
        if self._scheduled:
            return
        try:
            asyncio.get_running_loop().call_soon(self.write_out)
            self._scheduled = True
        except RuntimeError:
            self.write_out()

    def write_out(self) -> None:
        """Write what was taken, now."""
        self._scheduled = False
        with self._lock:
            lines, self._lines = self._lines, []
            self._stream.write("".join(lines))
            self._stream.flush()


_streams: list[OncePerTurn] = []


def write_out() -> None:
    """Write what was gathered, before an exit that runs no clean-up."""
    for stream in _streams:
        stream.write_out()


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up logging for this process. ``log_format``: auto, console or json."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    final = _for_the_eyes(stream) if console else _for_machines()
    gathered = OncePerTurn(stream)
    _streams[:] = [gathered]
    structlog.configure(
        processors=[*_SHARED, *final],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", gathered)),
        cache_logger_on_first_use=True,
    )
    _redirect_standard_library(final, stream)


def stay_quiet() -> None:
    """Log nothing but errors, as a guest in another program; one that has set up structlog keeps its own way."""
    if not structlog.is_configured():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS["error"]))


def _for_the_eyes(stream: TextIO) -> list[Any]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", exception_formatter=plain)]


def _for_machines() -> list[Any]:
    return [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), _as_json]


def _redirect_standard_library(final: list[Any], stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
