"""A batch under way: what is known of its writes, and what its caller is told if it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from registrar_server.errors import Refusal
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import Options
from registrar_server.stopwatch import Stopwatch


@dataclass(slots=True, eq=False)
class RunningBatch:
    """A batch under way: the entry of its call."""

    arrival: Arrival
    options: Options
    writes: list[Arrival] = field(default_factory=list)
    limited: list[Arrival] = field(default_factory=list)
    """The writes with a timeout of their own."""
    unread: dict[int, Refusal] = field(default_factory=dict)
    """The refusals of the writes that could not be read, by their places."""
    task: asyncio.Task[None] | None = None
    has_begun: bool = False
    stopwatch: Stopwatch | None = None

    def leave(self) -> bool:
        """Give the batch up, and return whether a part of it may have begun. What has begun is carried out."""
        if self.task:
            self.task.cancel()
        return self.has_begun

    def first_open(self, places: range) -> int:
        """Return the place of the first write without an outcome, or the first place if all have one."""
        return next((place for place in places if not self.writes[place].is_over), places.start)

    def has_made_any(self) -> bool:
        """Return whether any write has succeeded."""
        return any(write.is_over and write.refused is None for write in self.writes)

    def is_repeatable(self) -> bool:
        """Return whether a repetition makes no write again that was made or may have been made."""
        open_or_made = (write for write in self.writes if write.refused is None)
        return bool(self.options.request_id) or all(write.request.request_id for write in open_or_made)

    def time_remaining(self) -> float | None:
        """Return the seconds until the first deadline of the batch and of its writes that have no outcome."""
        waiting = (self.arrival, *(write for write in self.limited if not write.is_over))
        return min((left for one in waiting if (left := one.time_remaining()) is not None), default=None)

    def leave_writes(self) -> None:
        """Give up the writes that have no outcome yet."""
        for write in self.writes:
            write.leave()


def stopped(error: Refusal | TimeoutError, place: int, *, is_repeatable: bool) -> Refusal | TimeoutError:
    """Return the error of a batch that stopped at a place, after some of its writes were made."""
    cause = error.message if isinstance(error, Refusal) else "The deadline passed before the work began."
    hint = (
        "Repeat the call with the same request_id to make the other writes and to get all results."
        if is_repeatable
        else "The call has no request_id, so read what was made before you send the other writes."
    )
    message = f"The batch stopped at writes[{place}]; the writes before it were answered. From there on: {cause} {hint}"
    if not isinstance(error, Refusal):
        return TimeoutError(message)
    error.message = message
    return error
