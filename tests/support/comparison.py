"""Compares a ledger with the reference: an empty database to start from, and outcomes in the reference's terms."""

from __future__ import annotations

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from registrar_server.errors import Refusal
from registrar_server.ledger.calls import Outcome
from registrar_server.storage import models
from tests.support.histories import result_of, result_of_refusal
from tests.support.ledgers import fields
from tests.support.reference_rules import Result


def comparable(outcome: Outcome) -> Result:
    """Return the outcome of a call in the reference's terms."""
    if isinstance(outcome, Refusal):
        return result_of_refusal(outcome)
    return result_of(fields(outcome))


def enrollment_ids(engine: Engine) -> dict[str, str]:
    """Return the id of each enrollment by its name in the reference: its course and its number."""
    row = models.Enrollment
    with Session(engine) as session:
        found = session.execute(select(row.course_id, row.number, row.enrollment_id)).all()
    return {f"{course_id}#{number}": enrollment_id for course_id, number, enrollment_id in found}


def clear_database(engine: Engine) -> None:
    """Delete all rows, so that the database is as after its migration."""
    with Session(engine) as session:
        for model in (models.Enrollment, models.Student, models.Course, models.Event, models.RequestId):
            session.execute(delete(model))
        session.execute(update(models.EventCounter).values(revision=0))
        session.commit()
