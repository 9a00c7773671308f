"""Hands the answers to chunks of ``bulk`` to the callbacks, in the order of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from registrar_client._bulk_chunks import Answer, Chunks, Options
from registrar_client._bulk_reports import Tally
from registrar_client._call import Call
from registrar_client.errors import RegistrarError

Result = TypeVar("Result")

OnProgress = Callable[[int, int, int | None], object]
OnResult = Callable[[int, Call[Result], Result | RegistrarError], object]


class Delivery(Generic[Result]):
    """One run of ``bulk``: its chunks, its counts and its callbacks."""

    def __init__(
        self, options: Options, on_progress: OnProgress | None, on_result: OnResult[Result] | None, total: int | None
    ) -> None:
        self.chunks = Chunks[Result](options, with_results=on_result is not None)
        self.tally = Tally(str(options.operation_id), options.max_errors)
        self._on_progress = on_progress
        self._on_result = on_result
        self._total = total

    def deliver(self, answer: Answer[Result]) -> Iterator[object]:
        """Count the answers of a chunk and call the callbacks; return what each of them returned.

        Raises TooManyRefused if more writes were refused than permitted.
        """
        self.tally.add(len(answer.writes), answer.errors, answer.revision)
        if self._on_result is not None:
            for place, write, outcome in answer.items():
                yield self._on_result(place, write, outcome)
        if self._on_progress is not None:
            yield self._on_progress(self.tally.done, self.tally.refused, self._total)
        self.tally.check()
