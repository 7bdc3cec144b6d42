from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import ndimage

from parfocal_inference.candidates import SCHEMA, Eligibility
from parfocal_inference.components import ComponentRule, Connectivity
from parfocal_inference.propose import Proposal, Source, propose_candidates
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists, Cancelled, Exhausted, InvalidInput, NotFound
from parfocal_runtime.store import LocalStore, ObjectStore
from parfocal_runtime.tables import read_table, table_bytes

FOLDER = "projects/demo/candidates/first"
SHAPE = (6, 70, 90)


def blobs(seed: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    smooth = ndimage.gaussian_filter(noise, (1, 3, 4))
    return np.asarray(np.clip(128 + 60 * (smooth / smooth.std() - 1), 0, 255), np.uint8)


def put(store: ObjectStore, path: str, data: npt.NDArray[Any], **attributes: Any) -> None:
    array = create_array(
        store, path, shape=data.shape, dtype=data.dtype, chunks=(4, 32, 32), attributes=attributes
    )
    array.write(data).result()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    opened = LocalStore(tmp_path)
    for number in range(2):
        put(opened, f"image-{number}", blobs(10 + number))
        put(opened, f"map-{number}", blobs(number), parfocal={"model": "unet", "version": 3})
    put(opened, "empty", np.zeros(SHAPE, np.uint8))
    return opened


def proposal(**changes: Any) -> Proposal:
    first = Proposal(
        folder=FOLDER,
        sources=(Source("image-0", "map-0"), Source("image-1", "map-1")),
        patch_side=16,
        block=(4, 32, 32),
    )
    return replace(first, **changes)


def content(store: ObjectStore, count: int = 2) -> dict[str, Any]:
    """All that a set says."""
    arrays = ["patches.zarr/image", "patches.zarr/mask"]
    arrays += [f"objects-{number}.zarr" for number in range(count)]
    return {
        "table": read_table(store, f"{FOLDER}/table.parquet"),
        **{name: open_array(store, f"{FOLDER}/{name}").read().result() for name in arrays},
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    # As bytes: NaN is not equal to itself.
    tables = [table_bytes(found["table"]) for found in (first, second)]
    arrays = (first.keys() | second.keys()) - {"table"}
    return tables[0] == tables[1] and all(np.array_equal(first[n], second[n]) for n in arrays)


class Killed:
    """Stops the work after so many pieces."""

    def __init__(self, after: int) -> None:
        self.left = after

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("ERROR_REASON_CANCELLED", "gone")


def test_a_set_has_a_row_and_a_patch_for_each_object(store: ObjectStore) -> None:
    made = propose_candidates(store, proposal())

    found = content(store)
    table: pa.Table = found["table"]
    assert not made.already_done
    assert made.count == table.num_rows == len(found["patches.zarr/image"]) > 20
    assert table.schema.equals(SCHEMA)
    assert table["candidate"].to_pylist() == list(range(made.count))
    assert set(table["source"].to_pylist()) == {0, 1}
    assert found["objects-1.zarr"].max() == made.count
    assert found["patches.zarr/mask"].dtype == np.int8
    assert all(found["patches.zarr/mask"][:, 8, 8] >= 0)


def test_the_label_array_names_the_candidate_of_each_voxel(store: ObjectStore) -> None:
    propose_candidates(store, proposal())

    found = content(store)
    for row in found["table"].to_pylist():
        box = Box((row["z0"], row["y0"], row["x0"]), (row["z1"], row["y1"], row["x1"]))
        labels = found[f"objects-{row['source']}.zarr"]
        assert np.count_nonzero(labels == row["candidate"] + 1) == row["voxels"]
        assert np.count_nonzero(labels[box.slices] == row["candidate"] + 1) == row["voxels"]


def test_the_table_names_the_base_model_of_the_maps(store: ObjectStore) -> None:
    propose_candidates(store, proposal())

    metadata = read_table(store, f"{FOLDER}/table.parquet").schema.metadata
    assert metadata == {b"model": b"unet", b"model_version": b"3"}


def test_maps_that_do_not_say_their_model_give_a_table_that_does_not(store: ObjectStore) -> None:
    sources = (Source("image-0", "map-0"), Source("image-1", "empty"))

    propose_candidates(store, proposal(sources=sources))

    assert not read_table(store, f"{FOLDER}/table.parquet").schema.metadata


def test_the_set_does_not_depend_on_the_blocks(store: ObjectStore) -> None:
    propose_candidates(store, proposal())
    small = content(store)
    store.delete_prefix(FOLDER)

    propose_candidates(store, proposal(block=(100, 33, 1000)))

    assert same(small, content(store))


def test_a_complete_set_is_not_made_again(store: ObjectStore) -> None:
    first = propose_candidates(store, proposal())
    before = store.stat(f"{FOLDER}/table.parquet")

    again = propose_candidates(store, proposal(), cancel=Killed(after=0))

    assert again.already_done
    assert again.count == first.count
    assert store.stat(f"{FOLDER}/table.parquet") == before


@pytest.mark.parametrize("after", [0, 5, 17, 22, 30, 45])
def test_a_run_that_was_killed_shows_nothing_and_the_next_one_completes(
    store: ObjectStore, after: int
) -> None:
    with pytest.raises(Cancelled):
        propose_candidates(store, proposal(), cancel=Killed(after))
    assert not store.exists(f"{FOLDER}/table.parquet")

    propose_candidates(store, proposal())

    resumed = content(store)
    store.delete_prefix(FOLDER)
    propose_candidates(store, proposal())
    assert same(resumed, content(store))


def test_what_a_killed_run_left_of_another_map_is_replaced(store: ObjectStore) -> None:
    one = proposal(sources=(Source("image-0", "map-0"),))
    with pytest.raises(Cancelled):
        propose_candidates(store, one, cancel=Killed(40))
    open_array(store, "map-0").write(np.zeros(SHAPE, np.uint8)).result()

    made = propose_candidates(store, one)

    assert made.count == 0
    assert not content(store, 1)["objects-0.zarr"].any()
    assert content(store, 1)["patches.zarr/image"].shape == (0, 16, 16)


def test_a_map_without_objects_gives_an_empty_set(store: ObjectStore) -> None:
    made = propose_candidates(store, proposal(sources=(Source("image-0", "empty"),)))

    table = read_table(store, f"{FOLDER}/table.parquet")
    assert made.count == table.num_rows == 0
    assert table.schema.equals(SCHEMA)
    assert open_array(store, f"{FOLDER}/patches.zarr/image").shape == (0, 16, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"patch_side": 18},
        {"rule": ComponentRule(threshold=0.6)},
        {"rule": ComponentRule(connectivity=Connectivity.VOLUME_6)},
        {"sources": (Source("image-0", "map-0"),)},
        {
            "sources": (
                Source("image-0", "map-0", Eligibility(region=Box((0, 0, 0), (1, 9, 9)))),
                Source("image-1", "map-1"),
            )
        },
    ],
)
def test_the_same_set_from_something_else_is_refused(
    store: ObjectStore, changes: dict[str, Any]
) -> None:
    propose_candidates(store, proposal())

    with pytest.raises(AlreadyExists) as caught:
        propose_candidates(store, proposal(**changes))

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"


def test_a_set_that_nobody_claimed_is_not_taken_for_ours(store: ObjectStore) -> None:
    store.write(f"{FOLDER}/table.parquet", b"by hand")

    with pytest.raises(AlreadyExists):
        propose_candidates(store, proposal())


def test_the_claim_says_what_the_set_is_made_from(store: ObjectStore) -> None:
    propose_candidates(store, proposal())

    claim = json.loads(store.read(f"{FOLDER}/set.json"))
    assert claim["threshold"] == 0.5
    assert claim["sources"][1] == {
        "image": "image-1",
        "prediction": "map-1",
        "region": None,
        "exclude": [],
    }


def test_more_candidates_than_allowed_are_refused(store: ObjectStore) -> None:
    with pytest.raises(Exhausted) as caught:
        propose_candidates(store, proposal(), most=10)

    assert caught.value.reason == "ERROR_REASON_TOO_MANY_CANDIDATES"
    assert caught.value.metadata["limit"] == "10"


def test_bad_sources_are_named_and_claim_nothing(store: ObjectStore) -> None:
    put(store, "small", np.zeros((6, 70, 80), np.uint8))
    put(store, "floats", np.zeros(SHAPE, np.float32))
    outside = Eligibility(exclude=(Box((0, 0, 0), (1, 1, 1)), Box((0, 0, 0), (1, 1, 91))))
    cases = [
        (Source("image-0", "small"), InvalidInput, "sources[1].prediction"),
        (Source("image-0", "floats"), InvalidInput, "sources[1].prediction"),
        (Source("nothing", "map-0"), NotFound, "sources[1].image"),
        (Source("image-0", "map-0", outside), InvalidInput, "sources[1].exclude[1]"),
    ]
    for source, error, field in cases:
        with pytest.raises(error) as caught:
            propose_candidates(store, proposal(sources=(Source("image-0", "map-0"), source)))
        assert caught.value.metadata["field"] == field

    assert list(store.list(FOLDER)) == []
