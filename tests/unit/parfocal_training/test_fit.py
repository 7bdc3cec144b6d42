from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from parfocal_runtime.errors import Cancelled, InvalidInput
from parfocal_training import checkpoint as checkpoints
from parfocal_training.base_jobs import SegmentationObjective
from parfocal_training.checkpoint import Checkpoint
from parfocal_training.fit import Descent
from parfocal_training.progress import Progress
from parfocal_training.sampling import WindowSampler
from parfocal_training.spec import Optimisation, SegmentationLoss
from parfocal_training.unet import UNet, UNetConfig
from parfocal_training.verdicts import ReplayMixture
from training_lab import WINDOW, region_of


@dataclass
class Kept:
    """Checkpoints as the bytes that the store would hold."""

    data: bytes | None = None
    saves: int = 0

    def load(self) -> Checkpoint | None:
        return None if self.data is None else checkpoints.from_bytes(self.data)

    def save(self, checkpoint: Checkpoint) -> None:
        self.data = checkpoints.to_bytes(checkpoint)
        self.saves += 1


@dataclass
class StopAfter:
    """Stops a run after some steps, as a kill would."""

    steps: int

    def check(self) -> None:
        if self.steps == 0:
            raise Cancelled("ERROR_REASON_CANCELLED", "stopped")
        self.steps -= 1


@dataclass
class Ticks:
    """A clock on which everything takes one second."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@dataclass
class Heard:
    said: list[Progress] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        self.said.append(progress)


def descent(kept: Kept, *, limits: Optimisation, seed: int = 3) -> Descent:
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(4, 8), isotropy=(False, True)))
    region = region_of((4, 24, 24), foreground=300)
    mixture = ReplayMixture(WindowSampler([region], WINDOW), WindowSampler([region], WINDOW), 0.25)
    objective = SegmentationObjective(network, mixture, SegmentationLoss(), limits.batch)
    return Descent(objective, limits, seed, kept, checkpoint_seconds=0.0, clock=Ticks())


def weights(model: nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def limits_of(iterations: int, *, seconds: float = 0.0, target: float = 0.0) -> Optimisation:
    return Optimisation(
        iterations=iterations,
        batch=3,
        learning_rate=1e-2,
        warm_up=2,
        seconds=seconds,
        target_accuracy=target,
    )


@pytest.mark.parametrize("stopped_after", [1, 4])
def test_a_resumed_run_ends_with_the_same_bits(stopped_after: int) -> None:
    whole = descent(Kept(), limits=limits_of(6))
    whole.run(Heard(), StopAfter(-1))
    kept = Kept()
    with pytest.raises(Cancelled):
        descent(kept, limits=limits_of(6)).run(Heard(), StopAfter(stopped_after))

    resumed = descent(kept, limits=limits_of(6))
    progress = resumed.run(Heard(), StopAfter(-1))

    assert progress.iteration == 6
    for first, second in zip(
        weights(whole.objective.model), weights(resumed.objective.model), strict=True
    ):
        assert torch.equal(first, second)
    assert progress.metrics == whole.metrics


def test_another_seed_gives_other_weights() -> None:
    runs = [descent(Kept(), limits=limits_of(2), seed=seed) for seed in (1, 2)]
    for run in runs:
        run.run(Heard(), StopAfter(-1))

    first, second = (torch.cat([w.flatten() for w in weights(r.objective.model)]) for r in runs)

    assert not torch.equal(first, second)


def test_seconds_end_a_run_and_count_over_restarts() -> None:
    kept = Kept()
    with pytest.raises(Cancelled):
        descent(kept, limits=limits_of(100, seconds=5)).run(Heard(), StopAfter(3))

    progress = descent(kept, limits=limits_of(100, seconds=5)).run(Heard(), StopAfter(-1))

    assert progress.iteration == 5
    assert progress.seconds == 5


def test_a_target_accuracy_ends_a_run_early() -> None:
    run = descent(Kept(), limits=limits_of(200, target=0.01))

    progress = run.run(Heard(), StopAfter(-1))

    assert progress.iteration == 50


def test_progress_counts_up_and_names_what_is_measured() -> None:
    heard = Heard()

    descent(Kept(), limits=limits_of(4)).run(heard, StopAfter(-1))

    assert [progress.iteration for progress in heard.said] == [1, 2, 3, 4]
    assert {"loss", "accuracy"} <= set(heard.said[-1].metrics)


def test_a_checkpoint_is_safetensors_with_scalars_in_its_header() -> None:
    kept = Kept()
    descent(kept, limits=limits_of(1)).run(Heard(), StopAfter(-1))
    assert kept.data is not None

    restored = checkpoints.from_bytes(kept.data)

    assert restored.scalars["iteration"] == 1
    assert any(name.endswith("exp_avg_sq") for name in restored.tensors)


@pytest.mark.parametrize("data", [b"", b"\x10\0\0\0\0\0\0\0{}", b"not a checkpoint at all" * 9])
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        checkpoints.from_bytes(data)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"


def test_checkpoints_of_one_state_are_equal_bytes() -> None:
    scalars = {"iteration": 1, "generator": np.random.default_rng(0).bit_generator.state}
    checkpoint = Checkpoint({"model.a": torch.arange(3.0)}, scalars)

    assert checkpoints.to_bytes(checkpoint) == checkpoints.to_bytes(
        checkpoints.from_bytes(checkpoints.to_bytes(checkpoint))
    )
