"""What the campaign asks the loop for, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.common.v1.geometry_pb2 import Box, Index3, VoxelSize
from parfocal.embedding.v1.embedding_service_pb2 import EmbedCandidatesRequest, PatchStream
from parfocal.inference.v1.inference_service_pb2 import CandidateSource, ProposeCandidatesRequest
from parfocal.loop.v1.job_pb2 import Job, SegmentJob
from parfocal.loop.v1.round_pb2 import (
    EncoderChoice,
    ImageSource,
    ProposalSpec,
    RoundSpec,
    RoundTraining,
)
from parfocal.suggestion.v1.strategy_pb2 import RandomStrategy, Strategy, TwoStreamStrategy
from parfocal.training.v1.training_service_pb2 import (
    VAE_STREAM_IMAGE,
    VAE_STREAM_MASK,
    LabelledRegion,
    TrainBase,
    TrainingLimits,
    TrainRequest,
    TrainVae,
)
from parfocal_demo.artifacts import Artifacts
from parfocal_demo.crops import CropBox
from parfocal_demo.settings import Settings

STRATEGIES = {
    "two-stream": Strategy(two_stream=TwoStreamStrategy()),
    "random": Strategy(random=RandomStrategy()),
}


@dataclass(frozen=True)
class Specs:
    """Makes the messages of one campaign.

    Attributes:
        settings: Its parameters.
        artifacts: Its image.
        crops: The labelled crops.
        train: Box of the training part.
        test: Box of the test part.
        voxel_size_nm: Size of a voxel that is worked on; None where it is not known.
    """

    settings: Settings
    artifacts: Artifacts
    crops: Sequence[CropBox]
    train: CropBox
    test: CropBox
    voxel_size_nm: tuple[float, float, float] | None

    @property
    def columns(self) -> list[CropBox]:
        """The rows and columns of the crops, through all sections."""
        return [crop.column_of(self.train.stop[0]) for crop in self.crops]

    def train_base(self) -> Job:
        """Train the base model from the crops."""
        size = self.voxel_size_nm
        task = TrainBase(
            regions=self._regions(),
            voxel_size=None if size is None else VoxelSize(z=size[0], y=size[1], x=size[2]),
        )
        return self._training("base", self.settings.base_iterations, TrainRequest(train_base=task))

    def train_mask_encoder(self, candidates: str) -> Job:
        """Train the encoder of masks on a candidate set."""
        task = TrainVae(stream=VAE_STREAM_MASK, candidates=[candidates])
        iterations = self.settings.encoder_iterations
        return self._training("mask-encoder", iterations, TrainRequest(train_vae=task))

    def train_image_encoder(self) -> Job:
        """Train the encoder of pictures on the whole image; it needs no labels."""
        task = TrainVae(stream=VAE_STREAM_IMAGE, images=[self.artifacts.image_path])
        iterations = self.settings.encoder_iterations
        return self._training("image-encoder", iterations, TrainRequest(train_vae=task))

    def segment(self, model: str, part: CropBox) -> Job:
        """Predict a part of the image."""
        job = SegmentJob(
            image=self.artifacts.image_path,
            prediction=self.artifacts.prediction_path(model),
            model=model_version(model),
            region=box_to_pb(part),
            augmentation=self.settings.augmentation,
        )
        return Job(segment=job)

    def propose(
        self, folder: str, model: str, part: CropBox, *, exclude: Sequence[CropBox] = ()
    ) -> Job:
        """Propose candidates in a part of the image, none with its centroid in `exclude`."""
        source = CandidateSource(
            image=self.artifacts.image_path,
            prediction=self.artifacts.prediction_path(model),
            region=box_to_pb(part),
            exclude=[box_to_pb(box) for box in exclude],
        )
        request = ProposeCandidatesRequest(
            candidates=folder,
            sources=[source],
            threshold=self.settings.threshold,
            minimum_voxels=self.settings.minimum_pixels,
        )
        return Job(propose=request)

    def embed(
        self, folder: str, target: str, stream: PatchStream.ValueType, encoder: ModelVersion
    ) -> Job:
        """Embed one stream of a candidate set."""
        request = EmbedCandidatesRequest(
            candidates=folder, embeddings=target, stream=stream, encoder=encoder
        )
        return Job(embed=request)

    def round(
        self,
        arm: str,
        number: int,
        *,
        base: ModelVersion,
        encoders: dict[str, ModelVersion],
        first_candidates: str,
        history: Sequence[str],
    ) -> RoundSpec:
        """One round of an arm; the first one takes the candidate set that both arms share."""
        source = ImageSource(
            image=self.artifacts.image_path,
            exclude=[box_to_pb(column) for column in self.columns],
            region=box_to_pb(self.train),
        )
        return RoundSpec(
            images=[source],
            base_model=base,
            encoders=[EncoderChoice(stream=name, encoder=one) for name, one in encoders.items()],
            proposal=ProposalSpec(
                threshold=self.settings.threshold,
                minimum_voxels=self.settings.minimum_pixels,
                augmentation=self.settings.augmentation,
            ),
            candidates=first_candidates if number == 1 else "",
            strategy=STRATEGIES[arm],
            budget=self.settings.budget,
            random_share=random_share(arm, self.settings),
            seed=self.settings.seed,
            history=history,
            training=RoundTraining(
                model=f"base-{arm}",
                replay=self._regions(),
                limits=TrainingLimits(iterations=self.settings.fine_tune_iterations),
            ),
        )

    def _regions(self) -> list[LabelledRegion]:
        return [
            LabelledRegion(
                image=self.artifacts.image_path,
                truth=self.artifacts.truth_path,
                box=box_to_pb(crop),
            )
            for crop in self.crops
        ]

    def _training(self, name: str, iterations: int, request: TrainRequest) -> Job:
        request.run = name
        request.model = name
        request.seed = self.settings.seed
        request.limits.iterations = iterations
        return Job(train=request)


def random_share(arm: str, settings: Settings) -> float:
    """Return the share of an arm's queue that is drawn at random: all of it in `random`."""
    return 1.0 if arm == "random" else settings.random_share


def box_to_pb(box: CropBox) -> Box:
    """Return the message of a box."""
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    return Box(start=Index3(z=z0, y=y0, x=x0), stop=Index3(z=z1, y=y1, x=x1))


def model_version(model: str) -> ModelVersion:
    """Return the message of `name/version`."""
    name, _, version = model.partition("/")
    return ModelVersion(name=name, version=int(version))


def model_name(model: ModelVersion) -> str:
    """Return `name/version`."""
    return f"{model.name}/{model.version}"
