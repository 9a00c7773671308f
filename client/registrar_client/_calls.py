"""How a call is described, once for both clients: which RPC, with which request, read into which value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class Rpc:
    """A method of a service; compared by identity, which makes it a cheap key."""

    stub: Callable[[Any], Any]
    """The generated stub class of the service."""
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[Result]):
    """One unary call: what is sent and how the answer is read."""

    rpc: Rpc
    request: Message
    read: Callable[[Any], Result]
    timeout: float | None = None
    """Seconds over all attempts; None takes the client's."""


@dataclass(frozen=True, slots=True, eq=False)
class ListCall(Generic[Item]):
    """A call that is repeated with the token of the page before, until there is none."""

    rpc: Rpc
    request: Message
    read: Callable[[Any], Item]
    """Reads one item."""
    items: Callable[[Any], Sequence[Any]]
    """Takes the items out of the response."""
    timeout: float | None = None
    """Seconds over all attempts at one page; None takes the client's."""
