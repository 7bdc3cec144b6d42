"""The whole story, in order, through the public interface of a running deployment.

Everything that is made has a name that follows from the parameters, and the loop keeps what it
made, so a campaign that was killed goes on where it was when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parfocal import InvalidRequestError
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.embedding.v1.embedding_service_pb2 import PATCH_STREAM_IMAGE, PATCH_STREAM_MASK
from parfocal.loop.v1.job_pb2 import Job
from parfocal_demo.arms import ArmResult, Start, run_arm
from parfocal_demo.artifacts import PROJECT, Artifacts
from parfocal_demo.crops import CropBox, choose_crops
from parfocal_demo.following import Follower
from parfocal_demo.importing import import_volume, input_facts, worked_on_level
from parfocal_demo.oracle import Oracle
from parfocal_demo.propagation import compare_propagation
from parfocal_demo.report.findings import InputFacts, Propagation
from parfocal_demo.scoring import score_model
from parfocal_demo.settings import Settings
from parfocal_demo.specs import Specs, model_name
from parfocal_demo.together import side_by_side
from parfocal_runtime.layout import embedding_array
from parfocal_runtime.store import ObjectStore

if TYPE_CHECKING:
    from parfocal import Client

_FIRST = "first"
_STREAMS = {"mask": PATCH_STREAM_MASK, "image": PATCH_STREAM_IMAGE}


@dataclass(frozen=True)
class Campaign:
    """A campaign that was run to its end.

    Attributes:
        specs: Its parameters, image and parts.
        facts: What the image is.
        start: Where both arms began.
        propagation: The comparison on the first candidate set.
        arms: The arms, two-stream first.
    """

    specs: Specs
    facts: InputFacts
    start: Start
    propagation: Propagation
    arms: tuple[ArmResult, ...]


def run_campaign(
    settings: Settings,
    *,
    client: Client,
    annotator: Client,
    store: ObjectStore,
    folder: Path,
    follower: Follower,
) -> Campaign:
    """Run a campaign, or what is left of it.

    Args:
        settings: Its parameters.
        client: A connection as a curator.
        annotator: A connection as an annotator, for the oracle.
        store: The object store of the deployment.
        folder: Where a generated volume is kept.
        follower: Runs the work and shows how far it is.
    """
    import_volume(settings, store, folder, follower)
    client.projects.create(PROJECT)
    specs, facts = _prepare(settings, store)
    start, features = _begin(specs, follower)
    if not len(start.candidates):
        raise InvalidRequestError(
            "the base model proposes nothing in the training part; give it more crops or steps"
        )
    with follower.local("Compare label propagation") as show:
        propagation = compare_propagation(
            client,
            start.candidates,
            features=features,
            budget=settings.budget,
            seeds=range(settings.propagation_seeds),
            report=show,
        )
    oracle = Oracle(
        annotator,
        PROJECT,
        _truth_by_name(specs.artifacts),
        error_rate=settings.error_rate,
        seed=settings.seed,
    )

    def arm(name: str) -> ArmResult:
        return run_arm(
            name,
            client=client,
            specs=specs,
            follower=follower,
            start=start,
            answer=lambda round_name: oracle.answer_round(round_name, lambda done, of: None),
        )

    arms = side_by_side(lambda: arm("two-stream"), lambda: arm("random"))
    return Campaign(specs, facts, start, propagation, arms)


def _prepare(settings: Settings, store: ObjectStore) -> tuple[Specs, InputFacts]:
    artifacts = Artifacts(
        store, level=worked_on_level(settings, store), views=settings.augmentation
    )
    depth, height, width = artifacts.image.shape
    train_stop, test_start = (round(share * width) for share in settings.split)
    try:
        crops = choose_crops(
            artifacts.truth, count=settings.crops, shape=settings.crop_shape, columns=train_stop
        )
    except ValueError as error:
        raise InvalidRequestError(f"split: {error}") from error
    facts = input_facts(settings, store, foreground_share=float(artifacts.truth.mean()))
    specs = Specs(
        settings,
        artifacts,
        crops,
        train=CropBox((0, 0, 0), (depth, height, train_stop)),
        test=CropBox((0, 0, test_start), (depth, height, width)),
        voxel_size_nm=facts.voxel_size_nm,
    )
    return specs, facts


def _begin(specs: Specs, follower: Follower) -> tuple[Start, dict[str, str]]:
    """Train what both arms begin with, and return it with the embeddings by stream.

    The encoder of images needs neither labels nor proposals: it is trained beside the base model.
    """
    folder = f"projects/{PROJECT}/candidates/{_FIRST}"
    (base, mask_encoder), image_encoder = side_by_side(
        lambda: _base_and_mask_encoder(specs, follower, folder),
        lambda: _encoder("image", specs.train_image_encoder(), follower),
    )
    encoders = {"mask": mask_encoder, "image": image_encoder}
    features = {}
    for stream, encoder in encoders.items():
        path = embedding_array(PROJECT, _FIRST, encoder.name, encoder.version)
        follower.job(
            f"embed-{stream}",
            specs.embed(folder, path, _STREAMS[stream], encoder),
            stage="Embed",
            title=f"Embed the {stream}s",
        )
        features[stream] = path
    scored = score_model(specs, follower, model_name(base), title="base model")
    return Start(base, encoders, specs.artifacts.candidates(folder), scored), features


def _base_and_mask_encoder(
    specs: Specs, follower: Follower, folder: str
) -> tuple[ModelVersion, ModelVersion]:
    """Train the base model, propose into `folder`, and train the encoder of masks on that."""
    base = follower.job(
        "train-base",
        specs.train_base(),
        stage="Train the base model",
        title="Train the base model",
    ).model
    follower.job(
        "segment-train-base",
        specs.segment(model_name(base), specs.train),
        stage="Segment",
        title="Segment the training part",
    )
    follower.job(
        "propose-first",
        specs.propose(folder, model_name(base), specs.train, exclude=specs.columns),
        stage="Propose candidates",
        title="Propose candidates",
    )
    return base, _encoder("mask", specs.train_mask_encoder(folder), follower)


def _encoder(stream: str, job: Job, follower: Follower) -> ModelVersion:
    return follower.job(
        f"train-{stream}-encoder",
        job,
        stage="Train the encoders",
        title=f"Train the {stream} encoder",
    ).model


def _truth_by_name(artifacts: Artifacts) -> Callable[[str], NDArray[np.bool_]]:
    @cache
    def verdicts(name: str) -> NDArray[np.bool_]:
        return artifacts.candidates(f"projects/{PROJECT}/candidates/{name}").correct

    return verdicts
