"""What can be told about a run before it starts, so that bad input fails at once.

Needs no torch: the server does this, the worker the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import require_inside
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import ObjectStore
from parfocal_training.candidates import open_candidates, read_judgements
from parfocal_training.parents import resolve_version, trainable_weights
from parfocal_training.regions import open_image, open_truth
from parfocal_training.spec import (
    FineTuneBase,
    LabelledBox,
    RunSpec,
    TrainBase,
    TrainVae,
    TuneEncoder,
)
from parfocal_training.triplet import require_both_classes


def check(spec: RunSpec, store: ObjectStore) -> None:
    """Return if nothing speaks against starting the run.

    Raises:
        InvalidInput: If an array is of the wrong kind, or a box lies outside.
        NotFound: If an array, a table or the parent does not exist.
        PermissionDenied: If a path leads out of the store.
        WrongState: If the parent cannot be trained further, or the labels do not suffice.
    """
    match spec.task:
        case TrainBase(regions=regions):
            _check_regions(store, regions, "regions")
        case FineTuneBase() as task:
            _check_regions(store, task.replay, "replay")
            _check_verdicts(store, task, "base")
        case TuneEncoder() as task:
            require_both_classes(_check_verdicts(store, task, "encoder"))
        case TrainVae(stream="image", images=images):
            for path in images:
                open_image(store, path, field="images")
        case TrainVae(candidates=folders):
            for folder in folders:
                open_candidates(store, folder)


def _check_regions(store: ObjectStore, regions: tuple[LabelledBox, ...], field: str) -> None:
    for labelled in regions:
        image = open_image(store, labelled.image, field=f"{field}.image")
        open_truth(store, labelled.truth, image, field=f"{field}.truth")
        require_inside(labelled.box, image.shape, field=f"{field}.box")


def _check_verdicts(
    store: ObjectStore, task: FineTuneBase | TuneEncoder, kind: str
) -> npt.NDArray[np.bool_]:
    parent = resolve_version(store, task.parent)
    trainable_weights(store, parent)
    found = ModelRepository(store).card(parent.name, parent.version).kind
    if found != kind:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"the parent must be a model of kind {kind}, {parent.name} is of kind {found}",
            field="parent",
            value=parent.name,
        )
    sets = [open_candidates(store, folder) for folder in task.candidates]
    judgements = read_judgements(store, task.snapshots, sets)
    return np.array([judgement.verdict for judgement in judgements])
