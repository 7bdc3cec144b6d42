"""Publishing a package of bioimage.io as a version of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.card_yaml import sha256
from parfocal_runtime.models.cards import CardFields
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.npy import read_npy
from parfocal_runtime.models.packages.carding import card_of_package
from parfocal_runtime.models.packages.description import (
    Description,
    SourceFile,
    Tensor,
    Tolerance,
)
from parfocal_runtime.models.packages.files import (
    MOST_TENSOR_BYTES,
    MOST_WEIGHTS_BYTES,
    Package,
    description_of,
    inside,
    open_package,
)
from parfocal_runtime.models.packages.folding import folded
from parfocal_runtime.models.packages.reading import read_description
from parfocal_runtime.models.packages.refusals import refused
from parfocal_runtime.models.packages.weights import read_graph
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.self_test import disagreement
from parfocal_runtime.models.sessions import ModelSession, open_session
from parfocal_runtime.store import ObjectStore


def publish_package(store: ObjectStore, name: str, path: Path) -> int:
    """Publish a package as a model's next version and return its number.

    Pre- and post-processing become part of the graph. The package's test tensors are the
    self-test of the version. A model from one channel (batch, channel, z, y, x) to one channel
    of the same size with values in [0, 1] becomes a base model.

    Args:
        store: Where the repository is.
        name: Name of the model.
        path: A zip archive or a folder with `rdf.yaml` or `bioimageio.yaml` at its top.

    Raises:
        InvalidInput: If the package is broken, has no ONNX weights, processing that cannot be
            part of a graph, or does not give its own test outputs
            (`ERROR_REASON_INVALID_MODEL`); if the name is ill-formed.
    """
    with open_package(path) as package:
        description = read_description(*description_of(package))
        weights = _content(package, description.weights, most=MOST_WEIGHTS_BYTES)
        model = _folded_graph(package, description, weights)
        inputs = [_test(package, tensor) for tensor in description.inputs]
        expected = [_test(package, tensor) for tensor in description.outputs]
    card = _checked_card(model, description, inputs=inputs, expected=expected)
    lineage = {
        "source": path.name,
        "package": dict(description.origin),
        "weights_sha256": sha256(weights),
    }
    return ModelRepository(store).publish(name, model, card=card, lineage=lineage)


def _folded_graph(package: Package, description: Description, weights: bytes) -> bytes:
    folder = PurePosixPath(inside(description.weights.source)).parent
    external = {inside(file.source): file for file in description.external_data}

    def read_external(location: str) -> bytes:
        beside = (folder / inside(location)).as_posix()
        file = external.get(beside, SourceFile(beside))
        return _content(package, file, most=MOST_WEIGHTS_BYTES)

    model = folded(read_graph(weights, read_external), description)
    return bytes(model.SerializeToString())


def _content(package: Package, file: SourceFile, *, most: int) -> bytes:
    content = package.content(file.source, most=most)
    if file.sha256 and sha256(content) != file.sha256.lower():
        raise refused(file.source, "it is not the file that the description names (sha256)")
    return content


def _test(package: Package, tensor: Tensor) -> Array:
    """Return a test tensor in the element type of the description."""
    field = tensor.test.source
    try:
        array = read_npy(_content(package, tensor.test, most=MOST_TENSOR_BYTES))
    except ValueError as error:
        raise refused(field, f"it is no array: {error}") from error
    if array.ndim != len(tensor.axes):
        raise refused(field, f"it has {array.ndim} axes, the description {len(tensor.axes)}")
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise refused(field, f"its elements are {array.dtype}, not {tensor.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise refused(field, "it has values that are not finite")
    for axis, side in zip(tensor.axes, array.shape, strict=True):
        if axis.size not in (None, side):
            raise refused(field, f"axis {axis.id} has length {side}, the description {axis.size}")
    return array.astype(tensor.dtype, copy=False)


def _checked_card(
    model: bytes, description: Description, *, inputs: Sequence[Array], expected: Sequence[Array]
) -> CardFields:
    """Return the card of a graph that gives the package's test outputs."""
    session = open_session(model)
    feed = {tensor.name: test for tensor, test in zip(description.inputs, inputs, strict=True)}
    try:
        given = session.run(feed)
    except InvalidInput as error:
        raise refused("weights.onnx", error.message) from error
    found = [given[tensor.name] for tensor in description.outputs]
    for tensor, output, wanted in zip(description.outputs, found, expected, strict=True):
        cause = difference(output, wanted, tensor.tolerance)
        if cause:
            raise refused(tensor.test.source, f"the graph does not reproduce it: {cause}")
    card = card_of_package(description, inputs, expected)
    # A package may allow itself more than the self-test does; then what was allowed is kept.
    if disagreement(session, card):
        card = card_of_package(description, inputs, found)
    return card if _takes_tile(session, card) else replace(card, tile=())


def _takes_tile(session: ModelSession, card: CardFields) -> bool:
    """Return whether the graph keeps the description's promise about other sizes."""
    (source, *_), (result, *_) = card.inputs, card.outputs
    if not card.tile:
        return True
    window = np.zeros((*source.test.shape[:2], *card.tile), source.test.dtype)
    try:
        return bool(session.run({source.name: window})[result.name].shape == window.shape)
    except InvalidInput:
        return False


def difference(found: Array, expected: Array, tolerance: Tolerance) -> str | None:
    """Return how an output differs from a test tensor by more than is allowed, or None."""
    if found.shape != expected.shape:
        return f"it has shape {found.shape}, not {expected.shape}"
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        return "it has values that are not finite"
    is_close = np.isclose(
        found.astype(np.float64), expected, rtol=tolerance.relative, atol=tolerance.absolute
    )
    wrong = int(np.count_nonzero(~is_close))
    if wrong * 1e6 <= tolerance.mismatched_per_million * found.size:
        return None
    return f"{wrong} of {found.size} elements differ by more than the tolerance"
