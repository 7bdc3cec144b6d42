"""Many annotators at once, each with a connection of their own, who remember what was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import aio_channel

VNC = "projects/vnc"
# Nothing here takes as long, unless it hangs.
TIMEOUT = 60.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_REFUSED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


@dataclass
class Annotator:
    """Somebody who leases and answers, and what the service told them.

    Attributes:
        acknowledged: The labels of each submission that came back, by request id.
        pending: A submission that nobody knows the fate of; it is sent again or forgotten.
        forgotten: Submissions that never will be sent again, by request id.
    """

    name: str
    stub: Any
    acknowledged: dict[str, list[label_pb2.Label]] = field(default_factory=dict)
    forgotten: dict[str, pb.SubmitLabelsRequest] = field(default_factory=dict)
    pending: pb.SubmitLabelsRequest | None = None
    calls: int = 0

    async def lease(self, count: int, *, seconds: int = 300) -> list[query_pb2.LeasedQuery]:
        request = pb.LeaseQueriesRequest(parent=VNC, count=count, ttl=Duration(seconds=seconds))
        answer = await self.stub.LeaseQueries(request, timeout=TIMEOUT)
        return list(answer.queries)

    async def answer(self, queries: Iterable[str]) -> list[label_pb2.Label]:
        """Answer queries in one call; what each is answered depends on its name alone."""
        answers = [pb.Answer(query=name, verdict=verdict_on(name), seconds=2) for name in queries]
        self.calls += 1
        self.pending = pb.SubmitLabelsRequest(
            parent=VNC, answers=answers, request_id=f"{self.calls}", client="crowd/1"
        )
        return await self.settle()

    async def settle(self) -> list[label_pb2.Label]:
        """Send the pending submission (again); nothing where it is refused."""
        if self.pending is None:
            return []
        labels: list[label_pb2.Label] = []
        try:
            answer = await self.stub.SubmitLabels(self.pending, timeout=TIMEOUT)
            labels = list(answer.labels)
            self.acknowledged[self.pending.request_id] = labels
        except grpc.RpcError as error:
            if error.code() not in _REFUSED:
                raise
        self.pending = None
        return labels

    async def settle_once_it_is_back(self) -> None:
        """Send the pending submission until somebody answers."""
        while True:
            try:
                await self.settle()
                return
            except grpc.RpcError as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(0.05)

    def forget(self) -> None:
        """Lose the pending submission, as a program does that crashes too."""
        if self.pending is not None:
            self.forgotten[self.pending.request_id] = self.pending
            self.pending = None


def verdict_on(name: str) -> Any:
    return (label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE)[int(name.rpartition("/")[2]) % 2]


def is_away(error: grpc.RpcError) -> bool:
    """Whether the service, or its database, does not answer."""
    return error.code() in _AWAY


@dataclass(frozen=True)
class Tokens:
    """Who may call: a curator and annotators."""

    file: Path
    curator: str
    annotators: dict[str, str]

    @classmethod
    def written(cls, folder: Path, *, annotators: int) -> Tokens:
        file = folder / "tokens"
        names = [f"a{number}" for number in range(annotators)]
        return cls(
            file,
            write_token(file, name="cur", role=Role.CURATOR),
            {name: write_token(file, name=name, role=Role.ANNOTATOR) for name in names},
        )


@asynccontextmanager
async def curator(address: str, tokens: Tokens) -> AsyncIterator[Any]:
    """Stub of the curator."""
    async with aio_channel(address, token=tokens.curator) as channel:
        yield LabelsServiceStub(channel)


@asynccontextmanager
async def connected(
    crowd: Sequence[Annotator], addresses: Sequence[str], tokens: Tokens
) -> AsyncIterator[None]:
    """Give everybody a connection, in turn to each of `addresses`, until the block ends."""
    async with AsyncExitStack() as stack:
        for number, annotator in enumerate(crowd):
            channel = aio_channel(
                addresses[number % len(addresses)], token=tokens.annotators[annotator.name]
            )
            await stack.enter_async_context(channel)
            annotator.stub = LabelsServiceStub(channel)
        yield


async def create_project(stub: Any, **rules: Any) -> None:
    project = project_pb2.Project(task_kind=project_pb2.TASK_KIND_VERIFY, **rules)
    await stub.CreateProject(pb.CreateProjectRequest(project_id="vnc", project=project))


async def add_queries(stub: Any, count: int, *, first: int = 0) -> None:
    """Add `count` queries, candidates `first` and those behind it."""
    for start in range(first, first + count, 10_000):
        numbers = range(start, min(start + 10_000, first + count))
        queries = [
            query_pb2.Query(round="r1", candidate_set="set", candidate=number, rank=number)
            for number in numbers
        ]
        await stub.AddQueries(pb.AddQueriesRequest(parent=VNC, queries=queries), timeout=TIMEOUT)


async def listed(stub: Any) -> list[query_pb2.Query]:
    """All queries."""
    queries: list[query_pb2.Query] = []
    token = ""
    while token or not queries:
        page = await stub.ListQueries(
            pb.ListQueriesRequest(parent=VNC, page_size=1000, page_token=token), timeout=TIMEOUT
        )
        queries += page.queries
        token = page.next_page_token
        if not token:
            break
    return queries


async def events(stub: Any, *, after: int = 0) -> list[label_pb2.LabelEvent]:
    """The events after a sequence number that are there now."""
    request = pb.WatchLabelsRequest(parent=VNC, after_sequence=after, until_present=True)
    return [answer.event async for answer in stub.WatchLabels(request, timeout=TIMEOUT)]


async def progress(stub: Any) -> pb.GetProgressResponse:
    answer: pb.GetProgressResponse = await stub.GetProgress(
        pb.GetProgressRequest(parent=VNC), timeout=TIMEOUT
    )
    return answer
