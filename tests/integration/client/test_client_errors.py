from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from parfocal import (
    AccessError,
    Client,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ParfocalError,
    ServerError,
    UnavailableError,
    Violation,
)
from parfocal.labels.v1 import labels_service_pb2 as messages
from parfocal.labels.v1.label_pb2 import Label, LabelEvent
from parfocal.labels.v1.labels_service_pb2_grpc import (
    add_LabelsServiceServicer_to_server,
)
from parfocal.labels.v1.project_pb2 import Project
from parfocal_runtime import errors
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.errors import (
    AlreadyExists,
    Conflict,
    DomainError,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unauthenticated,
    Unavailable,
    WrongState,
)
from parfocal_runtime.server import Service, serving_in_thread

Serve = Callable[..., str]


class Answering:
    """Real messages over a real server; only what the service would decide is scripted."""

    def __init__(self, *outcomes: Exception | Any) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[Any] = []

    async def GetProject(self, request: Any, context: Any) -> Any:
        return self._next(request)

    async def CreateProject(self, request: Any, context: Any) -> Any:
        return self._next(request)

    async def ListProjects(self, request: Any, context: Any) -> Any:
        return self._next(request)

    async def WatchLabels(
        self, request: messages.WatchLabelsRequest, context: Any
    ) -> AsyncIterator[messages.WatchLabelsResponse]:
        self.requests.append(request)
        for sequence in range(request.after_sequence + 1, request.after_sequence + 3):
            yield messages.WatchLabelsResponse(
                event=LabelEvent(sequence=sequence, label=Label(candidate=sequence))
            )
        if self.outcomes:
            raise self.outcomes.pop(0)

    def __getattr__(self, name: str) -> Any:
        async def missing(request: Any, context: Any) -> Any:
            raise NotImplementedError

        return missing

    def _next(self, request: Any) -> Any:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(servicer: Any, **settings: Any) -> str:
            service = Service(
                names=("parfocal.labels.v1.LabelsService",),
                register=lambda server: add_LabelsServiceServicer_to_server(servicer, server),
            )
            usual: dict[str, Any] = {"port": 0, "anonymous_role": "admin", "grace_seconds": 0.0}
            config = ServerConfig(**{**usual, **settings})
            return stack.enter_context(serving_in_thread([service], config)).address

        yield start


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (InvalidInput, InvalidRequestError),
        (NotFound, NotFoundError),
        (AlreadyExists, ConflictError),
        (WrongState, ConflictError),
        (Conflict, ConflictError),
        (PermissionDenied, AccessError),
        (Unauthenticated, AccessError),
        (Exhausted, UnavailableError),
        (TimedOut, UnavailableError),
    ],
)
def test_every_domain_error_arrives_as_an_exception_with_its_reason(
    serve: Serve, raised: type[DomainError], expected: type[ParfocalError]
) -> None:
    error = raised("ERROR_REASON_INVALID_FIELD", "that is wrong", field="name", value="ä")

    with Client(serve(Answering(error)), token="t") as client, pytest.raises(expected) as caught:
        client.projects.get("vnc")

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"
    assert caught.value.metadata == {"field": "name", "value": "ä"}
    assert str(caught.value) == caught.value.message == "that is wrong"


def test_every_thing_at_fault_arrives(serve: Serve) -> None:
    fault = "ERROR_REASON_QUERY_NOT_LEASED"
    violations = [errors.Violation(f"answers[{number}]", fault, "lost") for number in (1, 4)]

    address = serve(Answering(WrongState(fault, "two", violations)))
    with Client(address) as client, pytest.raises(ConflictError) as caught:
        client.projects.get("p")

    assert caught.value.violations == (
        Violation("answers[1]", fault, "lost"),
        Violation("answers[4]", fault, "lost"),
    )


def test_what_the_server_did_not_foresee_is_a_server_error(serve: Serve) -> None:
    with (
        Client(serve(Answering(ZeroDivisionError("secret")))) as client,
        pytest.raises(ServerError) as caught,
    ):
        client.projects.get("vnc")

    assert caught.value.reason == "ERROR_REASON_INTERNAL"
    assert caught.value.metadata["request_id"]
    assert "secret" not in str(caught.value)


def test_a_method_that_is_missing_is_a_server_error(serve: Serve) -> None:
    with Client(serve(Answering())) as client, pytest.raises(ServerError) as caught:
        list(client.rounds.list("vnc"))

    assert caught.value.code == "UNIMPLEMENTED"


def test_a_message_over_the_limit_is_not_tried_again(serve: Serve) -> None:
    address = serve(Answering(Project()), max_message_bytes=1024)

    with Client(address) as client, pytest.raises(InvalidRequestError) as caught:
        client.projects.create("vnc", display_name="x" * 2000)

    assert caught.value.reason == "ERROR_REASON_MESSAGE_TOO_LARGE"


def test_messages_of_many_mebibytes_pass_both_ways(serve: Serve) -> None:
    large = "x" * (20 << 20)
    servicer = Answering(Project(display_name=large))

    with Client(serve(servicer)) as client:
        answer = client.projects.create("vnc", display_name=large)

    assert len(answer.display_name) == len(large)
    assert len(servicer.requests[0].project.display_name) == len(large)


def test_without_a_token_the_error_says_how_to_give_one(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    address = serve(Answering(), anonymous_role="", tokens_file=str(tmp_path / "tokens"))

    with Client(address) as client, pytest.raises(AccessError, match="PARFOCAL_TOKEN") as caught:
        client.projects.get("vnc")

    assert caught.value.reason == "ERROR_REASON_TOKEN_MISSING"


def test_a_server_that_is_not_there_is_named_after_a_few_tries() -> None:
    with (
        Client("127.0.0.1:1", retry_seconds=0.3) as client,
        pytest.raises(UnavailableError, match=r"no server answers at 127\.0\.0\.1:1"),
    ):
        client.projects.get("vnc")


def test_a_call_past_its_time_is_unavailable() -> None:
    with (
        Client("127.0.0.1:1", timeout_seconds=0.2, retry_seconds=60) as client,
        pytest.raises(UnavailableError),
    ):
        client.projects.get("vnc")


def test_a_call_is_tried_again_until_the_server_answers(serve: Serve) -> None:
    starting = Unavailable("ERROR_REASON_SERVICE_NOT_READY", "starting")
    servicer = Answering(starting, starting, Project(name="projects/vnc"))

    with Client(serve(servicer)) as client:
        assert client.projects.get("vnc").name == "projects/vnc"

    assert len(servicer.requests) == 3


def test_a_call_over_the_rate_comes_again_when_it_is_told_to(serve: Serve) -> None:
    limited = Exhausted("ERROR_REASON_RATE_LIMITED", "too many").retry_after(0.05)
    service = Answering(limited, limited, Project(name="projects/p"))

    with Client(serve(service)) as client:
        assert client.projects.get("p").name == "projects/p"

    assert len(service.requests) == 3


def test_a_call_that_would_have_to_wait_for_long_is_not_tried_again(serve: Serve) -> None:
    service = Answering(Exhausted("ERROR_REASON_RATE_LIMITED", "too many").retry_after(3600))

    with Client(serve(service)) as client, pytest.raises(UnavailableError) as caught:
        client.projects.get("p")

    assert caught.value.reason == "ERROR_REASON_RATE_LIMITED"


def test_every_page_of_a_list_is_read(serve: Serve) -> None:
    servicer = Answering(
        messages.ListProjectsResponse(projects=[Project(name="a")], next_page_token="more"),
        messages.ListProjectsResponse(projects=[Project(name="b")]),
    )

    with Client(serve(servicer)) as client:
        assert [project.name for project in client.projects.list()] == ["a", "b"]

    assert [request.page_token for request in servicer.requests] == ["", "more"]


def test_a_watch_that_breaks_goes_on_after_the_last_event(serve: Serve) -> None:
    stopping = Unavailable("ERROR_REASON_SHUTTING_DOWN", "the server is stopping")
    servicer = Answering(stopping, stopping)

    with Client(serve(servicer)) as client:
        seen = [event.sequence for event in client.labels.watch("vnc")]

    assert seen == [1, 2, 3, 4, 5, 6]
    assert [request.after_sequence for request in servicer.requests] == [0, 2, 4]


def test_a_watch_that_fails_for_another_reason_raises(serve: Serve) -> None:
    servicer = Answering(NotFound("ERROR_REASON_PROJECT_NOT_FOUND", "there is no project"))

    with Client(serve(servicer)) as client, pytest.raises(NotFoundError):
        list(client.labels.watch("vnc"))
