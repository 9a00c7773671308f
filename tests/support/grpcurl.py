"""A stand-in for grpcurl, so that the examples in the documents run where grpcurl is not installed.

It understands ``grpcurl [OPTIONS] -d JSON ADDRESS SERVICE/METHOD`` with the options that the documents use, and writes
what grpcurl writes, without the details of an error. Like grpcurl, it reads a mask as ``{"paths": [...]}``, and not as
a string.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from string import Template
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass

from registrar.v1 import course_service_pb2, enrollment_service_pb2, history_service_pb2, student_service_pb2

_MODULES = (course_service_pb2, enrollment_service_pb2, history_service_pb2, student_service_pb2)
_SERVICES = {each.full_name: each for module in _MODULES for each in module.DESCRIPTOR.services_by_name.values()}


def install(folder: Path) -> None:
    """Write a command ``grpcurl`` to a folder, unless the machine has the real one."""
    if shutil.which("grpcurl"):
        return
    command = folder / "grpcurl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    command.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Make the call and write the response as JSON, or the error."""
    options = _parser().parse_args(arguments)
    path = options.method
    service, _, name = path.partition("/")
    method: Any = _SERVICES[service].methods_by_name[name]
    request, answer = GetMessageClass(method.input_type)(), GetMessageClass(method.output_type)
    json_format.ParseDict(_with_mask_as_text(json.loads(options.data)), request)
    with _channel(options) as channel:
        call: Any = channel.unary_unary(f"/{path}", type(request).SerializeToString, answer.FromString)
        try:
            sys.stdout.write(json_format.MessageToJson(call(request, timeout=60, metadata=_metadata(options))) + "\n")
        except grpc.RpcError as failure:
            error: Any = failure
            code = error.code().name.title().replace("_", "")
            sys.stderr.write(f"ERROR:\n  Code: {code}\n  Message: {error.details()}\n")
            return 64 + int(error.code().value[0])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="grpcurl", allow_abbrev=False)
    parser.add_argument("address")
    parser.add_argument("method")
    parser.add_argument("-d", dest="data", required=True)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-expand-headers", action="store_true")
    parser.add_argument("-plaintext", action="store_true")
    for name in ("-cacert", "-cert", "-key"):
        parser.add_argument(name, type=Path)
    return parser


def _channel(options: argparse.Namespace) -> grpc.Channel:
    if options.plaintext:
        return grpc.insecure_channel(options.address)
    contents = [file and file.read_bytes() for file in (options.cacert, options.key, options.cert)]
    return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(*contents))


def _metadata(options: argparse.Namespace) -> list[tuple[str, str]]:
    found = []
    for header in options.headers:
        name, _, value = header.partition(":")
        text = Template(value.strip())
        found.append((name, text.substitute(os.environ) if options.expand_headers else text.template))
    return found


def _with_mask_as_text(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request with their mask in the form that protobuf reads."""
    if "update_mask" not in fields:
        return fields
    mask = FieldMask(paths=fields["update_mask"]["paths"])
    return {**fields, "update_mask": mask.ToJsonString()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
