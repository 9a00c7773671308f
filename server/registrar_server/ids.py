"""Ids made by the server."""

import os


def new_id(now: int) -> str:
    """Return a version 7 UUID (RFC 9562): ids made later sort later, which keeps index pages warm.

    ``now`` is in microseconds since 1970 UTC; the id carries its milliseconds.
    """
    value = (now // 1000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
