"""What callers give to the ledger, and what they get from it: calls, blocks of calls, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from registrar_server.core.commands import Command
from registrar_server.core.records import Event
from registrar_server.errors import Reason, Refusal

_INTERRUPTIONS = frozenset({Reason.CONTENTION, Reason.DATABASE_UNAVAILABLE})
"""The reasons for which a block ends before all of its calls were carried out. No decision has them."""


class Message(Protocol):
    """A response that can be written as bytes."""

    def SerializeToString(self) -> bytes:
        """Return the bytes to send, and to store."""


class NoResponse:
    """The response to a call whose caller needs none."""

    def SerializeToString(self) -> bytes:
        """Return no bytes."""
        return b""


class Call(NamedTuple):
    """A caller's command, with the way to answer it and the ``request_id`` that its response is stored under."""

    command: Command
    pack: Callable[[Any], Message]
    """Makes the response from the result of the decision, before later commands of the batch change the records."""
    request_id: str = ""
    fingerprint: bytes = b""
    """A digest of the RPC and the request's content; it must be the same for the same ``request_id``."""
    caller: str = ""
    on_behalf_of: str = ""


class Mark(NamedTuple):
    """What a block keeps under its own ``request_id``: a digest of the options that a repetition must not change."""

    request_id: str
    fingerprint: bytes
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Calls of one caller that are carried out in order."""

    calls: Sequence[Call]
    atomic: bool = False
    """Carry out all calls or none."""
    mark: Mark | None = None
    unread: Mapping[int, Refusal] = field(default_factory=dict)
    """The refusals of the writes that could not be read, by their places among all writes. They are not in ``calls``.

    An atomic block with such a write is decided, so that all refusals are known, and then refused.
    """


class Answer(NamedTuple):
    """The response to a call, and the events of its change; a repeated response has no events."""

    response: bytes
    events: Sequence[Event] = ()
    message: Any = None
    """The response before it was written as bytes; None if it is repeated."""


Outcome = Answer | Exception


def is_interruption(outcome: Outcome) -> bool:
    """Return whether a call of a block was not carried out because the block was interrupted."""
    return isinstance(outcome, Refusal) and outcome.reason in _INTERRUPTIONS


def interruption_of(outcomes: Sequence[Outcome]) -> Refusal | None:
    """Return what interrupted a block, if anything did; then the last call was not carried out."""
    last = outcomes[-1] if outcomes else None
    return last if isinstance(last, Refusal) and is_interruption(last) else None


def all_refused(outcomes: Sequence[object], unread: Mapping[int, Refusal]) -> dict[int, Refusal]:
    """Return the refusals among the outcomes of calls, and those of the writes between them that could not be read.

    They are in order, by their places among all writes.
    """
    read = iter(outcomes)
    of_all = {place: unread.get(place) or next(read) for place in range(len(outcomes) + len(unread))}
    return {place: outcome for place, outcome in of_all.items() if isinstance(outcome, Refusal)}
