"""Training through gRPC, by real workers over a real object store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import grpc
import pytest

from parfocal.common.v1 import artifact_pb2 as artifact
from parfocal.common.v1.geometry_pb2 import Box, Index3
from parfocal.training.v1 import training_service_pb2 as pb
from parfocal.training.v1.training_service_pb2_grpc import TrainingServiceStub
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import (
    AlreadyExists,
    DomainError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unavailable,
    WrongState,
)
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore
from parfocal_training import checkpoint as checkpoints
from parfocal_training.app import build
from parfocal_training.config import TrainingConfig
from parfocal_training.run_folder import RunFolder
from parfocal_training.worker import EXIT_ORPHANED, WorkOrder
from training_lab import IMAGE, SET, SHAPE, SNAPSHOT, TRUTH, base_task, spec_of, write_snapshot

ENDLESS = 1_000_000
INSIDE = Box(start=Index3(z=0, y=7, x=7), stop=Index3(z=1, y=9, x=9))
"""Holds foreground only."""


def region(stop: tuple[int, int, int] = SHAPE) -> pb.LabelledRegion:
    z, y, x = stop
    return pb.LabelledRegion(
        image=IMAGE, truth=TRUTH, box=Box(start=Index3(), stop=Index3(z=z, y=y, x=x))
    )


def base_request(run: str = "r", *, iterations: int = 3, **changes: object) -> pb.TrainRequest:
    shape = pb.UnetArchitecture(
        widths=[4, 8], isotropic=[False, True], window=Index3(z=2, y=16, x=16)
    )
    request = pb.TrainRequest(
        run=run,
        model=run,
        train_base=pb.TrainBase(regions=[region()], architecture=shape),
        limits=pb.TrainingLimits(iterations=iterations),
    )
    request.MergeFrom(pb.TrainRequest(**changes))  # type: ignore[arg-type]
    return request


def last(responses: Iterator[pb.TrainResponse]) -> pb.TrainingRun:
    *_, response = responses
    return response.run


def first_step(responses: Iterator[pb.TrainResponse]) -> pb.TrainingRun:
    """Return the run as soon as it has a checkpoint: each step is saved before the next."""
    return next(r.run for r in responses if r.run.iteration > 1)


@dataclass
class Refusal:
    """Why a call was refused, known when its block is over."""

    error: DomainError = field(default_factory=lambda: DomainError("", ""))

    @property
    def reason(self) -> str:
        return self.error.reason

    @property
    def metadata(self) -> dict[str, str]:
        return self.error.metadata


@contextmanager
def refused(kind: type[DomainError]) -> Iterator[Refusal]:
    """Expect that a call in the block is refused."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    refusal.error = domain_error(caught.value)
    assert type(refusal.error) is kind


def workers() -> set[int]:
    """Return the process ids of the workers of servers in this process."""
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = children.stdout.splitlines()
    return {int(line.split()[0]) for line in lines if "parfocal_training.worker" in line}


def test_a_run_streams_progress_and_publishes_its_model(
    training: TrainingServiceStub, store: ObjectStore, run: str
) -> None:
    request = base_request(run, variants=[pb.MODEL_VARIANT_FP16], variant_limit=0.5)
    runs = [response.run for response in training.Train(request)]

    assert runs[0].state in (artifact.WORK_STATE_PENDING, artifact.WORK_STATE_RUNNING)
    assert runs[-1].state == artifact.WORK_STATE_SUCCEEDED
    assert runs[-1].model == artifact.ModelVersion(name=run, version=1)
    assert (runs[-1].iteration, runs[-1].iterations, runs[-1].attempts) == (3, 3, 1)
    assert {"loss", "own_label_accuracy", "fp16_difference"} <= set(runs[-1].metrics)
    assert ModelRepository(store).load(run).version == 1
    assert ModelRepository(store).load(f"{run}-fp16").version == 1
    assert training.GetRun(pb.GetRunRequest(run=run)) == runs[-1]
    again = [response.run for response in training.Train(request)]
    assert again == [runs[-1]]
    with refused(AlreadyExists) as caught:
        last(training.Train(base_request(run)))
    assert caught.reason == "ERROR_REASON_ARTIFACT_EXISTS"
    with refused(WrongState):
        training.CancelRun(pb.CancelRunRequest(run=run))


def test_a_killed_worker_leaves_a_run_that_resumes_and_publishes_once(
    training: TrainingServiceStub, store: ObjectStore, run: str
) -> None:
    request = base_request(run, iterations=150)
    responses = training.Train(request)
    first_step(responses)
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    with refused(Unavailable):
        last(responses)
    lost = training.GetRun(pb.GetRunRequest(run=run))
    saved = checkpoints.from_bytes(store.read(f"runs/{run}/checkpoint.safetensors"))

    runs = [response.run for response in training.Train(request)]

    assert lost.state == artifact.WORK_STATE_PENDING
    assert runs[-1].state == artifact.WORK_STATE_SUCCEEDED
    assert runs[-1].attempts == 2
    steps = {one.iteration for one in runs if one.message == "training"} - {lost.iteration}
    assert min(steps) > saved.scalars["iteration"] > 0
    assert ModelRepository(store).versions(run) == [1]


def test_a_cancelled_run_stops_and_publishes_nothing(
    training: TrainingServiceStub, store: ObjectStore, run: str
) -> None:
    request = base_request(run, iterations=ENDLESS)
    responses = training.Train(request)
    first_step(responses)

    cancelled = training.CancelRun(pb.CancelRunRequest(run=run))

    assert cancelled.state == artifact.WORK_STATE_CANCELLED
    assert last(responses).state == artifact.WORK_STATE_CANCELLED
    assert last(training.Train(request)).state == artifact.WORK_STATE_CANCELLED
    assert ModelRepository(store).versions(run) == []
    with refused(WrongState) as caught:
        training.CancelRun(pb.CancelRunRequest(run=run))
    assert caught.reason == "ERROR_REASON_WORK_FINISHED"


def test_a_caller_that_goes_away_does_not_stop_the_run(
    training: TrainingServiceStub, run: str
) -> None:
    request = base_request(run, iterations=50)
    responses = training.Train(request)
    next(responses)
    responses.cancel()

    ended = last(training.Train(request))

    assert ended.state == artifact.WORK_STATE_SUCCEEDED
    assert ended.attempts == 1


def test_a_worker_does_one_run_after_another_each_as_if_it_were_the_first(
    training: TrainingServiceStub, store: ObjectStore, config: TrainingConfig, run: str
) -> None:
    model = {}
    with (
        serving_in_thread([build(config)], config) as other,
        sync_channel(other.address) as channel,
    ):
        for name, stub in {
            f"{run}-first": TrainingServiceStub(channel),
            f"{run}-a": training,
            f"{run}-b": training,
        }.items():
            version = last(stub.Train(base_request(name))).model
            model[name] = store.read(f"models/{version.name}/{version.version}/model.onnx")
        assert len(workers()) == 2

    assert len(workers()) == 1
    assert len(set(model.values())) == 1


def test_a_worker_that_nobody_needs_ends(config: TrainingConfig, run: str) -> None:
    before = workers()
    impatient = replace(config, idle_seconds=0.1)
    with (
        serving_in_thread([build(impatient)], impatient) as server,
        sync_channel(server.address) as channel,
    ):
        request = base_request(run)
        request.train_base.regions[0].box.CopyFrom(INSIDE)
        assert last(TrainingServiceStub(channel).Train(request)).attempts == 1
        deadline = time.monotonic() + 60
        while workers() - before:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_server_that_stops_takes_its_workers_along_and_another_resumes(
    config: TrainingConfig, store: ObjectStore, run: str
) -> None:
    before = workers()
    request = base_request(run, iterations=150)
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        first_step(TrainingServiceStub(channel).Train(request))
        (worker,) = workers() - before

    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    with (
        serving_in_thread([build(config)], config) as server,
        sync_channel(server.address) as channel,
    ):
        ended = last(TrainingServiceStub(channel).Train(request))
    assert (ended.state, ended.attempts) == (artifact.WORK_STATE_SUCCEEDED, 2)
    assert ModelRepository(store).versions(run) == [1]


def test_a_worker_dies_with_its_parent(store: ObjectStore) -> None:
    RunFolder(store, "orphan").accept(spec_of(base_task(ENDLESS), run="orphan"))
    order = WorkOrder(run="orphan", store_uri=store.root, threads=1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    worker = subprocess.Popen(
        [sys.executable, "-m", "parfocal_training.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(order.to_json() + "\n")
        worker.stdin.flush()
        worker.stdout.readline()

        worker.stdin.close()

        assert worker.wait(30) == EXIT_ORPHANED


def test_two_runs_at_once_take_turns(training: TrainingServiceStub, run: str) -> None:
    first = training.Train(base_request(run, iterations=ENDLESS))
    first_step(first)
    second = training.Train(base_request(f"{run}-2"))

    waiting = next(second).run

    assert waiting.state == artifact.WORK_STATE_PENDING
    training.CancelRun(pb.CancelRunRequest(run=f"{run}-2"))
    assert last(second).attempts == 0
    training.CancelRun(pb.CancelRunRequest(run=run))


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (pb.TrainRequest(model="mito"), InvalidInput, "run"),
        (pb.TrainRequest(run="r"), InvalidInput, "model"),
        (pb.TrainRequest(run="r", model="m"), InvalidInput, "task"),
        (base_request("Not A Name"), InvalidInput, "run"),
        (base_request(limits=pb.TrainingLimits(iterations=-9)), InvalidInput, "limits.iterations"),
        (base_request(variants=[pb.MODEL_VARIANT_UNSPECIFIED]), InvalidInput, "variants"),
        (base_request(variant_limit=-1.0), InvalidInput, "variant_limit"),
        (
            base_request(limits=pb.TrainingLimits(seconds=float("nan"))),
            InvalidInput,
            "limits.seconds",
        ),
        (
            base_request(train_base=pb.TrainBase(regions=[region((9, 9, 99))])),
            InvalidInput,
            "regions.box",
        ),
        (base_request(train_base=pb.TrainBase(regions=[region((0, 1, 1))])), InvalidInput, "box"),
        (
            base_request(
                train_base=pb.TrainBase(architecture=pb.UnetArchitecture(isotropic=[True]))
            ),
            InvalidInput,
            "architecture.isotropic",
        ),
        (
            pb.TrainRequest(run="r", model="m", train_vae=pb.TrainVae(stream=pb.VAE_STREAM_IMAGE)),
            InvalidInput,
            "images",
        ),
        (pb.TrainRequest(run="r", model="m", train_vae=pb.TrainVae()), InvalidInput, "stream"),
        (
            pb.TrainRequest(run="r", model="m", tune_encoder=pb.TuneEncoder(snapshots=["s"])),
            InvalidInput,
            "parent",
        ),
    ],
)
def test_bad_input_is_refused_with_the_field_that_is_wrong(
    training: TrainingServiceStub, request_: pb.TrainRequest, error: type[DomainError], field: str
) -> None:
    with refused(error) as caught:
        last(training.Train(request_))

    assert caught.metadata["field"] == field


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("projects/demo/none", NotFound, "ERROR_REASON_ARTIFACT_NOT_FOUND"),
        ("../outside", PermissionDenied, "ERROR_REASON_URI_OUTSIDE_ROOTS"),
        ("file:///etc", PermissionDenied, "ERROR_REASON_URI_OUTSIDE_ROOTS"),
    ],
)
def test_arrays_that_cannot_be_read_are_refused_and_leave_no_run(
    training: TrainingServiceStub, path: str, error: type[DomainError], reason: str
) -> None:
    request = base_request()
    request.train_base.regions[0].image = path

    with refused(error) as caught:
        last(training.Train(request))

    assert caught.reason == reason
    with refused(NotFound) as missing:
        training.GetRun(pb.GetRunRequest(run="r"))
    assert missing.reason == "ERROR_REASON_RUN_NOT_FOUND"


def test_labels_without_background_fail_the_run_with_the_reason(
    training: TrainingServiceStub, run: str
) -> None:
    request = base_request(run)
    request.train_base.regions[0].box.CopyFrom(INSIDE)

    ended = last(training.Train(request))

    assert ended.state == artifact.WORK_STATE_FAILED
    assert ended.failure.reason == "ERROR_REASON_TOO_FEW_LABELS"
    assert ended.failure.metadata["cause"] == "no background"
    again = last(training.Train(request))
    assert (again.failure, again.attempts) == (ended.failure, ended.attempts + 1)


def test_a_run_that_was_refused_at_its_export_is_only_exported_again(
    training: TrainingServiceStub, store: ObjectStore, run: str
) -> None:
    request = base_request(run)
    # An object where the folder of the model should be.
    store.write(f"models/{run}", b"")
    refused_run = last(training.Train(request))
    learned = checkpoints.from_bytes(store.read(f"runs/{run}/checkpoint.safetensors"))
    store.delete(f"models/{run}")

    runs = [response.run for response in training.Train(request)]

    assert refused_run.state == artifact.WORK_STATE_FAILED
    assert runs[-1].state == artifact.WORK_STATE_SUCCEEDED
    assert (runs[-1].model.version, runs[-1].attempts) == (1, 2)
    assert not [one for one in runs[1:] if one.message == "training"]
    published = checkpoints.from_bytes(store.read(f"runs/{run}/weights.safetensors"))
    for name, values in checkpoints.model_weights(published).items():
        assert values.equal(checkpoints.model_weights(learned)[name])
    assert not store.exists(f"runs/{run}/checkpoint.safetensors")


def test_tuning_without_both_classes_is_refused(
    training: TrainingServiceStub, store: ObjectStore
) -> None:
    path = "projects/demo/snapshots/true.parquet"
    write_snapshot(store, [True, True], path)
    images = pb.TrainVae(
        stream=pb.VAE_STREAM_IMAGE, images=[IMAGE], patch_side=16, latent=2, widths=[4]
    )
    limits = pb.TrainingLimits(iterations=1)
    vae = pb.TrainRequest(run="vae", model="encoder", train_vae=images, limits=limits)
    parent = last(training.Train(vae)).model

    with refused(WrongState) as caught:
        last(
            training.Train(
                pb.TrainRequest(
                    run="tune",
                    model="encoder",
                    tune_encoder=pb.TuneEncoder(parent=parent, snapshots=[path], candidates=[SET]),
                )
            )
        )

    assert caught.reason == "ERROR_REASON_TOO_FEW_LABELS"
    tuned = last(
        training.Train(
            pb.TrainRequest(
                run="tune",
                model="encoder",
                tune_encoder=pb.TuneEncoder(parent=parent, snapshots=[SNAPSHOT], candidates=[SET]),
                limits=limits,
            )
        )
    )
    assert tuned.model.version == 2


def test_the_server_does_not_import_torch() -> None:
    code = "import sys, parfocal_training.__main__; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )

    assert output.stdout.strip() == "False"
