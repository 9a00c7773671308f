"""Lists that fetch their pages as they are iterated over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registrar_client._call import Call, ListCall

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """One answer of the server: some items of a list."""

    items: tuple[Item, ...]
    next_page_token: str
    """Where the next page starts, valid also in another process and after a restart; empty on the last page."""


class _Pages(Generic[Item]):
    """The calls for one page after another."""

    def __init__(self, call: ListCall[Item]) -> None:
        self._call = call

    def _page_call(self, token: str | None) -> Call[Page[Item]]:
        request = self._call.request
        if token is not None:
            # A copy, as the list may be iterated over again, and by several at once.
            request = type(request)()
            request.CopyFrom(self._call.request)
            request.page_token = token  # type: ignore[attr-defined]
        return Call(self._call.rpc, request, self._read, self._call.timeout)

    def _read(self, response: Any) -> Page[Item]:
        items = tuple(map(self._call.read, self._call.items(response)))
        return Page(items=items, next_page_token=response.next_page_token)


class Pager(_Pages[Item]):
    """A list to iterate over, by items or by ``pages()``; each iteration starts anew."""

    def __init__(self, call: ListCall[Item], run: Callable[[Call[Page[Item]]], Page[Item]]) -> None:
        super().__init__(call)
        self._run = run

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[Item]]:
        """Iterate over the pages; each is fetched when it is asked for."""
        token = None
        while token != "":
            page = self._run(self._page_call(token))
            yield page
            token = page.next_page_token


class AsyncPager(_Pages[Item]):
    """A list to iterate over with ``async for``, by items or by ``pages()``; each iteration starts anew."""

    def __init__(self, call: ListCall[Item], run: Callable[[Call[Page[Item]]], Awaitable[Page[Item]]]) -> None:
        super().__init__(call)
        self._run = run

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[Item]]:
        """Iterate over the pages; each is fetched when it is asked for."""
        token = None
        while token != "":
            page = await self._run(self._page_call(token))
            yield page
            token = page.next_page_token
