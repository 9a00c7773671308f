"""Ends calls that run in other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message

from registrar_client.errors import Cancelled

Result = TypeVar("Result")

LONGEST_WAIT_S = 0.2
"""Python handles a signal that comes just before a wait only after it, so Ctrl-C takes up to this time."""


class Stop:
    """Cancels all calls that were made through it, and makes no more."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._active: set[Any] = set()

    def stoppable(self, method: Any) -> Callable[..., Any]:
        """Return a method of gRPC whose calls raise Cancelled when they are stopped."""

        def call(request: Message, **options: Any) -> Any:
            future = method.future(request, **options)
            with self._lock:
                self._active.add(future)
            try:
                if self._stopped.is_set():
                    future.cancel()
                return future.result()
            except grpc.FutureCancelledError:
                _cancelled()
            finally:
                with self._lock:
                    self._active.discard(future)

        return call

    def sleep(self, seconds: float) -> None:
        """Wait before the next attempt at a call; raise Cancelled if it is stopped."""
        if self._stopped.wait(seconds):
            _cancelled()

    def now(self) -> None:
        """Cancel the calls."""
        self._stopped.set()
        with self._lock:
            active = list(self._active)
        for future in active:
            future.cancel()


def outcome(future: Future[Result]) -> Result:
    """Wait for the outcome of another thread, so that Ctrl-C always ends the wait."""
    while not wait([future], LONGEST_WAIT_S).done:
        pass
    return future.result()


def _cancelled() -> NoReturn:
    raise Cancelled("The call was stopped.")
