"""What a round names must be there when it is created: project, earlier rounds, and models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from away_stores import refusing
from loop_lab import IMAGE, PARENT, TRUE, apart, spec_of
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.labels.v1 import query_pb2
from parfocal.loop.v1 import loop_service_pb2 as service
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import DomainError, InvalidInput, NotFound
from parfocal_runtime.store import S3Settings
from running_loop import Loop, looping


def run(folder: Path, test: Callable[[Loop], Awaitable[None]], **settings: Any) -> None:
    async def with_a_loop() -> None:
        async with looping(folder, **settings) as loop:
            await test(loop)

    asyncio.run(with_a_loop())


async def create(
    loop: Loop, name: str, spec: rounds.RoundSpec, *, parent: str = PARENT
) -> rounds.Round:
    request = service.CreateRoundRequest(
        parent=parent, round_id=name, round=rounds.Round(spec=spec)
    )
    created: rounds.Round = await loop.stub.CreateRound(request)
    return created


async def refused(
    loop: Loop, name: str, spec: rounds.RoundSpec, *, parent: str = PARENT
) -> DomainError:
    with pytest.raises(grpc.RpcError) as caught:
        await create(loop, name, spec, parent=parent)
    listed = await loop.stub.ListRounds(service.ListRoundsRequest(parent=parent))
    assert f"{parent}/rounds/{name}" not in [each.name for each in listed.rounds]
    return domain_error(caught.value)


def test_a_round_in_a_project_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        spec = spec_of("projects/nowhere/candidates/set")

        error = await refused(loop, "r1", spec, parent="projects/nowhere")

        assert isinstance(error, NotFound)
        assert error.reason == "ERROR_REASON_PROJECT_NOT_FOUND"
        assert error.metadata == {"project": "nowhere"}

    run(tmp_path, test)


def test_a_history_that_names_no_round_is_refused_by_the_entry(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(8))
        await create(loop, "r1", spec_of(folder))

        error = await refused(loop, "r2", spec_of(folder, history=["r1", "r0ne"]))

        assert isinstance(error, NotFound)
        assert error.reason == "ERROR_REASON_WORK_NOT_FOUND"
        assert error.metadata == {"name": f"{PARENT}/rounds/r0ne"}
        assert error.message == f"round.spec.history[1]: there is no {PARENT}/rounds/r0ne"

    run(tmp_path, test)


def test_a_history_may_name_rounds_that_only_the_label_store_knows(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(8))
        await loop.lab.judge("by-hand", "set", {0: TRUE})
        await put(loop, query_pb2.Query(round="withdrawn", candidate_set="set", candidate=1))
        await loop.lab.means.peers.labels.WithdrawQueries(
            labels.WithdrawQueriesRequest(parent=PARENT, round="withdrawn")
        )
        gold = query_pb2.Query(
            round="gold",
            candidate_set="set",
            candidate=2,
            role=query_pb2.QUERY_ROLE_GOLD,
            gold_verdict=TRUE,
        )
        await put(loop, gold)
        history = ["by-hand", "withdrawn", "gold"]

        created = await create(loop, "r1", spec_of(folder, history=history))

        assert list(created.spec.history) == history

    run(tmp_path, test)


def test_a_history_names_each_round_once(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(8))
        await loop.lab.judge("by-hand", "set", {0: TRUE})

        error = await refused(loop, "r1", spec_of(folder, history=["by-hand", "by-hand"]))

        assert isinstance(error, InvalidInput)
        assert error.metadata["field"] == "round.spec.history"

    run(tmp_path, test)


MITO = artifacts.ModelVersion(name="mito", version=7)
IMAGE_SOURCE = rounds.ImageSource(image=IMAGE)
ENCODER = rounds.EncoderChoice(stream="image", encoder=MITO)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"candidates": "", "images": [IMAGE_SOURCE]}, "round.spec.base_model"),
        ({"training": rounds.RoundTraining()}, "round.spec.base_model"),
        ({"encoders": [ENCODER]}, "round.spec.encoders[0].encoder"),
    ],
)
def test_a_version_that_is_not_there_is_refused_where_the_round_works_with_it(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    async def test(loop: Loop) -> None:
        loop.lab.store.write("models/mito/6/rdf.yaml", b"")
        wanted = {"candidates": loop.lab.write_set("set", apart(8)), "base_model": MITO}

        error = await refused(loop, "r1", spec_of(**{**wanted, **changes}))

        assert isinstance(error, NotFound)
        assert error.reason == "ERROR_REASON_MODEL_NOT_FOUND"
        assert error.message == f"{field}: there is no version 7 of model mito"
        loop.lab.store.write("models/mito/7/rdf.yaml", b"")
        await create(loop, "r1", spec_of(**{**wanted, **changes}))

    run(tmp_path, test)


def test_a_round_of_candidates_that_are_there_needs_no_model_that_predicts(tmp_path: Path) -> None:
    async def test(loop: Loop) -> None:
        folder = loop.lab.write_set("set", apart(8))

        created = await create(loop, "r1", spec_of(folder, base_model=MITO))

        assert created.spec.base_model == MITO

    run(tmp_path, test)


def test_a_round_is_created_while_nobody_answers_whether_its_models_are_there(
    tmp_path: Path,
) -> None:
    async def test(loop: Loop) -> None:
        created = await create(loop, "r1", spec_of(f"{PARENT}/candidates/set", encoders=[ENCODER]))

        assert created.spec.encoders[0] == ENCODER

    with refusing() as endpoint:
        store = S3Settings(endpoint=endpoint, access_key="a", secret_key="b", secure=False)
        run(tmp_path, test, store_uri="s3://bucket", s3=store, grace_seconds=0)


async def put(loop: Loop, query: query_pb2.Query) -> None:
    await loop.lab.means.peers.labels.AddQueries(
        labels.AddQueriesRequest(parent=PARENT, queries=[query])
    )
