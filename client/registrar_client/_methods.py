"""Turns the functions that describe calls into methods of the clients.

A method has the keyword-only signature and the docstring of its function, and answers with the result itself, an
awaitable of it, or a pager; type checkers see all of that. Every call is written once, for both clients.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from registrar_client._call import Call, ListCall
from registrar_client._pager import AsyncPager, Pager

Params = ParamSpec("Params")
Result = TypeVar("Result")
Item = TypeVar("Item")
Method = TypeVar("Method", bound=Callable[..., Any])


class Runs(Protocol):
    """What carries out calls and returns when they are done."""

    def run(self, call: Call[Result], /) -> Result:
        """Carry out one call."""
        ...


class AsyncRuns(Protocol):
    """What carries out calls while others go on."""

    async def run(self, call: Call[Result], /) -> Result:
        """Carry out one call."""
        ...


class SyncOwner(Protocol):
    """An object whose methods are calls."""

    @property
    def _runner(self) -> Runs: ...


class AsyncOwner(Protocol):
    """An object whose methods are calls to be awaited."""

    @property
    def _runner(self) -> AsyncRuns: ...


def unary(describe: Callable[Params, Call[Result]]) -> Callable[Concatenate[SyncOwner, Params], Result]:
    """Make a method that returns the result."""

    def method(self: SyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        return self._runner.run(describe(*args, **kwargs))

    return _described(method, describe, "{}")


def paged(describe: Callable[Params, ListCall[Item]]) -> Callable[Concatenate[SyncOwner, Params], Pager[Item]]:
    """Make a method that returns a pager."""

    def method(self: SyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Pager[Item]:
        return Pager(describe(*args, **kwargs), self._runner.run)

    return _described(method, describe, "Pager[{}]")


def async_unary(
    describe: Callable[Params, Call[Result]],
) -> Callable[Concatenate[AsyncOwner, Params], Coroutine[Any, Any, Result]]:
    """Make a method to be awaited for the result."""

    async def method(self: AsyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        return await self._runner.run(describe(*args, **kwargs))

    return _described(method, describe, "{}")


def async_paged(
    describe: Callable[Params, ListCall[Item]],
) -> Callable[Concatenate[AsyncOwner, Params], AsyncPager[Item]]:
    """Make a method that returns a pager for ``async for``."""

    def method(self: AsyncOwner, /, *args: Params.args, **kwargs: Params.kwargs) -> AsyncPager[Item]:
        return AsyncPager(describe(*args, **kwargs), self._runner.run)

    return _described(method, describe, "AsyncPager[{}]")


def _described(method: Method, describe: Callable[..., Any], answer: str) -> Method:
    """Give the method the name, docstring and signature of its function, as `help()` and editors show them."""
    functools.update_wrapper(method, describe)
    # A trailing underscore keeps a function from hiding a built-in one; a method hides nothing.
    method.__name__ = method.__qualname__ = describe.__name__.rstrip("_")
    signature = inspect.signature(describe)
    # Without this, inspect would follow __wrapped__ to a function that has no place for self and answers with a Call.
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *signature.parameters.values()]
    result = answer.format(signature.return_annotation.partition("[")[2].removesuffix("]"))
    described: Any = method
    described.__signature__ = signature.replace(parameters=parameters, return_annotation=result)
    return method
