"""The graphs that `serving.py` and `gpu.py` measure, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

IMAGE = (1, 128, 128)
VOLUME = (1, 16, 128, 128)
CLASSES = 10


class _Graph:
    """Nodes and weights in the making."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._count = 0

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._count += 1
        name = f"t{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = self._rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, sides: tuple[int, int], *, rank: int, stride: int = 1) -> str:
        """Add a convolution of 3 along each axis, from and to as many channels as `sides` says."""
        kernel = self.weight(sides[1], sides[0], *[3] * rank)
        return self.add("Conv", [x, kernel, self.weight(sides[1])], kernel_shape=[3] * rank,
                        pads=[1] * 2 * rank, strides=[stride] * rank)  # fmt: skip

    def block(self, x: str, channels: int, *, rank: int) -> str:
        """Add convolutions with a short cut around them: two, and in volumes one."""
        inner = x
        for _ in range(4 - rank):
            inner = self.conv(self.add("Relu", [inner]), (channels, channels), rank=rank)
        return self.add("Relu", [self.add("Add", [x, inner])])

    def grey_values(self, x: str) -> str:
        """Add what makes uint8 numbers from 0 to 1."""
        self.weights.append(numpy_helper.from_array(np.float32(1 / 255), "unit"))
        return self.add("Mul", [self.add("Cast", [x], to=TensorProto.FLOAT), "unit"])

    def model(
        self,
        result: str,
        *,
        image: Sequence[int],
        output: Sequence[int],
        element: int,
        names: tuple[str, str] = ("x", "y"),
    ) -> bytes:
        self.nodes.append(helper.make_node("Identity", [result], [names[1]]))
        made = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(names[0], element, ["n", *image])],
            [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, ["n", *output])],
            self.weights,
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return bytes(model.SerializeToString())


def classifier(*, element: int = TensorProto.FLOAT, wider: int = 0) -> bytes:
    """Return a residual network for images (n, 1, 128, 128), of 310,000 parameters.

    Args:
        element: Type of its input.
        wider: If it is not 0, all channels are so many times as many, and grey values are scaled.
    """
    graph = _Graph()
    x = graph.grey_values("x") if wider else graph.add("Cast", ["x"], to=TensorProto.FLOAT)
    channels = 1
    for side in (16, 32, 64, 88):
        width = side * (wider or 1)
        x = graph.add("Relu", [graph.conv(x, (channels, width), rank=2, stride=2)])
        x = graph.block(x, width, rank=2)
        channels = width
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    x = graph.add("MatMul", [x, graph.weight(channels, CLASSES)])
    return graph.model(x, image=IMAGE, output=(CLASSES,), element=element)


def unet() -> bytes:
    """Return a U-Net of 8, 16 and 32 channels for volumes (n, 1, 16, 128, 128)."""
    graph = _Graph()
    x = _unet(graph, "x", (8, 16, 32))
    return graph.model(x, image=VOLUME, output=VOLUME, element=TensorProto.FLOAT)


def base_unet(channels: Sequence[int]) -> bytes:
    """Return a base model: a U-Net of uint8 volumes (n, 1, 16, 128, 128)."""
    graph = _Graph()
    x = _unet(graph, graph.grey_values("image"), channels)
    names = ("image", "probability")
    return graph.model(x, image=VOLUME, output=VOLUME, element=TensorProto.UINT8, names=names)


def _unet(graph: _Graph, x: str, levels: Sequence[int]) -> str:
    channels = 1
    skipped: list[tuple[str, int]] = []
    for wider in levels:
        if skipped:
            x = graph.add("MaxPool", [x], kernel_shape=[2] * 3, strides=[2] * 3)
        x = graph.add("Relu", [graph.conv(x, (channels, wider), rank=3)])
        x = graph.block(x, wider, rank=3)
        skipped.append((x, wider))
        channels = wider
    for skip, narrower in reversed(skipped[:-1]):
        kernel = graph.weight(channels, narrower, 2, 2, 2)
        x = graph.add("ConvTranspose", [x, kernel], kernel_shape=[2] * 3, strides=[2] * 3)
        x = graph.add("Concat", [x, skip], axis=1)
        x = graph.add("Relu", [graph.conv(x, (2 * narrower, narrower), rank=3)])
        x = graph.block(x, narrower, rank=3)
        channels = narrower
    return graph.add("Sigmoid", [graph.conv(x, (channels, 1), rank=3)])


def small() -> bytes:
    """Return a graph that does next to nothing, for what an accelerator takes the time of."""
    graph = _Graph()
    return graph.model("x", image=(4,), output=(4,), element=TensorProto.FLOAT)
