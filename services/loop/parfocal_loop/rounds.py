"""Drives one round: looks at what is missing and does the next step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop import learning, proposing
from parfocal_loop.actions import cancel_training
from parfocal_loop.persistence import Save, persistently
from parfocal_loop.turn import STAGES, Turn, begin, end

_ACTIONS: dict[rounds.RoundStage.ValueType, Callable[[Turn], Awaitable[str]]] = {
    rounds.ROUND_STAGE_SEGMENT: proposing.segment_images,
    rounds.ROUND_STAGE_PROPOSE: proposing.propose_candidates,
    rounds.ROUND_STAGE_EMBED: proposing.embed_candidates,
    rounds.ROUND_STAGE_SUGGEST: proposing.suggest,
    rounds.ROUND_STAGE_QUEUE: learning.queue,
    rounds.ROUND_STAGE_LABEL: learning.wait_for_labels,
    rounds.ROUND_STAGE_SNAPSHOT: learning.snapshot,
    rounds.ROUND_STAGE_ESTIMATE: learning.estimate,
    rounds.ROUND_STAGE_TRAIN: learning.learn,
}


async def run_round(turn: Turn, save: Save) -> None:
    """Do every step that is not done; a finished one is never begun again.

    Args:
        turn: The round; its status says what is done and is kept up to date.
        save: Stores the status; called before and after every step.
    """
    turn.status.state = artifacts.WORK_STATE_RUNNING
    await persistently(lambda: proposing.fix_versions(turn))
    for stage in STAGES:
        step = turn.step(stage)
        if step.state == artifacts.WORK_STATE_SUCCEEDED:
            continue
        turn.status.stage = stage
        end(step, await persistently(lambda: _attempt(turn, stage, save)))  # noqa: B023
        await save()
    turn.status.state = artifacts.WORK_STATE_SUCCEEDED


async def _attempt(turn: Turn, stage: rounds.RoundStage.ValueType, save: Save) -> str:
    begin(turn.step(stage))
    await save()
    return await _ACTIONS[stage](turn)


async def abandon_round(turn: Turn) -> None:
    """Stop what a cancelled round has under way elsewhere."""
    await turn.means.peers.labels.WithdrawQueries(
        labels_service_pb2.WithdrawQueriesRequest(parent=turn.parent, round=turn.round)
    )
    for run in learning.run_names(turn):
        await cancel_training(turn.means, run)
