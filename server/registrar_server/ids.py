"""Ids made by the server."""

from __future__ import annotations

import os
import threading

RANDOM_BYTES = 10
DRAWN_AT_ONCE = 1024


class _Randomness(threading.local):
    """Bytes of the system's generator, drawn for many ids at once: each draw hands the interpreter to other threads."""

    def __init__(self) -> None:
        self._drawn = memoryview(b"")

    def take(self) -> int:
        """Return random bits that were not returned before."""
        if not self._drawn:
            self._drawn = memoryview(os.urandom(RANDOM_BYTES * DRAWN_AT_ONCE))
        taken, self._drawn = self._drawn[:RANDOM_BYTES], self._drawn[RANDOM_BYTES:]
        return int.from_bytes(taken)

    def forget(self) -> None:
        """Let go of what was drawn."""
        self._drawn = memoryview(b"")


_randomness = _Randomness()
# A process that is forked off would go on with the same bytes as its parent.
os.register_at_fork(after_in_child=_randomness.forget)


def new_id(now: int) -> str:
    """Return a version 7 UUID (RFC 9562): ids made later sort later, which keeps index pages warm.

    ``now`` is in microseconds since 1970 UTC; the id carries its milliseconds.
    """
    value = (now // 1000) << 80 | _randomness.take()
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
