"""What ``batch`` returns and raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar, overload

from registrar_client.errors import RegistrarError

Result = TypeVar("Result", covariant=True)


class BatchResults(Sequence[Result], Generic[Result]):
    """The results of the writes of a batch, by position.

    ``results[2]`` is the result of the third write. It raises the error of the write if that was refused.
    """

    def __init__(
        self, outcomes: Sequence[Result | RegistrarError], *, revision: int = 0, abridged: bool = False
    ) -> None:
        self.outcomes: Sequence[Result | RegistrarError] = tuple(outcomes)
        """The result or the error of each write."""
        self.errors: Mapping[int, RegistrarError] = {
            place: one for place, one in enumerate(self.outcomes) if isinstance(one, RegistrarError)
        }
        """The errors of the refused writes, by position."""
        self.revision = revision
        """No event of these writes has a higher revision. 0 for a preview."""
        self.abridged = abridged
        """Whether the results did not fit into a message. They then only have ids, states and counts."""

    @overload
    def __getitem__(self, place: int) -> Result: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Result]: ...

    def __getitem__(self, place: int | slice) -> Result | Sequence[Result]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        outcome = self.outcomes[place]
        if isinstance(outcome, RegistrarError):
            raise outcome
        return outcome

    def __len__(self) -> int:
        return len(self.outcomes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} writes, {len(self.errors)} refused, revision {self.revision})"


class BatchFailed(RegistrarError):
    """Writes of a batch were refused. The status, the reason and the details are those of the first refused write.

    All other writes were made, unless the batch is atomic: then nothing was changed.
    """

    def __init__(
        self,
        errors: Mapping[int, RegistrarError],
        results: BatchResults[object] | None = None,
        *,
        request_id: str = "",
    ) -> None:
        self.errors = dict(sorted(errors.items()))
        """The errors of the refused writes, by position. In an atomic batch, those after the first only have a reason,
        and the server lists as many as fit."""
        self.results = results
        """The results of all writes. ``None`` if the batch is atomic."""
        place, first = next(iter(self.errors.items()))
        self.status = first.status
        super().__init__(
            f"{len(self.errors)} refused; writes[{place}]: {str(first).removeprefix(f'writes[{place}]: ')}",
            reason=first.reason,
            metadata=first.metadata,
            violations=first.violations,
            field_violations=first.field_violations,
            retry_after=first.retry_after,
            request_id=request_id,
        )
