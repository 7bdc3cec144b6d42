from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from parfocal.common.v1.artifact_pb2 import WORK_STATE_SUCCEEDED
from parfocal.loop.v1.round_pb2 import ROUND_STAGE_LABEL


def test_a_round_turns_with_every_service_as_its_own_process(
    deployment: Any, campaign_on: Callable[[Any], Any], small_image: tuple[Path, Path]
) -> None:
    campaign = campaign_on(deployment)
    campaign.prepare(small_image)
    campaign.loop.rounds.create("discs", "r1", campaign.round_spec())
    campaign.wait("r1", stage=ROUND_STAGE_LABEL)

    labels = campaign.answer("r1")
    finished = campaign.wait("r1").status

    assert not finished.failure.message
    assert finished.state == WORK_STATE_SUCCEEDED
    assert finished.decided == len(labels) == 12
    assert finished.accuracy.labels == 3
    assert 0 <= finished.accuracy.lower <= finished.accuracy.upper <= 1
    assert (finished.new_base_model.name, finished.new_base_model.version) == ("base", 2)
