"""What the loop works with: real labels, suggestion and inference, and training that obeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pyarrow as pa

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import strategy_pb2 as strategies
from parfocal.training.v1 import training_service_pb2 as training
from parfocal.training.v1 import training_service_pb2_grpc as training_grpc
from parfocal_inference.app import build as build_inference
from parfocal_inference.config import InferenceConfig
from parfocal_labels.app import build as build_labels
from parfocal_labels.config import LabelsConfig
from parfocal_loop.actions import Means
from parfocal_loop.bulk import Bulk
from parfocal_loop.peers import Address, Addresses, Peers
from parfocal_loop.turn import Turn, fresh_status
from parfocal_runtime import layout
from parfocal_runtime.box import Box
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.server import Service, serving
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import create_table
from parfocal_runtime.tasks import in_thread
from parfocal_suggestion.app import build as build_suggestion
from parfocal_suggestion.config import SuggestionConfig

PROJECT = "p"
PARENT = f"projects/{PROJECT}"
IMAGE = f"{PARENT}/images/vnc.ome.zarr/0"
TRUE, FALSE, UNSURE = label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE, label_pb2.VERDICT_UNSURE
_ANSWERS_PER_CALL = 1000

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Verdict: TypeAlias = label_pb2.Verdict.ValueType


class ObedientTraining(training_grpc.TrainingServiceServicer):
    """Training that ends when and how a test says; a real run takes seconds and a process.

    Attributes:
        requests: What was asked for.
        cancelled: Names of the runs that were stopped.
        failures: How runs end, by name of the model; the others give version 2.
        begun: Set as soon as something was asked for.
        released: Runs end while it is set.
    """

    def __init__(self) -> None:
        self.requests: list[training.TrainRequest] = []
        self.cancelled: list[str] = []
        self.failures: dict[str, artifacts.Failure] = {}
        self.begun = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def Train(
        self, request: training.TrainRequest, context: Context
    ) -> AsyncIterator[training.TrainResponse]:
        self.requests.append(request)
        self.begun.set()
        run = training.TrainingRun(
            run=request.run, iteration=1, iterations=2, metrics={"loss": 0.5}, message="training"
        )
        yield training.TrainResponse(run=run)
        await self.released.wait()
        if request.model in self.failures:
            run.state = artifacts.WORK_STATE_FAILED
            run.failure.CopyFrom(self.failures[request.model])
        else:
            run.state = artifacts.WORK_STATE_SUCCEEDED
            run.model.CopyFrom(artifacts.ModelVersion(name=request.model, version=2))
        yield training.TrainResponse(run=run)

    async def CancelRun(
        self, request: training.CancelRunRequest, context: Context
    ) -> training.TrainingRun:
        self.cancelled.append(request.run)
        if request.run not in {one.run for one in self.requests}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")
        return training.TrainingRun(run=request.run, state=artifacts.WORK_STATE_CANCELLED)

    async def GetRun(
        self, request: training.GetRunRequest, context: Context
    ) -> training.TrainingRun:
        raise AssertionError("the loop follows the stream")

    def service(self) -> Service:
        """Return it as something that a server can serve."""

        def register(server: grpc.aio.Server) -> None:
            training_grpc.add_TrainingServiceServicer_to_server(self, server)

        return Service(names=("parfocal.training.v1.TrainingService",), register=register)


def write_candidate_set(
    store: ObjectStore, name: str, boxes: Sequence[Box], *, record: bytes | None = None
) -> None:
    """Write a candidate set with these boxes in IMAGE into the store."""
    corners = np.array([[*box.start, *box.stop] for box in boxes], np.int32).reshape(-1, 6)
    count = len(boxes)
    table = pa.table(
        {
            "candidate": np.arange(count),
            "source": np.zeros(count, np.int32),
            **dict(zip(("z0", "y0", "x0", "z1", "y1", "x1"), corners.T, strict=True)),
            "mean_probability": np.linspace(0.5, 1, count, dtype=np.float32),
            "max_probability": np.linspace(0.6, 1, count, dtype=np.float32),
            "area": np.full(count, 64, np.int32),
        }
    )
    sources = json.dumps({"sources": [{"image": IMAGE}]}).encode()
    store.write(layout.candidate_record(PROJECT, name), record or sources)
    create_table(store, layout.candidate_table(PROJECT, name), table)


@dataclass
class LoopLab:
    """A project `p`, an object store, and the services around a loop."""

    store: ObjectStore
    means: Means
    training: ObedientTraining
    _calls: int = field(default=0, init=False)

    def write_set(self, name: str, boxes: Sequence[Box], *, record: bytes | None = None) -> str:
        """Write a candidate set with these boxes in IMAGE; return its folder."""
        write_candidate_set(self.store, name, boxes, record=record)
        return layout.candidate_folder(PROJECT, name)

    def turn(
        self, spec: rounds.RoundSpec, name: str = "now", status: rounds.RoundStatus | None = None
    ) -> Turn:
        """Return a round under way."""
        return Turn(
            project=PROJECT,
            round=name,
            spec=spec,
            status=status or fresh_status(),
            means=self.means,
            poll_seconds=0.02,
        )

    async def judge(self, name: str, candidates: str, verdicts: Mapping[int, Verdict]) -> None:
        """Ask about candidates of a set in a round, and answer."""
        queries = [
            query_pb2.Query(round=name, candidate_set=candidates, candidate=one, rank=one)
            for one in verdicts
        ]
        await self.means.peers.labels.AddQueries(
            labels.AddQueriesRequest(parent=PARENT, queries=queries)
        )
        await self.answer(name, verdicts)

    async def answer(self, name: str, verdicts: Mapping[int, Verdict]) -> None:
        """Answer the queries of a round that are open."""
        while leased := await self._leased(name):
            answers = [
                labels.Answer(query=query.name, verdict=verdicts[query.candidate], seconds=1)
                for query in leased
            ]
            self._calls += 1
            await self.means.peers.labels.SubmitLabels(
                labels.SubmitLabelsRequest(
                    parent=PARENT, answers=answers, request_id=f"{self._calls}", client="test/1"
                )
            )

    async def _leased(self, name: str) -> list[query_pb2.Query]:
        request = labels.LeaseQueriesRequest(parent=PARENT, round=name, count=_ANSWERS_PER_CALL)
        response = await self.means.peers.labels.LeaseQueries(request)
        return [leased.query for leased in response.queries]


def apart(count: int) -> list[Box]:
    """Return boxes that do not touch each other."""
    return [Box((0, 0, 20 * n), (1, 10, 20 * n + 10)) for n in range(count)]


def spec_of(candidates: str, *, history: Iterable[str] = (), **values: Any) -> rounds.RoundSpec:
    """Return the spec of a round that asks for candidates of a set at random."""
    return rounds.RoundSpec(
        **{
            "candidates": candidates,
            "base_model": artifacts.ModelVersion(name="mito", version=1),
            "strategy": strategies.Strategy(random=strategies.RandomStrategy()),
            "budget": 4,
            "history": history,
            **values,
        }
    )


@asynccontextmanager
async def loop_lab(folder: Path, *, inference: bool = False) -> AsyncIterator[LoopLab]:
    """Serve everything but the loop on one port until the block ends."""
    store = open_store((folder / "store").as_uri())
    obedient = ObedientTraining()
    common: dict[str, Any] = {"port": 0, "store_uri": store.root, "anonymous_role": "admin"}
    database = f"sqlite:///{folder / 'labels.sqlite'}"
    services = [
        build_labels(LabelsConfig(**common, database=database), store),
        build_suggestion(SuggestionConfig(**common), store),
        obedient.service(),
    ]
    if inference:
        services.append(build_inference(InferenceConfig(**common, session_threads=1), store))
    async with serving(services, ServerConfig(**common)) as server:
        address = Address(server.address, token="")
        bulk = Bulk(scheduler="", threads=2)
        peers = Peers(Addresses(address, address, address, address, address))
        project = project_pb2.Project(task_kind=project_pb2.TASK_KIND_VERIFY, votes_needed=1)
        await peers.labels.CreateProject(
            labels.CreateProjectRequest(project_id=PROJECT, project=project)
        )
        try:
            yield LoopLab(store, Means(store, peers, bulk), obedient)
        finally:
            await in_thread(bulk.close)
            await peers.close()
