from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from candidate_sets import PROJECT, snapshot_of, write_candidate_set, write_image
from parfocal import NotFoundError, read_labels
from parfocal._exchange.fetching import fetch_file, fetch_folder
from parfocal.labels.v1.project_pb2 import TASK_KIND_VERIFY, Project
from parfocal_labels.exports import Export, ExportFormat, export_snapshot
from parfocal_runtime.store import S3Settings, open_store
from parfocal_runtime.tasks import CancelFlag

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def environment(s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("endpoint", "access_key", "secret_key", "region"):
        monkeypatch.setenv(f"PARFOCAL_S3_{name.upper()}", getattr(s3_settings, name))
    monkeypatch.setenv("PARFOCAL_S3_SECURE", "false")


def test_candidates_are_matched_and_exports_copied_from_s3(
    s3_settings: S3Settings, s3_store_uri: str, tmp_path: Path
) -> None:
    store = open_store(s3_store_uri, s3=s3_settings)
    objects = np.zeros((2, 30, 40), np.uint32)
    objects[:, 3:9, 4:12] = 1
    write_candidate_set(store, {write_image(store, "stack", objects.shape): objects})
    tifffile.imwrite(tmp_path / "truth.tif", 7 * objects, photometric="minisblack")
    snapshot = snapshot_of(store, [{"candidate": 0, "verdict": True}])

    found = read_labels(
        tmp_path / "truth.tif",
        format="label-image",
        project=Project(name=f"projects/{PROJECT}", task_kind=TASK_KIND_VERIFY),
        round="r1",
        candidate_set="set",
        store=s3_store_uri,
    )
    file, folder = (
        export_snapshot(store, snapshot, Export(each, "set"), cancel=CancelFlag()).path
        for each in (ExportFormat.COCO, ExportFormat.OME_ZARR)
    )
    copied = fetch_file(s3_store_uri, file, tmp_path / "coco.json")
    tree = fetch_folder(s3_store_uri, folder, tmp_path / "labels.zarr")

    assert [(each.thing, each.candidate, each.iou) for each in found.matches] == [
        ("object 7", 0, 1.0)
    ]
    assert copied.read_bytes() == store.read(file)
    names = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert names == {path.removeprefix(f"{folder}/") for path in store.list(folder)}


def test_what_is_not_in_s3_is_not_found(s3_store_uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        fetch_file(s3_store_uri, "projects/vnc/exports/none.csv", tmp_path / "none.csv")
