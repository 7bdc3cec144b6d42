"""Rounds as they are now: what is stored, and what the labels so far say beside it."""

from __future__ import annotations

import grpc

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop import convert
from parfocal_loop.advising import advice_to_pb
from parfocal_loop.consensus import UNREACHABLE, no_answers
from parfocal_loop.estimate import estimate_of
from parfocal_loop.measuring import level_of, measure, write_measures
from parfocal_loop.messages import estimate_to_pb
from parfocal_loop.past_rounds import Past
from parfocal_loop.peers import Peers
from parfocal_loop.works import WorkKey, WorkStore
from parfocal_runtime.errors import NotFound
from parfocal_runtime.logs import get_logger

_PAGE_SECONDS = 5.0

log = get_logger(__name__)


class LiveRounds:
    """Reads rounds and adds what is computed whenever somebody asks.

    Args:
        works: The table of rounds.
        peers: The services; of them the one of labels is asked.
    """

    def __init__(self, works: WorkStore, peers: Peers) -> None:
        self._works = works
        self._peers = peers

    async def get(self, key: WorkKey) -> rounds.Round:
        """Return a round with accuracy and lift, pooled accuracy and stopping advice.

        Raises:
            NotFound: If there is no such round (`ERROR_REASON_WORK_NOT_FOUND`).
        """
        each = convert.round_to_pb(await self._works.get(key))
        if _people_are_at(each.status):
            await self._measure(each, key)
        if each.status.HasField("accuracy"):
            await self._look_back(each, key)
        return each

    async def _measure(self, each: rounds.Round, key: WorkKey) -> None:
        parent = f"projects/{key.project}"
        try:
            await measure(
                self._peers,
                each.spec,
                each.status,
                parent=parent,
                round=key.id,
                timeout_seconds=_PAGE_SECONDS,
            )
        except grpc.RpcError as error:
            # What is stored can still be told, and the reason why the rest cannot.
            log.warning("cannot ask for labels", round=key.name, problem=str(error))
            write_measures(each.spec, each.status, no_answers(UNREACHABLE))
        else:
            each.status.decided = each.status.lift.decided

    async def _look_back(self, each: rounds.Round, key: WorkKey) -> None:
        past = Past({**await self._history(each, key), key.id: each})
        level = level_of(each.spec)
        pooled = estimate_of(past.pooled(), level=level)
        each.status.pooled_accuracy.CopyFrom(estimate_to_pb(pooled))
        each.status.stopping_advice.CopyFrom(advice_to_pb(past, each.spec, level=level))

    async def _history(self, each: rounds.Round, key: WorkKey) -> dict[str, rounds.Round]:
        found = {}
        for name in each.spec.history:
            try:
                work = await self._works.get(WorkKey(key.project, "round", name))
            except NotFound:
                # Labels may come from a round that this service never drove.
                continue
            found[name] = convert.round_to_pb(work)
        return found


def _people_are_at(status: rounds.RoundStatus) -> bool:
    return (
        status.state == artifacts.WORK_STATE_RUNNING
        and status.stage == rounds.ROUND_STAGE_LABEL
        and bool(status.selection)
    )
