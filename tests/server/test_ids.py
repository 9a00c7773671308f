"""Ids made by the server are UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from registrar_server.ids import new_id

#: Until the year 10889, when 48 bits of milliseconds end.
TIMES = st.integers(0, (2**48 - 1) * 1000)


@given(TIMES)
def test_version_and_variant(now: int) -> None:
    """The bits that RFC 9562 sets are set, in the usual way of writing."""
    made = new_id(now)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert made == str(parsed)


@given(TIMES)
def test_carries_its_milliseconds(now: int) -> None:
    """The first 48 bits are the time."""
    assert uuid.UUID(new_id(now)).int >> 80 == now // 1000


@given(st.lists(TIMES, unique_by=lambda now: now // 1000))
def test_sorts_by_time(times: list[int]) -> None:
    """As text, later ids sort after earlier ones."""
    assert [new_id(now)[:13] for now in sorted(times)] == sorted(new_id(now)[:13] for now in times)


def test_a_known_time() -> None:
    """The example of RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC."""
    assert new_id(1_645_557_742_000_000).startswith("017f22e2-79b0-7")


def test_does_not_repeat() -> None:
    """Ids of one moment differ: 74 of their bits are random."""
    assert len({new_id(1_645_557_742_000_000) for _ in range(10_000)}) == 10_000
