"""Every method of every service, with every role, in one's own project and in another.

The methods are those of the contracts, not those that are implemented: what answers behind the
access layer is a stand-in, for what is tested is whether it is reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contracts import all_methods, places_of, request_about
from parfocal_runtime.access import METHOD_RULES, PUBLIC_METHODS, Rule
from parfocal_runtime.auth import Role, principal, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.server import Service, serving_in_thread

GUARDED = [name for name in all_methods() if name not in PUBLIC_METHODS]


async def role_of_caller(request: Message, context: Any) -> bytes:
    return principal().role.name.encode()


async def roles_of_caller(request: Message, context: Any) -> AsyncIterator[bytes]:
    yield principal().role.name.encode()


async def role_for_each(requests: AsyncIterator[Message], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield principal().role.name.encode()


# By whether requests and answers are streams; no contract has a stream of requests alone.
ANSWERING: dict[tuple[bool, bool], tuple[Any, Any]] = {
    (False, False): (grpc.unary_unary_rpc_method_handler, role_of_caller),
    (False, True): (grpc.unary_stream_rpc_method_handler, roles_of_caller),
    (True, True): (grpc.stream_stream_rpc_method_handler, role_for_each),
}


def stand_in(service: str) -> Service:
    """A service with all methods of the contract, which answer with the role of the caller."""
    handlers: dict[str, Any] = {}
    for method in all_methods().values():
        if method.containing_service.full_name == service:
            read = GetMessageClass(method.input_type).FromString
            shape, answer = ANSWERING[method.client_streaming, method.server_streaming]
            handlers[method.name] = shape(answer, request_deserializer=read)
    handler = grpc.method_handlers_generic_handler(service, handlers)
    return Service((service,), lambda server: server.add_generic_rpc_handlers((handler,)))


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Channels of callers with each role, in every project and in `mine` alone."""
    file = tmp_path_factory.mktemp("access") / "tokens"
    tokens = {"nobody": ""}
    for role in Role:
        name = role.name.lower()
        tokens[f"{name} everywhere"] = write_token(file, name=f"{name} everywhere", role=role)
        tokens[f"{name} in mine"] = write_token(
            file, name=f"{name} in mine", projects={"mine": role}
        )
    services = {method.containing_service.full_name for method in all_methods().values()}
    config = ServerConfig(
        port=0, tokens_file=str(file), store_uri="file:///data", audit_file=f"{file}.audit"
    )
    with serving_in_thread([stand_in(name) for name in sorted(services)], config) as running:
        opened = {who: sync_channel(running.address, token=token) for who, token in tokens.items()}
        yield opened
        for channel in opened.values():
            channel.close()


def outcome(channel: Any, method: MethodDescriptor, request: Message) -> str:
    """The role with which the method was reached, or the reason why not."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    encode = type(request).SerializeToString
    try:
        if method.client_streaming:
            stream = channel.stream_stream(name, request_serializer=encode)
            (answer,) = stream(iter([request]), timeout=20)
        elif method.server_streaming:
            (answer,) = channel.unary_stream(name, request_serializer=encode)(request, timeout=20)
        else:
            answer = channel.unary_unary(name, request_serializer=encode)(request, timeout=20)
    except grpc.RpcError as error:
        return domain_error(error).reason
    return str(answer.decode().lower())


def expected(role: Role, least: Role) -> str:
    return role.name.lower() if role >= least else "ERROR_REASON_ROLE_TOO_LOW"


@pytest.mark.parametrize("method", GUARDED)
def test_nobody_gets_in_without_a_token(channels: dict[str, Any], method: str) -> None:
    request = request_about(all_methods()[method], METHOD_RULES[method], "mine")

    assert outcome(channels["nobody"], all_methods()[method], request) == (
        "ERROR_REASON_TOKEN_MISSING"
    )


@pytest.mark.parametrize("method", GUARDED)
def test_a_role_for_everywhere_counts_in_every_project(
    channels: dict[str, Any], method: str
) -> None:
    rule, descriptor = METHOD_RULES[method], all_methods()[method]

    found = {
        (role, project): outcome(
            channels[f"{role.name.lower()} everywhere"],
            descriptor,
            request_about(descriptor, rule, project),
        )
        for role in Role
        for project in ("mine", "theirs")
    }

    assert found == {key: expected(key[0], rule.role) for key in found}


@pytest.mark.parametrize("method", GUARDED)
def test_a_role_in_a_project_counts_there(channels: dict[str, Any], method: str) -> None:
    rule, descriptor = METHOD_RULES[method], all_methods()[method]
    request = request_about(descriptor, rule, "mine")

    found = {
        role: outcome(channels[f"{role.name.lower()} in mine"], descriptor, request)
        for role in Role
    }

    # What is about the whole installation takes a role for everywhere.
    is_about_a_project = rule.anywhere or bool(places_of(rule))
    assert found == {
        role: expected(role, rule.role) if is_about_a_project else "ERROR_REASON_ROLE_TOO_LOW"
        for role in Role
    }


@pytest.mark.parametrize("method", [name for name in GUARDED if places_of(METHOD_RULES[name])])
def test_a_role_in_a_project_does_not_count_in_another_wherever_it_is_named(
    channels: dict[str, Any], method: str
) -> None:
    rule, descriptor = METHOD_RULES[method], all_methods()[method]

    found = {
        (role, place): outcome(
            channels[f"{role.name.lower()} in mine"],
            descriptor,
            request_about(descriptor, rule, "mine", but=(place, "theirs")),
        )
        for role in Role
        for place in places_of(rule)
    }

    assert set(found.values()) == {"ERROR_REASON_ROLE_TOO_LOW"}


def call(channels: dict[str, Any], who: str, method: str, **fields: Any) -> str:
    descriptor = all_methods()[method]
    return outcome(channels[who], descriptor, GetMessageClass(descriptor.input_type)(**fields))


LABELS = "/parfocal.labels.v1.LabelsService"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "mine",
        "projects",
        "projects/",
        "projects//mine",
        "/projects/mine",
        "Projects/mine",
        "projects/Mine",
        "projects/mine\n",
        "projects/ mine",
        "projects/m%69ne",
        "projects/../mine",
        "projects/*",
    ],
)
def test_what_is_no_name_of_ones_own_project_lets_nobody_in(
    channels: dict[str, Any], parent: str
) -> None:
    assert call(channels, "admin in mine", f"{LABELS}/ListLabels", parent=parent) == (
        "ERROR_REASON_ROLE_TOO_LOW"
    )


SEGMENT = "/parfocal.inference.v1.InferenceService/SegmentBlock"


@pytest.mark.parametrize(
    "image",
    [
        "projects/theirs/images/a",
        "projects/mine/../theirs/images/a",
        "projects/./mine/a",
        "projects//mine/a",
        "models/base/1/model.onnx",
        "file:///data/projects/theirs/images/a",
        "file:///data/projects/mine/../theirs/images/a",
        "file:///data/projects/mine/%2e%2e/theirs/images/a",
        "file:///other/projects/mine/images/a",
        "s3://data/projects/mine/images/a",
        "mine",
        "/projects/mine/images/a",
    ],
)
def test_a_path_that_leads_out_of_ones_own_project_lets_nobody_in(
    channels: dict[str, Any], image: str
) -> None:
    found = call(
        channels, "admin in mine", SEGMENT, image=image, prediction="projects/mine/predictions/a"
    )

    assert found == "ERROR_REASON_ROLE_TOO_LOW"


@pytest.mark.parametrize(
    "image",
    [
        "projects/mine/images/a",
        "projects/mine/images/a/",
        "file:///data/projects/mine/images/a",
        "file://localhost/data/projects/mine/images/a",
    ],
)
def test_a_path_into_ones_own_project_is_ones_own_however_it_is_written(
    channels: dict[str, Any], image: str
) -> None:
    found = call(
        channels, "curator in mine", SEGMENT, image=image, prediction="projects/mine/predictions/a"
    )

    assert found == "curator"


def test_the_refusal_says_which_role_is_missing_where(channels: dict[str, Any]) -> None:
    descriptor = all_methods()[f"{LABELS}/SubmitLabels"]
    request: Any = GetMessageClass(descriptor.input_type)(parent="projects/theirs")
    channel = channels["annotator in mine"]
    submit = channel.unary_unary(
        f"{LABELS}/SubmitLabels", request_serializer=type(request).SerializeToString
    )

    with pytest.raises(grpc.RpcError) as caught:
        submit(request)

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert domain_error(caught.value).metadata == {
        "method": f"{LABELS}/SubmitLabels",
        "required_role": "annotator",
        "role": "none",
        "project": "theirs",
    }


def test_bytes_that_are_no_message_are_refused_as_such(channels: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channels["viewer in mine"].unary_unary(f"{LABELS}/GetProject")(b"\xff\xff")

    assert domain_error(caught.value).reason == "ERROR_REASON_MALFORMED_MESSAGE"


async def names_in(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield f"{request.parent} {principal().role.name}".encode()


def test_every_message_of_a_stream_is_judged_by_itself(tmp_path: Path) -> None:
    read = GetMessageClass(all_methods()[f"{LABELS}/ListLabels"].input_type)
    handler: Any = grpc.stream_stream_rpc_method_handler(
        names_in, request_deserializer=read.FromString
    )
    handlers = grpc.method_handlers_generic_handler("tests.Stream", {"Names": handler})
    service = Service(
        ("tests.Stream",), lambda server: server.add_generic_rpc_handlers((handlers,))
    )
    roles = {"mine": Role.CURATOR, "ours": Role.ANNOTATOR, "theirs": Role.VIEWER}
    token = write_token(tmp_path / "tokens", name="ann", projects=roles)
    low = write_token(tmp_path / "tokens", name="vic", role=Role.VIEWER)
    config = ServerConfig(port=0, tokens_file=str(tmp_path / "tokens"))
    rules = {"/tests.Stream/Names": Rule(Role.ANNOTATOR, ("parent",))}
    requests = [read(parent=f"projects/{name}").SerializeToString() for name in roles]

    answers = []
    with (
        serving_in_thread([service], config, rules=rules) as running,
        sync_channel(running.address, token=token) as channel,
        sync_channel(running.address, token=low) as other,
    ):
        call: Any = channel
        coming = call.stream_stream("/tests.Stream/Names")(iter(requests), timeout=20)
        with pytest.raises(grpc.RpcError) as caught:
            answers.extend(coming)
        # Who could not send any message that counts is refused before the first one.
        hopeless: Any = other
        with pytest.raises(grpc.RpcError) as early:
            list(hopeless.stream_stream("/tests.Stream/Names")(iter([]), timeout=20))

    assert answers == [b"projects/mine CURATOR", b"projects/ours ANNOTATOR"]
    assert domain_error(caught.value).metadata["project"] == "theirs"
    assert domain_error(early.value).reason == "ERROR_REASON_ROLE_TOO_LOW"
