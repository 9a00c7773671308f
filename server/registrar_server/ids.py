"""Ids that the server generates."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import sha1
from uuid import UUID

RANDOM_BYTES = 10
IDS_PER_READ = 1024


class _Randomness(threading.local):
    """Random bytes from the operating system, read for many ids at once because each read releases the GIL."""

    def __init__(self) -> None:
        self._unused = memoryview(b"")

    def take(self) -> int:
        """Return the random bits for one id; no bits are returned twice."""
        if not self._unused:
            self._unused = memoryview(os.urandom(RANDOM_BYTES * IDS_PER_READ))
        taken, self._unused = self._unused[:RANDOM_BYTES], self._unused[RANDOM_BYTES:]
        return int.from_bytes(taken)

    def discard(self) -> None:
        """Discard the unused bytes."""
        self._unused = memoryview(b"")


_randomness = _Randomness()
# Otherwise a forked process would use the same bytes as its parent.
os.register_at_fork(after_in_child=_randomness.discard)


def new_id(now: int) -> str:
    """Return a version 7 UUID (RFC 9562). Later ids sort later, so that inserts touch few index pages.

    ``now`` is in microseconds since 1970 UTC; the id carries its milliseconds.
    """
    value = (now // 1000) << 80 | _randomness.take()
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return _text(f"{value:032x}")


def numbered_ids(namespace: str) -> Callable[[int], str]:
    """Return the function that makes a version 5 UUID (RFC 9562) of a decimal number in a namespace, which is a UUID.

    It makes the same as ``uuid.uuid5``, in a quarter of the time.
    """
    hashed = sha1(UUID(namespace).bytes, usedforsecurity=False)

    def make(number: int) -> str:
        of_number = hashed.copy()
        of_number.update(b"%d" % number)
        digits = of_number.hexdigest()
        return _text(f"{digits[:12]}5{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:32]}")

    return make


_VARIANT = {f"{digit:x}": f"{0x8 | digit & 0x3:x}" for digit in range(16)}


def _text(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
