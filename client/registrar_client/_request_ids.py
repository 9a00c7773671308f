"""Request ids make it safe to repeat a call: a change with the same id is made once."""

from __future__ import annotations

import functools
import uuid
from typing import Any, cast

from google.protobuf.message import Message


def identify(request: Message) -> None:
    """Give a request that changes something a new request id, unless it has one."""
    if _is_change(cast(type, type(request))):
        change = cast(Any, request)
        # A call that changes nothing needs no protection.
        if not change.request_id and not getattr(change, "validate_only", False):
            change.request_id = str(uuid.uuid4())


def derived(operation: str | uuid.UUID, place: int) -> str:
    """Return the id of the write at this place of an operation, as the server derives it for a batch."""
    return str(uuid.uuid5(uuid.UUID(str(operation)), str(place)))


@functools.cache
def _is_change(kind: type[Message]) -> bool:
    return "request_id" in kind.DESCRIPTOR.fields_by_name
