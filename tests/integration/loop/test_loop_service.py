from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from loop_lab import apart, write_candidate_set
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.common.v1 import geometry_pb2 as geometry
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import loop_service_pb2 as service
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.loop.v1.loop_service_pb2_grpc import LoopServiceStub
from parfocal.suggestion.v1 import selection_pb2 as selections
from parfocal.suggestion.v1 import strategy_pb2 as strategies
from parfocal_loop.app import build
from parfocal_loop.config import LoopConfig
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import domain_error, sync_channel
from parfocal_runtime.errors import (
    AlreadyExists,
    DomainError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    WrongState,
)
from parfocal_runtime.server import serving_in_thread
from parfocal_runtime.store import ObjectStore, open_store


@dataclass
class Deployment:
    """A loop service whose peers do not answer, so that nothing ever gets further."""

    curator: LoopServiceStub
    viewer: LoopServiceStub
    nobody: LoopServiceStub
    store: ObjectStore


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("loop")
    tokens = folder / "tokens"
    by_role = {role: write_token(tokens, name=role.name, role=role) for role in Role}
    store = open_store((folder / "store").as_uri())
    store.write("models/mito/1/rdf.yaml", b"")
    config = LoopConfig(
        port=0,
        store_uri=store.root,
        tokens_file=str(tokens),
        database=f"sqlite:///{folder / 'loop.sqlite'}",
        labels="127.0.0.1:1",
        inference="127.0.0.1:1",
        embedding="127.0.0.1:1",
        suggestion="127.0.0.1:1",
        training="127.0.0.1:1",
        poll_seconds=0.1,
        grace_seconds=1,
    )
    with serving_in_thread([build(config)], config) as server:
        channels = [
            sync_channel(server.address, token=token)
            for token in (by_role[Role.CURATOR], by_role[Role.VIEWER], "")
        ]
        curator, viewer, nobody = (LoopServiceStub(channel) for channel in channels)
        yield Deployment(curator, viewer, nobody, store)
        for channel in channels:
            channel.close()


def spec(**changes: object) -> rounds.RoundSpec:
    wanted = rounds.RoundSpec(
        images=[rounds.ImageSource(image="projects/p/images/i.ome.zarr/0")],
        base_model=artifacts.ModelVersion(name="mito", version=1),
        strategy=strategies.Strategy(random=strategies.RandomStrategy()),
        budget=10,
    )
    for name, value in changes.items():
        wanted.ClearField(name)  # type: ignore[arg-type]
        wanted.MergeFrom(rounds.RoundSpec(**{name: value}))  # type: ignore[arg-type]
    return wanted


def create(
    stub: LoopServiceStub, wanted: rounds.RoundSpec, name: str = "r", parent: str = "projects/p"
) -> rounds.Round:
    request = service.CreateRoundRequest(
        parent=parent, round_id=name, round=rounds.Round(spec=wanted)
    )
    return stub.CreateRound(request, timeout=10)


def refusal(call: grpc.RpcError) -> DomainError:
    return domain_error(call)


def test_a_created_round_can_be_had_again(loop: Deployment) -> None:
    created = create(loop.curator, spec(), "again")

    assert created.name == "projects/p/rounds/again"
    assert create(loop.curator, spec(), "again").create_time == created.create_time
    got = loop.viewer.GetRound(service.GetRoundRequest(name=created.name))
    assert got.spec == spec()


def test_another_round_under_the_same_name_is_refused(loop: Deployment) -> None:
    create(loop.curator, spec(), "taken")

    with pytest.raises(grpc.RpcError) as caught:
        create(loop.curator, spec(budget=11), "taken")

    error = refusal(caught.value)
    assert isinstance(error, AlreadyExists)
    assert error.reason == "ERROR_REASON_ARTIFACT_EXISTS"


def shares_of(strategy: strategies.Strategy) -> strategies.Strategy:
    parts = [strategies.WeightedStrategy(strategy=strategy)]
    return strategies.Strategy(shares=strategies.SharesStrategy(parts=parts))


@pytest.mark.parametrize(
    ("wanted", "reason", "field"),
    [
        (spec(budget=0), "ERROR_REASON_INVALID_BUDGET", "round.spec.budget"),
        (spec(budget=10_001), "ERROR_REASON_INVALID_BUDGET", "round.spec.budget"),
        (spec(budget=-3), "ERROR_REASON_INVALID_BUDGET", "round.spec.budget"),
        (spec(images=[]), "ERROR_REASON_MISSING_FIELD", "round.spec.images"),
        (
            spec(strategy=strategies.Strategy()),
            "ERROR_REASON_UNKNOWN_STRATEGY",
            "round.spec.strategy",
        ),
        (
            spec(strategy=strategies.Strategy(two_stream=strategies.TwoStreamStrategy())),
            "ERROR_REASON_MISSING_FIELD",
            "round.spec.encoders",
        ),
        (
            spec(strategy=strategies.Strategy(acft=strategies.AcftStrategy())),
            "ERROR_REASON_INVALID_FIELD",
            "round.spec.strategy",
        ),
        (
            spec(
                strategy=strategies.Strategy(
                    foreground_random=strategies.ForegroundRandomStrategy()
                )
            ),
            "ERROR_REASON_MISSING_FIELD",
            "round.spec.strategy.foreground_random.measure",
        ),
        (
            spec(strategy=shares_of(strategies.Strategy(bald=strategies.BaldStrategy()))),
            "ERROR_REASON_INVALID_FIELD",
            "round.spec.strategy",
        ),
        (
            spec(strategy=shares_of(strategies.Strategy(core_set=strategies.CoreSetStrategy()))),
            "ERROR_REASON_MISSING_FIELD",
            "round.spec.encoders",
        ),
        (spec(random_share=1.5), "ERROR_REASON_INVALID_FIELD", "round.spec.random_share"),
        (spec(random_share=float("nan")), "ERROR_REASON_INVALID_FIELD", "round.spec.random_share"),
        (spec(confidence_level=1.0), "ERROR_REASON_INVALID_FIELD", "round.spec.confidence_level"),
        (
            spec(stopping=rounds.StoppingRule(minimum_gain=-0.1)),
            "ERROR_REASON_INVALID_FIELD",
            "round.spec.stopping.minimum_gain",
        ),
        (
            spec(stopping=rounds.StoppingRule(patience=101)),
            "ERROR_REASON_INVALID_FIELD",
            "round.spec.stopping.patience",
        ),
        (
            spec(random_weights=selections.RandomWeights(strength=0.5)),
            "ERROR_REASON_INVALID_NAME",
            "round.spec.random_weights.measure",
        ),
        (
            spec(random_weights=selections.RandomWeights(measure="area", strength=0.95)),
            "ERROR_REASON_INVALID_FIELD",
            "round.spec.random_weights.strength",
        ),
        (
            spec(base_model=artifacts.ModelVersion(name="../mito")),
            "ERROR_REASON_INVALID_NAME",
            "round.spec.base_model.name",
        ),
        (
            spec(
                images=[
                    rounds.ImageSource(
                        image="i/0",
                        region=geometry.Box(start=geometry.Index3(), stop=geometry.Index3()),
                    )
                ]
            ),
            "ERROR_REASON_INVALID_BOX",
            "box",
        ),
        (spec(candidates="elsewhere/set"), "ERROR_REASON_INVALID_FIELD", "candidates"),
    ],
)
def test_a_round_that_cannot_work_is_refused(
    loop: Deployment, wanted: rounds.RoundSpec, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(loop.curator, wanted, "bad")

    error = refusal(caught.value)
    assert isinstance(error, InvalidInput)
    assert (error.reason, error.metadata["field"]) == (reason, field)


@pytest.mark.parametrize("image", ["../secret/0", "/etc/passwd", "file:///etc/passwd", "s3://x/y"])
def test_an_image_outside_the_store_is_refused(loop: Deployment, image: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(loop.curator, spec(images=[rounds.ImageSource(image=image)]), "outside")

    error = refusal(caught.value)
    assert isinstance(error, PermissionDenied)
    assert error.reason == "ERROR_REASON_URI_OUTSIDE_ROOTS"


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "x" * 64])
def test_a_name_that_is_none_is_refused(loop: Deployment, name: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(loop.curator, spec(), name)

    assert refusal(caught.value).reason == "ERROR_REASON_INVALID_NAME"


def test_a_viewer_creates_nothing(loop: Deployment) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(loop.viewer, spec(), "viewer")

    assert isinstance(refusal(caught.value), PermissionDenied)


def test_nobody_reads_without_a_token(loop: Deployment) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        loop.nobody.GetRound(service.GetRoundRequest(name="projects/p/rounds/r"))

    assert isinstance(refusal(caught.value), Unauthenticated)


def test_what_does_not_exist_is_not_found(loop: Deployment) -> None:
    for call in (
        lambda: loop.viewer.GetRound(service.GetRoundRequest(name="projects/p/rounds/none")),
        lambda: loop.curator.CancelJob(service.CancelJobRequest(name="projects/p/jobs/none")),
        lambda: next(loop.viewer.WatchJob(service.WatchJobRequest(name="projects/p/jobs/none"))),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert isinstance(refusal(caught.value), NotFound)


def test_a_job_without_a_task_is_refused(loop: Deployment) -> None:
    request = service.CreateJobRequest(parent="projects/p", job_id="j", job=jobs.Job())

    with pytest.raises(grpc.RpcError) as caught:
        loop.curator.CreateJob(request)

    assert refusal(caught.value).reason == "ERROR_REASON_MISSING_FIELD"


def waiting_job(loop: Deployment, name: str) -> str:
    """Create a job that waits for a service that does not answer; return its name."""
    wanted = jobs.Job(
        propose=inference.ProposeCandidatesRequest(candidates="projects/p/candidates/c")
    )
    request = service.CreateJobRequest(parent="projects/p", job_id=name, job=wanted)
    return loop.curator.CreateJob(request).name


def test_a_job_that_was_stopped_can_be_begun_again(loop: Deployment) -> None:
    name = waiting_job(loop, "stopped")
    loop.curator.CancelJob(service.CancelJobRequest(name=name))
    for response in loop.viewer.WatchJob(service.WatchJobRequest(name=name), timeout=20):
        stopped = response.job.status.state
    retried = loop.curator.RetryJob(service.RetryJobRequest(name=name))
    for response in loop.viewer.WatchJob(service.WatchJobRequest(name=name), timeout=20):
        if response.job.status.state == artifacts.WORK_STATE_RUNNING:
            break
    loop.curator.CancelJob(service.CancelJobRequest(name=name))

    assert stopped == artifacts.WORK_STATE_CANCELLED
    assert retried.status.state == artifacts.WORK_STATE_PENDING
    assert response.job.status.attempts == retried.status.attempts + 1


def test_a_job_under_way_has_nothing_to_retry(loop: Deployment) -> None:
    name = waiting_job(loop, "under-way")

    with pytest.raises(grpc.RpcError) as caught:
        loop.curator.RetryJob(service.RetryJobRequest(name=name))
    loop.curator.CancelJob(service.CancelJobRequest(name=name))

    error = refusal(caught.value)
    assert isinstance(error, WrongState)
    assert error.reason == "ERROR_REASON_NOTHING_TO_RETRY"


def test_more_blocks_cannot_be_tolerated_than_are_ever_set_aside(loop: Deployment) -> None:
    wanted = jobs.Job(
        segment=jobs.SegmentJob(
            image="projects/p/images/i/0",
            prediction="projects/p/predictions/i/0",
            model=artifacts.ModelVersion(name="m"),
            tolerated_blocks=1001,
        )
    )
    request = service.CreateJobRequest(parent="projects/p", job_id="tolerant", job=wanted)

    with pytest.raises(grpc.RpcError) as caught:
        loop.curator.CreateJob(request)

    assert refusal(caught.value).metadata["field"] == "job.segment.tolerated_blocks"


def test_lists_are_paged_and_guard_their_tokens(loop: Deployment) -> None:
    for number in range(3):
        create(loop.curator, spec(), f"page-{number}", parent="projects/paged")
    seen = []
    request = service.ListRoundsRequest(parent="projects/paged", page_size=2)
    while True:
        page = loop.viewer.ListRounds(request)
        seen += [one.name for one in page.rounds]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == [f"projects/paged/rounds/page-{number}" for number in (2, 1, 0)]
    stolen = service.ListRoundsRequest(parent="projects/p", page_token=request.page_token)
    with pytest.raises(grpc.RpcError) as caught:
        loop.viewer.ListRounds(stolen)
    assert refusal(caught.value).reason == "ERROR_REASON_INVALID_PAGE_TOKEN"


def test_a_round_waits_for_services_that_do_not_answer(loop: Deployment) -> None:
    wanted = spec(candidates="projects/p/candidates/none")
    created = create(loop.curator, wanted, "waiting")

    for response in loop.viewer.WatchRound(
        service.WatchRoundRequest(name=created.name), timeout=20
    ):
        if response.round.status.state == artifacts.WORK_STATE_FAILED:
            break

    # The set is missing from the store, and waiting would not bring it.
    assert response.round.status.failure.reason == "ERROR_REASON_ARTIFACT_NOT_FOUND"


def watched(
    loop: Deployment, name: str, until: Callable[[rounds.RoundStatus], bool]
) -> rounds.RoundStatus:
    """Watch a round until its status is like that, or it is over."""
    for response in loop.viewer.WatchRound(service.WatchRoundRequest(name=name), timeout=20):
        if until(response.round.status):
            break
    return response.round.status


def test_a_round_that_failed_goes_on_where_it_failed(loop: Deployment) -> None:
    wanted = spec(candidates="projects/p/candidates/late")
    name = create(loop.curator, wanted, "failed").name
    failed = watched(loop, name, lambda status: status.HasField("failure"))
    write_candidate_set(loop.store, "late", apart(3))

    retried = loop.curator.RetryRound(service.RetryRoundRequest(name=name)).status
    suggesting = rounds.ROUND_STAGE_SUGGEST
    went_on = watched(loop, name, lambda status: status.stage == suggesting)
    loop.curator.CancelRound(service.CancelRoundRequest(name=name))

    assert failed.state == artifacts.WORK_STATE_FAILED
    assert failed.stage == rounds.ROUND_STAGE_PROPOSE
    assert retried.state == artifacts.WORK_STATE_PENDING
    assert not retried.HasField("failure")
    assert went_on.stage == suggesting
    attempts = {step.stage: step.attempts for step in went_on.steps}
    assert attempts[rounds.ROUND_STAGE_SEGMENT] == 1
    assert attempts[rounds.ROUND_STAGE_PROPOSE] == 2


def test_a_round_under_way_has_nothing_to_retry(loop: Deployment) -> None:
    write_candidate_set(loop.store, "there", apart(3))
    wanted = spec(candidates="projects/p/candidates/there")
    name = create(loop.curator, wanted, "under-way").name

    with pytest.raises(grpc.RpcError) as caught:
        loop.curator.RetryRound(service.RetryRoundRequest(name=name))
    loop.curator.CancelRound(service.CancelRoundRequest(name=name))

    error = refusal(caught.value)
    assert isinstance(error, WrongState)
    assert error.reason == "ERROR_REASON_NOTHING_TO_RETRY"
    assert error.metadata == {"name": name}


def test_the_readme_lists_every_setting() -> None:
    from parfocal_loop.config import PREFIX
    from parfocal_runtime.config import ServerConfig, variable_names

    own = set(variable_names(LoopConfig, PREFIX)) - set(variable_names(ServerConfig, PREFIX))
    readme = (Path(__file__).parents[3] / "services/loop/README.md").read_text()

    assert {name for name in own if f"`{name}`" not in readme} == set()
