"""The loop of a simulated campaign of classification: label, learn, test, choose."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from parfocal_bench.packs import Labels, Pictures
from parfocal_bench.protocol import Json, Row
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.seeds import bit_generator, derived_seed
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.suggest import suggest

Rows = NDArray[np.intp]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Arm:
    """How candidates are chosen and learnt from.

    Attributes:
        strategy: What chooses.
        cold: Whether it chooses the first labels too; otherwise they are drawn at random, the same
            for every arm of a seed.
        learning: How a learner learns, where it knows several ways; see its protocol.
    """

    strategy: Strategy
    cold: bool = False
    learning: str = ""

    def settings(self) -> Mapping[str, Json]:
        """Return all that decides the arm.

        Parameters at their defaults are left out, so that a strategy may gain one; it raises its
        version where its defaults choose otherwise.
        """
        given = asdict(self.strategy)
        usual = {field.name: field.default for field in fields(self.strategy)}
        return {
            "strategy": self.strategy.name,
            "version": self.strategy.version,
            "parameters": {k: v for k, v in given.items() if v != usual[k]},
            "cold": self.cold,
            "learning": self.learning,
        }


@dataclass(frozen=True)
class Schedule:
    """When labels are bought.

    Attributes:
        start: Labels of the first model.
        step: Labels of each further round.
        rounds: Rounds after the first model.
    """

    start: int
    step: int
    rounds: int


@dataclass(frozen=True)
class OnPack(ABC):
    """What all campaigns of classification on a data pack have in common.

    Attributes:
        packs: Folder of the data packs.
        data: Name of the data set.
        candidates: Candidates that a seed draws from the training side.
        schedule: When labels are bought.
    """

    packs: Path
    data: str
    candidates: int
    schedule: Schedule

    @property
    def metric(self) -> str:
        """AUC for two classes, accuracy for more."""
        return "auc" if self.data == "malaria" else "accuracy"

    @property
    def chance(self) -> float:
        """The metric of guessing."""
        return 0.5 if self.data == "malaria" else 0.1

    @property
    def pool(self) -> int:
        """Labels that there are to buy."""
        return self.candidates

    def arms(self) -> Mapping[str, Mapping[str, Json]]:
        """Return the arms."""
        return {name: arm.settings() for name, arm in self._by_name().items()}

    @abstractmethod
    def _by_name(self) -> Mapping[str, Arm]:
        """Return the arms as they are run."""


@dataclass(frozen=True)
class Task:
    """What is to be learnt in one cell.

    Attributes:
        labels: (N,) true classes of the candidates, which the oracle tells.
        test_labels: (T,) true classes of the test pictures.
        classes: Number of classes; with two, 1 is the foreground.
    """

    labels: Labels
    test_labels: Labels
    classes: int


class Learner(Interface):
    """A model that is taught and asked again and again."""

    def learn(self, labelled: Rows, fresh: Rows) -> Mapping[str, float]:
        """Learn from labels and return what is to be recorded.

        Args:
            labelled: (L,) rows of all labelled candidates, the fresh ones included.
            fresh: (B,) rows labelled since the last call.
        """
        ...

    def test(self) -> Probabilities:
        """Return class probabilities (T, C) of the test pictures."""
        ...

    def pool(self, labelled: Rows) -> Pool:
        """Return the candidates as strategies see them; before the first lesson, without model."""
        ...


def learning_curve(
    task: Task, learner: Learner, arm: Arm, schedule: Schedule, seed: int
) -> list[Row]:
    """Run one cell.

    Every row holds `auc` (one against the rest where there are more than two classes), `accuracy`,
    `foreground` (labelled share of the candidates of class 1, for two classes), `class_share`
    (share of the rarest class among the labels), seconds by stage, and what the learner tells.
    """
    labelled, choosing = _first(task, learner, arm, schedule, seed)
    fresh = labelled
    rows: list[Row] = []
    for number in range(schedule.rounds + 1):
        began = time.perf_counter()
        told = learner.learn(labelled, fresh)
        learnt = time.perf_counter()
        values = {
            **scores(learner.test(), task.test_labels),
            **_balance(task, labelled),
            **told,
            "seconds_learning": learnt - began,
            "seconds_choosing": choosing,
        }
        rows.append(Row(len(labelled), values))
        if number == schedule.rounds:
            break
        began = time.perf_counter()
        fresh = _choose(learner.pool(labelled), arm, schedule.step, seed, number + 1)
        choosing = time.perf_counter() - began
        labelled = np.concatenate([labelled, fresh])
    return rows


def draw_pool(pictures: Pictures, size: int, seed: int) -> Rows:
    """Return the rows (N,) that a seed makes candidates, in ascending order."""
    keys = bit_generator(seed, "pool").random_raw(len(pictures.labels))
    return np.sort(np.argsort(keys, kind="stable")[:size])


def scores(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Return `auc` and `accuracy` of class probabilities (T, C)."""
    right = probabilities.argmax(axis=1) == labels
    asked = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    each = [roc_auc_score(labels == one, probabilities[:, one]) for one in asked]
    return {"auc": float(np.mean(each)), "accuracy": float(np.mean(right))}


def _first(
    task: Task, learner: Learner, arm: Arm, schedule: Schedule, seed: int
) -> tuple[Rows, float]:
    if not arm.cold:
        keys = bit_generator(seed, "first labels").random_raw(len(task.labels))
        return np.argsort(keys, kind="stable")[: schedule.start], 0.0
    began = time.perf_counter()
    nothing = np.empty(0, np.intp)
    chosen = _choose(learner.pool(nothing), arm, schedule.start, seed, 0)
    return chosen, time.perf_counter() - began


def _choose(pool: Pool, arm: Arm, budget: int, seed: int, number: int) -> Rows:
    seed = derived_seed(seed, "round", index=number)
    return np.asarray(suggest(pool, arm.strategy, budget, seed=seed).candidates, np.intp)


def _balance(task: Task, labelled: Rows) -> dict[str, float]:
    counts = np.bincount(task.labels[labelled], minlength=task.classes)
    found = {"rarest_class": float(counts.min() / len(labelled))}
    if task.classes == 2:
        found["foreground"] = float(counts[1] / np.count_nonzero(task.labels == 1))
    return found
