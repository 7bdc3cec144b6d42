"""Walking an ONNX model: its graph, and those inside of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def nested_graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and, all the way down, those of its branches and loops."""
    yield graph
    for node in graph.node:
        yield from _inside(node)


def nodes_of(model: Any) -> Iterator[Any]:
    """Yield every node of a model: of its graph, of those inside, and of its own functions."""
    for graph in graphs_of(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def graphs_of(model: Any) -> Iterator[Any]:
    """Yield every graph of a model, those inside its own functions too."""
    yield from nested_graphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _inside(node)


def _inside(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from nested_graphs(attribute.g)
        for inner in attribute.graphs:
            yield from nested_graphs(inner)
