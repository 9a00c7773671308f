"""JSON Schemas of the messages: one of what requests may contain, one of what answers contain."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from textwrap import indent
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo

from registrar.v1.error_reason_pb2 import BatchRefusals, RuleViolations
from registrar_server.errors import OVERRIDABLE
from registrar_server.http.json_values import alternatives
from registrar_server.rpc.id_rule import ID_RULE, MAX_ID_LENGTH

JsonSchema = dict[str, Any]

UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ID_NAME = re.compile(r"(?:.+_)?(?:student|course|enrollment)_ids?")
_ID_PATTERN = ID_RULE.removeprefix("must match ")
_SCALARS: Mapping[int, JsonSchema] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
}
_WELL_KNOWN: Mapping[str, JsonSchema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
}
_NOT_NEGATIVE: Mapping[str, JsonSchema] = {
    "page_size": {"minimum": 0},
    "after_revision": {"pattern": "^[0-9]{1,19}$"},
}
_ANY = "google.protobuf.Any"
_DETAILS: Sequence[Descriptor] = [
    kind.DESCRIPTOR
    for kind in (ErrorInfo, RetryInfo, ResourceInfo, BadRequest, PreconditionFailure, RuleViolations, BatchRefusals)
]
"""The messages that the details of a status are."""


class JsonSchemas:
    """The schemas of an OpenAPI document; ``components`` gets each one when something first refers to it."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._bodies: dict[str, list[frozenset[str]]] = {}
        self.components: dict[str, JsonSchema] = {}

    def answer(self, kind: Descriptor) -> JsonSchema:
        """Return the schema of a message in answers: all fields that are printed always are required."""
        return self._refer(local_name(kind), lambda: self._answer(kind))

    def body(self, kind: Descriptor, without: frozenset[str]) -> JsonSchema:
        """Return the schema of a request in a body, without the fields that the path has.

        Routes of one method with other fields in the path have schemas of their own, with a number behind the name.
        """
        known = self._bodies.setdefault(kind.name, [])
        if without not in known:
            known.append(without)
        number = known.index(without) + 1
        name = kind.name if number == 1 else f"{kind.name}{number}"
        return self._refer(name, lambda: self._given(kind, without))

    def field(self, field: FieldDescriptor, *, required: bool) -> JsonSchema:
        """Return the schema of a field of a request: in the path, in the query, or as the body."""
        return self._listed(field, self._given_value(field, required=required))

    def _answer(self, kind: Descriptor) -> JsonSchema:
        properties = {field.name: self._documented(field, self._answered(field)) for field in kind.fields}
        printed = [field.name for field in kind.fields if not field.has_presence]
        return self._object(kind, properties, printed)

    def _detail(self, kind: Descriptor) -> JsonSchema:
        """Return the schema of a message in an ``Any``, with the name of its type as ``@type``."""
        schema = self._answer(kind)
        typed = {"@type": {"type": "string", "const": _type_url(kind)}, **schema["properties"]}
        return self._refer(
            local_name(kind), lambda: {**schema, "properties": typed, "required": ["@type", *schema["required"]]}
        )

    def _any(self) -> JsonSchema:
        details = {_type_url(kind): self._detail(kind) for kind in _DETAILS}
        mapping = {url: reference["$ref"] for url, reference in details.items()}
        return {"oneOf": list(details.values()), "discriminator": {"propertyName": "@type", "mapping": mapping}}

    def _given(self, kind: Descriptor, without: frozenset[str]) -> JsonSchema:
        fields = [field for field in kind.fields if field.name not in without]
        properties = {}
        for field in fields:
            ignored = field_behavior_pb2.OUTPUT_ONLY in behaviors(field)
            schema = self._answered(field) if ignored else self.field(field, required=is_required(field))
            properties[field.name] = self._documented(field, schema)
        required = [field.name for field in fields if is_required(field)]
        return self._object(kind, properties, required) | {"additionalProperties": False} | _one_of(kind)

    def _object(self, kind: Descriptor, properties: JsonSchema, required: list[str]) -> JsonSchema:
        description = self._comments.get(kind.full_name, "")
        return {"type": "object", "description": description, "properties": properties, "required": required}

    def _documented(self, field: FieldDescriptor, schema: JsonSchema) -> JsonSchema:
        documented = {**schema, "description": self._comments.get(field.full_name, "")}
        if field_behavior_pb2.OUTPUT_ONLY in behaviors(field):
            documented["readOnly"] = True
        return documented

    def _listed(self, field: FieldDescriptor, value: JsonSchema) -> JsonSchema:
        if not field.is_repeated or _is_map(field):
            return value
        return {"type": "array", "items": value} | ({"minItems": 1} if is_required(field) else {})

    def _given_value(self, field: FieldDescriptor, *, required: bool) -> JsonSchema:
        if _ID_NAME.fullmatch(field.name):
            return _id(required=required or field.is_repeated)
        if field.name == "request_id":
            return {"type": "string", "pattern": f"^({UUID_PATTERN})?$"}
        if field.enum_type and field.is_repeated:
            return {"type": "string", "enum": _choices(field, field.enum_type)}
        value = self._value(field, self._nested)
        if field.name in _NOT_NEGATIVE:
            return value | _NOT_NEGATIVE[field.name]
        return value | {"minLength": 1} if required and value.get("type") == "string" else value

    def _nested(self, kind: Descriptor) -> JsonSchema:
        return self._refer(f"{local_name(kind)}Input", lambda: self._given(kind, frozenset()))

    def _answered(self, field: FieldDescriptor) -> JsonSchema:
        return self._listed(field, self._value(field, self.answer))

    def _value(self, field: FieldDescriptor, of_message: Callable[[Descriptor], JsonSchema]) -> JsonSchema:
        if field.enum_type:
            return self._enum(field.enum_type)
        if field.message_type is None:
            return dict(_SCALARS[field.type])
        if _is_map(field):
            of_entry = self._value(field.message_type.fields_by_name["value"], of_message)
            return {"type": "object", "additionalProperties": of_entry}
        if field.message_type.full_name == _ANY:
            return self._any()
        known = _WELL_KNOWN.get(field.message_type.full_name)
        return dict(known) if known else of_message(field.message_type)

    def _enum(self, kind: EnumDescriptor) -> JsonSchema:
        names = [value.name for value in kind.values]
        comments = [self._comments.get(f"{kind.full_name}.{name}", "") for name in names]
        listed = [f"* `{name}`: {indent(text, '  ').strip()}" for name, text in zip(names, comments, strict=True)]
        description = "\n".join([self._comments.get(kind.full_name, ""), "", *listed]).strip()
        return self._refer(kind.name, lambda: {"type": "string", "enum": names, "description": description})

    def _refer(self, name: str, make: Callable[[], JsonSchema]) -> JsonSchema:
        if name not in self.components:
            self.components[name] = make()
        return {"$ref": f"#/components/schemas/{name}"}


def local_name(kind: Descriptor) -> str:
    """Return the name of a message in its package, such as ``BadRequest.FieldViolation``."""
    return kind.full_name.removeprefix(f"{kind.file.package}.")


def _type_url(kind: Descriptor) -> str:
    return f"type.googleapis.com/{kind.full_name}"


def behaviors(field: FieldDescriptor) -> list[int]:
    """Return what the proto says about a field in requests and answers, such as REQUIRED."""
    return list(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def is_required(field: FieldDescriptor) -> bool:
    """Return whether a request must have the field."""
    return field_behavior_pb2.REQUIRED in behaviors(field)


def _one_of(kind: Descriptor) -> JsonSchema:
    """Return what a schema says of the fields of which a request must have exactly one: those of a oneof."""
    groups = [[field.name for field in kind.fields if field.name in names] for names in alternatives(kind)]
    required = [{"oneOf": [{"required": [name]} for name in names]} for names in groups]
    return {"allOf": required} if len(required) > 1 else required[0] if required else {}


def _choices(field: FieldDescriptor, kind: EnumDescriptor) -> list[str]:
    """Return the names that a list of a request may have: all but the one that means not set."""
    names = [value.name for value in kind.values][1:]
    if field.full_name != "registrar.v1.Override.rules":
        return names
    return [name for name in names if name.removeprefix("ERROR_REASON_") in OVERRIDABLE]


def _id(*, required: bool) -> JsonSchema:
    pattern = f"^{_ID_PATTERN}$" if required else f"^({_ID_PATTERN})?$"
    return {"type": "string", "pattern": pattern, "minLength": int(required), "maxLength": MAX_ID_LENGTH}


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
