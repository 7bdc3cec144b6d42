"""Arrays and tables on every kind of object store."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import tensorstore as ts

from parfocal_runtime.arrays import (
    array_attributes,
    create_array,
    create_group,
    open_array,
    read_box,
    write_box,
    write_region,
)
from parfocal_runtime.box import Box
from parfocal_runtime.errors import AlreadyExists, InvalidInput, NotFound
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table

SHAPE = (10, 20, 30)


def voxels(dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, SHAPE).astype(dtype)


@pytest.mark.parametrize("shards", [None, (10, 10, 15)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int64", "float32"])
def test_an_array_is_read_back(
    object_store: ObjectStore, dtype: str, shards: tuple[int, int, int] | None
) -> None:
    data = voxels(dtype)
    array = create_array(
        object_store, "p/a", shape=SHAPE, dtype=dtype, chunks=(5, 5, 5), shards=shards
    )

    write_box(array, Box.whole(SHAPE), data)

    again = open_array(object_store, "p/a")
    assert again.dtype.numpy_dtype == data.dtype
    np.testing.assert_array_equal(read_box(again, Box.whole(SHAPE)), data)
    box = Box((1, 2, 3), (4, 19, 29))
    np.testing.assert_array_equal(read_box(again, box), data[box.slices])


@pytest.mark.parametrize("shards", [None, (4, 8, 8)])
def test_whole_chunks_are_written_over_also_where_they_stick_out(
    object_store: ObjectStore, shards: tuple[int, ...] | None
) -> None:
    array = create_array(
        object_store, "a", shape=(6, 10, 9), dtype=np.uint8, chunks=(2, 4, 4), shards=shards
    )
    whole, corner = Box.whole((6, 10, 9)), Box((4, 8, 8), (6, 10, 9))

    for value in (1, 2, 3):
        write_box(array, whole, np.full(whole.shape, value, np.uint8))
    write_box(open_array(object_store, "a"), corner, np.full(corner.shape, 9, np.uint8))

    found = open_array(object_store, "a").read().result()
    assert found.shape == whole.shape
    assert (found[corner.slices] == 9).all()
    assert np.count_nonzero(found == 3) == whole.voxels - corner.voxels


def test_rows_are_written_over_up_to_an_end_that_cuts_a_chunk(object_store: ObjectStore) -> None:
    array = create_array(object_store, "a", shape=(5, 3), dtype=np.float32, chunks=(2, 3))

    for value in (1, 2):
        write_region(array, (4, 0), np.full((1, 3), value, np.float32))

    assert array.read().result()[:, 0].tolist() == [0, 0, 0, 0, 2]


def test_shards_are_one_object_each(object_store: ObjectStore) -> None:
    array = create_array(
        object_store, "a", shape=SHAPE, dtype="uint8", chunks=(5, 5, 5), shards=(10, 20, 15)
    )

    write_box(array, Box.whole(SHAPE), voxels() + 1)

    assert list(object_store.list("a")) == ["a/c/0/0/0", "a/c/0/0/1", "a/zarr.json"]


def test_leading_axes_come_whole(object_store: ObjectStore) -> None:
    array = create_array(
        object_store, "a", shape=(2, *SHAPE), dtype="uint8", chunks=(1, 10, 10, 10)
    )
    data = np.stack([voxels(), voxels() + 1])
    write_box(array, Box.whole(SHAPE), data)

    part = read_box(array, Box((0, 0, 0), (1, 2, 3)))

    np.testing.assert_array_equal(part, data[:, :1, :2, :3])


def test_what_was_never_written_is_the_fill_value(object_store: ObjectStore) -> None:
    array = create_array(
        object_store,
        "a",
        shape=SHAPE,
        dtype="float32",
        chunks=(5, 5, 5),
        fill_value=float("nan"),
    )

    assert np.isnan(read_box(array, Box.whole(SHAPE))).all()


def test_metadata_says_axes_and_attributes(object_store: ObjectStore) -> None:
    create_array(
        object_store,
        "a",
        shape=SHAPE,
        dtype="uint8",
        chunks=(5, 5, 5),
        dimension_names=("z", "y", "x"),
        attributes={"voxel_size_nm": [50, 4.6, 4.6]},
    )

    document = json.loads(object_store.read("a/zarr.json"))
    assert document["zarr_format"] == 3
    assert document["dimension_names"] == ["z", "y", "x"]
    assert array_attributes(object_store, "a") == {"voxel_size_nm": [50, 4.6, 4.6]}


def test_a_group_has_attributes(object_store: ObjectStore) -> None:
    create_group(object_store, "g", attributes={"ome": {"version": "0.5"}})

    assert array_attributes(object_store, "g") == {"ome": {"version": "0.5"}}


def test_arrays_of_zarr_v2_are_read(object_store: ObjectStore) -> None:
    data = voxels()
    old = ts.open(
        {
            "driver": "zarr",
            "kvstore": object_store.kvstore("old"),
            "metadata": {"shape": SHAPE, "chunks": [5, 5, 5], "dtype": "|u1"},
        },
        create=True,
    ).result()
    old.write(data).result()
    object_store.write("old/.zattrs", b'{"multiscales": []}')

    np.testing.assert_array_equal(read_box(open_array(object_store, "old"), Box.whole(SHAPE)), data)
    assert array_attributes(object_store, "old") == {"multiscales": []}


def test_a_missing_array_is_not_found(object_store: ObjectStore) -> None:
    for ask in (open_array, array_attributes):
        with pytest.raises(NotFound) as caught:
            ask(object_store, "none")
        assert caught.value.reason == "ERROR_REASON_ARTIFACT_NOT_FOUND"


def test_an_array_is_not_made_twice(object_store: ObjectStore) -> None:
    create_array(object_store, "a", shape=SHAPE, dtype="uint8", chunks=(5, 5, 5))

    with pytest.raises(AlreadyExists) as caught:
        create_array(object_store, "a", shape=(1, 1, 1), dtype="uint8", chunks=(1, 1, 1))

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"
    assert open_array(object_store, "a").shape == SHAPE


@pytest.mark.parametrize(
    ("chunks", "shards"), [((5, 5), None), ((4, 5, 5), (10, 20, 30)), ((0, 5, 5), None)]
)
def test_shapes_that_do_not_go_together_are_refused(
    object_store: ObjectStore, chunks: tuple[int, ...], shards: tuple[int, ...] | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_array(object_store, "a", shape=SHAPE, dtype="uint8", chunks=chunks, shards=shards)

    assert caught.value.reason == "ERROR_REASON_INVALID_ARTIFACT"


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"zarr_format": 3, "node_type": "group"}'])
def test_damaged_metadata_is_bad_input(object_store: ObjectStore, text: bytes) -> None:
    object_store.write("a/zarr.json", text)

    with pytest.raises(InvalidInput) as caught:
        open_array(object_store, "a")

    assert caught.value.reason == "ERROR_REASON_INVALID_ARTIFACT"


def test_chunks_that_no_memory_holds_are_bad_input(object_store: ObjectStore) -> None:
    create_array(object_store, "a", shape=SHAPE, dtype="uint8", chunks=(5, 5, 5))
    metadata = object_store.read("a/zarr.json")
    object_store.write("a/zarr.json", metadata.replace(b"[5,5,5]", b"[5,1000000,1000000]"))

    with pytest.raises(InvalidInput, match="chunks of 'a' have 5000000000000 bytes") as caught:
        open_array(object_store, "a")

    assert caught.value.reason == "ERROR_REASON_INVALID_ARTIFACT"


def test_a_shape_that_no_array_has_is_refused_without_a_word_on_where_the_store_is(
    object_store: ObjectStore,
) -> None:
    with pytest.raises(InvalidInput, match="domain must be specified") as caught:
        create_array(object_store, "b/a", shape=(2**62,), dtype="uint8", chunks=(256,))

    assert "zarr.json" not in caught.value.message


@pytest.mark.parametrize("box", [Box((0, 0, 0), (11, 1, 1)), Box((-1, 0, 0), (1, 1, 1))])
def test_a_box_outside_is_refused(object_store: ObjectStore, box: Box) -> None:
    array = create_array(object_store, "a", shape=SHAPE, dtype="uint8", chunks=(5, 5, 5))

    with pytest.raises(InvalidInput) as caught:
        read_box(array, box)
    with pytest.raises(InvalidInput):
        write_box(array, box, np.uint8(1))

    assert caught.value.reason == "ERROR_REASON_BOX_OUTSIDE_IMAGE"


def test_a_damaged_chunk_is_bad_input(object_store: ObjectStore) -> None:
    array = create_array(object_store, "a", shape=SHAPE, dtype="uint8", chunks=SHAPE)
    write_box(array, Box.whole(SHAPE), voxels())
    object_store.write("a/c/0/0/0", b"garbage")

    with pytest.raises(InvalidInput) as caught:
        read_box(open_array(object_store, "a"), Box.whole(SHAPE))

    assert caught.value.reason == "ERROR_REASON_INVALID_ARTIFACT"
    assert caught.value.message == "'a' is not an array: it is damaged"


def test_a_table_is_created_once_and_read_back(object_store: ObjectStore) -> None:
    table = pa.table({"candidate": [0, 1], "score": [0.5, None]})

    assert create_table(object_store, "t.parquet", table)
    assert not create_table(object_store, "t.parquet", table.slice(0, 1))

    assert read_table(object_store, "t.parquet").equals(table)


def test_a_missing_table_is_not_found(object_store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        read_table(object_store, "none.parquet")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not a table at all, but long enough"])
def test_what_is_no_table_is_bad_input(object_store: ObjectStore, data: bytes) -> None:
    object_store.write("t.parquet", data)

    with pytest.raises(InvalidInput) as caught:
        read_table(object_store, "t.parquet")

    assert caught.value.reason == "ERROR_REASON_INVALID_ARTIFACT"
