"""The few sizes of a run that a GPU ever sees: each new one costs it time and memory for good."""

from __future__ import annotations

from collections.abc import Sequence

from parfocal_runtime.models.sessions import ModelSession, TensorSpec
from parfocal_runtime.triton.v1 import model_config_pb2 as pb


def has_rows(
    config: pb.ModelConfig, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> bool:
    """Return whether the first side of all tensors counts rows, by configuration and graph."""
    return config.max_batch_size > 0 and all(spec.has_batch for spec in (*inputs, *outputs))


def row_buckets(config: pb.ModelConfig, session: ModelSession) -> tuple[int, ...]:
    """Return the numbers of rows that runs are filled up to, ascending; empty if they are not.

    They are powers of two, the preferred sizes and the largest one. Only runs on a GPU of a model
    whose rows are independent of each other are filled up: one with `dynamic_batching`.
    """
    batched = has_rows(config, session.inputs, session.outputs)
    if not (session.on_gpu and batched and config.HasField("dynamic_batching")):
        return ()
    return sizes(config)


def sizes(config: pb.ModelConfig) -> tuple[int, ...]:
    """Return the sizes of runs on a GPU that a configuration with batches makes, ascending."""
    most = config.max_batch_size
    powers = (1 << power for power in range(most.bit_length()))
    preferred = config.dynamic_batching.preferred_batch_size
    return tuple(sorted({most, *(size for size in (*powers, *preferred) if 0 < size <= most)}))


def filled_up(rows: int, buckets: Sequence[int]) -> int:
    """Return how many rows run where there are `rows`; as many where no bucket holds them."""
    return next((size for size in buckets if size >= rows > 0), rows)
