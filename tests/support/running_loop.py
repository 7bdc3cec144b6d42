"""A loop service among real peers, and a person who answers its queries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loop_lab import PARENT, LoopLab, Verdict, loop_lab
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.labels.v1 import query_pb2
from parfocal.loop.v1 import loop_service_pb2 as service
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.loop.v1.loop_service_pb2_grpc import LoopServiceStub
from parfocal_loop.app import build
from parfocal_loop.config import LoopConfig
from parfocal_runtime.channels import aio_channel
from parfocal_runtime.server import serving

PATIENCE = 30
"""Seconds; nothing takes as long, unless it hangs."""


@dataclass
class Loop:
    """A loop service and the services around it."""

    lab: LoopLab
    stub: Any
    metrics_port: int

    async def begin(self, name: str, spec: rounds.RoundSpec) -> list[query_pb2.Query]:
        """Create a round and lease its queries; return them in their order."""
        await self.stub.CreateRound(
            service.CreateRoundRequest(parent=PARENT, round_id=name, round=rounds.Round(spec=spec))
        )
        await self.until(name, lambda each: each.status.stage >= rounds.ROUND_STAGE_LABEL)
        return await leased(self.lab, PARENT, name)

    async def answer(self, queries: Iterable[query_pb2.Query], verdict: Verdict) -> None:
        """Give all these queries the same answer."""
        answered = list(queries)
        if answered:
            verdicts = {query.candidate: verdict for query in answered}
            await self.answer_at_once(answered, verdicts)

    async def answer_at_once(
        self, queries: Iterable[query_pb2.Query], verdicts: Mapping[int, Verdict]
    ) -> None:
        """Answer the queries of these candidates in one call."""
        answers = [
            labels.Answer(query=query.name, verdict=verdicts[query.candidate], seconds=1)
            for query in queries
            if query.candidate in verdicts
        ]
        await self.lab.means.peers.labels.SubmitLabels(
            labels.SubmitLabelsRequest(
                parent=PARENT, answers=answers, request_id=answers[0].query, client="test/1"
            )
        )

    async def get(self, name: str) -> rounds.Round:
        """Return the round as it is now."""
        each: rounds.Round = await self.stub.GetRound(
            service.GetRoundRequest(name=f"{PARENT}/rounds/{name}")
        )
        return each

    async def until(self, name: str, holds: Callable[[rounds.Round], bool]) -> None:
        """Wait until something holds of the round."""
        request = service.WatchRoundRequest(name=f"{PARENT}/rounds/{name}")
        async for response in self.stub.WatchRound(request, timeout=PATIENCE):
            if holds(response.round):
                return

    async def done(self, name: str) -> rounds.Round:
        """Wait until the round is over."""
        await self.until(name, lambda each: each.status.state > artifacts.WORK_STATE_RUNNING)
        each = await self.get(name)
        assert each.status.state == artifacts.WORK_STATE_SUCCEEDED, each.status.failure
        return each


async def leased(lab: LoopLab, parent: str, round: str) -> list[query_pb2.Query]:
    """Lease every query of a round; return them in their order."""
    request = labels.LeaseQueriesRequest(parent=parent, round=round, count=100)
    response = await lab.means.peers.labels.LeaseQueries(request)
    return sorted((one.query for one in response.queries), key=lambda query: query.rank)


@asynccontextmanager
async def looping(folder: Path, **settings: Any) -> AsyncIterator[Loop]:
    """Serve a loop, with these settings, and everything around it until the block ends."""
    async with loop_lab(folder) as lab:
        address = lab.means.peers.addresses.labels.target
        config = LoopConfig(
            port=0,
            metrics_port=0,
            store_uri=lab.store.root,
            anonymous_role="admin",
            database=f"sqlite:///{folder / 'loop.sqlite'}",
            labels=address,
            inference=address,
            embedding=address,
            suggestion=address,
            training=address,
            poll_seconds=0.05,
        )
        config = replace(config, **settings)
        async with serving([build(config)], config) as server:
            channel = aio_channel(server.address)
            yield Loop(lab, LoopServiceStub(channel), server.metrics_port)
            await channel.close()


def of(
    queries: list[query_pb2.Query], role: query_pb2.QueryRole.ValueType
) -> list[query_pb2.Query]:
    """Return the queries of a role."""
    return [query for query in queries if query.role == role]
