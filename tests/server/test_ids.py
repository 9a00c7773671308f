"""Ids that the server generates are UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from registrar_server.ids import new_id, numbered_ids

#: Until the year 10889, when the 48 bits for milliseconds overflow.
TIMES = st.integers(0, (2**48 - 1) * 1000)


@given(TIMES)
def test_version_and_variant(now: int) -> None:
    """An id has the version and variant of RFC 9562, in the standard notation."""
    made = new_id(now)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert made == str(parsed)


@given(TIMES)
def test_time(now: int) -> None:
    """The first 48 bits are the time in milliseconds."""
    assert uuid.UUID(new_id(now)).int >> 80 == now // 1000


@given(st.lists(TIMES, unique_by=lambda now: now // 1000))
def test_order(times: list[int]) -> None:
    """As text, later ids sort after earlier ids."""
    assert [new_id(now)[:13] for now in sorted(times)] == sorted(new_id(now)[:13] for now in times)


def test_known_time() -> None:
    """The time of the example in RFC 9562, appendix A.6, has the digits of the example."""
    assert new_id(1_645_557_742_000_000).startswith("017f22e2-79b0-7")


def test_uniqueness() -> None:
    """Ids generated at the same time differ, because 74 of their bits are random."""
    assert len({new_id(1_645_557_742_000_000) for _ in range(10_000)}) == 10_000


def test_threads() -> None:
    """Threads that generate ids at the same time generate different ones."""
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda _thread: [new_id(1_645_557_742_000_000) for _ in range(10_000)], range(4))
        assert len({one for ids in made for one in ids}) == 40_000


def test_fork() -> None:
    """A forked process does not generate the ids that its parent generates next."""
    script = "import os; from registrar_server.ids import new_id; new_id(0); os.fork(); os.write(1, new_id(0).encode())"
    made = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert made[:36] != made[36:]
    assert len(made) == 72


@given(st.uuids(), st.integers(0, 10**9))
def test_numbered_ids(namespace: uuid.UUID, number: int) -> None:
    """The id of a number in a namespace is its UUID of version 5."""
    assert numbered_ids(str(namespace))(number) == str(uuid.uuid5(namespace, str(number)))
