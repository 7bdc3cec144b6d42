"""What people have decided in a round, as the labels service tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

import numpy as np

from parfocal.labels.v1 import label_pb2, labels_service_pb2
from parfocal.suggestion.v1 import suggestion_service_pb2
from parfocal_loop.lift import Answers
from parfocal_loop.peers import Peers
from parfocal_loop.shares import Mask, Weights

UNREACHABLE = "the labels service does not answer"
CLASSES = "the answers are classes, and no query says which class was proposed"

_PAGE = 1000


async def decided(
    peers: Peers, parent: str, round: str, *, timeout_seconds: float | None = None
) -> AsyncIterator[label_pb2.Consensus]:
    """Yield the consensus of every decided query of a round.

    Args:
        peers: The services.
        parent: Resource name of the project.
        round: The round's own name.
        timeout_seconds: How long a page may take.
    """
    request = labels_service_pb2.ListConsensusRequest(
        parent=parent, round=round, decided_only=True, page_size=_PAGE
    )
    while True:
        page = await peers.labels.ListConsensus(request, timeout=timeout_seconds)
        for consensus in page.consensus:
            yield consensus
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def answers(
    peers: Peers,
    parent: str,
    round: str,
    *,
    selection: str = "",
    timeout_seconds: float | None = None,
) -> Answers:
    """Return the decided queries of a round as arrays.

    Only where the chances of the random share differ is every query read; otherwise they are
    counted where they lie.

    Args:
        peers: The services.
        parent: Resource name of the project.
        round: The round's own name.
        selection: Name of the selection, if its random share was drawn with unequal chances.
        timeout_seconds: How long a call may take.
    """
    chances = await _chances(peers, selection, timeout_seconds=timeout_seconds)
    if chances:
        each = decided(peers, parent, round, timeout_seconds=timeout_seconds)
        queries = [one async for one in each]
        return _answers(queries, chances=np.array([chances[one.candidate] for one in queries]))
    counts = await _counts(peers, parent, round, timeout_seconds=timeout_seconds)
    return _answers(counts, times=[one.queries for one in counts])


def _answers(
    found: Sequence[label_pb2.Consensus | labels_service_pb2.AnswerCount],
    *,
    times: Sequence[int] | int = 1,
    chances: Weights | None = None,
) -> Answers:
    """Return answers as arrays, each as often as `times` says."""
    clear = (label_pb2.VERDICT_TRUE, label_pb2.VERDICT_FALSE)

    def column(values: Iterable[bool]) -> Mask:
        return np.repeat(np.array(list(values), np.bool_), np.array(times, np.int64))

    return Answers(
        is_random=column(one.role == "random" for one in found),
        clear=column(one.verdict in clear for one in found),
        wrong=column(one.verdict == label_pb2.VERDICT_FALSE for one in found),
        chances=chances,
        incomparable=CLASSES if any(one.class_name for one in found) else "",
    )


async def _counts(
    peers: Peers, parent: str, round: str, *, timeout_seconds: float | None
) -> Sequence[labels_service_pb2.AnswerCount]:
    request = labels_service_pb2.GetProgressRequest(parent=parent, round=round, count_answers=True)
    return (await peers.labels.GetProgress(request, timeout=timeout_seconds)).answers


async def _chances(
    peers: Peers, selection: str, *, timeout_seconds: float | None
) -> dict[int, float]:
    """Return the chance that each pick of the random share had, by candidate."""
    if not selection:
        return {}
    request = suggestion_service_pb2.GetSelectionRequest(name=selection)
    found = await peers.suggestion.GetSelection(request, timeout=timeout_seconds)
    return {pick.candidate: pick.inclusion_probability for pick in found.picks}


def no_answers(reason: str) -> Answers:
    """Return no answers, and why there are none."""
    nobody = np.empty(0, np.bool_)
    return Answers(nobody, nobody, nobody, incomparable=reason)
