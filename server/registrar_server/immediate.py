"""Runs coroutines that never wait for an event loop, so that a thread can share their code with the event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def complete(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in this thread, and return its result or raise its error.

    Everything that it awaits must be done at once, as the methods of a ``BlockingStore`` are. Raises RuntimeError if it
    waits for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: Result = ended.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for an event loop")
