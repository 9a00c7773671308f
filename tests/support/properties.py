"""How deep the property tests dig: ``REGISTRAR_TEST_DEPTH`` multiplies their examples, 1 unless set."""

from __future__ import annotations

import os


def scaled(examples: int) -> int:
    """Return how many examples to try."""
    return examples * int(os.environ.get("REGISTRAR_TEST_DEPTH", "1"))
