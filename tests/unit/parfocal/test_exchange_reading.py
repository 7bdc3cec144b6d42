from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from candidate_sets import PROJECT, Objects, write_candidate_set, write_image
from parfocal import FoundLabels, ImageError, InvalidRequestError, NotFoundError, read_labels
from parfocal._exchange.label_images import counted
from parfocal.labels.v1.label_pb2 import VERDICT_FALSE, VERDICT_TRUE
from parfocal.labels.v1.project_pb2 import TASK_KIND_CLASSIFY, TASK_KIND_VERIFY, Project
from parfocal_runtime.store import ObjectStore, open_store

VERIFY = Project(name=f"projects/{PROJECT}", task_kind=TASK_KIND_VERIFY)
CLASSIFY = Project(
    name=f"projects/{PROJECT}", task_kind=TASK_KIND_CLASSIFY, classes=["glia", "axon"]
)
STACK = f"projects/{PROJECT}/images/stack.ome.zarr/0"


def stack() -> Objects:
    objects = np.zeros((2, 30, 40), np.uint32)
    objects[0, 2:8, 2:8] = 1
    objects[:, 12:20, 12:20] = 2
    objects[1, 25:29, 30:39] = 3
    return objects


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    flat = np.zeros((1, 20, 20), np.uint32)
    flat[0, 5:9, 5:9] = 4
    flat[0, 14:16, 14:16] = 5
    images = {
        write_image(store, "stack", (2, 30, 40)): stack(),
        write_image(store, "flat", (1, 20, 20)): flat,
    }
    write_candidate_set(store, images)
    return store


def found(store: ObjectStore, path: Path, **values: Any) -> FoundLabels:
    usual: dict[str, Any] = {
        "format": "label-image",
        "project": VERIFY,
        "round": "r1",
        "candidate_set": "set",
        "store": store.root,
    }
    return read_labels(path, **{**usual, **values})


def verdicts(labels: FoundLabels) -> dict[int, Any]:
    return {each.query.candidate: each.answer.verdict for each in labels.labels}


def classes(labels: FoundLabels) -> dict[int, str]:
    return {each.query.candidate: each.answer.class_name for each in labels.labels}


def tiff(tmp_path: Path, array: Any) -> Path:
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, array, photometric="minisblack")
    return path


def coco(tmp_path: Path, *annotations: dict[str, Any], **values: Any) -> Path:
    picture = {"id": 7, "file_name": "flat.png", "height": 20, "width": 20}
    document = {
        "images": [picture],
        "categories": [{"id": 1, "name": "glia"}, {"id": 2, "name": "axon"}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 1, **annotation}
            for number, annotation in enumerate(annotations)
        ],
        **values,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_objects_become_labels_of_the_candidates_that_they_are(
    store: ObjectStore, tmp_path: Path
) -> None:
    truth = np.zeros((2, 30, 40), np.uint16)
    truth[0, 2:8, 3:8] = 500
    truth[:, 12:20, 12:17] = 9
    truth[1, 25:29, 30:34] = 3
    truth[0, 20:22, 0:4] = 4

    labels = found(store, tiff(tmp_path, truth), image="stack")

    assert verdicts(labels) == {0: VERDICT_TRUE, 1: VERDICT_TRUE}
    assert [(each.thing, round(each.iou, 3)) for each in labels.matches] == [
        ("object 500", 0.833),
        ("object 9", 0.625),
    ]
    assert [(each.thing, each.candidate) for each in labels.unmatched] == [
        ("object 3", 2),
        ("object 4", None),
    ]
    query = labels.labels[1].query
    assert (query.image, query.round, query.candidate_set) == (STACK, "r1", "set")
    assert (query.box.start.y, query.box.stop.z) == (12, 2)
    assert query.patches == f"projects/{PROJECT}/candidates/set/patches.zarr"
    assert labels.labels[0].source == "label-image:truth.tif"


def test_what_an_exhaustive_file_does_not_show_is_wrong(store: ObjectStore, tmp_path: Path) -> None:
    truth = np.where(stack() == 2, 1, 0).astype(np.uint8)

    labels = found(store, tiff(tmp_path, truth), image="stack", exhaustive=True)

    assert verdicts(labels) == {0: VERDICT_FALSE, 1: VERDICT_TRUE, 2: VERDICT_FALSE}


def test_what_is_disputed_is_not_shown_to_be_wrong(store: ObjectStore, tmp_path: Path) -> None:
    pictures = [
        {"id": number, "file_name": f"z{number}.png", "height": 30, "width": 40}
        for number in (0, 1)
    ]
    box = {"bbox": [12, 12, 8, 8]}
    path = coco(
        tmp_path,
        {**box, "image_id": 0},
        {**box, "image_id": 1, "category_id": 2},
        images=pictures,
    )

    labels = found(
        store, path, format="coco", image="stack", classes=["axon=false"], exhaustive=True
    )

    assert verdicts(labels) == {0: VERDICT_FALSE, 2: VERDICT_FALSE}
    assert {each.candidate for each in labels.unmatched} == {1}


def test_numbers_mean_classes(store: ObjectStore, tmp_path: Path) -> None:
    labels = found(
        store,
        tiff(tmp_path, stack().astype(np.uint8)),
        image="stack",
        project=CLASSIFY,
        classes=["2=axon", "*=glia"],
    )

    assert classes(labels) == {0: "glia", 1: "axon", 2: "glia"}


def test_a_number_without_a_class_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="'1' is none of the project's answers"):
        found(store, tiff(tmp_path, stack().astype(np.uint8)), image="stack", project=CLASSIFY)


def test_a_label_image_of_another_shape_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        found(store, tiff(tmp_path, np.zeros((3, 5, 5), np.uint8)), image="stack")

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"


def test_of_several_images_one_must_be_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="must be one of"):
        found(store, tiff(tmp_path, stack().astype(np.uint8)))


def test_a_set_that_is_not_there_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        found(store, tiff(tmp_path, stack().astype(np.uint8)), candidate_set="none")

    assert caught.value.metadata["path"] == f"projects/{PROJECT}/candidates/none"


@given(
    arrays(np.uint16, (3, 4, 5), elements=st.integers(0, 3)),
    arrays(np.uint32, (3, 4, 5), elements=st.integers(0, 3)),
)
def test_pairs_are_counted_as_they_are(numbers: Any, values: Any) -> None:
    pairs = counted(numbers, values)

    expected = {
        (a, b): int(((numbers == a) & (values == b)).sum()) for a in range(4) for b in range(4)
    }
    del expected[0, 0]
    assert pairs == {pair: count for pair, count in expected.items() if count}


def test_coco_boxes_and_masks_are_matched_on_their_picture(
    store: ObjectStore, tmp_path: Path
) -> None:
    polygon = [14, 14, 16, 14, 16, 16, 14, 16]
    path = coco(
        tmp_path,
        {"bbox": [5, 5, 4, 3]},
        {"segmentation": [polygon], "category_id": 2},
        {"bbox": [0, 0, 3, 3]},
        {"bbox": [5, 5, 4, 4], "iscrowd": 1},
        {"bbox": [5, 5, 4, 4], "image_id": 8},
    )

    labels = found(store, path, format="coco", project=CLASSIFY)

    assert classes(labels) == {3: "glia", 4: "axon"}
    assert [each.thing for each in labels.unmatched] == [
        "annotation 3", "annotation 4", "annotation 2",
    ]  # fmt: skip
    assert [each.iou for each in labels.matches] == [0.75, 1.0]


def test_pictures_of_a_stack_are_its_sections_in_natural_order(
    store: ObjectStore, tmp_path: Path
) -> None:
    pictures = [
        {"id": 10, "file_name": "z10.png", "height": 30, "width": 40},
        {"id": 2, "file_name": "z9.png", "height": 30, "width": 40},
    ]
    box = {"bbox": [12, 12, 8, 8]}
    path = coco(
        tmp_path,
        {**box, "image_id": 10},
        {**box, "image_id": 2},
        {"bbox": [30, 25, 9, 4], "image_id": 10},
        {"bbox": [2, 2, 6, 6], "image_id": 10},
        images=pictures,
    )

    labels = found(store, path, format="coco", image="stack")

    assert verdicts(labels) == {1: VERDICT_TRUE, 2: VERDICT_TRUE}
    assert [each.thing for each in labels.unmatched] == ["annotation 3"]


def test_an_exhaustive_coco_file_speaks_of_its_own_pictures_only(
    store: ObjectStore, tmp_path: Path
) -> None:
    path = coco(tmp_path, {"bbox": [5, 5, 4, 4]})

    labels = found(store, path, format="coco", exhaustive=True)

    assert verdicts(labels) == {3: VERDICT_TRUE, 4: VERDICT_FALSE}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": None}, "expected a COCO file"),
        ({"annotations": [3]}, "expected a COCO file"),
        ({"categories": [{"id": 1}]}, "expected a COCO file"),
        (
            {"images": [{"id": 7, "file_name": "x.png", "height": 20, "width": 20}]},
            "no picture is of an image",
        ),
        (
            {"images": [{"id": 7, "file_name": "flat.png", "height": 2, "width": 20}]},
            "is 2 x 20",
        ),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1}]}, "neither a segmentation"),
        (
            {"annotations": [{"id": 1, "image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]}]},
            "none of COCO's",
        ),
    ],
)
def test_a_wrong_coco_file_is_told(
    store: ObjectStore, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        found(store, coco(tmp_path, **change), format="coco")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"round": ""}, "round"),
        ({"candidate_set": ""}, "candidate_set"),
        ({"least_iou": 0}, "least_iou"),
        ({"project": CLASSIFY, "exhaustive": True}, "exhaustive"),
    ],
)
def test_a_wrong_argument_is_named(
    store: ObjectStore, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        found(store, coco(tmp_path), format="coco", **change)

    assert caught.value.metadata["field"] == field
