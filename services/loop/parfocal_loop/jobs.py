"""Drives one job: a single long step outside a round."""

from __future__ import annotations

import time
from dataclasses import dataclass

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_loop.actions import (
    BLOCK,
    Means,
    block_requests,
    blocks,
    cancel_training,
    embed,
    image_box,
    newest,
    segment,
    train,
)
from parfocal_loop.block_runs import Quarantine
from parfocal_loop.messages import box_from_pb, index_from_pb, note, time_to_pb
from parfocal_loop.persistence import Save, persistently
from parfocal_loop.progress import Progress


@dataclass(frozen=True)
class Task:
    """One job under way.

    Attributes:
        spec: What is wanted.
        status: What exists; steps write into it and the controller stores it.
        means: What to work with.
    """

    spec: jobs.Job
    status: jobs.JobStatus
    means: Means

    def report(self, progress: Progress) -> None:
        """Note how far the job is."""
        note(self.status, progress)


async def run_job(task: Task, save: Save) -> None:
    """Do the job; what it asks for is found where it was made before.

    Args:
        task: The job; its status is kept up to date.
        save: Stores the status.
    """
    status = task.status
    status.state = artifacts.WORK_STATE_RUNNING
    status.attempts += 1
    if not status.HasField("start_time"):
        status.start_time.CopyFrom(time_to_pb(time.time()))
    await save()
    action = _ACTIONS[task.spec.WhichOneof("spec") or "train"]
    status.artifact = await persistently(lambda: action(task))
    status.end_time.CopyFrom(time_to_pb(time.time()))
    status.fraction = 1.0
    status.ClearField("remaining_seconds")
    status.state = artifacts.WORK_STATE_SUCCEEDED


async def abandon_job(task: Task) -> None:
    """Stop what a cancelled job has under way elsewhere."""
    if task.spec.HasField("train"):
        await cancel_training(task.means, task.spec.train.run)


async def _train(task: Task) -> str:
    def report(run: training.TrainingRun) -> None:
        task.report(Progress(run.iteration / max(run.iterations, 1), run.message))
        for name, value in run.metrics.items():
            task.status.metrics[name] = value

    run = await train(task.means, task.spec.train, report)
    task.status.model.CopyFrom(run.model)
    return f"{run.model.name}/{run.model.version}"


async def _segment(task: Task) -> str:
    wanted = task.spec.segment
    region = box_from_pb(wanted.region) if wanted.HasField("region") else None
    shape = index_from_pb(wanted.block_shape) if wanted.HasField("block_shape") else BLOCK
    boxes = blocks(await image_box(task.means, wanted.image), region, shape)
    model = await newest(task.means, wanted.model)
    like = inference.SegmentBlockRequest(
        overlap=wanted.overlap if wanted.HasField("overlap") else None,
        augmentation=wanted.augmentation,
        empty=wanted.empty if wanted.HasField("empty") else None,
    )
    requests = block_requests(wanted.image, wanted.prediction, model, boxes, like)
    quarantine = Quarantine(task.status.quarantine, tolerated=wanted.tolerated_blocks)
    await segment(task.means, list(requests), task.report, quarantine=quarantine)
    task.status.model.CopyFrom(model)
    return wanted.prediction


async def _propose(task: Task) -> str:
    response = await task.means.peers.inference.ProposeCandidates(task.spec.propose)
    task.report(Progress(1.0, f"{response.count} candidates"))
    return response.candidates


async def _embed(task: Task) -> str:
    await embed(task.means, task.spec.embed, task.report)
    return task.spec.embed.embeddings


_ACTIONS = {"train": _train, "segment": _segment, "propose": _propose, "embed": _embed}
