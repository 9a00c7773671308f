"""The kinds of RPCs: changes, reads and watches. Each RPC is one row, and all rows of a kind take the same path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from registrar_server.core.commands import Command
from registrar_server.errors import Reason, Refusal
from registrar_server.reading.history import EventSearch
from registrar_server.reading.lookups import Lookup
from registrar_server.reading.reader import Reader
from registrar_server.rpc.validation import Fields

MAX_LOGGED_CHARACTERS = 128
DIGEST_BYTES = 32

Parsed = TypeVar("Parsed", bound=Message)

Pack = Callable[[Any, int], Message]
"""Makes the response from the result of a read; a list fills at most the given number of bytes."""


class IdsReader(Protocol):
    """Reads the ids in a message for the log."""

    def __call__(self, message: Any, line: dict[str, Any]) -> None:
        """Add the ids to a line by name, unless it has a value of that name already."""


@dataclass(frozen=True, slots=True)
class LookupPlan:
    """The plan of a read by id, which shares its statements with the other lookups of its batch."""

    lookup: Lookup
    pack: Pack


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """The plan of a read with a query of its own."""

    run: Callable[[Reader], Any]
    pack: Pack


@dataclass(frozen=True, eq=False)
class Method:
    """An RPC: its messages, and the names of the ids in them for the log."""

    request: type[Message]
    response: type[Message]

    @cached_property
    def name(self) -> str:
        """The name of the RPC, such as ``EnrollStudent``."""
        return self.request.DESCRIPTOR.name.removesuffix("Request")

    def read(self, data: bytes) -> Any:
        """Return the request in these bytes, or raise INVALID_FIELD if they are no such message."""
        request = parse(self.request, data)
        if request is None:
            raise malformed(self.request.DESCRIPTOR.full_name)
        return request

    @cached_property
    def ids_of_request(self) -> IdsReader:
        """Return what reads the ids in a request."""
        return _ids_reader(self.request.DESCRIPTOR)

    @cached_property
    def ids_of_response(self) -> IdsReader:
        """Return what reads the ids in a response."""
        return _ids_reader(self.response.DESCRIPTOR)


@dataclass(frozen=True, eq=False)
class Change(Method):
    """An RPC that changes something: how its request becomes a command, and the command's result its response."""

    command: Callable[[Fields, Any], Command]
    """Reads the fields of a request, and notes the invalid ones."""
    pack: Callable[[Any], Message]
    refused_event: str = ""
    """The log line of a refusal, besides that of the call; empty if it has none."""

    def identify(self, request: Any, request_id: str, on_behalf_of: str = "") -> bytes:
        """Give a request its ``request_id``, and return a digest of the rest of it; empty if the id is empty.

        The digest distinguishes a retry from a different request with the same ``request_id``, also from one that is
        made on behalf of somebody else.
        """
        if not request_id:
            return b""
        request.request_id = ""
        digest = self._digest_of_type.copy()
        digest.update(request.SerializeToString(deterministic=True))
        request.request_id = request_id
        return _for_person(digest.digest(), on_behalf_of)

    @cached_property
    def _digest_of_type(self) -> blake2b:
        return blake2b(self.request.DESCRIPTOR.full_name.encode() + b"\0", digest_size=DIGEST_BYTES)

    @cached_property
    def takes_validate_only(self) -> bool:
        """Whether callers may ask for a preview."""
        return "validate_only" in self.request.DESCRIPTOR.fields_by_name


@dataclass(frozen=True, eq=False)
class Read(Method):
    """An RPC that changes nothing: how its request becomes a lookup or a query."""

    plan: Callable[[Fields, Any], LookupPlan | QueryPlan]
    """Reads the fields of a request, and notes or refuses the invalid ones."""


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """The plan of a watch: which events, and after which revision; None for those from now on."""

    search: EventSearch
    after: int | None


@dataclass(frozen=True, eq=False)
class Watch(Method):
    """An RPC whose answer is a stream of events without an end."""

    plan: Callable[[Fields, Any], WatchPlan]
    """Reads the fields of a request, and notes the invalid ones."""


def digest_of(content: bytes, on_behalf_of: str) -> bytes:
    """Return a digest of what a call asks for and on behalf of whom."""
    return _for_person(blake2b(content, digest_size=DIGEST_BYTES).digest(), on_behalf_of)


def _for_person(digest: bytes, on_behalf_of: str) -> bytes:
    return digest_of(digest + on_behalf_of.encode(), "") if on_behalf_of else digest


def parse(kind: type[Parsed], data: bytes) -> Parsed | None:
    """Return the message in these bytes, or None if they are no message of this type."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def malformed(expected: str) -> Refusal:
    """Return the refusal for bytes that are no message of this type."""
    return Refusal(Reason.INVALID_FIELD, f"The bytes of the request are not a valid {expected} message.")


def _ids_reader(message: Any) -> IdsReader:
    fields = [(name, attrgetter(path)) for name, path in _id_fields(message).items()]

    def add_ids(message: Any, line: dict[str, Any]) -> None:
        for name, read in fields:
            if name not in line and (value := read(message)):
                is_short = len(value) <= MAX_LOGGED_CHARACTERS and value.isprintable()
                line[name] = value if is_short else _printable(value)

    return add_ids


def _id_fields(message: Any) -> Mapping[str, str]:
    """Return the paths of the ids in a message, at the top level and in its resource, by the name of the id."""
    paths: dict[str, str] = {}
    for field in message.fields:
        if field.name.endswith("_id"):
            paths[field.name] = field.name
        elif field.name in ("student", "course", "enrollment") and field.message_type:
            inner = (one.name for one in field.message_type.fields if one.name.endswith("_id"))
            paths.update((name, f"{field.name}.{name}") for name in inner)
    return paths


def _printable(value: str) -> str:
    """Truncate an invalid id and escape control characters."""
    value = value[:MAX_LOGGED_CHARACTERS]
    return value if value.isprintable() else value.encode("unicode_escape").decode()
