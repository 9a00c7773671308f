"""Request ids make it safe to repeat a call: a change with the same id is made once."""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from collections.abc import Callable
from typing import Any, cast

from google.protobuf.message import Message


def identify(request: Message) -> None:
    """Give a request that changes something a new request id, unless it has one."""
    if _is_change(cast(type, type(request))):
        change = cast(Any, request)
        # A call that changes nothing needs no protection.
        if not change.request_id and not getattr(change, "validate_only", False):
            # uuid4() would take three times as long.
            change.request_id = _uuid(os.urandom(16).hex(), "4")


def derived(operation: str | uuid.UUID, place: int) -> str:
    """Return the id of the write at this place of an operation, as the server derives it for a batch."""
    return deriving(uuid.UUID(str(operation)))(place)


def deriving(operation: uuid.UUID) -> Callable[[int], str]:
    """Return the function that derives the ids of the writes of an operation from their places.

    The ids are those of ``uuid.uuid5``, which takes five times as long.
    """
    start = hashlib.sha1(operation.bytes, usedforsecurity=False)

    def derive(place: int) -> str:
        digest = start.copy()
        digest.update(b"%d" % place)
        return _uuid(digest.hexdigest(), "5")

    return derive


def _uuid(digits: str, version: str) -> str:
    """Return the UUID of a version whose other bits are those of the first 32 digits."""
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@functools.cache
def _is_change(kind: type[Message]) -> bool:
    return "request_id" in kind.DESCRIPTOR.fields_by_name


# The two highest bits of this digit say that a UUID has the layout of RFC 9562.
_VARIANT = {digit: f"{int(digit, 16) & 0b0011 | 0b1000:x}" for digit in "0123456789abcdef"}
