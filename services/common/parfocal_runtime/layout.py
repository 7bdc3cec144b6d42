"""Where every artifact lives in the object store, relative to its root.

Names are derived from what an artifact is made from, so that a step that finds its artifact
already there has nothing left to do.
"""

from __future__ import annotations

import re

from parfocal_runtime.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def checked_name(name: str, *, field: str) -> str:
    """Return `name` if it can be a part of a path: lower case, digits, `.`, `_`, `-`; 1-63 long.

    Raises:
        InvalidInput: If it cannot (`ERROR_REASON_INVALID_NAME`).
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(
            "ERROR_REASON_INVALID_NAME",
            f"{field} must be 1 to 63 of a-z, 0-9, '.', '_', '-', got {name!r}",
            field=field,
            value=name,
        )
    return name


def model_folder(name: str) -> str:
    """Folder of a model, in the layout of a Triton model repository."""
    return f"models/{name}"


def model_version_folder(name: str, version: int) -> str:
    """Folder of one version of a model."""
    return f"models/{name}/{version}"


def image_group(project: str, image: str) -> str:
    """OME-Zarr group of an image."""
    return f"projects/{project}/images/{image}.ome.zarr"


def image_level(project: str, image: str, level: int) -> str:
    """Array of one resolution level of an image; level 0 is the finest."""
    return f"{image_group(project, image)}/{level}"


def truth_level(project: str, image: str, level: int, *, name: str = "truth") -> str:
    """Array of one resolution level of a label image that lies beside an image."""
    return f"{image_group(project, image)}/labels/{name}/{level}"


def prediction_group(project: str, image: str, model: str, version: int, *, views: int = 1) -> str:
    """OME-Zarr group of the map of an image by a model version, the mean of so many views."""
    name = f"{image}-{views}-views" if views > 1 else image
    return f"projects/{project}/predictions/{name}/{model}-{version}.ome.zarr"


def candidate_folder(project: str, candidate_set: str) -> str:
    """Folder of a candidate set."""
    return f"projects/{project}/candidates/{candidate_set}"


def candidate_table(project: str, candidate_set: str) -> str:
    """Table of a candidate set; its presence means that the set is complete."""
    return f"{candidate_folder(project, candidate_set)}/table.parquet"


def candidate_patches(project: str, candidate_set: str) -> str:
    """Zarr group with the arrays `image` and `mask` of a candidate set."""
    return f"{candidate_folder(project, candidate_set)}/patches.zarr"


def embedding_array(project: str, candidate_set: str, encoder: str, version: int) -> str:
    """Array (N, d) float32 of the embeddings of a set by an encoder version."""
    return f"projects/{project}/embeddings/{candidate_set}/{encoder}-{version}.zarr"


def selection_table(project: str, selection: str) -> str:
    """Table of a selection, the output of a strategy."""
    return f"projects/{project}/selections/{selection}.parquet"


def snapshot_table(project: str, sha256: str) -> str:
    """Table of a snapshot of consensus labels, named by its content."""
    return f"projects/{project}/snapshots/{sha256}.parquet"


def run_folder(run: str) -> str:
    """Folder of a training run: its spec, checkpoints and events."""
    return f"runs/{run}"


def candidate_record(project: str, candidate_set: str) -> str:
    """JSON record of a candidate set: its sources, their arrays, and the parameters."""
    return f"{candidate_folder(project, candidate_set)}/set.json"


def candidate_objects(project: str, candidate_set: str, source: int) -> str:
    """Array (z, y, x) uint32 of one source of a set: candidate + 1, 0 where there is none."""
    return f"{candidate_folder(project, candidate_set)}/objects-{source}.zarr"


def export_folder(project: str, sha256: str) -> str:
    """Folder of what a snapshot was written to in formats of other programs."""
    return f"projects/{project}/exports/{sha256}"


def export_path(project: str, sha256: str, format_: str, *, candidate_set: str = "") -> str:
    """File or folder of a snapshot in another format.

    Args:
        project: Name of the project.
        sha256: Digest of the snapshot.
        format_: `csv`, `coco`, `ome-zarr` or `neuroglancer`.
        candidate_set: The only set that it takes in; empty for all.
    """
    suffix = {"csv": ".csv", "coco": ".json", "ome-zarr": ".zarr"}.get(format_, "")
    scope = f"-{candidate_set}" if candidate_set else ""
    return f"{export_folder(project, sha256)}/{format_}{scope}{suffix}"
