"""Makes the details of a refusal fit into a number of bytes.

Texts for people give way first: the longest ones are shortened, all to the same length. Only when every text is gone,
the details that programs read are dropped, from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo

from registrar.v1.error_reason_pb2 import BatchRefusals, RuleViolations

LEFT_OUT = "left_out"
"""The name in the metadata of ``ErrorInfo`` of the number of details that were dropped."""
ELLIPSIS = "…"

_ENVELOPE_BYTES = 64
"""The type of a detail and the tags around it."""
_COUNT_BYTES = 24
_TEXT_VALUES = frozenset({"component", "reason", "term"})
"""The values of a violated rule that are texts for people."""
_ID_LISTS = frozenset({"missing_course_ids"})
"""The values of a violated rule that are lists of ids."""


def fit(details: list[Any], budget: int) -> int:
    """Shorten and drop details until they fit; return how many were dropped, which the metadata says too.

    The first detail is the ``ErrorInfo``. It is never dropped.
    """
    excess = _size(details) - budget
    if excess <= 0:
        return 0
    _shorten(list(_texts(details)), excess)
    if _size(details) <= budget:
        return 0
    _drop_repetition(details)
    budget -= _COUNT_BYTES
    left_out = _drop_ids(details, budget) + _drop_entries(details, budget)
    if left_out:
        details[0].metadata[LEFT_OUT] = str(left_out)
    return left_out


def _size(details: Sequence[Any]) -> int:
    return sum(detail.ByteSize() + _ENVELOPE_BYTES for detail in details)


class _Text(NamedTuple):
    content: str
    replace: Callable[[str], None]


def _texts(details: Sequence[Any]) -> Iterator[_Text]:
    for detail in details:
        for message in _described(detail):
            yield _Text(message.description, partial(setattr, message, "description"))
        if isinstance(detail, RuleViolations):
            for violation in detail.violations:
                for name in _TEXT_VALUES & violation.values.keys():
                    yield _Text(violation.values[name], partial(violation.values.__setitem__, name))


def _described(detail: Any) -> Any:
    return [detail] if isinstance(detail, ResourceInfo) else _entries(detail)


def _entries(detail: Any) -> Any:
    match detail:
        case BadRequest():
            return detail.field_violations
        case PreconditionFailure() | RuleViolations():
            return detail.violations
        case BatchRefusals():
            return detail.refusals
    return []


def _shorten(texts: Sequence[_Text], excess: int) -> None:
    limit = _common_limit([len(text.content.encode()) for text in texts], excess)
    for text in texts:
        text.replace(shortened(text.content, limit))


def _common_limit(lengths: Sequence[int], excess: int) -> int:
    """Return the greatest limit that makes texts of these lengths shorter by ``excess`` in total, or 0."""
    longest_first = [*sorted(lengths, reverse=True), 0]
    total = 0
    for count, length in enumerate(longest_first[:-1], start=1):
        total += length
        if total - count * longest_first[count] >= excess:
            return (total - excess) // count
    return 0


def shortened(text: str, limit: int) -> str:
    """Truncate a text to a number of bytes; one that is cut ends with an ellipsis."""
    content = text.encode()
    if len(content) <= limit:
        return text
    kept = content[: max(limit - len(ELLIPSIS.encode()), 0)].decode(errors="ignore")
    return kept + ELLIPSIS if kept else ""


def _drop_repetition(details: list[Any]) -> None:
    """Drop the ``PreconditionFailure``, which ``RuleViolations`` repeats for programs."""
    if any(isinstance(detail, RuleViolations) for detail in details):
        details[:] = [detail for detail in details if not isinstance(detail, PreconditionFailure)]


def _drop_ids(details: Sequence[Any], budget: int) -> int:
    """Drop ids from the ends of lists of ids, but not the first one; return how many."""
    dropped = 0
    for detail in details:
        for violation in detail.violations if isinstance(detail, RuleViolations) else ():
            for name in _ID_LISTS & violation.values.keys():
                ids = violation.values[name].split(", ")
                count = len(ids)
                excess = _size(details) - budget
                while excess > 0 and len(ids) > 1:
                    excess -= len(ids.pop()) + 2
                violation.values[name] = ", ".join(ids)
                dropped += count - len(ids)
    return dropped


def _drop_entries(details: Sequence[Any], budget: int) -> int:
    """Drop entries from the ends of lists, but not the first one; return how many."""
    dropped = 0
    excess = _size(details) - budget
    for entries in map(_entries, reversed(details)):
        while excess > 0 and len(entries) > 1:
            excess -= entries.pop().ByteSize() + 2
            dropped += 1
    return dropped
