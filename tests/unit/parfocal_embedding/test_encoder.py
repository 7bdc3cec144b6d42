from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_graphs import encoder
from parfocal_embedding.embedding_array import CHUNK_ROWS
from parfocal_embedding.encoder import Encoder
from parfocal_runtime.models.cards import encoder_card
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.store import LocalStore


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 40])
def test_a_patch_shares_its_batch_with_the_same_others_whatever_the_range(
    tmp_path: Path, threads: int
) -> None:
    test = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    card = encoder_card(
        "Pixels.", "image", test_input=test, test_output=test.reshape(1, 16).astype(np.float32)
    )
    models = ModelRepository(LocalStore(tmp_path))
    models.publish("pixels", encoder(16), card=card, lineage={})
    reader = Encoder(LoadedModels(models, options=SessionOptions(threads=threads)).get("pixels"))

    whole = list(reader.batches(0, 3 * CHUNK_ROWS + 70))
    parts = [*reader.batches(0, CHUNK_ROWS), *reader.batches(CHUNK_ROWS, 3 * CHUNK_ROWS + 70)]

    assert parts == whole
    assert whole[-1].stop == 3 * CHUNK_ROWS + 70
