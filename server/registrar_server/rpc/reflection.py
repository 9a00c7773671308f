"""Server reflection, so that grpcurl and buf curl can call the server without its protos."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from registrar_server.rpc.methods import parse
from registrar_server.rpc.refusing import Context, refuse_bytes

_NAME = "ServerReflection"
"""The name of the one method in the log, without ``Info``, so that its line is as short as the others."""
REFLECTION_SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


class _MethodAwarePool:
    """A descriptor pool that also finds a file by the name of a method in it."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Serve reflection as v1 and v1alpha. The library supports only v1alpha, which has the same messages as v1."""
    servicer = reflection.aio.ReflectionServicer(
        (*services, *REFLECTION_SERVICES), pool=_MethodAwarePool(descriptor_pool.Default())
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": _handler(name, servicer)})
            for name in REFLECTION_SERVICES
        ]
    )


def _handler(service: str, servicer: reflection.aio.ReflectionServicer) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of a version of the service, from bytes to bytes."""
    expected = f"{service}Request"

    async def answer(stream: object, context: Context) -> None:
        # The stream and its iterator refer to each other, and would keep the last message in memory until a garbage
        # collection. So read from the context.
        del stream
        begun = time.perf_counter()
        data = request = None
        try:
            while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]  # Its stub lacks it.
                request = parse(ServerReflectionRequest, data)
                if request is None:
                    await refuse_bytes(expected, _NAME, begun, context)
                answers: Any = servicer.ServerReflectionInfo(_only(request), context)  # Its stub lacks the iterator.
                async for response in answers:
                    await context.write(response.SerializeToString())
        finally:
            # Without this, the error that refuses a call keeps it in memory, as in ``rpc/endpoint.py``.
            del data, request, context

    return grpc.stream_stream_rpc_method_handler(answer)


async def _only(request: ServerReflectionRequest) -> AsyncIterator[ServerReflectionRequest]:
    yield request
