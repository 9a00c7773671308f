"""The requests of BatchWrite, and the check of every response."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from bench import messages
from registrar.v1 import batch_service_pb2 as pb
from registrar.v1 import enrollment_service_pb2

WRITES = 256
"""The writes of each batch."""


def requests(enrollments: Iterable[enrollment_service_pb2.EnrollStudentRequest]) -> Iterator[pb.BatchWriteRequest]:
    """Yield ordered batches of these requests. The ids of the writes follow from that of the batch, as the client's."""
    remaining = iter(enrollments)
    while listed := list(islice(remaining, WRITES)):
        for enrollment in listed:
            enrollment.request_id = ""
        writes = (pb.Write(enroll_student=enrollment) for enrollment in listed)
        yield pb.BatchWriteRequest(writes=writes, request_id=str(uuid.uuid4()))


def wrong_answers(pairs: Iterable[tuple[bytes, bytes]]) -> Counter[str]:
    """Count wrong answers to batches and to their writes by kind, given (request, answer) pairs."""
    found: Counter[str] = Counter()
    right: list[tuple[bytes, bytes]] = []
    for request, answer in pairs:
        asked, answered = pb.BatchWriteRequest.FromString(request), pb.BatchWriteResponse.FromString(answer)
        errors = [result.error for result in answered.results if result.HasField("error")]
        found.update(f"refused write: {error.message}" for error in errors)
        if not _is_whole(asked, answered) or answered.refused_count != len(errors):
            found["wrong answer to a batch"] += 1
            continue
        right += [
            (write.enroll_student.SerializeToString(), result.enroll_student.SerializeToString())
            for write, result in zip(asked.writes, answered.results, strict=True)
            if not result.HasField("error")
        ]
    return found + messages.wrong_answers(messages.ENROLL, right)


def last_revision(pairs: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the revision of the newest event of batches, given (request, answer) pairs."""
    return max(pb.BatchWriteResponse.FromString(answer).revision for _, answer in pairs)


def _is_whole(asked: pb.BatchWriteRequest, answered: pb.BatchWriteResponse) -> bool:
    """Return whether each write has a result, and the batch the revision of its last event."""
    return (
        len(answered.results) == len(asked.writes)
        and all(result.WhichOneof("result") in ("enroll_student", "error") for result in answered.results)
        and answered.revision >= len(asked.writes) - answered.refused_count
        and not answered.abridged
    )
