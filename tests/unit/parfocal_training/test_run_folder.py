from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists, InvalidInput, NotFound, Unavailable, WrongState
from parfocal_runtime.store import LocalStore
from parfocal_training import worker
from parfocal_training.progress import Progress, TrainResult
from parfocal_training.run_folder import CHECKPOINT_FILE, Failure, RunFolder
from parfocal_training.spec import (
    LabelledBox,
    ModelRef,
    Optimisation,
    RunSpec,
    TrainBase,
    TrainVae,
    UNetShape,
    spec_from_json,
    spec_to_json,
)
from parfocal_training.worker import Reporter, WorkOrder
from training_lab import base_task, fine_tuning, spec_of, tuning, vae_task

SPECS = [
    spec_of(base_task()),
    spec_of(TrainBase(regions=(LabelledBox("i", "t", Box((0, 0, 0), (1, 1, 1))),))),
    spec_of(fine_tuning(ModelRef("mito", 2))),
    spec_of(vae_task("mask")),
    spec_of(tuning(ModelRef("encoder"))),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(LocalStore(tmp_path), "run-1")


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_comes_back_from_json_as_it_was(spec: RunSpec) -> None:
    assert spec_from_json(spec_to_json(spec)) == spec


@given(st.integers(0, 2**64 - 1), st.floats(1e-9, 1.0))
def test_numbers_of_a_spec_survive_json(seed: int, rate: float) -> None:
    descent = Optimisation(iterations=1, batch=1, learning_rate=rate)
    task = TrainVae(stream="image", images=("i",), optimisation=descent)
    spec = RunSpec(run="r", model="m", task=task, seed=seed)

    assert spec_from_json(spec_to_json(spec)) == spec


def test_the_same_request_is_accepted_twice_and_another_refused(folder: RunFolder) -> None:
    folder.accept(spec_of(base_task(4)))
    folder.accept(spec_of(base_task(4)))

    with pytest.raises(AlreadyExists) as caught:
        folder.accept(spec_of(base_task(5)))

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"


def test_a_run_that_nobody_asked_for_does_not_exist(folder: RunFolder) -> None:
    for ask in (folder.spec, folder.create_time, folder.cancel):
        with pytest.raises(NotFound) as caught:
            ask()
        assert caught.value.reason == "ERROR_REASON_RUN_NOT_FOUND"


def test_attempts_are_counted(folder: RunFolder) -> None:
    counts = [folder.begin_attempt() for _ in range(3)]

    assert counts == [1, 2, 3]
    assert folder.attempts() == 3


def test_the_parent_is_resolved_once(folder: RunFolder) -> None:
    first = folder.resolve_parent(ModelRef("mito", 3))

    assert folder.resolve_parent(ModelRef("mito", 4)) == first == ModelRef("mito", 3)


def test_a_run_is_cancelled_or_published_but_not_both(folder: RunFolder) -> None:
    folder.accept(spec_of(base_task()))
    assert folder.decide("publish")

    with pytest.raises(WrongState) as caught:
        folder.cancel()

    assert caught.value.metadata["state"] == "PUBLISHING"
    assert not folder.is_cancelled()
    assert folder.result() is None


def test_a_cancelled_run_cannot_decide_to_publish(folder: RunFolder) -> None:
    folder.accept(spec_of(base_task()))
    folder.cancel()

    assert not folder.decide("publish")
    result = folder.result()
    assert result is not None
    assert result.state == "CANCELLED"


def test_the_first_ending_counts(folder: RunFolder) -> None:
    progress = Progress(3, 3, 1.5, {"loss": 0.5}, "trained")
    folder.succeed(TrainResult("mito", 7, progress))

    folder.fail(Failure("ERROR_REASON_INTERNAL", "too late"))

    result = folder.result()
    assert result is not None
    assert (result.state, result.model, result.progress) == (
        "SUCCEEDED",
        ModelRef("mito", 7),
        progress,
    )


def test_a_failure_keeps_its_reason(folder: RunFolder) -> None:
    error = NotFound("ERROR_REASON_ARTIFACT_NOT_FOUND", "gone", path="p")

    folder.fail(Failure.of(error))

    result = folder.result()
    assert result is not None
    assert result.failure == Failure("ERROR_REASON_ARTIFACT_NOT_FOUND", "gone", {"path": "p"})


@pytest.mark.parametrize(
    ("cancelled", "state", "kept"), [(False, None, True), (True, "CANCELLED", False)]
)
def test_a_failure_is_taken_back_with_what_was_learned(
    folder: RunFolder, cancelled: bool, state: str | None, kept: bool
) -> None:
    folder.accept(spec_of(base_task()))
    folder.store.write(folder.path(CHECKPOINT_FILE), b"learned")
    if cancelled:
        folder.cancel()
    else:
        folder.fail(Failure("ERROR_REASON_EXPORT_PARITY", "off"))

    folder.reopen()

    result = folder.result()
    assert (result and result.state) == state
    assert folder.store.exists(folder.path(CHECKPOINT_FILE)) == kept


def test_progress_is_told_now_and_then_and_at_the_end(folder: RunFolder) -> None:
    times = iter([0.0, 0.1, 0.2, 0.7, 0.8])
    output = io.StringIO()
    reporter = Reporter(folder, output, clock=lambda: next(times))

    for iteration in range(1, 6):
        reporter(Progress(iteration, 5))

    lines = [json.loads(line)["iteration"] for line in output.getvalue().splitlines()]
    assert lines == [1, 4, 5]
    assert folder.progress().iteration == 5


def test_what_may_pass_does_not_end_a_run(folder: RunFolder) -> None:
    assert worker.is_passing(Unavailable("ERROR_REASON_STORE_UNAVAILABLE", "away"))
    assert not worker.is_passing(NotFound("ERROR_REASON_ARTIFACT_NOT_FOUND", "gone"))


def test_an_order_goes_to_the_worker_in_one_line() -> None:
    order = WorkOrder(run="run-1", store_uri="file:///data", threads=2)

    line = order.to_json()

    assert "\n" not in line
    assert WorkOrder.from_json(line) == order


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: UNetShape(widths=()), "architecture.widths"),
        (lambda: UNetShape(widths=(6,), isotropy=(True,)), "architecture.widths"),
        (lambda: UNetShape(window=(1, 8, 96)), "architecture.window"),
        (lambda: UNetShape(window=(4096, 4096, 4096)), "architecture.window"),
        (lambda: TrainBase(regions=()), "regions"),
        (lambda: vae_of(patch_side=16), "patch_side"),
        (lambda: vae_of(patch_side=-64), "patch_side"),
        (lambda: vae_of(latent=0), "latent"),
        (lambda: vae_of(kl_weight=float("nan")), "kl_weight"),
        (lambda: vae_of(widths=(3,)), "widths"),
        (lambda: TrainVae(stream="mask", images=("i",)), "candidates"),
        (lambda: TrainVae(stream="sound"), "stream"),
        (lambda: Optimisation(iterations=0, batch=1, learning_rate=1.0), "limits.iterations"),
        (lambda: ModelRef("m", -1), "model.version"),
        (lambda: RunSpec(run="r", model="No Name", task=base_task()), "model"),
    ],
)
def test_what_can_never_work_names_its_field(make: type, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()

    assert caught.value.metadata["field"] == field


def vae_of(**changes: object) -> TrainVae:
    return TrainVae(stream="image", images=("i",), **changes)  # type: ignore[arg-type]
