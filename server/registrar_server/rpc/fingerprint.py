"""The digest of a request, which distinguishes a retry from a different request with the same ``request_id``."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any


def fingerprint(request: Any) -> bytes:
    """Digest the type of a request and its content without the ``request_id``; empty if it has no ``request_id``."""
    request_id = request.request_id
    if not request_id:
        return b""
    request.request_id = ""
    content = request.SerializeToString(deterministic=True)
    request.request_id = request_id
    return blake2b(request.DESCRIPTOR.full_name.encode() + b"\0" + content, digest_size=32).digest()
