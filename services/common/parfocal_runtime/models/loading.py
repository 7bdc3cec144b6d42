"""A model version on its way from files to something that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from parfocal_runtime.errors import InvalidInput, NotFound, WrongState
from parfocal_runtime.logs import get_logger
from parfocal_runtime.models.cards import CardFields
from parfocal_runtime.models.config_pbtxt import default_config
from parfocal_runtime.models.footprint import Footprint, footprint, rows_are_free
from parfocal_runtime.models.placement import Placement, placements
from parfocal_runtime.models.providers import CPU, HALF, SessionOptions, threads_of
from parfocal_runtime.models.row_runs import rows_in_cache
from parfocal_runtime.models.self_test import disagreement, fed
from parfocal_runtime.models.sessions import ModelSession, open_session
from parfocal_runtime.models.side_by_side import SideBySide
from parfocal_runtime.models.spread import SpreadSession
from parfocal_runtime.models.warm_up import warm_up
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

_log = get_logger(__name__)


@dataclass(frozen=True)
class StoredModel:
    """The files of a model version, checked against each other and not yet run.

    Attributes:
        name: Name of the model.
        version: Its version.
        model: The ONNX file.
        card: Its card with the test tensors.
        lineage: Where it comes from; empty if nothing is known.
        config: How it is to be served; None if the repository does not say.
        warmup_files: Contents of the files that its configuration names for warm-up.
    """

    name: str
    version: int
    model: bytes
    card: CardFields
    lineage: Mapping[str, Any]
    config: config_pb.ModelConfig | None
    warmup_files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model version that runs, has reproduced its test tensors and is warm.

    It is equal to itself alone.

    Attributes:
        name: Name of the model.
        version: Its version.
        card: Its card with the test tensors.
        session: What runs it.
        single: What runs it with one thread a run, for many rows; None where `session` does that.
        lineage: Where it comes from; empty if nothing is known.
        config: How it is to be served.
        footprint: Memory that it takes.
    """

    name: str
    version: int
    card: CardFields
    session: ModelSession
    lineage: Mapping[str, Any]
    config: config_pb.ModelConfig
    footprint: Footprint = field(default_factory=Footprint)
    single: ModelSession | None = None

    @property
    def bulk(self) -> ModelSession:
        """What runs it on many rows, such as the windows of a block."""
        return self.single or self.session


def load_model(stored: StoredModel, options: SessionOptions | None = None) -> LoadedModel:
    """Open a version where its configuration says, run its self-test and warm it up.

    Args:
        stored: The version.
        options: How models run unless their configuration says otherwise.

    Raises:
        WrongState: If it cannot be loaded (`ERROR_REASON_MODEL_NOT_READY`), does not reproduce
            its test tensors (`ERROR_REASON_MODEL_SELF_TEST_FAILED`), or a provider is missing
            (`ERROR_REASON_PROVIDER_UNAVAILABLE`).
        Exhausted: If a GPU has no memory for it (`ERROR_REASON_MODEL_MEMORY`).
    """
    try:
        places = _places(stored, options or SessionOptions())
        session = _placed(stored, places)
        single = _single(stored, session, places[0])
        opened = dict.fromkeys(filter(None, (*session.places, single)))
        causes = [disagreement(each, stored.card) for each in opened]
        for cause in filter(None, causes):
            raise self_test_failed(stored.name, stored.version, cause)
        config = stored.config or default_config(stored.name, session.inputs, session.outputs)
        fits = warm_up(session, config, fed(session, stored.card), stored.warmup_files)
        if fits is not None:
            config = _with_smaller_runs(config, fits)
        taken = memory_of(stored, options)
        if session.providers == (CPU,):
            fitting = partial(rows_in_cache, taken.row, weight_bytes=taken.weights // len(opened))
            session.rows_at_once = fitting(threads=threads_of(places[0].options))
            if single is not None:
                single.rows_at_once = fitting(threads=1)
                single.side_by_side = SideBySide(places[0].side_by_side)
    except InvalidInput as error:
        raise not_ready(stored.name, stored.version, error.message) from error
    return LoadedModel(
        stored.name, stored.version, stored.card, session, stored.lineage, config, taken, single
    )


def _with_smaller_runs(config: config_pb.ModelConfig, rows: int) -> config_pb.ModelConfig:
    _log.warning(
        "a GPU has no memory for the largest runs of a model; they get smaller",
        model=config.name,
        max_batch_size=config.max_batch_size,
        fits=rows,
    )
    smaller = config_pb.ModelConfig()
    smaller.CopyFrom(config)
    smaller.max_batch_size = rows
    return smaller


def memory_of(stored: StoredModel, options: SessionOptions | None = None) -> Footprint:
    """Return how much memory a version takes where its configuration says that it runs.

    Raises:
        InvalidInput: If the graph or the configuration cannot be read
            (`ERROR_REASON_INVALID_MODEL`).
    """
    shapes = {tensor.name: tensor.test.shape for tensor in stored.card.inputs}
    return footprint(
        stored.model, stored.config, _places(stored, options or SessionOptions()), shapes
    )


def _placed(stored: StoredModel, places: Sequence[Placement]) -> ModelSession:
    sessions = [
        (
            open_session(stored.model, options=place.options, runs=place.instances),
            place.instances,
        )
        for place in places
    ]
    return sessions[0][0] if len(sessions) == 1 else SpreadSession(sessions)


def _single(stored: StoredModel, session: ModelSession, place: Placement) -> ModelSession | None:
    """Return what runs side by side are made with, if any are: each has one thread."""
    if not place.side_by_side:
        return None
    if not place.has_single:
        return session
    return open_session(stored.model, options=replace(place.options, threads=1))


def _places(stored: StoredModel, options: SessionOptions) -> tuple[Placement, ...]:
    variant = stored.card.variant
    if variant and variant.precision == "fp16":
        options = replace(options, settings={**HALF, **options.settings})
    places = placements(stored.config or config_pb.ModelConfig(), options)
    return (_beside_each_other(places[0], stored),) if len(places) == 1 else places


def _beside_each_other(place: Placement, stored: StoredModel) -> Placement:
    """Let runs of what looks at images piece by piece be made side by side on a processor."""
    threads, card = threads_of(place.options), stored.card
    has_many = card.kind != "other" or card.takes_patches
    if not has_many or threads == 1 or place.options.providers != (CPU,):
        return place
    if not rows_are_free(stored.model):
        return place
    # Who asks for a single window or patch waits for it, and has all threads. Encoders are asked
    # for many.
    alone = 1 if card.kind == "encoder" else threads
    return replace(place, options=replace(place.options, threads=alone), side_by_side=threads)


def self_test_failed(name: str, version: int | None, cause: str) -> WrongState:
    """Return the error for a version that does not compute what its card says."""
    what = f"version {version} of model {name}" if version else f"model {name}"
    return WrongState(
        "ERROR_REASON_MODEL_SELF_TEST_FAILED",
        f"{what} failed its self-test: {cause}",
        model=name,
        version=version or "",
        cause=cause,
    )


def not_found(name: str, version: int | None) -> NotFound:
    """Return the error for a model or version that does not exist."""
    what = f"model {name}" if version is None else f"version {version} of model {name}"
    return NotFound(
        "ERROR_REASON_MODEL_NOT_FOUND",
        f"there is no {what}",
        model=name,
        version="" if version is None else version,
    )


def not_ready(name: str, version: int | None, cause: str) -> WrongState:
    """Return the error for a model, or a version of it, that exists and cannot be used."""
    what = f"model {name}" if version is None else f"version {version} of model {name}"
    return WrongState(
        "ERROR_REASON_MODEL_NOT_READY",
        f"{what} is not ready: {cause}",
        model=name,
        version="" if version is None else version,
        cause=cause,
    )
