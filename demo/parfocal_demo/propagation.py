"""How far the labels of one budget go when they are carried to all candidates.

The protocol of Table 2 of Lin et al. (ECCV 2020), through the suggestion service: choose, look the
truth up, carry the verdicts, count the candidates whose final label is right. A labelled candidate
keeps its own label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parfocal_demo.artifacts import PROJECT, CandidateSet
from parfocal_demo.evaluation import random_baseline
from parfocal_demo.intervals import mean_over_seeds, paired_difference
from parfocal_demo.report.findings import Propagation, PropagationMethod

if TYPE_CHECKING:
    from typing import Literal

    from parfocal import Client
    from parfocal.suggestion.v1.suggestion_service_pb2 import PropagateLabelsResponse

    Carrying = Literal["cell-majority", "confidence-and-area", "keep-default", "learned"]

METHODS: dict[str, tuple[str, Carrying]] = {
    "random": ("random", "keep-default"),
    "two-stream": ("two-stream", "cell-majority"),
    "late-fusion": ("late-fusion", "cell-majority"),
    "learned": ("random", "learned"),
    "confidence-and-area": ("random", "confidence-and-area"),
}
"""By method: the strategy that chooses, and how verdicts are carried."""


@dataclass(frozen=True)
class _Outcome:
    labels: int
    accuracy: float
    notes: tuple[str, ...]


def compare_propagation(
    client: Client,
    candidates: CandidateSet,
    *,
    features: Mapping[str, str],
    budget: int,
    seeds: range,
    report: Callable[[float, str], None],
) -> Propagation:
    """Compare the methods on one candidate set over several seeds.

    Args:
        client: A connection as a curator.
        candidates: The set and the truth about it.
        features: Path of the embeddings by stream.
        budget: Labels that each method may buy.
        seeds: The seeds of the choices.
        report: Called with the share that is done and what is being done.
    """
    outcomes: dict[str, list[_Outcome]] = {name: [] for name in METHODS}
    for place, seed in enumerate(seeds):
        for number, name in enumerate(METHODS):
            report((place + number / len(METHODS)) / len(seeds), f"{name}, seed {seed}")
            outcomes[name].append(_one(client, candidates, name, features, budget, seed))
    random = [outcome.accuracy for outcome in outcomes["random"]]
    share = float(candidates.correct.mean())
    return Propagation(
        budget=budget,
        seeds=tuple(seeds),
        expected_random=random_baseline(
            share, labels=outcomes["random"][0].labels, candidates=len(candidates)
        ),
        methods=tuple(_summary(name, found, random) for name, found in outcomes.items()),
    )


def _one(
    client: Client,
    candidates: CandidateSet,
    name: str,
    features: Mapping[str, str],
    budget: int,
    seed: int,
) -> _Outcome:
    strategy, carrying = METHODS[name]
    selection = client.suggestions.suggest(
        PROJECT,
        f"propagation-{strategy}-{seed}",
        budget=budget,
        strategy=strategy,
        candidates=candidates.folder,
        features=features,
        seed=seed,
    )
    labels = {pick.candidate: bool(candidates.correct[pick.candidate]) for pick in selection.picks}
    if carrying == "learned":
        carried = client.suggestions.propagate_learned(
            PROJECT, candidates.folder, labels=labels, features=features, random_share=labels
        )
    else:
        carried = client.suggestions.propagate(
            PROJECT, candidates.folder, labels=labels, method=carrying, selection=selection.name
        )
    accuracy = float((_final(carried, len(candidates)) == candidates.correct).mean())
    return _Outcome(len(labels), accuracy, tuple(carried.notes))


def _final(carried: PropagateLabelsResponse, count: int) -> NDArray[np.bool_]:
    final = np.zeros(count, bool)
    for one in carried.verdicts:
        final[one.candidate] = one.verdict
    return final


def _summary(name: str, found: list[_Outcome], random: list[float]) -> PropagationMethod:
    accuracy = tuple(outcome.accuracy for outcome in found)
    return PropagationMethod(
        name=name,
        labels=tuple(outcome.labels for outcome in found),
        accuracy=accuracy,
        mean=mean_over_seeds(accuracy),
        over_random=paired_difference(accuracy, random),
        notes=tuple(sorted({note for outcome in found for note in outcome.notes})),
    )
