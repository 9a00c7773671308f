"""Opens changes: reads the request of a call into the command that the ledger carries out."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import structlog

from registrar_server.core.commands import Command
from registrar_server.errors import Refusal
from registrar_server.identity.callers import ANYONE, Caller
from registrar_server.ledger.calls import Call, Outcome
from registrar_server.rpc.access import check_request
from registrar_server.rpc.arrival import Arrival, names_of
from registrar_server.rpc.methods import Change
from registrar_server.rpc.twins import Twins
from registrar_server.rpc.validation import Fields

log = structlog.get_logger()


class Opened(NamedTuple):
    """A change that was read: its call at the caller, and what to carry out."""

    arrival: Arrival
    call: Call
    refused_event: str

    def end(self, outcome: Outcome) -> None:
        """Give the caller the outcome, and log it; ``Arrival.end`` does not log the refusal of an enrollment."""
        if self.refused_event and isinstance(outcome, Refusal):
            _log_refusal(self.refused_event, self.call.command, outcome, self.arrival.caller)
        self.arrival.end(outcome)


def open_change(arrival: Arrival, change: Change, given: Fields, new_id: str = "") -> Opened:
    """Read the request of a change. Raises INVALID_FIELD with the wrong fields, and those that ``given`` has noted.

    ``new_id`` is an id that the server has made for a request without a ``request_id``.
    """
    request = arrival.request
    actor, on_behalf_of = arrival.caller.actor, arrival.caller.on_behalf_of
    request_id = new_id or given.request_id(request.request_id)
    fingerprint = change.identify(request, new_id or request.request_id, on_behalf_of)
    command = change.command(given, request)
    given.check()
    call = Call(command, change.pack, request_id, fingerprint, actor, on_behalf_of)
    return Opened(arrival, call, change.refused_event)


def admit(arrival: Arrival) -> None:
    """Refuse a call with ROLE_REQUIRED if its caller may not make it; ``arrival`` has the request."""
    if arrival.caller is not ANYONE:
        arrival.as_student = check_request(arrival.caller, arrival.method.name, arrival.request)


def enter_change(twins: Twins, opened: Opened) -> None:
    """Put a change into its lane."""
    arrival = opened.arrival
    try:
        arrival.entry = twins.enter(opened.call, opened.end, timeout=arrival.time_remaining())
    except Refusal as refusal:
        opened.end(refusal)


def _log_refusal(event: str, command: Command, refusal: Refusal, caller: Caller) -> None:
    named = (field.name for field in fields(command) if field.name.endswith("_id"))  # type: ignore[arg-type]
    reasons = [reason.value for reason in refusal.reasons]
    log.info(event, reasons=reasons, **{name: getattr(command, name) for name in named}, **names_of(caller))
