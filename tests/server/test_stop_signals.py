"""Signals: repeats within a second are one request to stop, and a later signal ends the server immediately.

``tests/server/test_server.py`` sends them to real processes.
"""

from __future__ import annotations

import signal

import pytest

from registrar_server.stop_signals import StopSignals

SIGTERM, SIGINT, SIGHUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


class Handler:
    """The handler on a clock that the test sets, and what it has done."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[str] = []
        self._signals = StopSignals(
            lambda: self.done.append("stop"), lambda: self.done.append("end"), clock=lambda: self.now
        )

    def receive(self, number: signal.Signals, after: float) -> None:
        self.now += after
        self._signals.receive(number)


@pytest.mark.parametrize("repeat", [SIGTERM, SIGINT, SIGHUP])
@pytest.mark.parametrize("first", [SIGTERM, SIGINT, SIGHUP])
def test_any_signal_within_a_second_of_the_first_is_ignored(first: signal.Signals, repeat: signal.Signals) -> None:
    handler = Handler()
    for number, after in ((first, 0.0), (repeat, 0.0), (repeat, 0.5), (repeat, 0.4)):
        handler.receive(number, after)
    assert handler.done == ["stop"]


@pytest.mark.parametrize("later", [SIGTERM, SIGINT])
@pytest.mark.parametrize("first", [SIGTERM, SIGINT, SIGHUP])
def test_a_signal_a_second_after_the_first_ends_the_server_immediately(
    first: signal.Signals, later: signal.Signals
) -> None:
    handler = Handler()
    handler.receive(first, 0.0)
    handler.receive(later, 0.9)
    handler.receive(later, 0.1)
    assert handler.done == ["stop", "end"]


def test_a_late_sighup_does_not_end_the_server_immediately() -> None:
    handler = Handler()
    handler.receive(SIGTERM, 0.0)
    handler.receive(SIGHUP, 20.0)
    assert handler.done == ["stop"]
