"""The table of all RPCs of Registrar, by the path of the RPC.

An RPC of the protos without a row, a row without an RPC, or a second row for an RPC is an error at import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from google.protobuf.descriptor import ServiceDescriptor

from registrar.v1 import (
    batch_service_pb2,
    course_service_pb2,
    enrollment_service_pb2,
    history_service_pb2,
    student_service_pb2,
)
from registrar_server.rpc import (
    course_changes,
    course_reads,
    enrollment_changes,
    enrollment_reads,
    history_reads,
    student_changes,
    student_reads,
)
from registrar_server.rpc.batch_requests import BATCH_WRITE
from registrar_server.rpc.methods import Method

SERVICES: tuple[ServiceDescriptor, ...] = tuple(
    service
    for module in (
        enrollment_service_pb2,
        student_service_pb2,
        course_service_pb2,
        history_service_pb2,
        batch_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)

_ROWS: Mapping[str, Iterable[Method]] = {
    "EnrollmentService": (*enrollment_changes.CHANGES, *enrollment_reads.READS),
    "StudentService": (*student_changes.CHANGES, *student_reads.READS),
    "CourseService": (*course_changes.CHANGES, *course_reads.READS),
    "HistoryService": history_reads.ROWS,
    "BatchService": (BATCH_WRITE,),
}


def _methods(service: ServiceDescriptor) -> Mapping[str, Method]:
    """Return the rows of a service by the name of the RPC."""
    rows, rpcs = Counter(method.name for method in _ROWS[service.name]), Counter(list(service.methods_by_name))
    if difference := [*(rows - rpcs), *(rpcs - rows)]:
        raise RuntimeError(f"{service.full_name} and its rows differ: {', '.join(difference)}")
    return MappingProxyType({method.name: method for method in _ROWS[service.name]})


METHODS: Mapping[str, Mapping[str, Method]] = MappingProxyType(
    {service.full_name: _methods(service) for service in SERVICES}
)
"""The rows by the full name of the service and the name of the RPC."""
