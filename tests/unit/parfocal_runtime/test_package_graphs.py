from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from parfocal_runtime.models.packages.graphs import graphs_of, nodes_of


def branch(name: str, *inside: Any) -> Any:
    """A graph with one node of its name, and what else is given."""
    nodes = [helper.make_node("Identity", ["x"], [f"{name}-out"], name=name), *inside]
    return helper.make_graph(nodes, f"in {name}", [], [])


def choice(name: str, then: Any, otherwise: Any) -> Any:
    return helper.make_node(
        "If", ["c"], [f"{name}-out"], name=name, then_branch=then, else_branch=otherwise
    )


def test_nodes_are_found_in_branches_in_branches_and_in_functions() -> None:
    deep = choice("deep", branch("a"), branch("b"))
    outer = choice("outer", branch("c", deep), branch("d"))
    called = helper.make_function(
        "ours",
        "twice",
        ["x"],
        ["y"],
        [choice("in function", branch("e"), branch("f"))],
        [helper.make_opsetid("", 20)],
    )
    several = helper.make_node("Anything", [], [], name="several", bodies=[branch("g")])
    graph = helper.make_graph([outer, several], "whole", [], [])
    model = onnx.helper.make_model(graph, functions=[called])

    nodes = {node.name for node in nodes_of(model)}
    graphs = [each.name for each in graphs_of(model)]

    assert nodes == {"outer", "deep", "several", "in function", *"abcdefg"}
    assert sorted(graphs) == [*(f"in {one}" for one in "abcdefg"), "whole"]
