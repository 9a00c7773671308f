"""Ids that the server generates."""

from __future__ import annotations

import os
import threading

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
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
