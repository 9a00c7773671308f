"""Lists that fetch their pages during iteration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registrar_client._call import Call, ListCall
from registrar_client._docstrings import documented

Item = TypeVar("Item")


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """One page of a list."""

    items: tuple[Item, ...]
    """The items of the page, in the order of the list."""
    next_page_token: str
    """The token of the next page. It is valid in other processes and after a restart. Empty on the last page."""
    last_revision: int = 0
    """The revision of the newest event of all when a page of events was read. ``0`` in other lists."""


class _Pages(Generic[Item]):
    """Builds the calls for the pages of a list."""

    def __init__(self, call: ListCall[Item]) -> None:
        self._call = call

    def _page_call(self, token: str | None) -> Call[Page[Item]]:
        request = self._call.request
        if token is not None:
            # Copy the request, because several iterations may use it, also at the same time.
            request = type(request)()
            request.CopyFrom(self._call.request)
            request.page_token = token  # type: ignore[attr-defined]
        return Call(self._call.rpc, request, self._read, self._call.timeout, self._call.on_behalf_of)

    def _read(self, response: Any) -> Page[Item]:
        items = tuple(map(self._call.read, self._call.items(response)))
        last_revision = getattr(response, "last_revision", 0)
        return Page(items=items, next_page_token=response.next_page_token, last_revision=last_revision)


class Pager(_Pages[Item]):
    """A list to iterate over by items or by ``pages()``. Each iteration starts at the beginning."""

    def __init__(self, call: ListCall[Item], run: Callable[[Call[Page[Item]]], Page[Item]]) -> None:
        super().__init__(call)
        self._run = run

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[Item]]:
        """Iterate over the pages. Each page is fetched when the iteration reaches it."""
        token = None
        while token != "":
            page = self._run(self._page_call(token))
            yield page
            token = page.next_page_token


class AsyncPager(_Pages[Item]):
    """A list to iterate over by items or by ``pages()``, with ``async for``. Each iteration starts at the beginning."""

    def __init__(self, call: ListCall[Item], run: Callable[[Call[Page[Item]]], Awaitable[Page[Item]]]) -> None:
        super().__init__(call)
        self._run = run

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[Item]]:
        """Iterate over the pages. Each page is fetched when the iteration reaches it."""
        token = None
        while token != "":
            page = await self._run(self._page_call(token))
            yield page
            token = page.next_page_token
