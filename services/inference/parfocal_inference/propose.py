"""Candidate sets from probability maps, over the object store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import tensorstore as ts

from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.candidate_set import CandidateSet, PatchWriter
from parfocal_inference.candidates import (
    SCHEMA,
    Eligibility,
    SliceRule,
    candidate_rows,
    places,
    standing_sections,
)
from parfocal_inference.components import (
    ComponentRule,
    Components,
    find_components,
    labelled_blocks,
)
from parfocal_inference.image_arrays import open_image, origin_of, reader, shape_mismatch
from parfocal_inference.patches import extract_patch
from parfocal_inference.reading import Read
from parfocal_runtime.arrays import read_box, write_box
from parfocal_runtime.box import Box, Triple, require_inside
from parfocal_runtime.errors import Exhausted, naming
from parfocal_runtime.store import ObjectStore

DEFAULT_BLOCK: Triple = (32, 512, 512)


@dataclass(frozen=True)
class Source:
    """One image and its probability map.

    Attributes:
        image: Path of the image's array.
        prediction: Path of the map's array, of the same shape.
        eligibility: Which of its objects may be candidates.
    """

    image: str
    prediction: str
    eligibility: Eligibility = field(default_factory=Eligibility)


@dataclass(frozen=True)
class Proposal:
    """What a candidate set is to be made from.

    Attributes:
        folder: Path of the set.
        sources: Images, in order.
        rule: What makes an object.
        slice_rule: Which section stands for an object.
        patch_side: Side of a patch in pixels.
        block: Shape of the blocks to work in; the result does not depend on it.
    """

    folder: str
    sources: tuple[Source, ...]
    rule: ComponentRule = field(default_factory=ComponentRule)
    slice_rule: SliceRule = SliceRule.LARGEST_AREA
    patch_side: int = 64
    block: Triple = DEFAULT_BLOCK

    def made_from(self) -> dict[str, Any]:
        """Return all that the content of the set depends on, as JSON."""
        return {
            "sources": [
                {
                    "image": source.image,
                    "prediction": source.prediction,
                    "region": _box_json(source.eligibility.region),
                    "exclude": [_box_json(box) for box in source.eligibility.exclude],
                }
                for source in self.sources
            ],
            "threshold": self.rule.threshold,
            "connectivity": self.rule.connectivity.value,
            "minimum_voxels": self.rule.minimum_voxels,
            "slice_rule": self.slice_rule.value,
            "patch_side": self.patch_side,
        }


@dataclass(frozen=True)
class Proposed:
    """What came out.

    Attributes:
        count: Number of candidates.
        already_done: Whether the set was complete before.
    """

    count: int
    already_done: bool


@dataclass(frozen=True)
class _Opened:
    image: Read
    prediction: Read
    shape: Triple


def propose_candidates(
    store: ObjectStore,
    proposal: Proposal,
    *,
    most: int = 1_000_000,
    cancel: Cancellation = UNCANCELLED,
) -> Proposed:
    """Make a candidate set, unless it is complete already.

    Writes `set.json`, `objects-<source>.zarr` (z, y, x) uint32 = candidate + 1 or 0,
    `patches.zarr` and, last, `table.parquet` with the columns of `candidates.SCHEMA`; its metadata
    name the base model as `model` and `model_version`. Candidates are numbered by source, then
    the starts of their boxes, then their first voxels.

    Args:
        store: Where everything is.
        proposal: What to make.
        most: Most candidates that a set may have.
        cancel: Asked between blocks and patches.

    Raises:
        AlreadyExists: If the set is made from something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        NotFound: If an array does not exist (`ERROR_REASON_ARTIFACT_NOT_FOUND`).
        InvalidInput: If arrays are not what they should be, or a box leaves the image
            (`ERROR_REASON_SHAPE_MISMATCH`, `ERROR_REASON_DTYPE_MISMATCH`,
            `ERROR_REASON_BOX_OUTSIDE_IMAGE`).
        Exhausted: If there are too many candidates (`ERROR_REASON_TOO_MANY_CANDIDATES`).
    """
    candidates = CandidateSet(store, proposal.folder, made_from=proposal.made_from())
    with naming("candidates"):
        done = candidates.count()
    if done is not None:
        return Proposed(done, already_done=True)
    opened = [_open(store, source, number) for number, source in enumerate(proposal.sources)]
    with naming("candidates"):
        candidates.claim()
    found = _find(opened, proposal, most=most, cancel=cancel)
    count = sum(len(components.objects) for components in found)
    patches = candidates.create_patches(count=count, side=proposal.patch_side)
    tables = [SCHEMA.empty_table()]
    first = 0
    for number, (arrays, components) in enumerate(zip(opened, found, strict=True)):
        labels = candidates.create_labels(number, shape=arrays.shape, block=proposal.block)
        _write_labels(arrays, components, labels, first=first, cancel=cancel)
        tables.append(
            _cut_patches(
                arrays,
                labels,
                components,
                patches,
                proposal=proposal,
                source=number,
                first=first,
                cancel=cancel,
            )
        )
        first += len(components.objects)
    patches.flush()
    base_models = [_base_model(store, source) for source in proposal.sources]
    candidates.complete(pa.concat_tables(tables).replace_schema_metadata(_agreed(base_models)))
    return Proposed(count, already_done=False)


def _open(store: ObjectStore, source: Source, number: int) -> _Opened:
    name = f"sources[{number}]"
    image, shape = open_image(store, source.image, field=f"{name}.image")
    prediction, other = open_image(store, source.prediction, field=f"{name}.prediction")
    if other != shape:
        raise shape_mismatch(f"{name}.prediction", other, shape)
    if source.eligibility.region is not None:
        require_inside(source.eligibility.region, shape, field=f"{name}.region")
    for place, box in enumerate(source.eligibility.exclude):
        require_inside(box, shape, field=f"{name}.exclude[{place}]")
    return _Opened(
        reader(image, field=f"{name}.image"), reader(prediction, field=f"{name}.prediction"), shape
    )


def _base_model(store: ObjectStore, source: Source) -> dict[str, str]:
    origin = origin_of(store, source.prediction)
    return {"model": str(origin.get("model", "")), "model_version": str(origin.get("version", ""))}


def _agreed(base_models: list[dict[str, str]]) -> dict[str, str]:
    """Return the base model of the maps, or nothing where they do not all name the same."""
    first = base_models[0]
    return first if all(first.values()) and all(each == first for each in base_models) else {}


def _find(
    opened: Sequence[_Opened], proposal: Proposal, *, most: int, cancel: Cancellation
) -> list[Components]:
    found: list[Components] = []
    count = 0
    for arrays, source in zip(opened, proposal.sources, strict=True):
        components = find_components(
            arrays.prediction,
            arrays.shape,
            rule=proposal.rule,
            block=proposal.block,
            cancel=cancel,
        )
        found.append(components.where(source.eligibility.mask(components.objects)))
        count += len(found[-1].objects)
        if count > most:
            raise Exhausted(
                "ERROR_REASON_TOO_MANY_CANDIDATES",
                f"these parameters give {count} candidates or more, {most} are allowed; raise "
                "the threshold or the minimum size",
                count=count,
                limit=most,
            )
    return found


def _write_labels(
    arrays: _Opened,
    components: Components,
    labels: ts.TensorStore,
    *,
    first: int,
    cancel: Cancellation,
) -> None:
    for box, ids in labelled_blocks(arrays.prediction, components, cancel=cancel):
        write_box(labels, box, np.where(ids, ids + first, 0).astype(np.uint32))


def _cut_patches(
    arrays: _Opened,
    labels: ts.TensorStore,
    components: Components,
    patches: PatchWriter,
    *,
    proposal: Proposal,
    source: int,
    first: int,
    cancel: Cancellation,
) -> pa.Table:
    objects = components.objects
    standing = standing_sections(objects, proposal.slice_rule)
    angle, anisotropy = np.zeros((2, len(objects)), np.float32)
    for row, place in enumerate(places(objects, standing, first_label=first + 1)):
        cancel.check()
        patch = extract_patch(
            arrays.image,
            partial(read_box, labels),
            place,
            shape=arrays.shape,
            side=proposal.patch_side,
        )
        patches.add(patch)
        angle[row], anisotropy[row] = patch.alignment.angle, patch.alignment.anisotropy
    return candidate_rows(
        objects, standing, angle=angle, anisotropy=anisotropy, source=source, first=first
    )


def _box_json(box: Box | None) -> dict[str, list[int]] | None:
    return None if box is None else {"start": list(box.start), "stop": list(box.stop)}
