"""The tasks from end to end, in this process; the base model is trained once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parfocal_runtime.errors import Cancelled, DomainError, NotFound, WrongState
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import LocalStore
from parfocal_training import checkpoint as checkpoints
from parfocal_training import export
from parfocal_training.export import check_parity, export_onnx
from parfocal_training.jobs import train
from parfocal_training.preflight import check
from parfocal_training.progress import Progress
from parfocal_training.run_folder import RunFolder
from parfocal_training.spec import ModelRef, RunSpec, Task
from parfocal_training.vae import Encoder, VaeConfig
from training_lab import (
    SNAPSHOT,
    TINY,
    TrainingLab,
    Uncancelled,
    base_task,
    fine_tuning,
    spec_of,
    tuning,
    unheard,
    vae_task,
    write_snapshot,
)

BASE = ModelRef("mito", 1)
IMAGE_ENCODER = ModelRef("image-vae", 1)
MASK_ENCODER = ModelRef("mask-vae", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    store = LocalStore(folder)
    TrainingLab(store)
    finish(store, spec_of(base_task(), run="base", model=BASE.name))
    finish(store, spec_of(vae_task("image"), run="image", model=IMAGE_ENCODER.name))
    finish(store, spec_of(vae_task("mask"), run="mask", model=MASK_ENCODER.name))
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Iterator[LocalStore]:
    folder = tmp_path / "store"
    shutil.copytree(trained, folder)
    yield LocalStore(folder)
    shutil.rmtree(folder)


def finish(store: LocalStore, spec: RunSpec) -> Progress:
    RunFolder(store, spec.run).accept(spec)
    return train(spec, store, unheard, Uncancelled()).progress


def test_a_base_model_is_published_with_the_convention_of_the_repository(store: LocalStore) -> None:
    model = ModelRepository(store).load(BASE.name)

    assert model.card.kind == "base"
    assert model.card.window == TINY.window
    assert model.card.voxel_size_nm == (50.0, 9.0, 9.0)
    assert model.card.inputs[0].name == "image"
    image = np.zeros((3, 1, *TINY.window), dtype=np.uint8)
    (probability,) = model.session.run({"image": image}).values()
    assert probability.shape == image.shape
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_a_base_model_says_whether_it_mixes_sections(store: LocalStore) -> None:
    flat = replace(base_task(), architecture=replace(TINY, isotropy=(False, False)))
    finish(store, spec_of(flat, run="flat", model="flat"))
    finish(store, spec_of(fine_tuning(ModelRef("flat")), run="finer", model="flat"))

    repository = ModelRepository(store)
    assert [
        repository.card(*each).description for each in ((BASE.name, 1), ("flat", 1), ("flat", 2))
    ] == [
        "Residual 3D U-Net trained from 1 labelled boxes.",
        "Residual U-Net of sections trained from 1 labelled boxes.",
        "Residual U-Net of sections fine-tuned on 12 verdicts.",
    ]


@pytest.mark.parametrize(
    ("encoder", "stream", "dtype"),
    [(IMAGE_ENCODER, "image", np.uint8), (MASK_ENCODER, "mask", np.int8)],
)
def test_encoders_are_published_with_their_stream(
    store: LocalStore, encoder: ModelRef, stream: str, dtype: type
) -> None:
    model = ModelRepository(store).load(encoder.name)

    assert (model.card.kind, model.card.stream) == ("encoder", stream)
    (embedding,) = model.session.run({"patch": np.zeros((5, 1, 16, 16), dtype=dtype)}).values()
    assert embedding.shape == (5, 3)


def test_the_lineage_says_how_to_make_the_model_again(store: LocalStore) -> None:
    lineage = ModelRepository(store).lineage(BASE.name, 1)

    assert lineage["run"] == "base"
    assert lineage["seed"] == 0
    assert lineage["iterations"] == 4
    assert lineage["parameters"]["architecture"]["widths"] == [4, 8]
    assert {"loss", "own_label_accuracy", "export_difference"} <= set(lineage["metrics"])


def test_variants_are_published_beside_the_model_and_one_too_far_off_is_told(
    store: LocalStore,
) -> None:
    near = replace(
        spec_of(base_task(), run="near", model="near"), variants=("fp16",), variant_limit=0.5
    )
    far = replace(
        spec_of(base_task(), run="far", model="far"), variants=("fp16",), variant_limit=1e-9
    )

    done, refused = finish(store, near), finish(store, far)

    repository = ModelRepository(store)
    report = repository.card("near-fp16", 1).variant
    assert report is not None
    assert done.metrics["fp16_difference"] == report.difference > 0
    assert repository.versions("far") == [1]
    assert repository.versions("far-fp16") == []
    assert "fp16 variant of far/1 differs by" in refused.message


def test_fine_tuning_adds_a_version_that_names_its_parent(store: LocalStore) -> None:
    finish(store, spec_of(fine_tuning(ModelRef("mito")), run="fine"))

    repository = ModelRepository(store)
    assert repository.versions("mito") == [1, 2]
    assert repository.lineage("mito", 2)["parent"] == {"name": "mito", "version": 1}
    assert repository.lineage("mito", 2)["parameters"]["snapshots"] == [SNAPSHOT]


def test_tuning_is_kept_only_where_it_helps_held_out_labels(store: LocalStore) -> None:
    progress = finish(store, spec_of(tuning(IMAGE_ENCODER), run="tune", model="image-vae"))

    metrics = progress.metrics
    helped = metrics["held_out_accuracy"] > metrics["held_out_accuracy_untuned"]
    first, second = (
        checkpoints.from_bytes(store.read(f"runs/{run}/weights.safetensors")).tensors
        for run in ("image", "tune")
    )
    unchanged = all(torch.equal(first[name], second[name]) for name in first)
    assert unchanged != helped
    assert ("unchanged" in progress.message) != helped
    assert ModelRepository(store).card("image-vae", 2).stream == "image"


def test_tuning_with_two_labels_says_that_none_was_held_out(store: LocalStore) -> None:
    path = "projects/demo/snapshots/two.parquet"
    write_snapshot(store, [True, False], path)
    task = replace(tuning(MASK_ENCODER, 2), snapshots=(path,))

    progress = finish(store, spec_of(task, run="two", model="mask-vae"))

    assert "too few to hold any out" in progress.message


def test_tuning_without_both_classes_keeps_the_encoder(store: LocalStore) -> None:
    path = "projects/demo/snapshots/one.parquet"
    write_snapshot(store, [True, True], path)
    task = replace(tuning(IMAGE_ENCODER), snapshots=(path,))

    with pytest.raises(WrongState) as caught:
        check(spec_of(task, model="image-vae"), store)

    assert caught.value.reason == "ERROR_REASON_TOO_FEW_LABELS"
    assert ModelRepository(store).versions("image-vae") == [1]


def test_publishing_twice_makes_one_version(store: LocalStore) -> None:
    finish(store, spec_of(base_task(), run="base", model=BASE.name))

    assert ModelRepository(store).versions(BASE.name) == [1]


def test_a_run_that_was_cancelled_is_not_published(store: LocalStore) -> None:
    spec = spec_of(base_task(), run="cancelled", model="never")
    folder = RunFolder(store, "cancelled")
    folder.accept(spec)
    folder.cancel()

    with pytest.raises(Cancelled):
        train(spec, store, unheard, Uncancelled())

    assert ModelRepository(store).versions("never") == []


def test_a_graph_that_computes_something_else_is_not_published(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no other way to make an exporter wrong.
    monkeypatch.setattr(export, "TOLERANCE", -1.0)

    with pytest.raises(WrongState) as caught:
        finish(store, spec_of(vae_task("mask"), run="unfaithful", model="unfaithful"))

    assert caught.value.reason == "ERROR_REASON_EXPORT_PARITY"
    assert ModelRepository(store).versions("unfaithful") == []


def test_another_network_than_the_graph_is_noticed() -> None:
    config = VaeConfig(stream="image", side=16, latent=2, widths=(4,))
    encoder = Encoder(config)
    samples = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    graph = export_onnx(encoder, samples[0], input_name="patch", output_name="embedding")
    faithful = check_parity(encoder, graph, samples, run="r")
    with torch.no_grad():
        encoder.mean.bias.add_(0.01)

    with pytest.raises(WrongState):
        check_parity(encoder, graph, samples, run="r")

    assert faithful < export.TOLERANCE
    assert b".py" not in graph


def test_a_parent_that_was_not_trained_here_cannot_be_trained_further(store: LocalStore) -> None:
    store.delete("runs/base/weights.safetensors")

    with pytest.raises(WrongState) as caught:
        check(spec_of(fine_tuning(BASE)), store)

    assert caught.value.metadata["cause"] == "no trainable weights"


@pytest.mark.parametrize(
    ("task", "error"),
    [
        (fine_tuning(ModelRef("nobody")), NotFound),
        (fine_tuning(ModelRef("mito", 9)), NotFound),
        (fine_tuning(IMAGE_ENCODER), DomainError),
        (tuning(BASE), DomainError),
        (replace(vae_task("image"), images=("projects/demo/none",)), NotFound),
        (replace(vae_task("mask"), candidates=("projects/demo/candidates/none",)), NotFound),
        (replace(tuning(IMAGE_ENCODER), snapshots=("projects/none.parquet",)), NotFound),
    ],
)
def test_what_cannot_work_is_refused_before_the_run_exists(
    store: LocalStore, task: Task, error: type[DomainError]
) -> None:
    with pytest.raises(error):
        check(spec_of(task), store)


def test_weights_are_kept_for_later_runs(store: LocalStore) -> None:
    saved = checkpoints.from_bytes(store.read("runs/base/weights.safetensors"))

    assert saved.scalars["config"]["architecture"]["window"] == list(TINY.window)
    assert not any(name.startswith("optimiser") for name in saved.tensors)
