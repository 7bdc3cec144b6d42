"""What arrives from outside, checked, and what goes back."""

from __future__ import annotations

import base64
import binascii
import json
import math

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import loop_service_pb2 as service
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.actions import candidate_set_name
from parfocal_loop.block_runs import MOST_SET_ASIDE
from parfocal_loop.later_steps import (
    check_constraints,
    check_model,
    check_proposal,
    check_training,
)
from parfocal_loop.messages import box_from_pb, time_to_pb
from parfocal_loop.refusals import invalid, missing
from parfocal_loop.strategies import with_inner
from parfocal_loop.works import Work, WorkKey
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.layout import checked_name
from parfocal_runtime.store import ObjectStore

_DEFAULT_PAGE, _LARGEST_PAGE = 50, 1000
# A selection answers with no more picks than this, and the queue is filled from that answer.
_LARGEST_BUDGET = 10_000
# A base model predicts each candidate once, so a round has no several views to compare.
_NEEDS_PREDICTIONS = {"acft", "bald", "power_bald"}
_LONGEST_PATIENCE = 100
# What the suggestion service accepts.
_LARGEST_STRENGTH = 0.9


def project_from_parent(parent: str) -> str:
    """Return the project of `projects/{project}`."""
    collection, _, project = parent.partition("/")
    if collection != "projects":
        raise invalid("parent", parent, "must be projects/{project}")
    return checked_name(project, field="parent")


def key_from_name(name: str, kind: str) -> WorkKey:
    """Return the key of `projects/{project}/rounds/{round}`, or of a job."""
    parts = name.split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("projects", f"{kind}s"):
        raise invalid("name", name, f"must be projects/{{project}}/{kind}s/{{{kind}}}")
    return WorkKey(checked_name(parts[1], field="name"), kind, checked_name(parts[3], field="name"))


def round_key(request: service.CreateRoundRequest) -> WorkKey:
    """Return the key that a new round gets."""
    project = project_from_parent(request.parent)
    return WorkKey(project, "round", checked_name(request.round_id, field="round_id"))


def job_key(request: service.CreateJobRequest) -> WorkKey:
    """Return the key that a new job gets."""
    project = project_from_parent(request.parent)
    return WorkKey(project, "job", checked_name(request.job_id, field="job_id"))


def round_spec_from_pb(
    spec: rounds.RoundSpec, project: str, store: ObjectStore
) -> rounds.RoundSpec:
    """Return the spec of a round if it can work.

    Raises:
        InvalidInput: If it cannot, with the field.
        PermissionDenied: If a path leads outside the store.
    """
    if not spec.images and not spec.candidates:
        raise missing("round.spec.images")
    for index, source in enumerate(spec.images):
        _check_source(source, f"round.spec.images[{index}]", store)
    if spec.candidates:
        candidate_set_name(project, store.resolve(spec.candidates))
    check_model("round.spec.base_model", spec.base_model)
    if not 1 <= spec.budget <= _LARGEST_BUDGET:
        raise InvalidInput(
            "ERROR_REASON_INVALID_BUDGET",
            f"the budget must be 1 to {_LARGEST_BUDGET}, got {spec.budget}",
            field="round.spec.budget",
            budget=spec.budget,
        )
    _check_share("round.spec.random_share", spec.random_share)
    level = spec.confidence_level
    if not (level == 0 or 0 < level < 1):
        raise invalid("round.spec.confidence_level", level, "must be above 0 and below 1")
    for name in spec.history:
        checked_name(name, field="round.spec.history")
    if len(set(spec.history)) != len(spec.history):
        raise invalid("round.spec.history", ",".join(spec.history), "must name each round once")
    _check_share("round.spec.stopping.minimum_gain", spec.stopping.minimum_gain)
    if not 0 <= spec.stopping.patience <= _LONGEST_PATIENCE:
        raise invalid(
            "round.spec.stopping.patience",
            spec.stopping.patience,
            f"must be 1 to {_LONGEST_PATIENCE}",
        )
    if spec.HasField("random_weights"):
        checked_name(spec.random_weights.measure, field="round.spec.random_weights.measure")
        if not 0 <= spec.random_weights.strength <= _LARGEST_STRENGTH:
            raise invalid(
                "round.spec.random_weights.strength",
                spec.random_weights.strength,
                f"must be above 0 and at most {_LARGEST_STRENGTH}",
            )
    _check_strategy(spec)
    check_proposal(spec.proposal)
    check_constraints(spec, store)
    check_training(spec.training, store)
    return spec


def _check_source(source: rounds.ImageSource, field: str, store: ObjectStore) -> None:
    if not source.image:
        raise missing(f"{field}.image")
    store.resolve(source.image)
    for box in source.exclude:
        box_from_pb(box)
    if source.HasField("region"):
        box_from_pb(source.region)


def _check_strategy(spec: rounds.RoundSpec) -> None:
    strategy = spec.strategy.WhichOneof("strategy")
    if strategy is None:
        known = [field.name for field in spec.strategy.DESCRIPTOR.fields]
        raise InvalidInput(
            "ERROR_REASON_UNKNOWN_STRATEGY",
            f"a strategy must be given, one of {', '.join(known)}",
            field="round.spec.strategy",
            known=",".join(known),
        )
    chosen_by = with_inner(spec.strategy)
    for kind, parameters in chosen_by:
        if kind in _NEEDS_PREDICTIONS:
            fault = "needs predictions of several views of each candidate, which no round makes"
            raise invalid("round.spec.strategy", kind, fault)
        if "measure" in parameters.DESCRIPTOR.fields_by_name and not parameters.measure:
            raise missing(f"round.spec.strategy.{kind}.measure")
        for field, value in parameters.ListFields():
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise invalid(
                    f"round.spec.strategy.{kind}.{field.name}", value, "must be 0 or more"
                )
    streams = [choice.stream for choice in spec.encoders]
    for choice in spec.encoders:
        if choice.stream not in ("image", "mask"):
            raise invalid("round.spec.encoders.stream", choice.stream, "must be image or mask")
        check_model("round.spec.encoders.encoder", choice.encoder)
    if len(set(streams)) != len(streams):
        raise invalid("round.spec.encoders", ",".join(streams), "must name each stream once")
    needs = {name for _, each in chosen_by for name in each.DESCRIPTOR.fields_by_name}
    if not streams and needs & {"stream", "first_stream"}:
        raise missing("round.spec.encoders")
    if spec.training.tune_image_encoder and "image" not in streams:
        raise missing("round.spec.encoders")


def job_from_pb(job: jobs.Job, store: ObjectStore) -> jobs.Job:
    """Return the spec of a job if it says what to do; the services check the rest.

    Raises:
        InvalidInput: If it does not (`ERROR_REASON_MISSING_FIELD`).
    """
    kind = job.WhichOneof("spec")
    if kind is None:
        raise missing("job.spec")
    spec = jobs.Job()
    getattr(spec, kind).CopyFrom(getattr(job, kind))
    if kind == "segment":
        store.resolve(spec.segment.image)
        store.resolve(spec.segment.prediction)
        check_model("job.segment.model", spec.segment.model)
        if spec.segment.HasField("region"):
            box_from_pb(spec.segment.region)
        if not 0 <= spec.segment.tolerated_blocks <= MOST_SET_ASIDE:
            raise invalid(
                "job.segment.tolerated_blocks",
                spec.segment.tolerated_blocks,
                f"must be 0 to {MOST_SET_ASIDE}",
            )
    return spec


def round_to_pb(work: Work) -> rounds.Round:
    """Return the message of a round."""
    return rounds.Round(
        name=work.key.name,
        spec=rounds.RoundSpec.FromString(work.spec),
        status=rounds.RoundStatus.FromString(work.status),
        create_time=time_to_pb(work.create_time),
        update_time=time_to_pb(work.update_time),
    )


def job_to_pb(work: Work) -> jobs.Job:
    """Return the message of a job."""
    job = jobs.Job.FromString(work.spec)
    job.name = work.key.name
    job.status.ParseFromString(work.status)
    job.create_time.CopyFrom(time_to_pb(work.create_time))
    job.update_time.CopyFrom(time_to_pb(work.update_time))
    return job


def round_status_to_retry(work: Work) -> rounds.RoundStatus:
    """Return the status with which a round begins again: what exists, without the failure.

    Raises:
        WrongState: If it did not fail (`ERROR_REASON_NOTHING_TO_RETRY`).
    """
    status = rounds.RoundStatus.FromString(work.status)
    if status.state == artifacts.WORK_STATE_CANCELLED:
        raise _nothing_to_retry(work, "was stopped, and its queries were taken back")
    if not work.finished or status.state == artifacts.WORK_STATE_SUCCEEDED:
        raise _nothing_to_retry(work)
    status.state = artifacts.WORK_STATE_PENDING
    status.ClearField("failure")
    return status


def job_status_to_retry(work: Work) -> jobs.JobStatus:
    """Return the status with which a job begins again.

    Raises:
        WrongState: If it is under way or made everything (`ERROR_REASON_NOTHING_TO_RETRY`).
    """
    before = jobs.JobStatus.FromString(work.status)
    succeeded = before.state == artifacts.WORK_STATE_SUCCEEDED
    if not work.finished or (succeeded and not before.quarantine):
        raise _nothing_to_retry(work)
    return jobs.JobStatus(state=artifacts.WORK_STATE_PENDING, attempts=before.attempts)


def _nothing_to_retry(work: Work, why: str = "") -> WrongState:
    why = why or ("made everything" if work.finished else "is under way")
    return WrongState("ERROR_REASON_NOTHING_TO_RETRY", f"{work.key.name} {why}", name=work.key.name)


def page_size_from_pb(size: int) -> int:
    """Return how many to list: 50 if not said, at most 1000."""
    if size < 0:
        raise invalid("page_size", size, "must not be negative")
    return min(size or _DEFAULT_PAGE, _LARGEST_PAGE)


def page_token_to_pb(work: Work) -> str:
    """Return the token of the page after `work`."""
    place = json.dumps([work.key.project, work.key.kind, work.create_time, work.key.id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def page_token_from_pb(token: str, project: str, kind: str) -> tuple[float, str] | None:
    """Return where a page begins.

    Raises:
        InvalidInput: If another list made the token (`ERROR_REASON_INVALID_PAGE_TOKEN`).
    """
    if not token:
        return None
    try:
        of_project, of_kind, created, name = json.loads(base64.urlsafe_b64decode(token.encode()))
        created = float(created)
    except (ValueError, TypeError, binascii.Error):
        of_project, of_kind, created, name = "", "", math.nan, ""
    if (of_project, of_kind) != (project, kind) or not isinstance(name, str):
        raise InvalidInput(
            "ERROR_REASON_INVALID_PAGE_TOKEN",
            "the page token was not made by this list",
            field="page_token",
        )
    return created, name


def _check_share(field: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise invalid(field, share, "must be between 0 and 1")
