from __future__ import annotations

from pathlib import Path

import pytest

from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal_embedding.app import build
from parfocal_embedding.config import EmbeddingConfig
from parfocal_loop.bulk import Bulk
from parfocal_loop.calls import Call, embed_range
from parfocal_loop.peers import Address
from parfocal_runtime.errors import DomainError, NotFound, Unavailable
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.tasks import CancelFlag

WISH = embedding.EmbedCandidatesRequest(
    candidates="projects/demo/candidates/first",
    embeddings="projects/demo/embeddings/first/texture-1.zarr",
    stream=embedding.PATCH_STREAM_IMAGE,
    encoder=ModelVersion(name="nobody"),
)


def failure_of(address: str) -> DomainError:
    """What becomes of embedding, as the worker of a cluster would tell it."""
    bulk = Bulk(scheduler="", threads=1)
    call = Call(Address(address, token=""), WISH.SerializeToString())
    try:
        with pytest.raises(DomainError) as caught:
            bulk.run(embed_range, [call], done=lambda _: None, cancel=CancelFlag())
    finally:
        bulk.close()
    return caught.value


def test_a_service_that_does_not_answer_can_be_waited_for() -> None:
    assert isinstance(failure_of("127.0.0.1:1"), Unavailable)


def test_what_the_service_refuses_is_told(tmp_path: Path) -> None:
    config = EmbeddingConfig(port=0, store_uri=tmp_path.as_uri(), anonymous_role="curator")

    with serving_in_thread([build(config)], config) as server:
        error = failure_of(server.address)

    assert isinstance(error, NotFound)
    assert error.reason == "ERROR_REASON_MODEL_NOT_FOUND"
    assert "nobody" in error.message
