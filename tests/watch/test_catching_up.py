"""A stream that begins in the past: its first checkpoint comes when it has caught up, and not before."""

from __future__ import annotations

import pytest

from registrar_server.reading import spans
from tests.support.servers import Registrar
from tests.support.watching import revisions, watching


async def test_the_first_checkpoint_comes_behind_all_events_that_exist(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads the history in several parts, and no checkpoint comes between them."""
    monkeypatch.setattr(spans, "SPAN_EVENTS", 2)
    for number in range(5):
        await registrar.add_student(f"s-{number}")
    async with watching(registrar, after_revision=0) as stream:
        assert await stream.checkpoint() == 5
        assert revisions(stream.events) == [1, 2, 3, 4, 5]
