"""Runs before the first request, so that no request pays for what is made at the first run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parfocal_runtime.errors import Exhausted, InvalidInput
from parfocal_runtime.models.buckets import has_rows, row_buckets
from parfocal_runtime.models.datatypes import BYTES, Array, triton_name
from parfocal_runtime.models.noise import noise
from parfocal_runtime.models.sessions import ModelSession, TensorSpec
from parfocal_runtime.triton.v1 import model_config_pb2 as pb

_SEED = 20260817

Feed = dict[str, Array]


def warm_up(
    session: ModelSession,
    config: pb.ModelConfig,
    tests: Mapping[str, Array],
    files: Mapping[str, bytes],
) -> int | None:
    """Run a model before it takes requests, in every place that it has.

    The configuration's `model_warmup` says with what. Where it says nothing, a model on a GPU runs
    once with each number of rows that its runs are filled up to, as far as memory goes; the
    self-test has already run all others.

    Args:
        session: The model.
        config: Its configuration.
        tests: Its test inputs, as the session takes them.
        files: Contents of the files that `model_warmup` names.

    Returns:
        The most rows that a GPU has memory for; None where that is no limit.

    Raises:
        InvalidInput: If `model_warmup` does not fit the graph, or the model cannot run on it
            (`ERROR_REASON_INVALID_MODEL`, `ERROR_REASON_INVALID_FIELD`).
        Exhausted: If a GPU has no memory for what `model_warmup` says, or for the fewest rows
            (`ERROR_REASON_MODEL_MEMORY`).
    """
    for warmup in config.model_warmup:
        feed = _feed(session, config, warmup, files)
        for _ in range(max(1, warmup.count)):
            _run_everywhere(session, feed)
    if config.model_warmup:
        return None
    fits: int | None = None
    for rows in row_buckets(config, session):
        try:
            _run_everywhere(session, {name: _with_rows(test, rows) for name, test in tests.items()})
        except Exhausted:
            if fits is None:
                raise
            return fits
        fits = rows
    return None


def _run_everywhere(session: ModelSession, feed: Feed) -> None:
    for place in session.places:
        place.run(feed)


def _with_rows(array: Array, rows: int) -> Array:
    return np.take(array, np.arange(rows) % len(array), axis=0)


def _feed(
    session: ModelSession,
    config: pb.ModelConfig,
    warmup: pb.ModelWarmup,
    files: Mapping[str, bytes],
) -> Feed:
    specs = {spec.name: spec for spec in session.inputs}
    if set(warmup.inputs) != set(specs):
        raise _unfit(warmup, f"it must name the inputs {', '.join(sorted(specs))}")
    batched = has_rows(config, session.inputs, session.outputs)
    if not batched and warmup.batch_size > 1:
        raise _unfit(warmup, "the model has no rows, so its batch_size must be 1")
    head = (max(1, warmup.batch_size),) if batched else ()
    return {name: _array(warmup, specs[name], warmup.inputs[name], head, files) for name in specs}


def _array(
    warmup: pb.ModelWarmup,
    spec: TensorSpec,
    wanted: pb.ModelWarmup.Input,
    head: tuple[int, ...],
    files: Mapping[str, bytes],
) -> Array:
    shape = (*head, *wanted.dims)
    is_of_type = pb.DataType.Value(triton_name(spec.datatype)) == wanted.data_type
    if not is_of_type or not spec.fits(shape):
        raise _unfit(warmup, f"{spec.name} is {spec.datatype} of shape {list(spec.shape)}")
    source = wanted.WhichOneof("input_data_type")
    if source == "random_data":
        return noise(spec, shape, np.random.default_rng(_SEED))
    if source == "input_data_file":
        return _from_file(warmup, spec, shape, files.get(wanted.input_data_file, b""))
    if spec.datatype == BYTES:
        return np.full(shape, b"", np.object_)
    return np.zeros(shape, spec.dtype)


def _from_file(
    warmup: pb.ModelWarmup, spec: TensorSpec, shape: tuple[int, ...], content: bytes
) -> Array:
    """Return the rows of a file, which holds those of one or of all: raw, little-endian."""
    if spec.datatype == BYTES:
        raise _unfit(warmup, f"{spec.name} is text, which is not read from a file")
    if len(content) % spec.dtype.itemsize:
        raise _unfit(warmup, f"the file of {spec.name} ends in the middle of a number")
    values = np.frombuffer(content, spec.dtype.newbyteorder("<")).astype(spec.dtype)
    needed = int(np.prod(shape))
    if not values.size or needed % values.size:
        raise _unfit(warmup, f"the file of {spec.name} does not hold {list(shape)}")
    return np.resize(values, shape)


def _unfit(warmup: pb.ModelWarmup, cause: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"model_warmup {warmup.name!r} cannot be run: {cause}",
        field="config.pbtxt",
        cause=cause,
    )
