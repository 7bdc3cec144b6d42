"""What the contracts say: every method that has stubs, and requests made from their descriptors."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from parfocal_runtime.access import Rule

ROOT = Path(__file__).resolve().parents[2]
STUBS = [*(ROOT / "client").rglob("*_pb2.py"), *(ROOT / "services/inference").rglob("*_pb2.py")]


@cache
def all_methods() -> dict[str, MethodDescriptor]:
    """Every method of every service that has stubs, by its full name."""
    return {full_name(method): method for method in sorted(_methods(), key=full_name)}


def full_name(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def places_of(rule: Rule) -> list[str]:
    """The fields of a rule that name projects."""
    return [*rule.names, *rule.ids, *rule.paths]


def request_about(
    method: MethodDescriptor, rule: Rule, project: str, *, but: tuple[str, str] | None = None
) -> Message:
    """A request that names `project` in every place, `but` another one in one of them."""
    request: Message = GetMessageClass(method.input_type)()
    for place in places_of(rule):
        _put(request, place, _name(rule, place, project))
    if but is not None:
        place, other = but
        # Last: in a oneof it then is the one that is set.
        _put(request, place, _name(rule, place, other))
    return request


def _methods() -> Iterator[MethodDescriptor]:
    for path in STUBS:
        root = ROOT / "client" if path.is_relative_to(ROOT / "client") else path.parents[3]
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
            yield from service.methods


def _name(rule: Rule, place: str, project: str) -> str:
    if place in rule.ids:
        return project
    if place in rule.paths:
        return f"projects/{project}/images/a.ome.zarr/0"
    if place.endswith("parent"):
        return f"projects/{project}"
    return f"projects/{project}/things/1"


def _put(message: Any, place: str, text: str) -> None:
    head, _, rest = place.partition(".")
    field = message.DESCRIPTOR.fields_by_name[head]
    inner = getattr(message, head)
    if field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
        inner[:] = [text]
    elif field.type == FieldDescriptor.TYPE_STRING:
        setattr(message, head, text)
    elif field.is_repeated:
        _put(inner[0] if inner else inner.add(), rest, text)
    else:
        _put(inner, rest, text)
