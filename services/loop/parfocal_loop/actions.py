"""What rounds and jobs do: each action asks a service for an artifact and waits for it.

Every action can be repeated: the services find what is there and do only what is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.embedding.v1 import embedding_service_pb2 as embedding
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_loop.block_runs import Quarantine, run_blocks
from parfocal_loop.bulk import Bulk
from parfocal_loop.calls import Call, embed_range
from parfocal_loop.history import PlacedBoxes
from parfocal_loop.messages import box_to_pb
from parfocal_loop.peers import Peers
from parfocal_loop.progress import Counter, Report
from parfocal_runtime.arrays import array_attributes, open_array
from parfocal_runtime.box import Box, Triple, require_inside
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import DomainError, InvalidInput, NotFound, WrongState
from parfocal_runtime.layout import checked_name
from parfocal_runtime.models.versions import complete_versions
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_runtime.tasks import CancelFlag, in_thread

BLOCK: Triple = (64, 1024, 1024)
"""Blocks that are predicted if nobody says otherwise: each window that reaches over the face of a
block runs once more, so they are as large as memory allows."""

_ROWS_PER_CALL = 2048
# It becomes part of a path.
_EDITION = re.compile("[A-Za-z0-9]{1,16}")
_NOTHING_TO_STOP = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


@dataclass(frozen=True)
class Means:
    """What actions work with."""

    store: ObjectStore
    peers: Peers
    bulk: Bulk


async def newest(means: Means, model: artifacts.ModelVersion) -> artifacts.ModelVersion:
    """Return `model` with its version filled in: the latest where it was 0.

    Raises:
        WrongState: If the model has no version (`ERROR_REASON_MODEL_NOT_READY`).
    """
    if model.version:
        return model
    versions = await in_thread(complete_versions, means.store, model.name)
    if not versions:
        raise WrongState(
            "ERROR_REASON_MODEL_NOT_READY",
            f"model {model.name!r} has no version yet",
            model=model.name,
            version=0,
            cause="none is published",
        )
    return artifacts.ModelVersion(name=model.name, version=versions[-1])


async def image_edition(means: Means, image: str) -> str:
    """Return what tells an image from those that had its name before; empty for the first.

    Args:
        means: What to work with.
        image: Path of the image array; the import writes the edition into its group.
    """
    group = means.store.resolve(image).rpartition("/")[0]
    try:
        attributes = await in_thread(array_attributes, means.store, group)
    except (NotFound, InvalidInput):
        return ""
    record = attributes.get("parfocal")
    edition = str(record.get("edition", "")) if isinstance(record, dict) else ""
    return edition if _EDITION.fullmatch(edition) else ""


async def image_box(means: Means, image: str) -> Box:
    """Return the box of a whole image array, or of the last three axes of one with more."""
    array = await in_thread(open_array, means.store, means.store.resolve(image))
    return Box.whole(array.shape[-3:])


def blocks(whole: Box, region: Box | None, shape: Triple) -> list[Box]:
    """Return the blocks of a grid anchored to the image, cut at `region`.

    Anchored, so that a block never shares a chunk of the output with its neighbour, whatever
    the region is.
    """
    if region is None:
        return list(whole.blocks(shape))
    require_inside(region, whole.stop, field="region")
    cut = (block.intersection(region) for block in whole.blocks(shape))
    return [block for block in cut if block is not None]


async def segment(
    means: Means,
    requests: list[inference.SegmentBlockRequest],
    report: Report,
    *,
    quarantine: Quarantine | None = None,
) -> None:
    """Predict blocks, in any number at a time.

    Args:
        means: What to work with.
        requests: One for each block.
        report: Told how far it is.
        quarantine: Gets the blocks that fail again and again; by default none may.

    Raises:
        DomainError: If blocks cannot be made, with the service's own reason, or more than may be
            are set aside (`ERROR_REASON_BLOCKS_QUARANTINED`).
    """
    await in_thread(
        run_blocks,
        means.bulk,
        means.peers.addresses.inference,
        requests,
        quarantine=quarantine or Quarantine(),
        report=report,
        cancel=CancelFlag(),
    )


def block_requests(
    image: str,
    prediction: str,
    model: artifacts.ModelVersion,
    boxes: Iterable[Box],
    like: inference.SegmentBlockRequest,
) -> Iterator[inference.SegmentBlockRequest]:
    """Yield the request of each block; what is not said here is as in `like`."""
    for box in boxes:
        request = inference.SegmentBlockRequest(
            image=image, prediction=prediction, model=model, box=box_to_pb(box)
        )
        request.MergeFrom(like)
        yield request


async def embed(means: Means, request: embedding.EmbedCandidatesRequest, report: Report) -> None:
    """Embed a candidate set, range by range."""
    rows = await candidate_count(means, request.candidates)
    stop = request.stop or rows
    starts = range(request.start, stop, _ROWS_PER_CALL)
    calls = []
    for start in starts:
        part = embedding.EmbedCandidatesRequest()
        part.CopyFrom(request)
        part.start, part.stop = start, min(start + _ROWS_PER_CALL, stop)
        calls.append(Call(means.peers.addresses.embedding, part.SerializeToString()))
    counter = Counter(len(calls), "ranges")

    def count(answers: Sequence[tuple[int, Any]]) -> None:
        counter.made(len(answers))
        report(counter.progress())

    await in_thread(means.bulk.run, embed_range, calls, done=count, cancel=CancelFlag())


async def candidate_count(means: Means, candidates: str) -> int:
    """Return the number of candidates of a set."""
    path = means.store.resolve(candidates)
    table = await in_thread(read_table, means.store, f"{path}/table.parquet")
    return int(table.num_rows)


async def placed_candidates(means: Means, candidates: str) -> PlacedBoxes:
    """Return the boxes of a set's candidates and the images they lie in."""
    return await in_thread(_placed, means.store, means.store.resolve(candidates))


def _placed(store: ObjectStore, folder: str) -> PlacedBoxes:
    table = read_table(store, f"{folder}/table.parquet")
    sources = json.loads(store.read(f"{folder}/set.json"))["sources"]
    images = np.array([source["image"] for source in sources], dtype=np.str_)
    sides = [table[name].to_numpy() for name in ("z0", "y0", "x0", "z1", "y1", "x1")]
    return PlacedBoxes(
        ids=table["candidate"].to_numpy(),
        images=images[table["source"].to_numpy()],
        boxes=np.stack(sides, axis=1).astype(np.int64),
    )


async def train(
    means: Means, request: training.TrainRequest, report: Callable[[training.TrainingRun], None]
) -> training.TrainingRun:
    """Train to the end and return the run.

    Raises:
        DomainError: If the run was refused or failed, with the service's own reason.
    """
    run = training.TrainingRun()
    try:
        async for response in means.peers.training.Train(request):
            run = response.run
            report(run)
    except grpc.RpcError as error:
        raise domain_error(error) from error
    if run.state != artifacts.WORK_STATE_SUCCEEDED:
        raise TrainingFailed(
            run.failure.reason or "ERROR_REASON_INTERNAL",
            run.failure.message or f"training run {run.run} ended without a model",
            (),
            **dict(run.failure.metadata),
        )
    return run


async def cancel_training(means: Means, run: str) -> None:
    """Stop a training run, if there is one that is not over."""
    try:
        await means.peers.training.CancelRun(training.CancelRunRequest(run=run))
    except grpc.aio.AioRpcError as error:
        if error.code() not in _NOTHING_TO_STOP:
            raise


class TrainingFailed(DomainError):
    """A training run is over and has no model; asking again would not help."""


def candidate_set_name(project: str, candidates: str) -> str:
    """Return the name of the set in a folder `projects/{project}/candidates/{set}`.

    Raises:
        InvalidInput: If the folder is another (`ERROR_REASON_INVALID_FIELD`).
    """
    folder, _, name = candidates.rstrip("/").rpartition("/")
    if folder != f"projects/{project}/candidates":
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"candidates must lie in projects/{project}/candidates, got {candidates!r}",
            field="candidates",
            value=candidates,
        )
    return checked_name(name, field="candidates")
