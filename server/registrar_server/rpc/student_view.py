"""What a student sees of a response: nothing of other students, and not who made changes."""

from __future__ import annotations

from typing import Any

from registrar_server.errors import enrollment_not_found

_OF_OTHERS = ("promoted", "promoted_count")
_OF_EVENTS = ("actor", "on_behalf_of", "comment", "request_id")


def student_view(response: Any, student_id: str) -> None:
    """Remove from a response what a student does not see.

    Raises ENROLLMENT_NOT_FOUND for the enrollment of another student, as for one that does not exist.
    """
    fields = response.DESCRIPTOR.fields_by_name
    # The response to Unenroll with allow_missing can lack the enrollment.
    if "enrollment" in fields and response.HasField("enrollment") and response.enrollment.student_id != student_id:
        raise enrollment_not_found(response.enrollment.enrollment_id)
    for name in _OF_OTHERS:
        if name in fields:
            response.ClearField(name)
    if "events" in fields:
        for event in response.events:
            for name in _OF_EVENTS:
                event.ClearField(name)
