"""Logs one line for each event of an enrollment, whoever made the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from registrar_server import logs
from registrar_server.core.records import Event

_log = structlog.get_logger()


class Acting(Protocol):
    """A caller, or the event of a change that a caller made."""

    @property
    def actor(self) -> str:
        """The caller."""

    @property
    def on_behalf_of(self) -> str:
        """The person for whom the caller acts."""


def add_names(acting: Acting, line: dict[str, Any]) -> None:
    """Add to a line who acts, and for whom, if they are known."""
    if acting.actor:
        line["actor"] = acting.actor
    if acting.on_behalf_of:
        line["on_behalf_of"] = acting.on_behalf_of


def log_events(events: Sequence[Event], log: Any = _log) -> None:
    """Log the events that are about an enrollment."""
    for event in events:
        if event.enrollment_id:
            line = {
                "student_id": event.student_id,
                "course_id": event.course_id,
                "enrollment_id": event.enrollment_id,
            }
            add_names(event, line)
            logs.add(log, "info", event.type.lower(), line)
