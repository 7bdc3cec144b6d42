"""The calls that bulk work is made of: plain functions that a Dask worker anywhere can run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import grpc

from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_loop.peers import Address
from parfocal_runtime.channels import sync_channel


@dataclass(frozen=True)
class Call:
    """One call: where to, and the serialized request."""

    address: Address
    request: bytes


def segment_block(call: Call) -> inference.SegmentBlockResponse:
    """Predict one block."""
    stub = InferenceServiceStub(_channel(call.address))
    return stub.SegmentBlock(inference.SegmentBlockRequest.FromString(call.request))


def embed_range(call: Call) -> embedding.EmbedCandidatesResponse:
    """Embed one range of a candidate set."""
    stub = EmbeddingServiceStub(_channel(call.address))
    return stub.EmbedCandidates(embedding.EmbedCandidatesRequest.FromString(call.request))


@cache
def _channel(address: Address) -> grpc.Channel:
    # One per process and address: opening a channel costs more than a call.
    return sync_channel(address.target, **address.options())
