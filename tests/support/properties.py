"""The depth of property tests: ``REGISTRAR_TEST_DEPTH`` multiplies their number of examples, by default by 1."""

from __future__ import annotations

import os


def scaled(examples: int) -> int:
    """Return the number of examples to try."""
    return examples * int(os.environ.get("REGISTRAR_TEST_DEPTH", "1"))
