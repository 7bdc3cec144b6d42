"""Checkpoints: one safetensors object with weights and optimiser moments, scalars in its header.

A checkpoint is one atomic write, so a run that is killed while it writes one finds the one before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from parfocal_runtime.errors import InvalidInput

_MODEL = "model."
_OPTIMISER = "optimiser."


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to go on with a run.

    Attributes:
        tensors: Weights and moments by name.
        scalars: What JSON can hold: iteration, seconds, the state of the random generator.
    """

    tensors: dict[str, Tensor]
    scalars: dict[str, Any]


def capture(
    model: nn.Module, optimiser: torch.optim.Optimizer, scalars: dict[str, Any]
) -> Checkpoint:
    """Return a checkpoint of a model and its optimiser."""
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"{_OPTIMISER}{index}.{name}"] = torch.as_tensor(value)
    return Checkpoint(tensors, scalars)


def restore(
    checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint back into a model and its optimiser; return its scalars."""
    model.load_state_dict(model_weights(checkpoint))
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in checkpoint.tensors.items():
        if name.startswith(_OPTIMISER):
            index, key = name.removeprefix(_OPTIMISER).split(".", 1)
            moments.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**state, "state": moments})
    return checkpoint.scalars


def model_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights alone, by the names of `state_dict`."""
    return {
        name.removeprefix(_MODEL): value
        for name, value in checkpoint.tensors.items()
        if name.startswith(_MODEL)
    }


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as a safetensors file."""
    tensors = {
        name: value.detach().contiguous().cpu() for name, value in checkpoint.tensors.items()
    }
    return save_tensors(tensors, metadata={"scalars": json.dumps(checkpoint.scalars)})


def from_bytes(data: bytes) -> Checkpoint:
    """Return the checkpoint that `to_bytes` wrote.

    Raises:
        InvalidInput: If the data is not one (`ERROR_REASON_INVALID_MODEL`).
    """
    try:
        size = int.from_bytes(data[:8], "little")
        scalars = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["scalars"])
        return Checkpoint(load_tensors(data), scalars)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_MODEL",
            "the data is not a checkpoint",
            field="checkpoint",
            cause=type(error).__name__,
        ) from error
