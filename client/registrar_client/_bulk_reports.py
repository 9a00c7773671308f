"""What ``bulk`` returns and raises, and how it counts."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from registrar_client._batch_results import details_of
from registrar_client._docstrings import documented
from registrar_client.errors import RegistrarError


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReport:
    """How far ``bulk`` came: the first ``answered`` writes of the source have been answered."""

    done: int = 0
    """The number of writes that were made, by this run or by an earlier one with the same ``operation_id``."""
    # A dict has no hash. Equal reports still have equal hashes without it.
    refused: Mapping[str, int] = field(default_factory=dict, hash=False)
    """The number of refused writes by reason, or by status if there is no reason. The most frequent one is first."""
    seconds: float = 0.0
    """How long it took."""
    revision: int = 0
    """No event of these writes has a higher revision."""
    operation_id: str = ""
    """The id with which the same writes can be run again. Those that were made are then not made again."""

    @property
    def refused_count(self) -> int:
        """The number of refused writes."""
        return sum(self.refused.values())

    @property
    def answered(self) -> int:
        """The number of writes that were made or refused."""
        return self.done + self.refused_count


class BulkStopped(RegistrarError):
    """``bulk`` ended before the end of its source. ``report`` says how far it came, and ``__cause__`` says why.

    The cause is the error of a whole chunk, of the source or of a callback, or the last refusal if there were more than
    ``max_errors``. If it is a RegistrarError, the status, the reason and the details are those of the cause.
    """

    def __init__(
        self,
        message: str = "",
        *,
        report: BulkReport = BulkReport(),
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, **details_of(cause))
        if isinstance(cause, RegistrarError):
            self.status = cause.status
            self.request_id = cause.request_id
        self.report = report
        """How far it came. Later writes may have been made too."""


class TooManyRefused(Exception):
    """More writes were refused than ``max_errors`` permits."""

    def __init__(self, count: int, limit: int, last: RegistrarError) -> None:
        super().__init__(f"{count:,} writes were refused, and max_errors is {limit:,}; the last one: {last}")
        self.last = last


class Tally:
    """Counts the writes that have been answered."""

    def __init__(self, operation_id: str, max_errors: int | None) -> None:
        self._operation_id = operation_id
        self._max_errors = max_errors
        self._started = time.monotonic()
        self._refused = Counter[str]()
        self._last: RegistrarError | None = None
        self._revision = 0
        self.done = 0
        self.refused = 0

    def add(self, count: int, errors: Sequence[RegistrarError], revision: int) -> None:
        """Count the writes of a chunk, of which some were refused."""
        self.done += count - len(errors)
        self.refused += len(errors)
        self._refused.update(str(error.reason or error.status.name) for error in errors)
        self._last = errors[-1] if errors else self._last
        self._revision = max(self._revision, revision)

    def check(self) -> None:
        """Raise TooManyRefused if more writes were refused than permitted."""
        if self._last is not None and self._max_errors is not None and self.refused > self._max_errors:
            raise TooManyRefused(self.refused, self._max_errors, self._last)

    def report(self) -> BulkReport:
        """Return how far it came."""
        return BulkReport(
            done=self.done,
            refused=dict(self._refused.most_common()),
            seconds=time.monotonic() - self._started,
            revision=self._revision,
            operation_id=self._operation_id,
        )

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Raise BulkStopped from an error of the ``with`` block. Add a note to Ctrl-C and other signs to end."""
        try:
            yield
        except TooManyRefused as limit:
            raise self._stopped(str(limit), limit.last) from limit.last
        except Exception as error:
            notes = getattr(error, "__notes__", ())  # They say what to do.
            raise self._stopped(" ".join([f"{type(error).__name__}: {error}", *notes]), error) from error
        except BaseException as error:
            error.add_note(f"{self._so_far()}.{self._advice()}")
            raise

    def _stopped(self, why: str, cause: BaseException) -> BulkStopped:
        return BulkStopped(f"{self._so_far()}: {why}{self._advice()}", report=self.report(), cause=cause)

    def _so_far(self) -> str:
        count = self.done + self.refused
        return f"bulk stopped after the first {count:,} writes ({self.done:,} done, {self.refused:,} refused)"

    def _advice(self) -> str:
        return (
            "\nLater writes may have been made too. To make the others, run the same writes again with "
            f"operation_id={self._operation_id!r}."
        )
