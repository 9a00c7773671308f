"""Logs one line for each event of an enrollment, whoever made the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from registrar_server import logs
from registrar_server.core.records import Event

_log = structlog.get_logger()


def log_events(events: Sequence[Event], log: Any = _log) -> None:
    """Log the events that are about an enrollment."""
    for event in events:
        if event.enrollment_id:
            line = {
                "student_id": event.student_id,
                "course_id": event.course_id,
                "enrollment_id": event.enrollment_id,
            }
            if event.actor:
                line["actor"] = event.actor
            if event.on_behalf_of:
                line["on_behalf_of"] = event.on_behalf_of
            logs.add(log, "info", event.type.lower(), line)
