"""An item that waits in a lane, and its way back to its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from registrar_server.errors import unwrap
from registrar_server.stopwatch import Stopwatch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Submission(Generic[Item, Result]):
    """An item in a lane. It belongs to one caller, who may leave."""

    item: Item
    then: Callable[[Result | Exception], None]
    """Gets the outcome, unless the caller leaves before the item begins."""
    deadline: float
    note_left: Callable[[], None]
    """Is called if the caller leaves before the item has its turn."""
    stopwatch: Stopwatch | None = None
    """Measures the batch of this item; None while the item waits."""
    was_left: bool = False
    _is_decided: bool = False
    """The item has begun, or it has its outcome already because its deadline has passed."""

    def leave(self) -> bool:
        """Give the item up, and return whether it is too late: ``then`` gets, or has got, the outcome nevertheless."""
        is_first, self.was_left = not self.was_left, True
        if is_first and not self._is_decided:
            self.then = _ignore
            self.note_left()
        return self._is_decided

    def begin(self, now: float) -> bool:
        """Begin the item if the caller still waits, and return whether it begins."""
        self._is_decided = self.is_alive(now)
        return self._is_decided

    def is_alive(self, now: float) -> bool:
        """Return whether the caller still waits; the outcome is a TimeoutError if the deadline has passed.

        An item that is not alive is no longer in the queue.
        """
        if self.deadline > now and not self.was_left:
            return True
        self.note_left = nothing
        if not self.was_left:
            # Not now: the receiver may enter another item while the queue is being searched.
            asyncio.get_running_loop().call_soon(self._expire)
        return False

    def end(self, outcome: Result | Exception) -> None:
        """Give ``then`` the outcome, and forget it: what it belongs to also refers to this item."""
        then, self.then = self.then, _ignore
        give(then, outcome)

    def _expire(self) -> None:
        if not self.was_left:
            self._is_decided = True
            self.end(TimeoutError())


def _ignore(_outcome: object) -> None:
    """Take the outcome of an item that nobody waits for."""


def nothing() -> None:
    """Note nothing: an item takes no room when it is behind the others, or when it has had its turn."""


def give(then: Callable[[Result | Exception], None], outcome: Result | Exception) -> None:
    """Give a receiver an outcome. Its failure is reported, and does not affect the receivers of other items."""
    try:
        then(outcome)
    except Exception as error:
        report = {"message": "a receiver of an outcome failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(report)


class Leavable(Protocol):
    """A place in a queue that its caller may leave."""

    def leave(self) -> bool:
        """Give the place up, and return whether the work may have begun."""


async def outcome_of(enter: Callable[[Callable[[Result | Exception], None]], Leavable]) -> Result:
    """Enter an item, wait for its outcome, and return the result or raise the error."""
    ended: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()
    submission = enter(partial(_end, ended))
    try:
        return unwrap(await ended)
    except asyncio.CancelledError:
        submission.leave()
        raise
    finally:
        # An error's traceback keeps this frame. If the frame kept the error, both would stay in memory until a garbage
        # collection.
        del ended, submission


def _end(ended: asyncio.Future[Result | Exception], outcome: Result | Exception) -> None:
    if not ended.done():
        ended.set_result(outcome)
