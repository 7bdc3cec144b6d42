"""The last steps of a round: from a queue of queries to a model that has learned."""

from __future__ import annotations

import asyncio
import time

from parfocal.labels.v1 import labels_service_pb2, query_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import selection_pb2, suggestion_service_pb2
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_loop.actions import candidate_set_name, placed_candidates, train
from parfocal_loop.consensus import decided
from parfocal_loop.measuring import measure
from parfocal_loop.messages import box_to_pb
from parfocal_loop.naming import derived
from parfocal_loop.progress import Progress
from parfocal_loop.turn import Turn
from parfocal_runtime.box import Box
from parfocal_runtime.errors import DomainError
from parfocal_runtime.layout import candidate_folder, candidate_patches

_ROLES = {
    selection_pb2.PICK_ROLE_STRATEGY: query_pb2.QUERY_ROLE_STRATEGY,
    selection_pb2.PICK_ROLE_RANDOM: query_pb2.QUERY_ROLE_RANDOM,
}
_QUERIES_PER_CALL = 1000
# As often as metrics are usually looked at: it counts every answer of the round.
_MEASURE_SECONDS = 10.0


async def queue(turn: Turn) -> str:
    """Put the chosen candidates into the project's queue."""
    if not turn.status.selection:
        return ""
    queries = await _queries(turn)
    for start in range(0, len(queries), _QUERIES_PER_CALL):
        await turn.means.peers.labels.AddQueries(
            labels_service_pb2.AddQueriesRequest(
                parent=turn.parent, queries=queries[start : start + _QUERIES_PER_CALL]
            )
        )
        progress = Progress(start / len(queries), "adding queries")
        turn.report(rounds.ROUND_STAGE_QUEUE, progress)
    return turn.parent


async def _queries(turn: Turn) -> list[query_pb2.Query]:
    request = suggestion_service_pb2.GetSelectionRequest(name=turn.status.selection)
    selection = await turn.means.peers.suggestion.GetSelection(request)
    name = candidate_set_name(turn.project, turn.status.candidates)
    pool = await placed_candidates(turn.means, turn.status.candidates)
    queries = []
    for pick in selection.picks:
        z0, y0, x0, z1, y1, x1 = pool.boxes[pick.candidate].tolist()
        queries.append(
            query_pb2.Query(
                round=turn.round,
                candidate_set=name,
                candidate=pick.candidate,
                rank=pick.rank,
                priority=turn.spec.priority,
                role=_ROLES[pick.role],
                strategy=turn.strategy,
                reason=pick.reason,
                model=turn.status.base_model,
                image=str(pool.images[pick.candidate]),
                box=box_to_pb(Box((z0, y0, x0), (z1, y1, x1))),
                patches=candidate_patches(turn.project, name),
            )
        )
    return queries


async def wait_for_labels(turn: Turn) -> str:
    """Wait until people have decided every query of the round."""
    request = labels_service_pb2.GetProgressRequest(parent=turn.parent, round=turn.round)
    measured, measure_at = 0, 0.0
    while turn.status.selection:
        progress = await turn.means.peers.labels.GetProgress(request)
        turn.status.queries = progress.queries
        turn.status.decided = progress.decided
        share = progress.decided / max(progress.queries, 1)
        message = f"{progress.decided} of {progress.queries} queries are decided"
        turn.report(rounds.ROUND_STAGE_LABEL, Progress(share, message))
        if progress.decided >= progress.queries:
            break
        if progress.decided != measured and time.monotonic() >= measure_at:
            await _measure_so_far(turn)
            measured, measure_at = progress.decided, time.monotonic() + _MEASURE_SECONDS
        await asyncio.sleep(turn.poll_seconds)
    return ""


async def _measure_so_far(turn: Turn) -> None:
    # Beside the status, not in it: what is stored before all answers are in would soon be wrong.
    so_far = rounds.RoundStatus()
    so_far.CopyFrom(turn.status)
    await measure(turn.means.peers, turn.spec, so_far, parent=turn.parent, round=turn.round)
    turn.measured(so_far)


async def snapshot(turn: Turn) -> str:
    """Freeze the consensus of this round and the ones it learns from."""
    snapshot = await turn.means.peers.labels.CreateSnapshot(
        labels_service_pb2.CreateSnapshotRequest(parent=turn.parent, rounds=turn.all_rounds)
    )
    turn.status.snapshot = snapshot.path
    return snapshot.path


async def estimate(turn: Turn) -> str:
    """Estimate accuracy and lift from the decided queries."""
    await measure(turn.means.peers, turn.spec, turn.status, parent=turn.parent, round=turn.round)
    return ""


async def learn(turn: Turn) -> str:
    """Fine-tune the base model, and the image encoder if the round says so."""
    if not turn.spec.HasField("training"):
        return ""
    sets = await _judged_sets(turn)
    if not sets:
        turn.note("no query was decided, so nothing was learned")
        return ""
    made = [await _fine_tune(turn, sets)]
    if turn.spec.training.tune_image_encoder:
        made.append(await _tune_encoder(turn, sets))
    return ", ".join(name for name in made if name)


def run_names(turn: Turn) -> list[str]:
    """Return the names of the training runs that a round may have begun."""
    if not turn.spec.HasField("training"):
        return []
    whats = ["base", "encoder"] if turn.spec.training.tune_image_encoder else ["base"]
    return [_run_name(turn, what) for what in whats]


def _run_name(turn: Turn, what: str) -> str:
    return derived(f"{turn.round}-{what}", turn.project, turn.round)


async def _judged_sets(turn: Turn) -> list[str]:
    names: set[str] = set()
    for name in turn.all_rounds:
        judged = decided(turn.means.peers, turn.parent, name)
        names.update([one.candidate_set async for one in judged])
    return [candidate_folder(turn.project, name) for name in sorted(names)]


async def _fine_tune(turn: Turn, sets: list[str]) -> str:
    wanted = turn.spec.training
    model = wanted.model or turn.status.base_model.name
    request = training.TrainRequest(
        run=_run_name(turn, "base"),
        model=model,
        seed=turn.spec.seed,
        limits=wanted.limits,
        fine_tune_base=training.FineTuneBase(
            parent=turn.status.base_model,
            snapshots=[turn.status.snapshot],
            candidates=sets,
            replay=wanted.replay,
        ),
    )
    run = await _trained(turn, request)
    if run is None:
        return ""
    turn.status.new_base_model.CopyFrom(run.model)
    return f"{run.model.name}/{run.model.version}"


async def _tune_encoder(turn: Turn, sets: list[str]) -> str:
    encoders = {choice.stream: choice.encoder for choice in turn.status.encoders}
    parent = encoders["image"]
    model = turn.spec.training.encoder_model or parent.name
    request = training.TrainRequest(
        run=_run_name(turn, "encoder"),
        model=model,
        seed=turn.spec.seed,
        tune_encoder=training.TuneEncoder(
            parent=parent, snapshots=[turn.status.snapshot], candidates=sets
        ),
    )
    run = await _trained(turn, request)
    if run is None:
        return ""
    turn.status.new_image_encoder.CopyFrom(run.model)
    return f"{run.model.name}/{run.model.version}"


async def _trained(turn: Turn, request: training.TrainRequest) -> training.TrainingRun | None:
    """Train; labels that do not suffice are noted, and the model stays what it is."""

    def report(run: training.TrainingRun) -> None:
        fraction = run.iteration / max(run.iterations, 1)
        turn.report(rounds.ROUND_STAGE_TRAIN, Progress(fraction, f"{request.model}: {run.message}"))

    try:
        return await train(turn.means, request, report)
    except DomainError as error:
        if error.reason != "ERROR_REASON_TOO_FEW_LABELS":
            raise
        turn.note(f"{request.model} was not trained: {error.message}")
        return None
