"""The calls that bulk work is made of: plain functions that a Dask worker anywhere can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from parfocal_loop.peers import Address
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Exhausted,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from parfocal_runtime.status import DETAILS_KEY

_CONNECT_SECONDS = 5.0
_PASSING = (Cancelled, Conflict, Exhausted, Unavailable)
# No block can be made where these are about the request, and they always are, but for a chunk of
# the image that is damaged.
_FINAL = (AlreadyExists, InvalidInput, NotFound, PermissionDenied, Unauthenticated)
_OF_A_BLOCK = frozenset({"ERROR_REASON_INVALID_ARTIFACT"})


@dataclass(frozen=True)
class Call:
    """One call: where to, and the serialized request."""

    address: Address
    request: bytes


@dataclass(frozen=True)
class Trouble:
    """Why a block was not made.

    Attributes:
        reason: Name of an `ErrorReason` value.
        message: One sentence for a person.
        metadata: What varies in the message, by name.
        passes: Whether it has nothing to do with the block and may be over soon.
        is_final: Whether it has nothing to do with the block and trying again is in vain.
    """

    reason: str
    message: str
    metadata: Mapping[str, str]
    passes: bool = False
    is_final: bool = False

    def failure(self) -> artifacts.Failure:
        """Return it as a message."""
        return artifacts.Failure(reason=self.reason, message=self.message, metadata=self.metadata)


@dataclass(frozen=True)
class BlockAnswer:
    """What became of a block.

    Attributes:
        already_done: Whether it was there before.
        trouble: Why it was not made; None where it is there.
    """

    already_done: bool = False
    trouble: Trouble | None = None


def segment_block(call: Call) -> BlockAnswer:
    """Predict one block; what goes wrong is an answer, too."""
    channel = _channel(call.address)
    try:
        # So that a call that is lost afterwards is known to have been with a replica.
        grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        return BlockAnswer(trouble=_unreachable(call.address))
    request = inference.SegmentBlockRequest.FromString(call.request)
    try:
        response = InferenceServiceStub(channel).SegmentBlock(request)
    except grpc.RpcError as error:
        return BlockAnswer(trouble=trouble_of(error))
    return BlockAnswer(already_done=response.already_done)


def embed_range(call: Call) -> embedding.EmbedCandidatesResponse:
    """Embed one range of a candidate set.

    Raises:
        DomainError: What the service says.
    """
    stub = EmbeddingServiceStub(_channel(call.address))
    try:
        return stub.EmbedCandidates(embedding.EmbedCandidatesRequest.FromString(call.request))
    except grpc.RpcError as error:
        refusal = domain_error(error)
    # Not from inside: the failed call would go along, which cannot pass between processes.
    raise refusal


def trouble_of(error: Any) -> Trouble:
    """Return what a failed call (`grpc.RpcError`) says of its block."""
    found = domain_error(error)
    explained = any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())
    # A replica that was lost explains nothing. It may have been killed by this very block.
    lost = error.code() is grpc.StatusCode.UNAVAILABLE and not explained
    about_block = found.reason in _OF_A_BLOCK
    return Trouble(
        reason=found.reason,
        message=f"the replica was lost while at it: {found.message}" if lost else found.message,
        metadata=found.metadata,
        passes=isinstance(found, _PASSING) and not lost,
        is_final=isinstance(found, _FINAL) and not about_block,
    )


def _unreachable(address: Address) -> Trouble:
    return Trouble(
        reason="ERROR_REASON_DEPENDENCY_UNAVAILABLE",
        message=f"nobody answers at {address.target}",
        metadata={"service": "inference"},
        passes=True,
    )


@cache
def _channel(address: Address) -> grpc.Channel:
    # One per process and address: opening a channel costs more than a call.
    return sync_channel(address.target, **address.options())
