"""The services that the loop calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from parfocal.embedding.v1 import embedding_service_pb2_grpc as embedding
from parfocal.inference.v1 import inference_service_pb2_grpc as inference
from parfocal.labels.v1 import labels_service_pb2_grpc as labels
from parfocal.suggestion.v1 import suggestion_service_pb2_grpc as suggestion
from parfocal.training.v1 import training_service_pb2_grpc as training
from parfocal_runtime.channels import aio_channel


@dataclass(frozen=True)
class Address:
    """Where a service answers, and what it wants to see.

    Attributes:
        target: gRPC target, such as `host:8001`.
        token: Bearer token; empty sends none.
        ca_file: PEM authorities of its certificate; empty takes the system's, None speaks plain
            text.
        certificate_file: PEM chain that is shown to it; empty shows none.
        key_file: PEM key of that certificate.
    """

    target: str
    token: str = field(repr=False)
    ca_file: str | None = None
    certificate_file: str = ""
    key_file: str = ""

    def options(self) -> dict[str, Any]:
        """Return how to open a channel to it."""
        return {
            "token": self.token,
            "ca_file": self.ca_file,
            "certificate_file": self.certificate_file,
            "key_file": self.key_file,
        }


@dataclass(frozen=True)
class Addresses:
    """Where each service answers."""

    labels: Address
    inference: Address
    embedding: Address
    suggestion: Address
    training: Address

    def __iter__(self) -> Iterator[Address]:
        """Yield each address."""
        yield from (self.labels, self.inference, self.embedding, self.suggestion, self.training)


class Peers:
    """Open channels and stubs; made inside the event loop that uses them."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._channels = {
            address: aio_channel(address.target, **address.options()) for address in set(addresses)
        }
        self.labels = labels.LabelsServiceStub(self._channels[addresses.labels])
        self.inference = inference.InferenceServiceStub(self._channels[addresses.inference])
        self.embedding = embedding.EmbeddingServiceStub(self._channels[addresses.embedding])
        self.suggestion = suggestion.SuggestionServiceStub(self._channels[addresses.suggestion])
        self.training = training.TrainingServiceStub(self._channels[addresses.training])

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()
