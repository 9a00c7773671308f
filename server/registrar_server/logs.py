"""Logging: structlog to standard error, as JSON lines or as text for a terminal.

Event names are constants, data are keywords, ids are strings. Lines are formatted and written together, debug and info
lines some 20 ms after the call (``log_records.py``), so values must not change after it. Warnings and errors that
libraries log through the standard library have the same format; their other messages, such as SQL statements, are
dropped. Tracebacks never show the values of variables, because these may be secrets.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.types import FilteringBoundLogger

from registrar_server.log_formats import ConsoleFormat, Format, JsonFormat
from registrar_server.log_records import LogRecords

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_active: list[LogRecords] = []
_loggers: list[type[FilteringBoundLogger]] = []
"""The class of all loggers, once logging is configured."""


def write_out() -> None:
    """Write the lines that wait: before an exit that runs no cleanup, or before other output of the process."""
    for records in _active:
        records.write_out()


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Configure logging for this process; ``log_format`` is auto, console or json."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    form: Format = ConsoleFormat(colors=stream.isatty()) if console else JsonFormat()
    records = LogRecords(stream, form)
    write_out()
    _active[:] = [records]
    _loggers[:] = [_collecting_logger(LEVELS[level])]
    structlog.configure(
        processors=[],
        wrapper_class=_loggers[0],
        logger_factory=lambda *_: records,
        cache_logger_on_first_use=True,
    )
    _redirect_standard_library(records)


def set_level(level: str) -> None:
    """Log from this level on. Loggers that are in use follow, since the methods of their class change."""
    for loggers in _loggers:
        loggers.__bases__ = _bases(LEVELS[level])


def stay_quiet() -> None:
    """Log only errors, for use inside another program. If that has configured structlog, keep its configuration."""
    if not structlog.is_configured():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS["error"]))


def add(log: Any, level: str, event: str, values: dict[str, Any]) -> None:
    """Log an event with values that the log keeps, so they must not change afterwards. Keywords would be copied twice.

    ``log`` should be bound: a logger of ``get_logger`` finds its configuration again for each line.
    """
    if level == "info" and isinstance(log, _CollectingInfo):
        log.add_info(event, values)
    else:
        getattr(log, level)(event, **values)


class _Collecting(structlog.BoundLoggerBase):
    """Adds records to ``LogRecords``. structlog's own way copies the values twice and runs processors.

    There are no processors, unless a test captures the records with ``structlog.testing.capture_logs``.
    """

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **event_kw: Any) -> None:
        if self._processors:
            super()._proxy_to_logger(method_name, event, **event_kw)
        else:
            self._logger.add(method_name, event, {**self._context, **event_kw})


class _CollectingInfo(_Collecting):
    """Adds info records, by far the most frequent ones, in half the time."""

    def info(self, event: str, *args: Any, **values: Any) -> None:
        """Log an event at info level."""
        if args:
            cast("FilteringBoundLogger", super()).info(event, *args, **values)
        else:
            self.add_info(event, values)

    def add_info(self, event: str, values: dict[str, Any]) -> None:
        """Log an event at info level, and keep its values."""
        if self._context or self._processors:
            self._proxy_to_logger("info", event, **values)
        else:
            self._logger.add("info", event, values)


def _collecting_logger(level: int) -> type[FilteringBoundLogger]:
    """Return structlog's logger of a level, with methods that collect the records."""
    return cast("type[FilteringBoundLogger]", type("CollectingLogger", _bases(level), {}))


def _bases(level: int) -> tuple[type, ...]:
    collecting = _CollectingInfo if level <= logging.INFO else _Collecting
    return collecting, structlog.make_filtering_bound_logger(level)


class _StandardLibraryHandler(logging.Handler):
    """Adds the records of libraries to ``LogRecords``."""

    def __init__(self, records: LogRecords) -> None:
        super().__init__()
        self._records = records

    def createLock(self) -> None:
        """Use no lock: ``LogRecords`` has its own.

        A finalizer may log while records are rendered. With two locks, it and another thread would wait for each other.
        """
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record, or report on standard error that its message cannot be formatted."""
        try:
            self._records.add(record.levelname.lower(), record.getMessage(), _values(record))
        except Exception:
            self.handleError(record)


def _values(record: logging.LogRecord) -> dict[str, Any]:
    found = {"exc_info": record.exc_info, "stack_info": record.stack_info, "logger": record.name}
    return {name: value for name, value in found.items() if value}


def _redirect_standard_library(records: LogRecords) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_StandardLibraryHandler(records)]
    root.setLevel(logging.WARNING)
