from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.embedding.v1 import embedding_service_pb2 as pb
from parfocal.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from parfocal_embedding.app import build
from parfocal_embedding.config import EmbeddingConfig
from parfocal_embedding.encoder import Encoder, Vectors
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.models.cards import AxisCard, AxisType, TensorCard, encoder_card
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag

SET = "projects/demo/candidates/first"
ARRAY = "projects/demo/embeddings/first/texture-1.zarr"
ONES = np.ones((2, 1, 4, 4), np.uint8)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
Patches = npt.NDArray[np.uint8]


def wish(**changes: Any) -> pb.EmbedCandidatesRequest:
    """A request that works, with `changes`."""
    fields: dict[str, Any] = {
        "candidates": SET,
        "embeddings": ARRAY,
        "stream": pb.PATCH_STREAM_IMAGE,
        "encoder": ModelVersion(name="texture"),
    }
    return pb.EmbedCandidatesRequest(**{**fields, **changes})


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, reason and metadata of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = domain_error(caught.value)
    return caught.value.code(), error.reason, error.metadata


def test_a_whole_set_is_embedded(
    embedding: EmbeddingServiceStub, store: ObjectStore, patches: Patches
) -> None:
    answer = embedding.EmbedCandidates(wish())

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert (answer.rows, answer.dimensions, answer.already_done) == (600, 16, False)
    assert (answer.encoder.name, answer.encoder.version) == ("texture", 1)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_masks_are_embedded_by_their_own_encoder(
    embedding: EmbeddingServiceStub, store: ObjectStore, patches: Patches
) -> None:
    request = wish(
        embeddings="projects/demo/embeddings/first/shape-1.zarr",
        stream=pb.PATCH_STREAM_MASK,
        encoder=ModelVersion(name="shape", version=1),
    )

    embedding.EmbedCandidates(request)

    vectors = np.asarray(open_array(store, request.embeddings).read().result())
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16) % 3 - 1.0)


def test_ranges_in_any_order_give_the_same_array(
    embedding: EmbeddingServiceStub, store: ObjectStore, patches: Patches
) -> None:
    for start, stop in ((512, 600), (0, 256), (256, 512)):
        answer = embedding.EmbedCandidates(wish(start=start, stop=stop))
        assert answer.rows == stop - start

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_rows_that_are_not_embedded_yet_are_not_numbers(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    embedding.EmbedCandidates(wish(start=256, stop=512))

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert np.isnan(vectors[:256]).all()
    assert np.isfinite(vectors[256:512]).all()


def test_a_finished_range_is_not_done_again(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    embedding.EmbedCandidates(wish(start=0, stop=256))
    open_array(store, ARRAY)[:256].write(np.float32(5)).result()

    again = embedding.EmbedCandidates(wish(start=0, stop=256))

    assert again.already_done
    assert np.asarray(open_array(store, ARRAY)[0].read().result()).tolist() == [5] * 16


def test_a_range_that_was_cut_off_is_done_again(
    embedding: EmbeddingServiceStub, store: ObjectStore, patches: Patches
) -> None:
    embedding.EmbedCandidates(wish())
    (mark,) = store.list(f"{ARRAY}.ranges")
    store.delete(mark)
    open_array(store, ARRAY)[:100].write(np.float32(5)).result()

    again = embedding.EmbedCandidates(wish())

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert not again.already_done
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_an_array_that_was_deleted_is_made_anew(
    embedding: EmbeddingServiceStub, store: ObjectStore, patches: Patches
) -> None:
    embedding.EmbedCandidates(wish())
    store.delete_prefix(ARRAY)

    again = embedding.EmbedCandidates(wish())

    vectors = np.asarray(open_array(store, ARRAY).read().result())
    assert not again.already_done
    np.testing.assert_array_equal(vectors, patches.reshape(600, 16))


def test_an_array_of_an_earlier_release_keeps_its_ranges(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    embedding.EmbedCandidates(wish())
    (mark,) = store.list(f"{ARRAY}.ranges")
    head = json.loads(store.read(f"{ARRAY}/zarr.json"))
    del head["attributes"]["id"]
    store.write(f"{ARRAY}/zarr.json", json.dumps(head).encode())
    store.write(f"{ARRAY}.ranges/0-600.json", store.read(mark))
    store.delete(mark)

    assert embedding.EmbedCandidates(wish()).already_done


def test_a_damaged_chunk_of_patches_is_told(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    store.write(f"{SET}/patches.zarr/image/c/1/0/0", b"no chunk")

    code, reason, _ = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ERROR_REASON_INVALID_ARTIFACT")


def test_an_array_of_something_else_is_left_alone(embedding: EmbeddingServiceStub) -> None:
    embedding.EmbedCandidates(wish())
    other = wish(stream=pb.PATCH_STREAM_MASK, encoder=ModelVersion(name="shape"))

    code, reason, metadata = failure(lambda: embedding.EmbedCandidates(other))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")
    assert metadata["name"] == ARRAY


def test_patches_sent_inline_are_embedded(
    embedding: EmbeddingServiceStub, patches: Patches
) -> None:
    request = pb.EmbedPatchesRequest(
        encoder=ModelVersion(name="texture", version=1), count=70, patches=patches[:70].tobytes()
    )

    answer = embedding.EmbedPatches(request)

    matrix = answer.embeddings
    vectors = np.frombuffer(matrix.data, "<f4").reshape(matrix.rows, matrix.columns)
    assert answer.encoder.version == 1
    np.testing.assert_array_equal(vectors, patches[:70].reshape(70, 16))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stream": pb.PATCH_STREAM_UNSPECIFIED}, "stream"),
        ({"stream": pb.PATCH_STREAM_MASK}, "stream"),
        ({"encoder": ModelVersion(name="base")}, "encoder"),
        ({"encoder": ModelVersion(name="../base")}, "encoder.name"),
        ({"encoder": ModelVersion(name="texture", version=-1)}, "encoder.version"),
        ({"start": -256}, "start"),
        ({"start": 100}, "start"),
        ({"start": 256, "stop": 256}, "stop"),
        ({"stop": 100}, "stop"),
        ({"stop": 601}, "stop"),
    ],
    ids=[
        "no stream", "the other stream", "no encoder", "ill-formed name", "negative version",
        "negative start", "start off the grid", "empty", "stop off the grid", "beyond the set",
    ],
)  # fmt: skip
def test_a_bad_request_names_its_field(
    embedding: EmbeddingServiceStub, changes: dict[str, Any], field: str
) -> None:
    code, _, metadata = failure(lambda: embedding.EmbedCandidates(wish(**changes)))

    assert (code, metadata["field"]) == (INVALID, field)


@pytest.mark.parametrize(
    ("count", "data", "reason", "field"),
    [
        (0, b"", "ERROR_REASON_INVALID_FIELD", "count"),
        (5000, b"", "ERROR_REASON_INVALID_FIELD", "count"),
        (2, bytes(31), "ERROR_REASON_SHAPE_MISMATCH", "patches"),
        (1, bytes([7] * 16), "ERROR_REASON_INVALID_FIELD", "patches"),
    ],
    ids=["none", "too many", "bytes missing", "a mask of sevens"],
)
def test_bad_patches_are_refused(
    embedding: EmbeddingServiceStub, count: int, data: bytes, reason: str, field: str
) -> None:
    request = pb.EmbedPatchesRequest(encoder=ModelVersion(name="shape"), count=count, patches=data)

    code, given, metadata = failure(lambda: embedding.EmbedPatches(request))

    assert (code, given, metadata["field"]) == (INVALID, reason, field)


def test_patches_of_another_side_are_refused(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    array = f"{SET}/patches.zarr/image"
    metadata = store.read(f"{array}/zarr.json")
    store.write(f"{array}/zarr.json", metadata.replace(b"600,4,4", b"600,4,3"))

    code, reason, details = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (code, reason) == (INVALID, "ERROR_REASON_SHAPE_MISMATCH")
    assert details["field"] == "candidates"


def test_a_set_without_a_table_is_not_there_yet(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    store.delete(f"{SET}/table.parquet")

    code, reason, _ = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ERROR_REASON_ARTIFACT_NOT_FOUND")


def test_an_encoder_that_is_not_there_is_not_found(embedding: EmbeddingServiceStub) -> None:
    request = wish(encoder=ModelVersion(name="texture", version=9))

    code, reason, _ = failure(lambda: embedding.EmbedCandidates(request))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ERROR_REASON_MODEL_NOT_FOUND")


@pytest.mark.parametrize("field", ["candidates", "embeddings"])
@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("", "INVALID_ARGUMENT", "MISSING_FIELD"),
        ("projects//x", "INVALID_ARGUMENT", "INVALID_URI"),
        ("projects/a\nb", "INVALID_ARGUMENT", "INVALID_URI"),
        ("projects/" + "a" * 300, "INVALID_ARGUMENT", "INVALID_URI"),
        ("projects/../../x", "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS"),
        ("/etc/passwd", "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS"),
        ("s3://bucket/x", "PERMISSION_DENIED", "URI_OUTSIDE_ROOTS"),
    ],
    ids=["none", "empty part", "line break", "too long", "leads out", "absolute", "elsewhere"],
)
def test_a_path_that_cannot_be_names_its_field(
    embedding: EmbeddingServiceStub, field: str, path: str, code: str, reason: str
) -> None:
    found = failure(lambda: embedding.EmbedCandidates(wish(**{field: path})))

    assert found[:2] == (grpc.StatusCode[code], f"ERROR_REASON_{reason}")
    assert found[2]["field"] == field


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("patches.zarr/image/zarr.json", b"{", "INVALID_ARTIFACT"),
        ("patches.zarr/image/zarr.json", b"null", "INVALID_ARTIFACT"),
        ("patches.zarr/image/c/2/0/0", b"no chunk", "INVALID_ARTIFACT"),
        ("patches.zarr/image/zarr.json", None, "ARTIFACT_NOT_FOUND"),
        ("table.parquet", None, "ARTIFACT_NOT_FOUND"),
    ],
    ids=["no JSON", "no object", "no chunk", "no array", "no table"],
)
def test_what_is_wrong_with_a_set_names_its_field(
    embedding: EmbeddingServiceStub,
    store: ObjectStore,
    path: str,
    content: bytes | None,
    reason: str,
) -> None:
    if content is None:
        store.delete(f"{SET}/{path}")
    else:
        store.write(f"{SET}/{path}", content)

    _, given, metadata = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (given, metadata["field"]) == (f"ERROR_REASON_{reason}", "candidates")


def test_masks_of_a_set_that_are_none_are_refused(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    open_array(store, f"{SET}/patches.zarr/mask")[300].write(np.int8(7)).result()
    request = wish(stream=pb.PATCH_STREAM_MASK, encoder=ModelVersion(name="shape"))

    code, reason, metadata = failure(lambda: embedding.EmbedCandidates(request))

    assert (code, reason) == (INVALID, "ERROR_REASON_INVALID_FIELD")
    assert metadata["field"] == "candidates"


@pytest.mark.parametrize(
    ("dtype", "chunks", "key"),
    [
        (np.int64, (256, 16), "ab"),
        (np.float32, (7, 5), "ab"),
        (np.float32, (256, 16), "../../../elsewhere"),
        (np.float32, (256, 16), ["ab"]),
    ],
    ids=["whole numbers", "chunks across ranges", "a name that leads out", "no name"],
)
def test_an_array_that_cannot_be_written_in_ranges_is_left_alone(
    embedding: EmbeddingServiceStub,
    store: ObjectStore,
    dtype: npt.DTypeLike,
    chunks: tuple[int, int],
    key: Any,
) -> None:
    contents = {"candidates": SET, "encoder": "texture-1", "stream": "image", "id": key}
    create_array(store, ARRAY, shape=(600, 16), dtype=dtype, chunks=chunks, attributes=contents)

    code, reason, metadata = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")
    assert metadata["field"] == "embeddings"


def test_an_encoder_that_cannot_be_loaded_names_its_field(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    store.delete("models/texture/1/model.onnx")

    code, reason, metadata = failure(lambda: embedding.EmbedCandidates(wish()))

    assert (code, reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ERROR_REASON_MODEL_NOT_READY",
    )
    assert metadata["field"] == "encoder"


def odd_encoder(
    store: ObjectStore,
    nodes: Sequence[Any],
    *,
    element: int = TensorProto.UINT8,
    rows: int | str = "n",
    output: Sequence[str | int] = ("n", 16),
    test: npt.NDArray[Any] = ONES,
    gives: npt.NDArray[Any],
) -> None:
    """Publish `odd`, whose input is `patch` and whose output `embedding`."""
    model = graph(
        nodes,
        inputs=[("patch", element, (rows, *test.shape[1:]))],
        outputs=[("embedding", TensorProto.FLOAT, output)],
    )
    card = encoder_card("Odd.", "image", test_input=test, test_output=np.ones((2, 16), np.float32))
    volume: tuple[AxisType, ...] = ("batch", "channel", "space", "space")
    kinds = volume if gives.ndim == 4 else ("batch", "index")
    axes = tuple(
        AxisCard(f"{kind}{number}", kind, side, fixed=bool(number))
        for number, (kind, side) in enumerate(zip(kinds, gives.shape, strict=False))
    )
    outputs = (TensorCard("embedding", axes, gives),)
    ModelRepository(store).publish("odd", model, card=replace(card, outputs=outputs), lineage={})


def test_a_model_that_gives_no_vectors_is_no_encoder(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    cast = helper.make_node("Cast", ["patch"], ["embedding"], to=TensorProto.FLOAT)
    odd_encoder(store, [cast], output=("n", 1, 4, 4), gives=np.ones((2, 1, 4, 4), np.float32))
    sent = pb.EmbedPatchesRequest(encoder=ModelVersion(name="odd"), count=1, patches=bytes(16))

    for call in (
        lambda: embedding.EmbedCandidates(wish(encoder=sent.encoder)),
        lambda: embedding.EmbedPatches(sent),
    ):
        code, reason, metadata = failure(call)
        assert (code, reason) == (INVALID, "ERROR_REASON_INVALID_FIELD")
        assert metadata["field"] == "encoder"


@pytest.mark.parametrize("fault", ["not finite", "cannot run"])
def test_an_encoder_that_cannot_embed_these_patches_is_not_ready(
    embedding: EmbeddingServiceStub, store: ObjectStore, fault: str
) -> None:
    cast = helper.make_node("Cast", ["patch"], ["grey"], to=TensorProto.FLOAT)
    flat = helper.make_node("Flatten", ["logarithm"], ["embedding"])
    logarithm = helper.make_node("Log", ["grey"], ["logarithm"])
    odd_encoder(
        store,
        [cast, logarithm, flat],
        rows="n" if fault == "not finite" else 2,
        gives=np.zeros((2, 16), np.float32),
    )
    sent = pb.EmbedPatchesRequest(encoder=ModelVersion(name="odd"), count=3, patches=bytes(48))

    for call in (
        lambda: embedding.EmbedCandidates(wish(encoder=sent.encoder)),
        lambda: embedding.EmbedPatches(sent),
    ):
        code, reason, metadata = failure(call)
        assert (code, reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "ERROR_REASON_MODEL_NOT_READY",
        )
        assert fault in metadata["cause"]


def test_patches_that_are_not_finite_are_refused(
    embedding: EmbeddingServiceStub, store: ObjectStore
) -> None:
    odd_encoder(
        store,
        [helper.make_node("Flatten", ["patch"], ["embedding"])],
        element=TensorProto.FLOAT,
        test=ONES.astype(np.float32),
        gives=np.ones((2, 16), np.float32),
    )
    sent = pb.EmbedPatchesRequest(
        encoder=ModelVersion(name="odd"),
        count=1,
        patches=np.full(16, np.nan, np.float32).tobytes(),
    )

    code, reason, metadata = failure(lambda: embedding.EmbedPatches(sent))

    assert (code, reason) == (INVALID, "ERROR_REASON_INVALID_FIELD")
    assert metadata["field"] == "patches"


@pytest.mark.parametrize("field", ["candidates", "embeddings"])
def test_an_address_outside_the_store_is_denied(
    embedding: EmbeddingServiceStub, field: str
) -> None:
    request = wish(**{field: "../elsewhere"})

    code, reason, _ = failure(lambda: embedding.EmbedCandidates(request))

    denied = (grpc.StatusCode.PERMISSION_DENIED, "ERROR_REASON_URI_OUTSIDE_ROOTS")
    assert (code, reason) == denied


def test_no_more_ranges_are_at_work_than_there_are_places(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, at_work, most = threading.Lock(), 0, 0
    encode = Encoder.encode

    def slow(encoder: Encoder, patches: Patches, *, cancel: CancelFlag) -> Vectors:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.1)
        with lock:
            at_work -= 1
        return encode(encoder, patches, cancel=cancel)

    monkeypatch.setattr(Encoder, "encode", slow)
    config = EmbeddingConfig(
        port=0, store_uri=store.root, anonymous_role="curator", parallel_ranges=1
    )
    wishes = [wish(embeddings=f"projects/demo/embeddings/first/{name}.zarr") for name in "abc"]
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
        ThreadPoolExecutor(3) as callers,
    ):
        stub = EmbeddingServiceStub(channel)
        left = failure(lambda: stub.EmbedCandidates(wish(), timeout=0.05))
        answers = list(callers.map(stub.EmbedCandidates, wishes))

    assert left[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [answer.rows for answer in answers] == [600] * 3
    assert most == 1


def test_search_by_prototypes_is_not_part_of_this_version(
    embedding: EmbeddingServiceStub,
) -> None:
    codes = [
        failure(lambda: embedding.FindSimilar(pb.FindSimilarRequest()))[0],
        failure(lambda: embedding.ProposeBackground(pb.ProposeBackgroundRequest()))[0],
    ]

    assert codes == [grpc.StatusCode.UNIMPLEMENTED] * 2
