"""What a training run is asked to do: plain data that goes to the worker process as JSON."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, cast

from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.layout import checked_name
from parfocal_runtime.models.cards import VARIANT_LIMIT, Precision

VoxelSize = tuple[float, float, float]

MAX_LATENT = 4096
MAX_PATCH_SIDE = 512
MAX_WIDTH = 4096
MAX_WINDOW_VOXELS = 2**26
USUAL_SECTIONS = 4
"""Sections of a window, where the labelled boxes are as deep."""
TRAINING_SIDE = 96
"""Rows and columns of the windows that are learned from, at most."""


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise InvalidInput("ERROR_REASON_INVALID_FIELD", message, field=field)


@dataclass(frozen=True)
class ModelRef:
    """A model version; version 0 means the latest at the time the run first starts."""

    name: str
    version: int = 0

    def __post_init__(self) -> None:
        checked_name(self.name, field="model.name")
        _require(self.version >= 0, "model.version", "a version is not negative")


@dataclass(frozen=True)
class LabelledBox:
    """A box of an image whose every voxel is labelled.

    Attributes:
        image: Path of a uint8 array (z, y, x).
        truth: Path of an array of the same shape; nonzero is foreground.
        box: The box.
    """

    image: str
    truth: str
    box: Box


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How to descend.

    Attributes:
        iterations: Steps at most; the learning rate falls to zero over them.
        seconds: Seconds of training at most, summed over restarts; 0 is no limit.
        batch: Windows of four sections, patches or triplets per step; of thinner windows as many
            more as make up for it.
        learning_rate: Its peak.
        weight_decay: AdamW's.
        warm_up: Steps over which the learning rate rises to its peak.
        target_accuracy: Stop when the running accuracy on the run's own labels is as high as
            this; 0 never stops early.
    """

    iterations: int
    batch: int
    learning_rate: float
    seconds: float = 0.0
    weight_decay: float = 1e-4
    warm_up: int = 50
    target_accuracy: float = 0.0

    def __post_init__(self) -> None:
        _require(self.iterations >= 1, "limits.iterations", "at least one step is needed")
        _require(0 <= self.seconds < float("inf"), "limits.seconds", "seconds are not negative")
        _require(self.batch >= 1, "batch", "a batch has at least one sample")
        _require(self.learning_rate > 0, "learning_rate", "the learning rate must be positive")


@dataclass(frozen=True, kw_only=True)
class UNetShape:
    """Shape of the base model and of the windows that it takes.

    Attributes:
        widths: Channels of each stage, finest first.
        isotropy: Whether each stage mixes and down-samples along z.
        window: Side lengths (z, y, x) of the window that the exported graph takes. What is learned
            from may be smaller; each section is normalised by its statistics in the window, and
            these tell more where it is wide.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64)
    isotropy: tuple[bool, ...] = (False, False, False, False)
    window: Triple = (USUAL_SECTIONS, 128, 128)

    def __post_init__(self) -> None:
        _require(len(self.widths) >= 1, "architecture.widths", "at least one stage is needed")
        _require(
            all(0 < w <= MAX_WIDTH and w % 4 == 0 for w in self.widths),
            "architecture.widths",
            f"widths are multiples of 4 up to {MAX_WIDTH}",
        )
        _require(
            len(self.isotropy) == len(self.widths),
            "architecture.isotropic",
            "there must be as many flags as widths",
        )
        z, y, x = self.window
        _require(
            min(z, y, x) >= 1 and z * y * x <= MAX_WINDOW_VOXELS,
            "architecture.window",
            f"a window has positive sides and at most {MAX_WINDOW_VOXELS} voxels",
        )
        least = 2 ** len(self.widths)
        _require(
            min(y, x) >= least,
            "architecture.window",
            f"{len(self.widths)} stages need windows of at least {least} x {least} in the plane",
        )

    @property
    def training_window(self) -> Triple:
        """Side lengths (z, y, x) of the windows that are learned from."""
        z, y, x = self.window
        return z, min(y, TRAINING_SIDE), min(x, TRAINING_SIDE)

    @property
    def windows(self) -> int:
        """Windows that stand for one of the usual depth."""
        return max(1, USUAL_SECTIONS // self.window[0])


def shape_for(
    boxes: Sequence[LabelledBox],
    *,
    widths: tuple[int, ...] = (),
    isotropy: tuple[bool, ...] = (),
    window: Triple | None = None,
) -> UNetShape:
    """Return the network to train from labelled boxes; what is not given follows from them.

    A window is no deeper than the boxes are: sections that nobody labelled teach nothing and take
    as long. Nothing is mixed across sections unless it is asked for.

    Args:
        boxes: The labelled boxes.
        widths: Channels of each stage; empty is the usual.
        isotropy: Whether each stage mixes along z; empty is never.
        window: Side lengths (z, y, x) of a window; None is what fits the boxes.
    """
    widths = widths or UNetShape.widths
    if window is None:
        deepest = max((each.box.shape[0] for each in boxes), default=USUAL_SECTIONS)
        window = (min(deepest, USUAL_SECTIONS), *UNetShape.window[1:])
    isotropy = isotropy or (False,) * len(widths)
    return UNetShape(widths=widths, isotropy=isotropy, window=window)


@dataclass(frozen=True, kw_only=True)
class SegmentationLoss:
    """Loss of the base model.

    Attributes:
        balance_cap: Largest weight of the rarer side in the cross-entropy.
        dice_weight: Weight of the Dice term.
        reject_below: Windows with fewer foreground voxels are refused with probability 0.95.
    """

    balance_cap: float = 3.0
    dice_weight: float = 0.5
    reject_below: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainBase:
    """Train a base model from labelled boxes.

    Attributes:
        regions: The boxes.
        architecture: The network.
        voxel_size_nm: Voxel size (z, y, x) for the model's card; None where it is not known.
        loss: What is minimised.
        optimisation: How.
    """

    regions: tuple[LabelledBox, ...]
    architecture: UNetShape = UNetShape()
    voxel_size_nm: VoxelSize | None = None
    loss: SegmentationLoss = SegmentationLoss()
    optimisation: Optimisation = Optimisation(iterations=1200, batch=2, learning_rate=3e-3)

    def __post_init__(self) -> None:
        _require(bool(self.regions), "regions", "at least one labelled box is needed")
        _require(
            all(0 < size < float("inf") for size in self.voxel_size_nm or ()),
            "voxel_size",
            "a voxel size is finite and positive",
        )


@dataclass(frozen=True, kw_only=True)
class FineTuneBase:
    """Train a base model further, from verdicts on its proposals.

    Attributes:
        parent: The version to start from.
        snapshots: Paths of label snapshots.
        candidates: Folders of the candidate sets that they speak of.
        replay: The boxes that the first version was trained on.
        replay_share: Share of the windows that come from `replay`.
    """

    parent: ModelRef
    snapshots: tuple[str, ...]
    candidates: tuple[str, ...]
    replay: tuple[LabelledBox, ...] = ()
    replay_share: float = 0.25
    loss: SegmentationLoss = SegmentationLoss()
    optimisation: Optimisation = Optimisation(iterations=300, batch=4, learning_rate=1e-3)

    def __post_init__(self) -> None:
        _require(bool(self.snapshots), "snapshots", "at least one snapshot is needed")
        _require(bool(self.candidates), "candidates", "at least one candidate set is needed")
        _require(0 <= self.replay_share <= 1, "replay_share", "a share lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class TrainVae:
    """Train a variational auto-encoder of patches; its mean is the embedding.

    Attributes:
        stream: `image` or `mask`.
        images: Paths of uint8 arrays (z, y, x), for `image`.
        candidates: Folders of candidate sets, for `mask`.
        patch_side: Side of a patch in pixels, divisible by 2 to the number of widths.
        latent: Length of the embedding.
        widths: Channels of each stride-2 convolution.
        kl_weight: Weight of the KL divergence.
        reconstruction: `l1` or `mse`.
        patches: How many patches to learn from, at most.
    """

    stream: str
    images: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    patch_side: int = 64
    latent: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 64)
    kl_weight: float = 1e-4
    reconstruction: str = "l1"
    patches: int = 5000
    optimisation: Optimisation = Optimisation(
        iterations=300, batch=64, learning_rate=2e-3, weight_decay=0.0
    )

    def __post_init__(self) -> None:
        _require(self.stream in ("image", "mask"), "stream", "the stream is image or mask")
        sources = "images" if self.stream == "image" else "candidates"
        _require(bool(getattr(self, sources)), sources, f"the {self.stream} stream needs {sources}")
        _require(1 <= self.latent <= MAX_LATENT, "latent", f"1 to {MAX_LATENT}")
        _require(
            bool(self.widths) and all(0 < w <= MAX_WIDTH and w % 4 == 0 for w in self.widths),
            "widths",
            f"widths are multiples of 4 up to {MAX_WIDTH}",
        )
        step = 2 ** len(self.widths)
        _require(
            step < self.patch_side <= MAX_PATCH_SIDE and self.patch_side % step == 0,
            "patch_side",
            f"the side must be a multiple of {step}, greater than it, at most {MAX_PATCH_SIDE}",
        )
        _require(0 <= self.kl_weight < float("inf"), "kl_weight", "the weight is not negative")
        _require(self.reconstruction in ("l1", "mse"), "reconstruction", "l1 or mse")


@dataclass(frozen=True, kw_only=True)
class TuneEncoder:
    """Tune an encoder so that candidates with the same verdict come close to each other.

    Attributes:
        parent: The version to start from.
        snapshots: Paths of label snapshots.
        candidates: Folders of the candidate sets that they speak of.
        held_out: Share of the labels that first decides whether to learn from them at all.
    """

    parent: ModelRef
    snapshots: tuple[str, ...]
    candidates: tuple[str, ...]
    held_out: float = 0.25
    optimisation: Optimisation = Optimisation(
        iterations=200, batch=64, learning_rate=2e-3, warm_up=10
    )

    def __post_init__(self) -> None:
        _require(bool(self.snapshots), "snapshots", "at least one snapshot is needed")
        _require(bool(self.candidates), "candidates", "at least one candidate set is needed")
        _require(0 <= self.held_out < 1, "held_out", "a share below 1")


Task = TrainBase | FineTuneBase | TrainVae | TuneEncoder

TASKS: dict[str, type[Task]] = {
    "train_base": TrainBase,
    "fine_tune_base": FineTuneBase,
    "train_vae": TrainVae,
    "tune_encoder": TuneEncoder,
}


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run.

    Attributes:
        run: Its name.
        model: The model that gets a new version.
        task: What to train.
        seed: The seed of everything random.
        variants: What variants of the model compute with: `fp16`, `int8`.
        variant_limit: Largest difference that a variant may show.
    """

    run: str
    model: str
    task: Task
    seed: int = 0
    variants: tuple[Precision, ...] = ()
    variant_limit: float = VARIANT_LIMIT

    def __post_init__(self) -> None:
        checked_name(self.run, field="run")
        checked_name(self.model, field="model")
        _require(0 <= self.seed < 2**64, "seed", "the seed has 64 bits")
        _require(self.variant_limit > 0, "variant_limit", "a limit is greater than 0")


def spec_to_json(spec: RunSpec) -> bytes:
    """Return the one JSON form of a spec: equal specs give equal bytes."""
    kind = next(name for name, task in TASKS.items() if type(spec.task) is task)
    return json.dumps({**asdict(spec), "kind": kind}, sort_keys=True, indent=1).encode()


def spec_from_json(data: bytes) -> RunSpec:
    """Return the spec that `spec_to_json` wrote."""
    document = json.loads(data)
    task = cast(Task, _built(TASKS[document.pop("kind")], document.pop("task")))
    variants = tuple(document.pop("variants", ()))
    return RunSpec(task=task, variants=variants, **document)


def _built(kind: Any, value: Any) -> Any:
    """Rebuild dataclasses and tuples from what `asdict` and JSON made of them."""
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _built(typing.get_args(kind)[0], value)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {field.name: hints[field.name] for field in fields(kind)}
        return cast(Any, kind)(**{name: _built(known[name], part) for name, part in value.items()})
    if typing.get_origin(kind) is tuple:
        parts = typing.get_args(kind)
        kinds = [parts[0]] * len(value) if parts[-1] is ... else parts
        return tuple(_built(part, item) for part, item in zip(kinds, value, strict=True))
    return value
