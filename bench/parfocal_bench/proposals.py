"""ROI proposals of an image with their features and the truth, made by the services.

A base model is trained on four small crops, the whole image is segmented, what it proposes outside
the crops' columns becomes the candidate set, and both streams are embedded: the first half of a
campaign, through the loop. What stands in the crops' columns can be kept, to compare with figures
that were found so: the base model was trained on sections of the same objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import ndimage

from parfocal import Client
from parfocal.embedding.v1.embedding_service_pb2 import PATCH_STREAM_IMAGE, PATCH_STREAM_MASK
from parfocal_demo.artifacts import PROJECT, Artifacts
from parfocal_demo.crops import CropBox, choose_crops
from parfocal_demo.evaluation import profile_coverage
from parfocal_demo.following import Follower
from parfocal_demo.importing import import_volume, input_facts, worked_on_level
from parfocal_demo.settings import Settings
from parfocal_demo.specs import Specs, model_name
from parfocal_runtime.arrays import open_array
from parfocal_runtime.layout import candidate_folder, embedding_array
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_runtime.tables import read_table
from parfocal_standalone import Standalone

if TYPE_CHECKING:
    from parfocal.common.v1.artifact_pb2 import ModelVersion
    from parfocal.loop.v1.job_pb2 import Job

COLUMNS = (
    "source",
    "area",
    "mean_probability",
    "max_probability",
    "anisotropy",
    "z0",
    "y0",
    "x0",
    "z1",
    "y1",
    "x1",
    "cz",
    "cy",
    "cx",
)
"""What is kept of the candidate table."""

_SET = "rois"
_PROFILE_PIXELS = 30
_TOUCHING = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Proposals:
    """ROI proposals, N of them.

    Attributes:
        table: Columns of the candidate table by name, (N,) each.
        streams: Embeddings by stream, (N, d) float32.
        objects: (N,) int64, equal where proposals of neighbouring sections touch.
        correct: (N,) bool, whether each covers more than half of the truth in its box.
        recall: Share of the truth's profiles that the proposals cover, of those where any may be.
    """

    table: dict[str, NDArray[Any]]
    streams: dict[str, NDArray[np.float32]]
    objects: NDArray[np.int64]
    correct: NDArray[np.bool_]
    recall: float

    def __len__(self) -> int:
        return len(self.correct)

    def save(self, path: Path) -> None:
        """Write everything to one file of arrays."""
        arrays: dict[str, NDArray[Any]] = {
            "objects": self.objects,
            "correct": self.correct,
            "recall": np.array(self.recall),
            **{f"table/{name}": column for name, column in self.table.items()},
            **{f"stream/{name}": stream for name, stream in self.streams.items()},
        }
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Proposals:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(
                table=_below(kept, "table/"),
                streams=_below(kept, "stream/"),
                objects=kept["objects"],
                correct=kept["correct"],
                recall=float(kept["recall"]),
            )


def make_proposals(
    settings: Settings, folder: Path, console: Console, *, keep_columns: bool = False
) -> Proposals:
    """Make the proposals of an image, or go on where a run that was stopped was.

    Args:
        settings: Image, truth, split, crops, threshold, least area, steps and seed.
        folder: Where the services keep their data.
        console: Where progress goes.
        keep_columns: Keep what stands in other sections of the crops' columns.
    """
    with (
        Standalone(folder / "data") as server,
        Client(server.address, token=server.token) as client,
    ):
        store = open_store(server.store_uri)
        follower = Follower(client, PROJECT, console)
        import_volume(settings, store, folder / "volume", follower)
        client.projects.create(PROJECT)
        specs = _specs(settings, store)
        nowhere = specs.crops if keep_columns else specs.columns
        folder_of_set, paths = _made(specs, follower, nowhere)
        return _read(store, specs, folder_of_set, paths, nowhere)


def _specs(settings: Settings, store: ObjectStore) -> Specs:
    artifacts = Artifacts(
        store, level=worked_on_level(settings, store), views=settings.augmentation
    )
    columns = round(settings.split[0] * artifacts.image.shape[2])
    crops = choose_crops(
        artifacts.truth, count=settings.crops, shape=settings.crop_shape, columns=columns
    )
    facts = input_facts(settings, store, foreground_share=float(artifacts.truth.mean()))
    everything = CropBox((0, 0, 0), artifacts.image.shape)
    return Specs(settings, artifacts, crops, everything, everything, facts.voxel_size_nm)


def _made(
    specs: Specs, follower: Follower, nowhere: Sequence[CropBox]
) -> tuple[str, dict[str, str]]:
    """Return the folder of the candidate set and the paths of the embeddings by stream."""

    def job(name: str, spec: Job, title: str) -> ModelVersion:
        return follower.job(name, spec, stage=title, title=title).model

    model = model_name(job("train-base", specs.train_base(), "Train the base model"))
    job("segment", specs.segment(model, specs.train), "Segment")
    folder = candidate_folder(PROJECT, _SET)
    job("propose", specs.propose(folder, model, specs.train, exclude=nowhere), "Propose")
    paths = {}
    for stream, training, patches in (
        ("mask", specs.train_mask_encoder(folder), PATCH_STREAM_MASK),
        ("image", specs.train_image_encoder(), PATCH_STREAM_IMAGE),
    ):
        encoder = job(f"train-{stream}-encoder", training, f"Train the {stream} encoder")
        paths[stream] = embedding_array(PROJECT, _SET, encoder.name, encoder.version)
        embedding = specs.embed(folder, paths[stream], patches, encoder)
        job(f"embed-{stream}", embedding, f"Embed the {stream}s")
    return folder, paths


def _read(
    store: ObjectStore,
    specs: Specs,
    folder: str,
    paths: dict[str, str],
    nowhere: Sequence[CropBox],
) -> Proposals:
    table = read_table(store, f"{folder}/table.parquet")
    found = specs.artifacts.candidates(folder)
    elsewhere = specs.artifacts.truth.copy()
    for box in nowhere:
        elsewhere[box.slices] = False
    recall = profile_coverage(elsewhere, found.objects > 0, min_pixels=_PROFILE_PIXELS)
    return Proposals(
        table={name: table[name].to_numpy() for name in COLUMNS},
        streams={
            name: np.asarray(open_array(store, path).read().result(), np.float32)
            for name, path in paths.items()
        },
        objects=touching(found.objects),
        correct=found.correct,
        recall=recall.value,
    )


def touching(objects: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Number the bodies that proposals form, touching ones together.

    Args:
        objects: Candidate + 1 of each voxel, 0 where there is none, (z, y, x).

    Returns:
        (N,) int64, equal for candidates of one 26-connected body.
    """
    bodies, _ = ndimage.label(objects > 0, _TOUCHING)
    inside = objects > 0
    candidates, first = np.unique(objects[inside], return_index=True)
    of_each = np.zeros(int(objects.max(initial=0)), np.int64)
    of_each[candidates - 1] = bodies[inside][first]
    return of_each


def _below(kept: np.lib.npyio.NpzFile, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): kept[name] for name in kept.files if name.startswith(prefix)}
