"""Export to ONNX, and the proof that the graph computes what the network does."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from parfocal_runtime.errors import WrongState
from parfocal_runtime.models.sessions import open_session
from parfocal_training.unet import UNet

TOLERANCE = 1e-4
"""Largest difference, absolute and as a share of the value, of the graph to the network."""
EXAMPLE_BATCH = 2
# The exporter takes a batch of one for a constant.
PARITY_BATCHES = (1, 3)


class Probability(nn.Module):
    """A base model as it is served: uint8 (n, 1, z, y, x) in, float32 probability out."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the probability of foreground."""
        return torch.sigmoid(cast(Tensor, self.network(image)))


def export_onnx(
    module: nn.Module, example: npt.NDArray[np.generic], *, input_name: str, output_name: str
) -> bytes:
    """Return `module` as an ONNX file with a dynamic batch.

    Args:
        module: Takes one tensor and gives one tensor.
        example: One sample, without the batch axis.
        input_name: Name of the input.
        output_name: Name of the output.
    """
    was_training = module.training
    module.eval()
    batch = torch.from_numpy(np.stack([example] * EXAMPLE_BATCH))
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns of its own deprecated internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (batch,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[input_name],
            output_names=[output_name],
            verbose=False,
        )
    module.train(was_training)
    if program is None:
        raise TypeError("the exporter gave no program")
    return _without_traces(program.model_proto)


def check_parity(
    module: nn.Module, graph: bytes, samples: npt.NDArray[np.generic], *, run: str
) -> float:
    """Run network and graph on the same samples and return their largest difference.

    The network computes in doubles: in single precision its own sums over wide windows are farther
    off than the graph's.

    Args:
        module: What was exported.
        graph: The ONNX file.
        samples: At least three samples, batch axis first.
        run: The run, for the error.

    Raises:
        WrongState: If they differ by more than `TOLERANCE` (`ERROR_REASON_EXPORT_PARITY`).
    """
    session, exact = open_session(graph), copy.deepcopy(module).double()
    worst, excess = 0.0, 0.0
    for size in PARITY_BATCHES:
        expected = evaluate(exact, samples[:size])
        found = cast(
            npt.NDArray[np.float32],
            session.run({session.inputs[0].name: samples[:size]})[session.outputs[0].name],
        )
        difference = np.abs(found - expected)
        worst = max(worst, float(difference.max()))
        excess = max(excess, float((difference - TOLERANCE * np.abs(expected)).max()))
    # Written so that NaN fails.
    if not excess <= TOLERANCE:
        raise WrongState(
            "ERROR_REASON_EXPORT_PARITY",
            f"the exported graph differs from the network by {worst:.3g}; it is not published",
            run=run,
            difference=f"{worst:.3g}",
            tolerance=TOLERANCE,
        )
    return worst


def evaluate(module: nn.Module, samples: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    """Return what `module` gives for `samples`, without training; of the type of its weights."""
    was_training = module.training
    module.eval()
    with torch.no_grad():
        output = cast(Tensor, module(torch.from_numpy(samples)))
    module.train(was_training)
    return output.numpy()


def random_volumes(count: int, window: Sequence[int], seed: int) -> npt.NDArray[np.uint8]:
    """Return uint8 noise (count, 1, z, y, x), a third of it smooth."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count, 1, *window), dtype=np.uint8)
    ramp = np.linspace(0, 255, window[-1]).astype(np.uint8)
    noise[:: PARITY_BATCHES[-1]] = ramp
    return noise


def _without_traces(model: onnx.ModelProto) -> bytes:
    """Drop what the exporter notes of our source files: it doubles the file and names paths."""
    del model.metadata_props[:]
    graph = model.graph
    noted: list[Any] = [graph, *graph.node, *graph.initializer, *graph.value_info]
    for part in (*noted, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    file = io.BytesIO()
    onnx.save_model(model, file)
    return file.getvalue()
