"""Turns the functions that describe calls into methods of both clients.

A method has the keyword-only signature and the docstring of its function, and shows the options of every call one by
one. It returns the result, an awaitable of the result, or a pager, and type checkers know which.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_type_hints

from registrar_client._call import Call, CallOptions, ListCall
from registrar_client._pager import AsyncPager, Pager

Params = ParamSpec("Params")
Result = TypeVar("Result")
Item = TypeVar("Item")
Method = TypeVar("Method", bound=Callable[..., Any])

_OPTIONS = {name: str(hint) for name, hint in get_type_hints(CallOptions).items()}
_OPTION_DOCS = """
    timeout: Seconds for all attempts {scope}. Defaults to the client's timeout.
    on_behalf_of: Make the call on behalf of this person. Defaults to the person of the client. An empty string means
        nobody.
"""


class Runs(Protocol):
    """Executes calls and returns their results."""

    def run(self, call: Call[Result], /) -> Result:
        """Execute a call."""
        ...


class AsyncRuns(Protocol):
    """Executes calls on an event loop."""

    async def run(self, call: Call[Result], /) -> Result:
        """Execute a call."""
        ...


class SyncOwner(Protocol):
    """An object with calls as methods."""

    @property
    def _runner(self) -> Runs: ...


class AsyncOwner(Protocol):
    """An object with awaitable calls as methods."""

    @property
    def _runner(self) -> AsyncRuns: ...


def unary(describe: Callable[Params, Call[Result]]) -> Callable[Concatenate[SyncOwner, Params], Result]:
    """Return a method that returns the result."""

    def method(self: SyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        return self._runner.run(describe(*args, **kwargs))

    return _described(method, describe, "{}")


def paged(describe: Callable[Params, ListCall[Item]]) -> Callable[Concatenate[SyncOwner, Params], Pager[Item]]:
    """Return a method that returns a pager."""

    def method(self: SyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Pager[Item]:
        return Pager(describe(*args, **kwargs), self._runner.run)

    return _described(method, describe, "Pager[{}]")


def async_unary(
    describe: Callable[Params, Call[Result]],
) -> Callable[Concatenate[AsyncOwner, Params], Coroutine[Any, Any, Result]]:
    """Return a coroutine method that returns the result."""

    async def method(self: AsyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        return await self._runner.run(describe(*args, **kwargs))

    return _described(method, describe, "{}")


def async_paged(
    describe: Callable[Params, ListCall[Item]],
) -> Callable[Concatenate[AsyncOwner, Params], AsyncPager[Item]]:
    """Return a method that returns a pager for ``async for``."""

    def method(self: AsyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> AsyncPager[Item]:
        return AsyncPager(describe(*args, **kwargs), self._runner.run)

    return _described(method, describe, "AsyncPager[{}]")


def _described(method: Method, describe: Callable[..., Any], answer: str) -> Method:
    """Copy the name, docstring and signature of the function, which `help()` and editors show."""
    functools.update_wrapper(method, describe)
    # The trailing underscore of `list_` only avoids hiding a built-in function. A method hides nothing.
    method.__name__ = method.__qualname__ = describe.__name__.rstrip("_")
    signature = inspect.signature(describe)
    parameters = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(parameters) < len(signature.parameters):
        parameters += _options()
        method.__doc__ = _with_options(describe.__doc__ or "", "together" if answer == "{}" else "at one page")
    # Otherwise inspect would show the signature of the wrapped function, without self and with a Call as its result.
    parameters.insert(0, inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY))
    result = answer.format(signature.return_annotation.partition("[")[2].removesuffix("]"))
    described: Any = method
    described.__signature__ = signature.replace(parameters=parameters, return_annotation=result)
    return method


def _options() -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, kind, default=None, annotation=hint) for name, hint in _OPTIONS.items()]


def _with_options(document: str, scope: str) -> str:
    """Add the options to the arguments in a docstring, which end before the errors."""
    before, indent, errors = re.split(r"\n\n( *)(?=Raises:)", document, maxsplit=1)
    described = _OPTION_DOCS.format(scope=scope).rstrip().replace("\n", "\n" + indent)
    return f"{before}{described}\n\n{indent}{errors}"
