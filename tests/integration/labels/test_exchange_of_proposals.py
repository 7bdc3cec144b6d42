from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_sets import PROJECT, snapshot_of, write_image
from parfocal import read_labels
from parfocal.labels.v1.project_pb2 import TASK_KIND_VERIFY, Project
from parfocal_inference.propose import Proposal, Source, propose_candidates
from parfocal_labels.exports import Export, Exported, ExportFormat, export_snapshot
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

SHAPE = (6, 150, 200)
SET = f"projects/{PROJECT}/candidates/set"


@pytest.fixture
def proposed(object_store: ObjectStore) -> int:
    """A candidate set as the inference service makes it; returns the number of candidates."""
    image = write_image(object_store, "stack", SHAPE, levels=2)
    rng = np.random.default_rng(0)
    probability = np.zeros(SHAPE, np.uint8)
    for _ in range(40):
        z, y, x = (int(rng.integers(side)) for side in (4, 135, 185))
        probability[z : z + 3, y : y + 9, x : x + 9] = 255
    prediction = f"projects/{PROJECT}/predictions/map.zarr"
    array = create_array(object_store, prediction, shape=SHAPE, dtype=np.uint8, chunks=(2, 64, 64))
    array.write(probability).result()
    proposal = Proposal(SET, (Source(image, prediction),), block=(4, 64, 64))
    return propose_candidates(object_store, proposal).count


def exported(store: ObjectStore, format_: ExportFormat, answers: list[dict[str, Any]]) -> Exported:
    snapshot = snapshot_of(store, answers)
    return export_snapshot(store, snapshot, Export(format_, "set"), cancel=CancelFlag())


def test_labels_are_the_objects_that_were_accepted(
    object_store: ObjectStore, proposed: int
) -> None:
    answers = [{"candidate": number, "verdict": number % 3 > 0} for number in range(proposed)]

    found = exported(object_store, ExportFormat.OME_ZARR, answers)

    objects = open_array(object_store, f"{SET}/objects-0.zarr").read().result()
    labels = open_array(object_store, f"{found.path}/stack/0").read().result()
    rejected = (objects - 1) % 3 == 0
    assert found.rows == sum(number % 3 > 0 for number in range(proposed)) > 20
    assert np.array_equal(labels, np.where(rejected & (objects > 0), 0, objects))


def test_masks_come_back_as_the_candidates_that_they_were(
    object_store: ObjectStore, proposed: int, tmp_path: Path
) -> None:
    answers = [{"candidate": number, "verdict": True} for number in range(proposed)]
    found = exported(object_store, ExportFormat.COCO, answers)
    document = json.loads(object_store.read(found.path))
    (tmp_path / "coco.json").write_text(json.dumps(document))

    back = _read(tmp_path / "coco.json", object_store)

    named = {each["id"]: each["attributes"]["candidate"] for each in document["annotations"]}
    assert back.unmatched == ()
    assert [label.query.candidate for label in back.labels] == list(range(proposed))
    assert all(each.iou == 1.0 for each in back.matches)
    assert all(
        named[int(each.thing.removeprefix("annotation "))] == each.candidate
        for each in back.matches
    )


def _read(file: Path, store: ObjectStore) -> Any:
    return read_labels(
        file,
        format="coco",
        project=Project(name=f"projects/{PROJECT}", task_kind=TASK_KIND_VERIFY),
        round="r1",
        candidate_set="set",
        store=store.root,
    )


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client reach what the services reach."""
    if "s3" not in request.node.name:
        return
    settings = request.getfixturevalue("s3_settings")
    for name in ("endpoint", "access_key", "secret_key", "region"):
        monkeypatch.setenv(f"PARFOCAL_S3_{name.upper()}", getattr(settings, name))
    monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")
