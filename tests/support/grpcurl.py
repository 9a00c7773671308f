"""A stand-in for grpcurl, so that the examples in the documents run where grpcurl is not installed.

It understands ``grpcurl -plaintext -d JSON ADDRESS SERVICE/METHOD`` and writes what grpcurl writes, without the details
of an error. As grpcurl does, and unlike the JSON form of protobuf, it takes a field mask as an object with ``paths``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass

from registrar.v1 import course_service_pb2, enrollment_service_pb2, history_service_pb2, student_service_pb2

_MODULES = (course_service_pb2, enrollment_service_pb2, history_service_pb2, student_service_pb2)
_SERVICES = {each.full_name: each for module in _MODULES for each in module.DESCRIPTOR.services_by_name.values()}


def install(folder: Path) -> None:
    """Write a command ``grpcurl`` to a folder."""
    command = folder / "grpcurl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    command.chmod(0o755)


def main(plaintext: str, data: str, body: str, address: str, path: str) -> int:
    """Make the call and write the response as JSON, or the error."""
    assert (plaintext, data) == ("-plaintext", "-d")
    service, _, name = path.partition("/")
    method: Any = _SERVICES[service].methods_by_name[name]
    request, answer = GetMessageClass(method.input_type)(), GetMessageClass(method.output_type)
    json_format.ParseDict(_with_texts_as_masks(json.loads(body), method.input_type), request)
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"/{path}", type(request).SerializeToString, answer.FromString)
        try:
            sys.stdout.write(json_format.MessageToJson(call(request, timeout=60)) + "\n")
        except grpc.RpcError as failure:
            error: Any = failure
            code = error.code().name.title().replace("_", "")
            sys.stdout.write(f"ERROR:\n  Code: {code}\n  Message: {error.details()}\n")
            return 64 + int(error.code().value[0])
    return 0


def _with_texts_as_masks(values: dict[str, Any], kind: Descriptor) -> dict[str, Any]:
    """Replace the masks of a request by their JSON form of protobuf."""
    masks = [field.name for field in kind.fields if field.message_type is FieldMask.DESCRIPTOR]
    texts = {name: FieldMask(paths=values[name]["paths"]).ToJsonString() for name in masks if name in values}
    return values | texts


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
