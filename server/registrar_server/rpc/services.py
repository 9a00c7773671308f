"""The services of the server, and their registration with a gRPC server."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health

from registrar.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    history_service_pb2,
    history_service_pb2_grpc,
    student_service_pb2,
    student_service_pb2_grpc,
)
from registrar_server.rpc.course_service import CourseService
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.enrollment_service import EnrollmentService
from registrar_server.rpc.health import Health
from registrar_server.rpc.history_service import HistoryService
from registrar_server.rpc.reflection import add_reflection
from registrar_server.rpc.student_service import StudentService

SERVICE_NAMES = tuple(
    service.full_name
    for module in (enrollment_service_pb2, student_service_pb2, course_service_pb2, history_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


def add_services(server: grpc.aio.Server, dispatcher: Dispatcher, health_service: Health) -> None:
    """Add every service to a gRPC server, together with health and reflection."""
    enrollment_service_pb2_grpc.add_EnrollmentServiceServicer_to_server(EnrollmentService(dispatcher), server)
    student_service_pb2_grpc.add_StudentServiceServicer_to_server(StudentService(dispatcher), server)
    course_service_pb2_grpc.add_CourseServiceServicer_to_server(CourseService(dispatcher), server)
    history_service_pb2_grpc.add_HistoryServiceServicer_to_server(HistoryService(dispatcher), server)
    health_service.add_to(server)
    add_reflection(server, (*SERVICE_NAMES, health.SERVICE_NAME))
