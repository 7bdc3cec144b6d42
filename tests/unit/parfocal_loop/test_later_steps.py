from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.common.v1 import geometry_pb2 as geometry
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import constraints_pb2 as pb
from parfocal.suggestion.v1 import strategy_pb2 as strategies
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_inference.convert import block_task_from_pb, proposal_from_pb
from parfocal_loop.convert import job_from_pb, round_spec_from_pb
from parfocal_runtime.errors import DomainError, InvalidInput
from parfocal_runtime.store import LocalStore, ObjectStore
from parfocal_suggestion.convert_constraints import constraints_from_pb
from parfocal_suggestion.convert_strategy import strategy_from_pb

IMAGE = "projects/p/images/i.ome.zarr/0"
NAN, INF = math.nan, math.inf


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path)


def spec(**changes: Any) -> rounds.RoundSpec:
    return rounds.RoundSpec(
        **{
            "images": [rounds.ImageSource(image=IMAGE)],
            "base_model": artifacts.ModelVersion(name="mito"),
            "strategy": strategies.Strategy(random=strategies.RandomStrategy()),
            "budget": 10,
            **changes,
        }
    )


def refusal(check: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(DomainError) as caught:
        check()
    return caught.value.reason, caught.value.metadata["field"]


QUOTA = pb.ClassQuota(predicted_class=0, maximum=1)
LIMITS = {
    "per-image": pb.Constraints(maximum_per_image=-1),
    "no-column": pb.Constraints(groups=[pb.GroupLimit(maximum=1)]),
    "empty-column": pb.Constraints(groups=[pb.GroupLimit(columns=["a", ""], maximum=1)]),
    "none-of-a-group": pb.Constraints(groups=[pb.GroupLimit(columns=["a"])]),
    "many-groups": pb.Constraints(groups=101 * [pb.GroupLimit(columns=["a"], maximum=1)]),
    "closer-than-0": pb.Constraints(minimum_distance_nm=-1),
    "nan-apart": pb.Constraints(minimum_distance_nm=NAN),
    "infinitely-apart": pb.Constraints(minimum_distance_nm=INF),
    "flat-voxels": pb.Constraints(voxel_size=geometry.VoxelSize(z=1, y=1)),
    "negative-class": pb.Constraints(quotas=[pb.ClassQuota(predicted_class=-1, maximum=1)]),
    "large-class": pb.Constraints(quotas=[pb.ClassQuota(predicted_class=65537, maximum=1)]),
    "no-quota": pb.Constraints(quotas=[pb.ClassQuota(predicted_class=0)]),
    "negative-quota": pb.Constraints(quotas=[pb.ClassQuota(maximum=-1)]),
    "negative-share": pb.Constraints(quotas=[pb.ClassQuota(share=-0.05)]),
    "more-than-all": pb.Constraints(quotas=[pb.ClassQuota(share=1.5)]),
    "nan-share": pb.Constraints(quotas=[pb.ClassQuota(share=NAN)]),
    "class-twice": pb.Constraints(quotas=[QUOTA, QUOTA]),
    "no-mask": pb.Constraints(regions=[pb.RegionMask()]),
    "image-twice": pb.Constraints(regions=2 * [pb.RegionMask(mask="m/0")]),
    "no-time": pb.Constraints(time=pb.TimeBudget(seconds_per_item=1)),
    "infinite-time": pb.Constraints(time=pb.TimeBudget(minutes=INF, seconds_per_item=1)),
    "no-seconds": pb.Constraints(time=pb.TimeBudget(minutes=1)),
    "no-seconds-column": pb.Constraints(time=pb.TimeBudget(minutes=1, seconds_column="")),
    "negative-seconds": pb.Constraints(time=pb.TimeBudget(minutes=1, seconds_per_item=-3)),
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
def test_limits_that_suggestion_refuses_are_refused_before_the_round_begins(
    store: ObjectStore, limits: pb.Constraints
) -> None:
    reason, field = refusal(lambda: constraints_from_pb(limits, store.resolve))

    begun = refusal(lambda: round_spec_from_pb(spec(constraints=limits), "p", store))

    assert begun == (reason, f"round.spec.{field}")


def test_limits_that_suggestion_takes_are_taken(store: ObjectStore) -> None:
    limits = pb.Constraints(
        maximum_per_image=3,
        groups=[pb.GroupLimit(columns=["source", "slice"], maximum=1)],
        minimum_distance_nm=100.5,
        voxel_size=geometry.VoxelSize(z=50, y=4.6, x=4.6),
        quotas=[pb.ClassQuota(maximum=0), pb.ClassQuota(predicted_class=1, share=1)],
        regions=[pb.RegionMask(mask="projects/p/masks/m/0")],
        time=pb.TimeBudget(minutes=30, seconds_column="seconds"),
    )

    assert constraints_from_pb(limits, store.resolve)
    assert round_spec_from_pb(spec(constraints=limits), "p", store).constraints == limits


def test_a_mask_is_of_an_image_of_the_round_unless_the_set_is_given(store: ObjectStore) -> None:
    limits = pb.Constraints(regions=[pb.RegionMask(source=1, mask="m/0")])
    given = spec(constraints=limits, candidates="projects/p/candidates/set")

    reason, field = refusal(lambda: round_spec_from_pb(spec(constraints=limits), "p", store))

    assert (reason, field) == (
        "ERROR_REASON_INVALID_FIELD",
        "round.spec.constraints.regions.source",
    )
    assert round_spec_from_pb(given, "p", store) == given


@pytest.mark.parametrize(
    "strategy",
    [
        strategies.Strategy(k_means=strategies.KMeansStrategy(starts=-1)),
        strategies.Strategy(probcover=strategies.ProbcoverStrategy(radius=NAN)),
        strategies.Strategy(sequence=strategies.SequenceStrategy(factor=INF)),
    ],
)
def test_parameters_below_0_are_refused_before_the_round_begins(
    store: ObjectStore, strategy: strategies.Strategy
) -> None:
    reason, field = refusal(lambda: strategy_from_pb(strategy))

    begun = refusal(lambda: round_spec_from_pb(spec(strategy=strategy), "p", store))

    assert begun == (reason, f"round.spec.{field}")


@pytest.mark.parametrize(
    "proposal",
    [
        rounds.ProposalSpec(threshold=1.0),
        rounds.ProposalSpec(threshold=NAN),
        rounds.ProposalSpec(minimum_voxels=-1),
        rounds.ProposalSpec(patch_side=15),
        rounds.ProposalSpec(patch_side=513),
        rounds.ProposalSpec(patch_side=-64),
    ],
)
def test_proposals_that_inference_refuses_are_refused_before_the_round_begins(
    store: ObjectStore, proposal: rounds.ProposalSpec
) -> None:
    request = inference.ProposeCandidatesRequest(
        candidates="projects/p/candidates/c",
        sources=[inference.CandidateSource(image=IMAGE, prediction="projects/p/predictions/i/0")],
        threshold=proposal.threshold,
        minimum_voxels=proposal.minimum_voxels,
        patch_side=proposal.patch_side,
    )
    reason, field = refusal(lambda: proposal_from_pb(request, store.resolve, most_voxels=1 << 30))

    begun = refusal(lambda: round_spec_from_pb(spec(proposal=proposal), "p", store))

    assert begun == (reason, f"round.spec.proposal.{field}")


@pytest.mark.parametrize(
    "wanted",
    [{"overlap": value} for value in (-0.1, 0.9, NAN)]
    + [{"augmentation": value} for value in (-1, 2, 32)],
)
def test_a_map_that_inference_refuses_is_refused_before_the_round_begins(
    store: ObjectStore, wanted: dict[str, Any]
) -> None:
    request = inference.SegmentBlockRequest(
        image=IMAGE,
        prediction="projects/p/predictions/i/0",
        box=geometry.Box(stop=geometry.Index3(z=1, y=1, x=1)),
        model=artifacts.ModelVersion(name="mito"),
        **wanted,
    )
    reason, field = refusal(lambda: block_task_from_pb(request, store.resolve, most_voxels=8))
    proposal = rounds.ProposalSpec(**wanted)

    begun = refusal(lambda: round_spec_from_pb(spec(proposal=proposal), "p", store))

    assert begun == (reason, f"round.spec.proposal.{field}")


def region(**changes: Any) -> training.LabelledRegion:
    box = geometry.Box(stop=geometry.Index3(z=1, y=1, x=1))
    return training.LabelledRegion(**{"image": IMAGE, "truth": IMAGE, "box": box, **changes})


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (rounds.RoundTraining(model="mito/2"), "model"),
        (rounds.RoundTraining(encoder_model="Vae"), "encoder_model"),
        (
            rounds.RoundTraining(limits=training.TrainingLimits(iterations=-1)),
            "limits.iterations",
        ),
        (rounds.RoundTraining(limits=training.TrainingLimits(seconds=NAN)), "limits.seconds"),
        (rounds.RoundTraining(limits=training.TrainingLimits(seconds=INF)), "limits.seconds"),
        (rounds.RoundTraining(replay=[region(truth="")]), "replay[0].truth"),
        (rounds.RoundTraining(replay=[region(), region(box=None)]), "replay[1].box"),
    ],
)
def test_training_that_cannot_work_is_refused_before_people_have_labelled(
    store: ObjectStore, wanted: rounds.RoundTraining, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        round_spec_from_pb(spec(training=wanted), "p", store)

    assert caught.value.metadata["field"] == f"round.spec.training.{field}"


def test_a_version_is_not_negative(store: ObjectStore) -> None:
    before = artifacts.ModelVersion(name="mito", version=-1)
    job = jobs.Job(segment=jobs.SegmentJob(image="i/0", prediction="p/0", model=before))
    encoders = [rounds.EncoderChoice(stream="mask", encoder=before)]

    fields = [
        refusal(lambda: round_spec_from_pb(spec(base_model=before), "p", store))[1],
        refusal(lambda: round_spec_from_pb(spec(encoders=encoders), "p", store))[1],
        refusal(lambda: job_from_pb(job, store))[1],
    ]

    assert fields == [
        "round.spec.base_model.version",
        "round.spec.encoders.encoder.version",
        "job.segment.model.version",
    ]
