"""The ledger whose database the tests verify."""

from __future__ import annotations

import pytest

from registrar_server.storage.database import Database
from tests.support.ledgers import Ledger, carry_out
from tests.support.states import numbered_ids
from tests.support.tampering import SEQUEL, STORY


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A ledger that has carried out the story; its ids are numbered."""
    ledger = Ledger(database, new_id=numbered_ids())
    carry_out(ledger, *STORY)
    carry_out(ledger, *SEQUEL)
    return ledger
