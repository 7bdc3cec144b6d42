from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from candidate_sets import (
    PROJECT,
    SHA256,
    Objects,
    snapshot_of,
    write_candidate_set,
    write_image,
)
from parfocal_labels.exports import Export, Exported, ExportFormat, export_snapshot
from parfocal_labels.formats.csv import cell
from parfocal_labels.formats.shards import ENTRIES_PER_SHARD, shard_bytes, shard_name, sharding
from parfocal_runtime.errors import Cancelled, WrongState
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tasks import CancelFlag
from precomputed_annotations import read_layer

FOLDER = f"projects/{PROJECT}/exports/{SHA256}"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path.as_uri())


def stack() -> Objects:
    """Three objects; the second has a hole and reaches over two sections, the third is far."""
    objects = np.zeros((3, 40, 50), np.uint32)
    objects[0, 2:6, 3:9] = 1
    objects[1:3, 10:20, 10:20] = 2
    objects[1, 12:14, 12:14] = 0
    objects[2, 39, 49] = 3
    return objects


def picture() -> Objects:
    objects = np.zeros((1, 20, 30), np.uint32)
    objects[0, 1:4, 1:6] = 4
    return objects


def a_set(store: ObjectStore, **values: Any) -> dict[str, Objects]:
    """A candidate set over a stack and a picture."""
    objects = {
        write_image(store, "stack", (3, 40, 50), levels=2): stack(),
        write_image(store, "flat", (1, 20, 30)): picture(),
    }
    write_candidate_set(store, objects, **values)
    return objects


def verdict(candidate: int, answer: bool | None, **values: Any) -> dict[str, Any]:
    return {"candidate": candidate, "verdict": answer, **values}


def exported(
    store: ObjectStore, format_: ExportFormat, answers: list[dict[str, Any]], **values: Any
) -> Exported:
    snapshot = snapshot_of(store, answers)
    return export_snapshot(store, snapshot, Export(format_, **values), cancel=CancelFlag())


def coco_of(store: ObjectStore, path: str) -> COCO:
    found = COCO()
    found.dataset = json.loads(store.read(path))
    found.createIndex()
    return found


def opened(group: Path) -> Any:
    return zarr.open_group(group, mode="r")


def missing_for(
    store: ObjectStore, format_: ExportFormat, answers: list[dict[str, Any]], **values: Any
) -> str:
    with pytest.raises(WrongState) as caught:
        exported(store, format_, answers, **values)
    assert caught.value.reason == "ERROR_REASON_EXPORT_IMPOSSIBLE"
    assert caught.value.metadata["format"] == format_.value
    assert not list(store.list(FOLDER))
    return caught.value.metadata["missing"]


def test_csv_has_a_line_for_each_query(store: ObjectStore) -> None:
    answers = [verdict(0, True), verdict(1, False), verdict(2, None)]

    found = exported(store, ExportFormat.CSV, answers)

    rows = list(csv.DictReader(io.StringIO(store.read(found.path).decode(), newline="")))
    assert (found.path, found.rows) == (f"{FOLDER}/csv.csv", 3)
    assert [row["verdict"] for row in rows] == ["true", "false", "unsure"]
    assert [row["candidate"] for row in rows] == ["0", "1", "2"]
    assert store.read(found.path).count(b"\r\n") == 4


def test_csv_of_one_set_leaves_the_others_out(store: ObjectStore) -> None:
    answers = [verdict(0, True), verdict(0, False, candidate_set="other")]

    found = exported(store, ExportFormat.CSV, answers, candidate_set="other")

    assert (found.path, found.rows) == (f"{FOLDER}/csv-other.csv", 1)


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "'x"])
def test_no_spreadsheet_carries_a_cell_out(text: str) -> None:
    assert cell(text) == f"'{text}"


@given(st.text())
def test_text_comes_back_without_the_apostrophe_of_its_cell(text: str) -> None:
    assert (cell(text)[1:] if cell(text).startswith("'") else cell(text)) == text
    assert not cell(text).startswith(("=", "+", "-", "@"))


def test_numbers_stay_numbers() -> None:
    assert [cell(value) for value in (-1, 0.5, True, None, float("nan"))] == [
        "-1", "0.5", "true", "", "",
    ]  # fmt: skip


# pycocotools decodes masks in a way that this numpy will not take for long.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_has_the_masks_of_what_was_accepted(store: ObjectStore) -> None:
    objects = a_set(store)

    found = exported(store, ExportFormat.COCO, [verdict(1, True), verdict(3, True)])

    coco = coco_of(store, found.path)
    assert found.rows == 2
    for annotation in coco.loadAnns(coco.getAnnIds()):
        [image] = coco.loadImgs(annotation["image_id"])
        expected = objects[image["image"]][image["section"]] == (
            annotation["attributes"]["candidate"] + 1
        )
        mask = coco.annToMask(annotation)
        assert (mask == expected).all()
        assert annotation["area"] == expected.sum()
        encoded = coco_mask.encode(np.asfortranarray(mask))
        assert annotation["bbox"] == coco_mask.toBbox(encoded).tolist()
        assert annotation["iscrowd"] == 0
    places = [(each["file_name"], each["width"], each["height"]) for each in coco.imgs.values()]
    assert places == [
        ("stack/00001.png", 50, 40),
        ("stack/00002.png", 50, 40),
        ("flat.png", 30, 20),
    ]
    assert len(coco.anns) == 3
    assert [each["name"] for each in coco.cats.values()] == ["object"]


def test_coco_leaves_out_what_was_rejected_but_shows_that_somebody_looked(
    store: ObjectStore,
) -> None:
    a_set(store)

    found = exported(store, ExportFormat.COCO, [verdict(0, False), verdict(3, None)])

    coco = coco_of(store, found.path)
    assert found.rows == 0
    assert [image["file_name"] for image in coco.imgs.values()] == ["stack/00000.png", "flat.png"]
    assert coco.anns == {}


def test_the_classes_are_the_categories(store: ObjectStore) -> None:
    a_set(store)
    answers: list[dict[str, Any]] = [
        {"candidate": 0, "class_name": "vesicle"},
        {"candidate": 3, "class_name": "mito"},
        {"candidate": 2},
    ]

    found = exported(store, ExportFormat.COCO, answers)

    coco = coco_of(store, found.path)
    assert [each["name"] for each in coco.cats.values()] == ["mito", "vesicle"]
    assert [each["category_id"] for each in coco.anns.values()] == [2, 1]


def test_of_several_rounds_the_last_that_was_sure_counts(store: ObjectStore) -> None:
    a_set(store)
    answers = [
        verdict(0, True, round="r1"),
        verdict(0, False, round="r2"),
        verdict(3, False, round="r1"),
        verdict(3, True, round="r2"),
        verdict(3, None, round="r3"),
    ]

    found = exported(store, ExportFormat.COCO, answers)

    [annotation] = coco_of(store, found.path).anns.values()
    assert (found.rows, annotation["attributes"]["round"]) == (1, "r2")


def test_coco_without_objects_has_boxes_of_flat_candidates_only(store: ObjectStore) -> None:
    a_set(store, keep_objects=False)

    missing = missing_for(store, ExportFormat.COCO, [verdict(1, True)])
    found = exported(store, ExportFormat.COCO, [verdict(3, True)])

    [annotation] = json.loads(store.read(found.path))["annotations"]
    assert missing == "the array of objects in stack"
    assert annotation["bbox"] == [1, 1, 5, 3]
    assert "segmentation" not in annotation


def test_omezarr_labels_are_valid_and_say_where_they_come_from(
    store: ObjectStore, tmp_path: Path
) -> None:
    a_set(store)

    found = exported(
        store, ExportFormat.OME_ZARR, [verdict(1, True), verdict(2, False)], candidate_set="set"
    )

    group = opened(tmp_path / found.path)
    assert isinstance(ome_zarr_models.open_ome_zarr(group, version="0.5"), Labels)
    assert list(group.attrs["ome"]["labels"]) == ["stack", "flat"]
    label = ImageLabel.from_zarr(group["stack"])
    assert label.attributes.ome.image_label is not None
    attributes = group["stack"].attrs["ome"]
    [described] = attributes["image-label"]["properties"]
    assert described == {
        "label-value": 2,
        "annotators": 3,
        "snapshot": SHA256,
        "round": "r1",
        "candidate_set": "set",
        "candidate": 1,
        "rank": 0,
        "role": "strategy",
        "strategy": "two-stream",
        "model": "unet",
        "model_version": 2,
        "verdict": True,
        "votes": 3,
        "agreeing": 2,
    }
    assert [each["label-value"] for each in attributes["image-label"]["colors"]] == [2]
    source = tmp_path / found.path / "stack" / attributes["image-label"]["source"]["image"]
    assert source.resolve() == tmp_path / "projects/vnc/images/stack.ome.zarr"


def test_omezarr_labels_have_the_levels_of_their_image(store: ObjectStore, tmp_path: Path) -> None:
    objects = a_set(store)["projects/vnc/images/stack.ome.zarr/0"]

    found = exported(
        store, ExportFormat.OME_ZARR, [verdict(1, True), verdict(2, True)], candidate_set="set"
    )

    group = opened(tmp_path / found.path)
    image = opened(tmp_path / "projects/vnc/images/stack.ome.zarr")
    expected = np.where(objects >= 2, objects, 0)
    assert np.array_equal(group["stack/0"][:], expected)
    windows = expected.reshape(3, 20, 2, 25, 2)
    assert np.array_equal(group["stack/1"][:], windows.max(axis=(2, 4)))
    for name in ("axes", "datasets"):
        ours, theirs = (
            each.attrs["ome"]["multiscales"][0][name] for each in (group["stack"], image)
        )
        assert ours == theirs
    assert group["stack/0"].metadata.dimension_names == ("z", "y", "x")
    assert not group["flat/0"][:].any()


def test_labels_of_an_image_without_metadata_are_one_level_of_voxels(
    store: ObjectStore, tmp_path: Path
) -> None:
    write_candidate_set(store, {"projects/vnc/images/bare.zarr": picture() // 4})

    found = exported(store, ExportFormat.OME_ZARR, [verdict(0, True)], candidate_set="set")

    group = opened(tmp_path / found.path)
    ImageLabel.from_zarr(group["bare"])
    assert np.array_equal(group["bare/0"][:], picture() // 4)


def test_an_export_that_was_killed_is_finished_by_the_next(store: ObjectStore) -> None:
    a_set(store)
    answers = [verdict(1, True)]
    whole = exported(store, ExportFormat.OME_ZARR, answers, candidate_set="set")
    expected = {path: store.read(path) for path in store.list(whole.path)}
    for path in (f"{whole.path}/zarr.json", f"{whole.path}/stack/zarr.json"):
        store.delete(path)
    store.delete(next(path for path in expected if path.startswith(f"{whole.path}/stack/1/c")))

    again = exported(store, ExportFormat.OME_ZARR, answers, candidate_set="set")

    assert again == whole
    assert {path: store.read(path) for path in store.list(whole.path)} == expected


def test_neuroglancer_shows_every_answer_in_its_image(store: ObjectStore, tmp_path: Path) -> None:
    a_set(store)
    answers = [verdict(1, True), verdict(2, False), verdict(3, None, agreeing=1)]

    found = exported(store, ExportFormat.NEUROGLANCER, answers)

    index = json.loads(store.read(f"{found.path}/layers.json"))["layers"]
    stack_layer, flat_layer = (read_layer(tmp_path / each["path"]) for each in index)
    assert found.rows == 3
    assert [each["image"] for each in index] == [
        "projects/vnc/images/stack.ome.zarr/0",
        "projects/vnc/images/flat.ome.zarr/0",
    ]
    assert stack_layer.info["dimensions"] == {
        "x": [pytest.approx(4.6e-9), "m"],
        "y": [pytest.approx(4.6e-9), "m"],
        "z": [pytest.approx(5e-8), "m"],
    }
    assert stack_layer.info["upper_bound"] == [50, 40, 3]
    first, second = stack_layer.by_id(0), stack_layer.by_id(1)
    assert first["corners"] == [[10, 10, 1], [20, 20, 3]]
    assert (first["answer"], first["candidate"], first["votes"]) == ("true", 1, 3)
    assert (second["answer"], second["round"], second["candidate_set"]) == ("false", "r1", "set")
    assert (flat_layer.by_id(0)["answer"], flat_layer.by_id(0)["agreeing"]) == ("unsure", 1)
    assert sorted(stack_layer.spatial()) == [0, 1]
    assert stack_layer.spatial()[0] == first


def test_annotations_of_an_image_without_a_voxel_size_are_in_voxels(
    store: ObjectStore, tmp_path: Path
) -> None:
    write_candidate_set(
        store, {"projects/vnc/images/bare.zarr": picture() // 4}, keep_objects=False
    )

    found = exported(store, ExportFormat.NEUROGLANCER, [verdict(0, True)])

    layer = read_layer(tmp_path / found.path / "bare")
    assert layer.info["dimensions"]["x"] == [1, ""]
    assert layer.info["upper_bound"] == [6, 4, 1]


@pytest.mark.parametrize("count", [1, 513, ENTRIES_PER_SHARD + 700])
def test_an_entry_is_found_by_its_id(tmp_path: Path, count: int) -> None:
    import tensorstore as ts

    entries = [f"{number:08d}".encode() for number in range(count)]
    for shard, start in enumerate(range(0, count, ENTRIES_PER_SHARD)):
        part = entries[start : start + ENTRIES_PER_SHARD]
        data = shard_bytes(b"".join(part), first=start, count=len(part))
        (tmp_path / shard_name(shard, entries=count)).write_bytes(data)
    spec = {
        "driver": "neuroglancer_uint64_sharded",
        "metadata": sharding(count),
        "base": tmp_path.as_uri() + "/",
    }

    found = ts.KvStore.open(spec).result()

    for number in {0, min(511, count - 1), min(512, count - 1), count - 1}:
        assert found[number.to_bytes(8, "big")] == entries[number]
    assert found.read(count.to_bytes(8, "big")).result().state == "missing"


@pytest.mark.parametrize("format_", ExportFormat)
def test_the_same_export_again_is_answered_from_what_was_written(
    store: ObjectStore, format_: ExportFormat
) -> None:
    a_set(store)
    answers = [verdict(0, True), verdict(2, False)]
    first = exported(store, format_, answers, candidate_set="set")
    written = {path: store.stat(path) for path in store.list(FOLDER)}
    store.delete_prefix(f"projects/{PROJECT}/candidates")

    again = exported(store, format_, answers, candidate_set="set")

    assert again == first
    assert {path: store.stat(path) for path in store.list(FOLDER)} == written


BOXES = [ExportFormat.COCO, ExportFormat.OME_ZARR, ExportFormat.NEUROGLANCER]


@pytest.mark.parametrize("format_", BOXES)
def test_without_its_candidate_set_an_export_says_what_is_missing(
    store: ObjectStore, format_: ExportFormat
) -> None:
    missing = missing_for(store, format_, [verdict(0, True)], candidate_set="set")

    assert missing == "projects/vnc/candidates/set/table.parquet"


@pytest.mark.parametrize("format_", BOXES)
def test_a_candidate_that_its_set_does_not_have_is_missing(
    store: ObjectStore, format_: ExportFormat
) -> None:
    a_set(store)

    missing = missing_for(store, format_, [verdict(4, True)], candidate_set="set")

    assert missing == "candidate 4 of set"


@pytest.mark.parametrize("format_", BOXES)
def test_a_candidate_in_an_image_that_the_set_does_not_have_is_missing(
    store: ObjectStore, format_: ExportFormat
) -> None:
    a_set(store)
    record = {"sources": [{"image": "projects/vnc/images/stack.ome.zarr/0"}]}
    store.write("projects/vnc/candidates/set/set.json", json.dumps(record).encode())

    missing = missing_for(store, format_, [verdict(3, True)], candidate_set="set")

    assert missing == "an image of the candidates of set"


def test_images_of_one_name_are_told_apart_by_their_numbers(store: ObjectStore) -> None:
    first, second = picture() // 4, picture() // 2
    write_candidate_set(store, {"projects/a/images/flat.zarr": first, "b/flat.zarr": second})

    found = exported(store, ExportFormat.COCO, [verdict(0, True), verdict(1, True)])

    images = json.loads(store.read(found.path))["images"]
    assert [image["file_name"] for image in images] == ["0-flat.png", "1-flat.png"]


@pytest.mark.parametrize("format_", ExportFormat)
def test_a_snapshot_without_queries_of_the_set_says_so(
    store: ObjectStore, format_: ExportFormat
) -> None:
    missing = missing_for(store, format_, [verdict(4, True)], candidate_set="other")

    assert missing == "a decided query of the candidate set other"


def test_labels_need_the_objects_of_the_set(store: ObjectStore) -> None:
    a_set(store, keep_objects=False)

    missing = missing_for(store, ExportFormat.OME_ZARR, [verdict(3, True)], candidate_set="set")

    assert missing == "the array of objects of set"


@pytest.mark.parametrize("format_", BOXES)
def test_a_cancelled_export_leaves_nothing_that_counts(
    store: ObjectStore, format_: ExportFormat
) -> None:
    a_set(store)
    cancel = CancelFlag()
    cancel.set()
    snapshot = snapshot_of(store, [verdict(1, True)])

    with pytest.raises(Cancelled):
        export_snapshot(store, snapshot, Export(format_, "set"), cancel=cancel)

    names = {path.removeprefix(f"{FOLDER}/") for path in store.list(FOLDER)}
    assert not names & {"coco-set.json", "ome-zarr-set.zarr/zarr.json"}
    assert "neuroglancer-set/layers.json" not in names
