"""The strategies there are, and how one is made from its name and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.nesting import Weighted
from parfocal_suggestion.selection import Parameters, Strategy
from parfocal_suggestion.strategies.acft import Acft
from parfocal_suggestion.strategies.badge import Badge
from parfocal_suggestion.strategies.bald import Bald
from parfocal_suggestion.strategies.clasp_pe import ClaspPe
from parfocal_suggestion.strategies.class_random import ClassRandom
from parfocal_suggestion.strategies.core_set import CoreSet
from parfocal_suggestion.strategies.coverage import Coverage
from parfocal_suggestion.strategies.entropy import Entropy
from parfocal_suggestion.strategies.foreground_random import ForegroundRandom
from parfocal_suggestion.strategies.k_means_centres import KMeansCentres
from parfocal_suggestion.strategies.late_fusion import LateFusion
from parfocal_suggestion.strategies.learning_loss import LearningLoss
from parfocal_suggestion.strategies.least_confidence import LeastConfidence
from parfocal_suggestion.strategies.margin import Margin
from parfocal_suggestion.strategies.power_bald import PowerBald
from parfocal_suggestion.strategies.probcover import ProbCover
from parfocal_suggestion.strategies.product import Product
from parfocal_suggestion.strategies.random_draw import RandomDraw
from parfocal_suggestion.strategies.sequence import Sequence
from parfocal_suggestion.strategies.shares import Shares
from parfocal_suggestion.strategies.similarity_search import SimilaritySearch
from parfocal_suggestion.strategies.two_stream import TwoStream
from parfocal_suggestion.strategies.typiclust import TypiClust

STRATEGIES: Mapping[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        Acft,
        Badge,
        Bald,
        ClaspPe,
        ClassRandom,
        CoreSet,
        Coverage,
        Entropy,
        ForegroundRandom,
        KMeansCentres,
        LateFusion,
        LearningLoss,
        LeastConfidence,
        Margin,
        PowerBald,
        ProbCover,
        Product,
        RandomDraw,
        Sequence,
        Shares,
        SimilaritySearch,
        TwoStream,
        TypiClust,
    )
}


def strategy_of(name: str, parameters: Parameters) -> Strategy:
    """Make a strategy from its stored name and parameters.

    Raises:
        InvalidInput: If no strategy has that name (`ERROR_REASON_UNKNOWN_STRATEGY`) or it has
            no such parameter.
    """
    if name not in STRATEGIES:
        raise InvalidInput(
            "ERROR_REASON_UNKNOWN_STRATEGY",
            f"no strategy {name!r}; there are {', '.join(sorted(STRATEGIES))}",
            field="strategy",
            known=", ".join(sorted(STRATEGIES)),
        )
    try:
        return STRATEGIES[name](**{key: _live(value) for key, value in parameters.items()})
    except TypeError as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{name} does not have the parameters {sorted(parameters)}",
            field="strategy",
            value=", ".join(sorted(parameters)),
        ) from error


def _live(value: Any) -> Any:
    """Return a parameter from what `nesting.parameters_of` stored of it."""
    if isinstance(value, list):
        return tuple(_live(each) for each in value)
    if isinstance(value, Mapping):
        strategy = strategy_of(value["strategy"], value["parameters"])
        return Weighted(strategy, value["weight"]) if "weight" in value else strategy
    return value
