"""What ``batch`` returns and raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

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
        message: str = "",
        *,
        errors: Mapping[int, RegistrarError] = MappingProxyType({}),
        results: BatchResults[object] | None = None,
        request_id: str = "",
    ) -> None:
        self.errors: Mapping[int, RegistrarError] = dict(sorted(errors.items()))
        """The errors of the refused writes, by position. In an atomic batch, those after the first only have a reason,
        and the server lists as many as fit."""
        self.results = results
        """The results of all writes. ``None`` if the batch is atomic."""
        first = next(iter(self.errors.values()), None)
        super().__init__(message, **details_of(first), request_id=request_id)
        if first is not None:
            self.status = first.status


def batch_failed(
    errors: Mapping[int, RegistrarError], results: BatchResults[object] | None = None, *, request_id: str
) -> BatchFailed:
    """Return the error of a batch with these refused writes."""
    place = min(errors)
    text = str(errors[place]).removeprefix(f"writes[{place}]: ")
    message = f"{len(errors)} refused; writes[{place}]: {text}"
    return BatchFailed(message, errors=errors, results=results, request_id=request_id)


def details_of(error: BaseException | None) -> dict[str, Any]:
    """Return what an error that is raised because of another one tells about it, as arguments of the new one."""
    if not isinstance(error, RegistrarError):
        return {}
    names = ("reason", "metadata", "violations", "field_violations", "retry_after")
    return {name: getattr(error, name) for name in names}
