from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from loop_lab import (
    FALSE,
    IMAGE,
    PARENT,
    PROJECT,
    TRUE,
    UNSURE,
    LoopLab,
    apart,
    loop_lab,
    spec_of,
)
from onnx_graphs import base_model, base_model_card
from parfocal import import_image
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.common.v1 import geometry_pb2 as geometry
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import constraints_pb2
from parfocal.suggestion.v1 import suggestion_service_pb2 as suggestion
from parfocal_inference.image_arrays import ORIGIN
from parfocal_loop.learning import learn
from parfocal_loop.messages import box_to_pb
from parfocal_loop.proposing import fix_versions, propose_candidates, segment_images, suggest
from parfocal_loop.rounds import run_round
from parfocal_loop.turn import Turn
from parfocal_runtime.arrays import array_attributes, create_array, open_array
from parfocal_runtime.box import Box
from parfocal_runtime.errors import DomainError
from parfocal_runtime.models.repository import ModelRepository

Test = Callable[[LoopLab], Awaitable[None]]
TOO_FEW = artifacts.Failure(
    reason="ERROR_REASON_TOO_FEW_LABELS", message="only one class", metadata={"cause": "one class"}
)


def run(folder: Path, test: Test, *, inference: bool = False) -> None:
    async def in_the_lab() -> None:
        async with loop_lab(folder, inference=inference) as lab:
            await test(lab)

    asyncio.run(in_the_lab())


async def unsaved() -> None:
    """Store a status nowhere."""


async def chosen(turn: Turn) -> set[int]:
    """Let the strategy choose; return the candidates."""
    await fix_versions(turn)
    await propose_candidates(turn)
    await suggest(turn)
    selection = await turn.means.peers.suggestion.GetSelection(
        suggestion.GetSelectionRequest(name=turn.status.selection)
    )
    return {pick.candidate for pick in selection.picks}


def test_a_round_goes_from_a_set_to_a_trained_model(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        spec = spec_of(
            lab.write_set("set", apart(6)),
            random_share=0.5,
            training=rounds.RoundTraining(model="better"),
        )
        turn = lab.turn(spec)

        async def answer_when_asked() -> None:
            if turn.status.stage == rounds.ROUND_STAGE_LABEL:
                await lab.answer("now", dict.fromkeys(range(6), TRUE))

        await run_round(turn, answer_when_asked)

        status = turn.status
        assert status.state == artifacts.WORK_STATE_SUCCEEDED
        assert (status.candidate_count, status.queries, status.decided) == (6, 4, 4)
        assert (status.accuracy.labels, status.strategy_accuracy.labels) == (2, 2)
        assert status.accuracy.accuracy == 1
        assert status.new_base_model == artifacts.ModelVersion(name="better", version=2)
        wanted = lab.training.requests[0].fine_tune_base
        assert list(wanted.snapshots) == [status.snapshot]
        assert list(wanted.candidates) == [f"{PARENT}/candidates/set"]

    run(tmp_path, test)


def test_constraints_of_a_round_are_kept_and_what_they_cost_is_noted(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        limits = constraints_pb2.Constraints(maximum_per_image=2)
        turn = lab.turn(spec_of(lab.write_set("set", apart(6)), constraints=limits))

        assert len(await chosen(turn)) == 2
        assert turn.status.queries == 2
        assert list(turn.status.notes) == [
            "the constraints admit 2 of the 4 picks asked for",
            "at most 2 of each source: stands against 4 candidates",
        ]

    run(tmp_path, test)


def test_a_round_without_candidates_ends_by_itself_and_says_why(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        spec = spec_of(lab.write_set("set", []), training=rounds.RoundTraining())
        turn = lab.turn(spec)

        await run_round(turn, unsaved)

        assert turn.status.state == artifacts.WORK_STATE_SUCCEEDED
        assert list(turn.status.notes) == [
            "no candidate was proposed, so nothing was asked",
            "no query was decided, so nothing was learned",
        ]
        assert lab.training.requests == []

    run(tmp_path, test)


def test_a_step_that_is_done_is_not_begun_again(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        first = lab.turn(spec_of(lab.write_set("set", []), training=rounds.RoundTraining()))
        await run_round(first, unsaved)
        before = [(step.stage, step.attempts, step.end_time) for step in first.status.steps]

        again = lab.turn(first.spec, status=first.status)
        await run_round(again, unsaved)

        assert [(step.stage, step.attempts, step.end_time) for step in again.status.steps] == before

    run(tmp_path, test)


def test_only_the_region_of_an_image_is_predicted_and_proposed_from(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        shape, region = (4, 32, 64), Box((0, 0, 0), (4, 32, 32))
        bright = np.zeros(shape, np.uint8)
        for x in (4, 20, 36, 52):
            bright[0, 8:16, x : x + 8] = 255
        array = create_array(lab.store, IMAGE, shape=shape, dtype=np.uint8, chunks=(4, 16, 16))
        array.write(bright).result()
        ModelRepository(lab.store).publish("grey", base_model(), card=base_model_card(), lineage={})
        block = geometry.Index3(z=4, y=16, x=16)
        turn = lab.turn(
            spec_of(
                "",
                images=[rounds.ImageSource(image=IMAGE, region=box_to_pb(region))],
                base_model=artifacts.ModelVersion(name="grey"),
                proposal=rounds.ProposalSpec(
                    minimum_voxels=4, patch_side=16, block_shape=block, overlap=0
                ),
            )
        )

        await fix_versions(turn)
        prediction = await segment_images(turn)
        folder = await propose_candidates(turn)

        predicted = np.asarray(open_array(lab.store, prediction).read().result())
        assert turn.status.base_model.version == 1
        assert turn.step(rounds.ROUND_STAGE_SEGMENT).message == "4 of 4 blocks"
        assert folder.startswith(f"{PARENT}/candidates/grey-1-")
        assert turn.status.candidate_count == 2
        np.testing.assert_array_equal(predicted[..., :32], bright[..., :32])

    run(tmp_path, test, inference=True)


def test_a_map_of_more_views_lies_beside_the_plain_one(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        array = create_array(
            lab.store, IMAGE, shape=(4, 16, 16), dtype=np.uint8, chunks=(4, 16, 16)
        )
        array.write(np.full((4, 16, 16), 200, np.uint8)).result()
        ModelRepository(lab.store).publish("grey", base_model(), card=base_model_card(), lineage={})
        maps = {}
        for views in (0, 4):
            turn = lab.turn(
                spec_of(
                    "",
                    images=[rounds.ImageSource(image=IMAGE)],
                    base_model=artifacts.ModelVersion(name="grey"),
                    proposal=rounds.ProposalSpec(augmentation=views),
                )
            )
            await fix_versions(turn)
            maps[views] = await segment_images(turn)

        assert maps[4] != maps[0]
        made_from = {
            views: array_attributes(lab.store, path)[ORIGIN] for views, path in maps.items()
        }
        assert made_from[4]["augmentation"] == 4
        assert "augmentation" not in made_from[0]

    run(tmp_path, test, inference=True)


def test_an_image_that_was_replaced_is_predicted_and_proposed_from_anew(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        shape = (4, 16, 32)
        ModelRepository(lab.store).publish("grey", base_model(), card=base_model_card(), lineage={})
        spec = spec_of(
            "",
            images=[rounds.ImageSource(image=f"{PARENT}/images/stack.ome.zarr/0")],
            base_model=artifacts.ModelVersion(name="grey"),
            proposal=rounds.ProposalSpec(minimum_voxels=4, patch_side=16, overlap=0),
        )

        async def round_on(picture: npt.NDArray[np.uint8], name: str) -> Turn:
            file = tmp_path / "stack.tif"
            tifffile.imwrite(file, picture, photometric="minisblack")
            import_image(file, project=PROJECT, image="stack", store=lab.store.root, overwrite=True)
            turn = lab.turn(spec, name)
            await fix_versions(turn)
            await segment_images(turn)
            await propose_candidates(turn)
            return turn

        bright = np.zeros(shape, np.uint8)
        bright[0, 4:12, 4:12] = 255
        first = await round_on(bright, "first")
        again = await round_on(np.zeros(shape, np.uint8), "again")

        assert first.status.candidate_count == 1
        assert again.status.candidate_count == 0
        assert first.status.candidates != again.status.candidates

    run(tmp_path, test, inference=True)


def test_what_earlier_rounds_judged_is_not_asked_again(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        folder = lab.write_set("set", apart(8))
        await lab.judge("r1", "set", {0: TRUE, 1: UNSURE})
        await lab.judge("r2", "set", {1: FALSE, 2: UNSURE, 3: FALSE})

        picked = await chosen(lab.turn(spec_of(folder, history=["r1", "r2"], budget=8)))

        assert picked == {4, 5, 6, 7}

    run(tmp_path, test)


def test_what_was_judged_under_other_numbers_is_not_asked_again(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        boxes = apart(6)
        lab.write_set("before", [boxes[5], Box((9, 0, 0), (10, 5, 5)), boxes[2]])
        lab.write_set("long-before", [boxes[0]])
        await lab.judge("r1", "before", {0: TRUE, 1: TRUE})
        await lab.judge("r0", "long-before", {0: UNSURE})

        turn = lab.turn(spec_of(lab.write_set("set", boxes), history=["r0", "r1"], budget=6))
        picked = await chosen(turn)

        # Number 2 of the earlier set was never asked about.
        assert picked == {1, 2, 3, 4}

    run(tmp_path, test)


def test_a_history_of_more_than_one_page_counts_whole(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        folder = lab.write_set("set", apart(1004))
        await lab.judge("r1", "set", dict.fromkeys(range(1002), FALSE))

        picked = await chosen(lab.turn(spec_of(folder, history=["r1"], budget=10)))

        assert picked == {1002, 1003}

    run(tmp_path, test)


def tuning(lab: LoopLab) -> Turn:
    """A round that has its labels, before it learns, and also tunes its image encoder."""
    encoder = rounds.EncoderChoice(
        stream="image", encoder=artifacts.ModelVersion(name="looks", version=3)
    )
    spec = spec_of(
        lab.write_set("set", apart(4)),
        history=["r0"],
        encoders=[encoder],
        training=rounds.RoundTraining(tune_image_encoder=True),
    )
    turn = lab.turn(spec)
    turn.status.base_model.CopyFrom(spec.base_model)
    turn.status.encoders.append(encoder)
    turn.status.snapshot = f"{PARENT}/snapshots/s.parquet"
    return turn


def test_the_image_encoder_is_tuned_on_the_verdicts_of_all_rounds(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        turn = tuning(lab)
        await lab.judge("r0", "earlier", {0: TRUE})
        await lab.judge("now", "set", {0: TRUE, 1: FALSE})

        made = await learn(turn)

        assert made == "mito/2, looks/2"
        assert turn.status.new_image_encoder == artifacts.ModelVersion(name="looks", version=2)
        base, encoder = lab.training.requests
        assert base.run != encoder.run
        assert encoder.tune_encoder.parent.version == 3
        assert list(base.fine_tune_base.candidates) == [
            f"{PARENT}/candidates/earlier",
            f"{PARENT}/candidates/set",
        ]

    run(tmp_path, test)


def test_too_few_labels_are_noted_and_the_models_stay(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        turn = tuning(lab)
        await lab.judge("now", "set", {0: TRUE})
        lab.training.failures = {"mito": TOO_FEW, "looks": TOO_FEW}

        made = await learn(turn)

        assert made == ""
        assert list(turn.status.notes) == [
            "mito was not trained: only one class",
            "looks was not trained: only one class",
        ]
        assert not turn.status.HasField("new_base_model")
        assert not turn.status.HasField("new_image_encoder")

    run(tmp_path, test)


def test_another_failure_of_training_is_no_note(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        turn = tuning(lab)
        await lab.judge("now", "set", {0: TRUE})
        lab.training.failures["mito"] = artifacts.Failure(
            reason="ERROR_REASON_MODEL_NOT_READY", message="no such version"
        )

        with pytest.raises(DomainError, match="no such version") as caught:
            await learn(turn)

        assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"
        assert not turn.status.notes

    run(tmp_path, test)


def test_a_round_in_which_all_is_known_asks_nothing(tmp_path: Path) -> None:
    async def test(lab: LoopLab) -> None:
        folder = lab.write_set("set", apart(3))
        await lab.judge("r1", "set", dict.fromkeys(range(3), TRUE))
        turn = lab.turn(spec_of(folder, history=["r1"]))

        await asyncio.wait_for(run_round(turn, unsaved), 30)

        assert turn.status.state == artifacts.WORK_STATE_SUCCEEDED
        assert turn.status.queries == 0
        progress = await lab.means.peers.labels.GetProgress(
            labels.GetProgressRequest(parent=PARENT, round="now")
        )
        assert progress.queries == 0

    run(tmp_path, test)
