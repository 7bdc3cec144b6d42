from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from onnx_graphs import identity, sum_and_product
from parfocal_runtime.errors import Exhausted, InvalidInput, WrongState
from parfocal_runtime.models import loading
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import ModelSession, open_session
from parfocal_runtime.models.spread import SpreadSession
from parfocal_runtime.models.warm_up import warm_up
from parfocal_runtime.store import ObjectStore, open_store
from watched_session import WatchedSession

BATCHED = "max_batch_size: 8 dynamic_batching {}"


def watched(model: bytes, *, on_gpu: bool = False) -> WatchedSession:
    return WatchedSession(open_session(model), on_gpu=on_gpu)


def warmed(
    text: str,
    session: ModelSession,
    tests: Mapping[str, Array] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> int | None:
    given = tests or {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return warm_up(session, read_config(text.encode()), given, files or {})


def test_on_a_gpu_every_size_of_a_run_is_made_once_from_the_test_inputs() -> None:
    session = watched(identity(), on_gpu=True)

    assert warmed(BATCHED, session) is None

    assert session.rows == [1, 2, 4, 8]
    assert session.seen[2][0]["x"][:, 0].tolist() == [0, 2, 4, 0]


def test_on_the_processor_the_self_test_is_enough() -> None:
    session = watched(identity())

    assert warmed(BATCHED, session) is None
    assert session.seen == []


class Small(WatchedSession):
    """A session on a GPU that has memory for so many rows."""

    def __init__(self, most: int) -> None:
        super().__init__(open_session(identity()), on_gpu=True)
        self._most = most

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        if len(inputs["x"]) > self._most:
            raise Exhausted("ERROR_REASON_MODEL_MEMORY", "there is no memory")
        return super().run(inputs, outputs)


def test_the_largest_run_that_memory_suffices_for_is_told() -> None:
    assert warmed(BATCHED, Small(5)) == 4
    assert warmed(BATCHED, Small(8)) is None
    with pytest.raises(Exhausted):
        warmed(BATCHED, Small(0))


def test_a_warm_up_that_somebody_asked_for_must_fit() -> None:
    text = """max_batch_size: 8 model_warmup [ { name: "w" batch_size: 6
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } } ]"""

    with pytest.raises(Exhausted):
        warmed(text, Small(5))


def test_every_place_is_warmed() -> None:
    places = [watched(identity(), on_gpu=True) for _ in range(2)]

    warmed(BATCHED, SpreadSession([(place, 1) for place in places]))

    assert [len(place.seen) for place in places] == [4, 4]


def test_a_warm_up_is_run_as_the_configuration_says() -> None:
    session = watched(sum_and_product())
    text = """max_batch_size: 8 model_warmup [ { name: "w" batch_size: 3 count: 2
        inputs { key: "a" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } }
        inputs { key: "b" value { data_type: TYPE_FP32 dims: [ 2 ] random_data: true } } } ]"""

    warmed(text, session)

    assert len(session.seen) == 2
    assert session.seen[0][0]["a"].tolist() == [[0, 0]] * 3
    assert session.seen[0][0]["b"].shape == (3, 2)
    assert session.seen[0][0]["b"].any()


def test_a_warm_up_may_come_from_a_file_with_one_row_or_all() -> None:
    text = """max_batch_size: 8 model_warmup [ { name: "w" batch_size: 2
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "x" } } } ]"""
    row = np.array([1, 2], "<f4").tobytes()

    for content, expected in ((row, [[1, 2]] * 2), (row + row[::-1], None)):
        session = watched(identity())
        warmed(text, session, files={"x": content})
        assert session.seen[0][0]["x"].shape == (2, 2)
        assert expected is None or session.seen[0][0]["x"].tolist() == expected
    with pytest.raises(InvalidInput, match="does not hold"):
        warmed(text, watched(identity()), files={"x": row * 3})


@pytest.mark.parametrize(
    "inputs",
    [
        "",
        'inputs { key: "y" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } }',
        'inputs { key: "x" value { data_type: TYPE_FP16 dims: [ 2 ] zero_data: true } }',
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } }',
        'inputs { key: "x" value { data_type: 99 dims: [ 2 ] zero_data: true } }',
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] input_data_file: "" } }',
    ],
)
def test_a_warm_up_that_does_not_fit_the_model_is_refused(inputs: str) -> None:
    text = f'max_batch_size: 8 model_warmup [ {{ name: "w" batch_size: 1 {inputs} }} ]'

    with pytest.raises(InvalidInput, match="model_warmup 'w' cannot be run"):
        warmed(text, watched(identity()))


def test_a_model_without_rows_has_no_batch_to_warm_up() -> None:
    text = """model_warmup [ { name: "w" batch_size: 4
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1, 2 ] zero_data: true } } } ]"""

    with pytest.raises(InvalidInput, match="batch_size must be 1"):
        warmed(text, watched(identity(shape=(1, 2))))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    (tmp_path / "model.onnx").write_bytes(identity(TensorProto.INT64))
    publish_file(store, "numbers", tmp_path / "model.onnx")
    return store


def configure(store: ObjectStore, file: str) -> None:
    store.write(
        "models/numbers/config.pbtxt",
        f"""max_batch_size: 4 model_warmup [ {{ name: "w" batch_size: 1 inputs {{ key: "x"
        value {{ data_type: TYPE_INT64 dims: [ 2 ] input_data_file: "{file}" }} }} }} ]""".encode(),
    )


def test_a_model_gets_no_larger_runs_than_memory_suffices_for(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No device here runs out of memory.
    monkeypatch.setattr(loading, "warm_up", lambda *given: 2)

    model = ModelRepository(store).load("numbers")

    assert model.config.max_batch_size == 2
    assert ModelRepository(store).config("numbers") != model.config


def test_files_for_warm_up_lie_in_tritons_folder_beside_the_versions(store: ObjectStore) -> None:
    configure(store, "Numbers.bin")
    repository = ModelRepository(store)

    with pytest.raises(WrongState, match="not ready"):
        repository.load("numbers")
    store.write("models/numbers/warmup/Numbers.bin", bytes(13))
    with pytest.raises(WrongState, match="ends in the middle of a number"):
        repository.load("numbers")
    store.write("models/numbers/warmup/Numbers.bin", np.array([1, 2], "<i8").tobytes())
    assert repository.load("numbers").version == 1
    assert repository.read("numbers").warmup_files == {
        "Numbers.bin": bytes([1] + [0] * 7 + [2] + [0] * 7)
    }


@pytest.mark.parametrize("file", ["../1/model.onnx", "..", "a/b"])
def test_a_warm_up_reads_no_other_file(store: ObjectStore, file: str) -> None:
    configure(store, file)

    with pytest.raises(WrongState, match="must be the name of a file"):
        ModelRepository(store).load("numbers")
