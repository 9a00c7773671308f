"""What each call says of its caller: a token, and the person on whose behalf the call is made."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from registrar_client._call import Call
from registrar_client._to_wire import invalid_fields
from registrar_client.errors import DeadlineExceeded, FieldViolation

Metadata = tuple[tuple[str, str], ...]
Token = str | Callable[[], str]
AsyncToken = str | Callable[[], str | Awaitable[str]]

MAX_NAME_CHARACTERS = 128

_TOKEN = re.compile(r"[!-~]+")
# As the server takes it. gRPC would strip other spaces.
_NAME = re.compile(r"[!-~]+(?: +[!-~]+)*")
_REQUIREMENT = f"must be a str of at most {MAX_NAME_CHARACTERS} visible ASCII characters"


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Reads a token from a file. It is read for every attempt at a call, because other programs replace it."""

    path: str | os.PathLike[str]

    def __call__(self) -> str:
        """Return the token. Raise an OSError or a ValueError that names the file and never shows what is in it."""
        # A UnicodeDecodeError would show bytes of the file.
        text = Path(self.path).read_bytes().decode("latin-1")
        token = text.removesuffix("\n").removesuffix("\r")
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"{os.fspath(self.path)} must contain one token of visible ASCII characters")
        return token


class CallMetadata:
    """The metadata of the calls of one client. No error shows a token."""

    def __init__(self, token: AsyncToken | None, on_behalf_of: str | None) -> None:
        """Check the arguments. Raises a ValueError that names the wrong one."""
        self._ask = token if callable(token) else None
        self._token = () if token is None or callable(token) else _authorization("token must be", token)
        if on_behalf_of and not _is_name(on_behalf_of):
            raise ValueError(f"on_behalf_of {_REQUIREMENT}")
        self._on_behalf_of = person(on_behalf_of or "")

    def of(self, call: Call[object]) -> Metadata:
        """Return what all attempts at a call have in common. Raises InvalidField for an invalid name."""
        name = call.on_behalf_of
        return (*self._token, *(self._on_behalf_of if name is None else person(name)))

    def of_attempt(self, common: Metadata) -> Metadata:
        """Return the metadata of the next attempt, with the token of this moment. Errors of a callable are its own."""
        return common if self._ask is None else (*_returned(self._ask()), *common)

    async def of_async_attempt(self, common: Metadata, seconds: float | None, request_id: str) -> Metadata:
        """Return the metadata of the next attempt. Raises DeadlineExceeded if a coroutine function takes longer.

        The error has the ``request_id``, since an earlier attempt may have made the change.
        """
        if self._ask is None:
            return common
        token = self._ask()
        if inspect.isawaitable(token):
            token = await _within(seconds, token, request_id)
        return (*_returned(token), *common)


async def _within(seconds: float | None, token: Awaitable[str], request_id: str) -> str:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await token
    except TimeoutError:
        if not limit.expired():  # The error is that of the callable.
            raise
        message = "The callable for the token did not return within the timeout of the call."
        raise DeadlineExceeded(message, request_id=request_id) from None


def _returned(token: object) -> Metadata:
    return _authorization("the callable for the token must return", token)


def _authorization(requirement: str, token: object) -> Metadata:
    # A token from a file often ends with a line break. The error of gRPC would show the token.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError(f"{requirement} a non-empty str of visible ASCII characters, without spaces and line breaks")
    return (("authorization", f"Bearer {token}"),)


def person(name: object) -> Metadata:
    """Return the metadata that names a person, none for an empty string. Raises InvalidField for an invalid name."""
    if name == "":
        return ()
    if not _is_name(name):
        raise invalid_fields([FieldViolation(field="on_behalf_of", description=_REQUIREMENT)])
    return (("registrar-on-behalf-of", str(name)),)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None
