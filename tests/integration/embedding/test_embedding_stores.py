"""Embeddings on each kind of object store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from tensorstore import TensorStore

from parfocal_embedding import embed
from parfocal_embedding.embed import Range, embed_range
from parfocal_embedding.embedding_array import EmbeddingArray
from parfocal_embedding.encoder import Stream, Vectors
from parfocal_runtime.arrays import open_array
from parfocal_runtime.errors import Cancelled
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

ARRAY = "projects/demo/embeddings/first/texture-1.zarr"


def wanted(start: int, stop: int) -> Range:
    return Range(
        candidates="projects/demo/candidates/first",
        embeddings=ARRAY,
        stream=Stream.IMAGE,
        encoder="texture",
        version=None,
        start=start,
        stop=stop,
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_ranges_at_work_at_the_same_time_fill_one_array(
    threads: int,
    object_store: ObjectStore,
    fill: Callable[[ObjectStore], ObjectStore],
    patches: NDArray[np.uint8],
) -> None:
    store = fill(object_store)
    models = LoadedModels(ModelRepository(store), options=SessionOptions(threads=threads))

    def embed(start: int) -> int:
        stop = min(start + 256, 600)
        return embed_range(store, models, wanted(start, stop), cancel=CancelFlag()).rows

    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(embed, (0, 256, 512)))

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert rows == [256, 256, 88]
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_a_long_range_is_written_in_pieces(
    store: ObjectStore, patches: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "PIECE_ROWS", 256)
    written: list[int] = []
    write = EmbeddingArray.write

    def noted(self: EmbeddingArray, array: TensorStore, first: int, vectors: Vectors) -> None:
        written.append(len(vectors))
        write(self, array, first, vectors)

    monkeypatch.setattr(EmbeddingArray, "write", noted)
    models = LoadedModels(ModelRepository(store))

    embed_range(store, models, wanted(0, 0), cancel=CancelFlag())

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert written == [256, 256, 88]
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_a_caller_who_left_leaves_the_range_unfinished(store: ObjectStore) -> None:
    models = LoadedModels(ModelRepository(store))
    flag = CancelFlag()
    flag.set()

    with pytest.raises(Cancelled):
        embed_range(store, models, wanted(0, 0), cancel=flag)

    assert not embed_range(store, models, wanted(0, 0), cancel=CancelFlag()).already_done
