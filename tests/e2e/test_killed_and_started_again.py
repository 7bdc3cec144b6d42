"""SIGKILL of everything at each stage of a round; what was made, and acknowledged, is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parfocal.common.v1.artifact_pb2 import WORK_STATE_SUCCEEDED
from parfocal.loop.v1 import round_pb2 as rounds

# Written once and never again: a later time of change would mean made twice.
FINISHED = ("rdf.yaml", "set.json", "result.json", ".parquet", ".onnx")


@dataclass
class Running:
    """`parfocal up` as a process of its own."""

    process: subprocess.Popen[str]
    campaign: Any

    def kill(self) -> None:
        self.campaign.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def up(data: Path, make_campaign: Callable[..., Any]) -> Iterator[Running]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PARFOCAL_GRACE_SECONDS": "1",
        "PARFOCAL_LOOP_POLL_SECONDS": "0.1",
        "PARFOCAL_LOOP_CLAIM_SECONDS": "1",
        "PARFOCAL_TRAINING_CHECKPOINT_SECONDS": "1",
    }
    command = [sys.executable, "-m", "parfocal.cli", "up", "--no-browser", "--port", "0"]
    with subprocess.Popen(
        [*command, "--data-dir", str(data)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("Parfocal is ready at "), ready
            address = ready.split()[4].rstrip(",")
            token = (data / "token").read_text().strip()
            campaign = make_campaign(
                {"labels": address, "loop": address},
                token=token,
                store=(data / "store").as_uri(),
            )
            yield Running(process, campaign)
            campaign.close()
        finally:
            process.kill()


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory,
    make_campaign: Callable[..., Any],
    small_image: tuple[Path, Path],
) -> Path:
    """A data folder with trained models, just before its first round."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    with up(data, make_campaign) as running:
        running.campaign.prepare(small_image)
    return data


def finished_artifacts(store: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(store)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in store.rglob("*")
        if path.name.endswith(FINISHED)
    }


@pytest.mark.parametrize(
    "stage",
    [
        rounds.ROUND_STAGE_SEGMENT,
        rounds.ROUND_STAGE_PROPOSE,
        rounds.ROUND_STAGE_EMBED,
        rounds.ROUND_STAGE_SUGGEST,
        rounds.ROUND_STAGE_QUEUE,
        rounds.ROUND_STAGE_LABEL,
        rounds.ROUND_STAGE_SNAPSHOT,
        rounds.ROUND_STAGE_ESTIMATE,
        rounds.ROUND_STAGE_TRAIN,
    ],
    ids=lambda stage: rounds.RoundStage.Name(stage).removeprefix("ROUND_STAGE_").lower(),
)
def test_a_round_completes_after_a_kill(
    stage: Any, prepared: Path, make_campaign: Callable[..., Any], tmp_path: Path
) -> None:
    data = Path(shutil.copytree(prepared, tmp_path / "data"))
    acknowledged = []
    # The steps after the labels are over in a moment; training is what a kill can come before.
    trains = stage >= rounds.ROUND_STAGE_SNAPSHOT
    with up(data, make_campaign) as running:
        campaign = running.campaign
        spec = campaign.round_spec()
        if not trains:
            spec.ClearField("training")
        campaign.loop.rounds.create("discs", "r1", spec)
        if stage >= rounds.ROUND_STAGE_LABEL:
            campaign.wait("r1", stage=rounds.ROUND_STAGE_LABEL)
            partly = 5 if stage == rounds.ROUND_STAGE_LABEL else 1000
            acknowledged = [label.name for label in campaign.answer("r1", at_most=partly)]
        killed_at = campaign.wait("r1", stage=stage).status
        running.kill()
    made = finished_artifacts(data / "store")
    done = {one.stage: one.attempts for one in killed_at.steps if one.state == WORK_STATE_SUCCEEDED}

    with up(data, make_campaign) as running:
        campaign = running.campaign
        campaign.wait("r1", stage=rounds.ROUND_STAGE_LABEL)
        campaign.answer("r1")
        ended = campaign.wait("r1").status
        labels = {label.name for label in campaign.labels.labels.list("discs", round="r1")}

    assert killed_at.state != WORK_STATE_SUCCEEDED
    assert ended.state == WORK_STATE_SUCCEEDED, ended.failure
    assert set(acknowledged) <= labels
    assert len(labels) == ended.decided == 12
    assert {one.stage: one.attempts for one in ended.steps if one.stage in done} == done
    assert made.items() <= finished_artifacts(data / "store").items()
    assert ended.new_base_model.version == (2 if trains else 0)
    assert ended.new_image_encoder.version == (2 if trains else 0)
    assert versions(data, "base") == (["1", "2"] if trains else ["1"])


def versions(data: Path, model: str) -> list[str]:
    return sorted(path.name for path in (data / "store/models" / model).iterdir() if path.is_dir())
