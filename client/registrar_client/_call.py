"""Describes a call once for both clients: its RPC, its request and how to read the response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf.message import Message

# Covariant, so that type checkers accept a list of writes with different results.
Result = TypeVar("Result", covariant=True)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class Rpc:
    """A method of a service. RPCs are compared by identity, so they are cheap dictionary keys."""

    stub: Callable[[Any], Any]
    """The generated stub class of the service."""
    name: str


class CallOptions(TypedDict, total=False):
    """The options of every call, which ``registrar_client._methods`` describes."""

    timeout: float | None
    on_behalf_of: str | None


# Not frozen: each call makes one, and frozen dataclasses take five times as long to make.
@dataclass(slots=True, eq=False)
class Call(Generic[Result]):
    """A unary call."""

    rpc: Rpc
    request: Message
    read: Callable[[Any], Result]
    """Reads the response."""
    timeout: float | None = None
    """Seconds for all attempts together. ``None`` means the client's timeout."""
    on_behalf_of: str | None = None
    """The call is made on behalf of this person. ``None`` means the person of the client, an empty string nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class ListCall(Generic[Item]):
    """A call for a list, repeated for each page with the token from the page before."""

    rpc: Rpc
    request: Message
    read: Callable[[Any], Item]
    """Reads one item."""
    items: Callable[[Any], Sequence[Any]]
    """Returns the items of a response."""
    timeout: float | None = None
    """Seconds for all attempts at one page. ``None`` means the client's timeout."""
    on_behalf_of: str | None = None
    """Each page is read on behalf of this person, as in ``Call``."""
