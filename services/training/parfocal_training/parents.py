"""The model versions that a run can start from."""

from __future__ import annotations

from parfocal_runtime.errors import NotFound, WrongState
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import ObjectStore
from parfocal_training.spec import ModelRef


def resolve_version(store: ObjectStore, model: ModelRef) -> ModelRef:
    """Return `model` with the number of a version that exists in the place of 0.

    Raises:
        NotFound: If there is none (`ERROR_REASON_MODEL_NOT_FOUND`).
    """
    versions = ModelRepository(store).versions(model.name)
    version = model.version or max(versions, default=0)
    if version in versions:
        return ModelRef(model.name, version)
    raise NotFound(
        "ERROR_REASON_MODEL_NOT_FOUND",
        f"there is no version {version or 'at all'} of model {model.name}",
        model=model.name,
        version=version,
    )


def trainable_weights(store: ObjectStore, model: ModelRef) -> str:
    """Return the path of the weights that a version can be trained further from.

    Raises:
        WrongState: If it was not trained here (`ERROR_REASON_MODEL_NOT_READY`).
    """
    path = ModelRepository(store).lineage(model.name, model.version).get("weights")
    if isinstance(path, str) and store.exists(path):
        return path
    raise WrongState(
        "ERROR_REASON_MODEL_NOT_READY",
        f"version {model.version} of {model.name} was not trained here: it has no weights to "
        "start from",
        model=model.name,
        version=model.version,
        cause="no trainable weights",
    )
