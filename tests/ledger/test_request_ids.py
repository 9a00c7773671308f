"""The purge of request ids: old responses are deleted, newer ones stay."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registrar_server.ledger.request_ids import purge_request_ids
from registrar_server.storage.database import Database
from registrar_server.storage.models import RequestId


def store_answers(engine: Engine, *times: int, caller: str = "ada") -> None:
    """Store a response for each of these times; its request id is its time."""
    with Session(engine) as session:
        session.add_all(
            RequestId(caller=caller, request_id=str(time), fingerprint=b"", response=b"", create_time=time)
            for time in times
        )
        session.commit()


def stored_answers(engine: Engine) -> list[tuple[str, int]]:
    with Session(engine) as session:
        rows = session.execute(select(RequestId.caller, RequestId.create_time).order_by(RequestId.create_time))
        return [(row[0], row[1]) for row in rows]


def test_older_responses_are_deleted(database: Database, engine: Engine) -> None:
    """Responses from before the given time are deleted; one from that very time stays."""
    store_answers(engine, 1, 2, 3, 4)
    assert purge_request_ids(database, before=3) == 2
    assert stored_answers(engine) == [("ada", 3), ("ada", 4)]


def test_in_chunks(database: Database, engine: Engine) -> None:
    """All old responses are deleted, in chunks of any size."""
    store_answers(engine, *range(7))
    assert purge_request_ids(database, before=5, chunk=2) == 5
    assert stored_answers(engine) == [("ada", 5), ("ada", 6)]


def test_the_same_id_of_another_caller_stays(database: Database, engine: Engine) -> None:
    """A response is identified by its caller and its request id together."""
    store_answers(engine, 1)
    with Session(engine) as session:
        session.add(RequestId(caller="bob", request_id="1", fingerprint=b"", response=b"", create_time=9))
        session.commit()
    assert purge_request_ids(database, before=5) == 1
    assert stored_answers(engine) == [("bob", 9)]


def test_nothing_to_do(database: Database, engine: Engine) -> None:
    """On an empty table, or if all responses are new, nothing is deleted."""
    assert purge_request_ids(database, before=5) == 0
    store_answers(engine, 5)
    assert purge_request_ids(database, before=5) == 0
    assert len(stored_answers(engine)) == 1
