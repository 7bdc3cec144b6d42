"""The protocol of the linear probe: hand-made features, logistic regression, a moment a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from parfocal_bench.cells import arrays_file, short_hash, write_whole
from parfocal_bench.classification import (
    Arm,
    OnPack,
    Probabilities,
    Rows,
    Task,
    draw_pool,
    learning_curve,
    scores,
)
from parfocal_bench.drawn import DrawnTwoStream
from parfocal_bench.hog import Description, Features, describe
from parfocal_bench.packs import Labels, digest, open_pack
from parfocal_bench.protocol import Json, Row
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.single_thread import single_thread
from parfocal_suggestion.strategies.catalogue import strategy_of
from parfocal_suggestion.strategies.two_stream import TwoStream

_VERSION = 2
_STREAM, _DIRECTIONS, _CLASSES = "features", "directions", "classes"


@dataclass(frozen=True)
class LinearProbe(OnPack):
    """Principal components of HOG and shades, and logistic regression on them.

    The columns are brought to unit variance before; the components keep their shares of it, for the
    probe and for strategies that judge likeness.

    Attributes:
        test_every: Every n-th test picture is used.
        description: What of a picture the probe is told.
        shrunk: Whether all components are scaled so that the first has unit variance, which holds
            the probe back where labels are few.
        by_direction: Whether likeness is judged in features of unit length, as published for
            TypiClust; otherwise in the probe's features as they are. The probe and BADGE, whose
            gradients are the probe's, take them as they are.
        components: Principal components, of all training pictures without their labels.
        strength: Inverse strength (C) of the regularisation.
    """

    test_every: int = 1
    description: Description = field(default_factory=Description)
    shrunk: bool = True
    by_direction: bool = False
    components: int = 50
    strength: float = 0.03

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return f"{self.data}-probe"

    @property
    def title(self) -> str:
        """Heading of the report."""
        return f"{self.data}, linear probe on HOG and shades"

    def settings(self) -> Mapping[str, Json]:
        """Return all that decides every cell."""
        return {
            "name": self.name,
            "version": _VERSION,
            "data": digest(self.packs, self.data),
            "candidates": self.candidates,
            "start": self.schedule.start,
            "step": self.schedule.step,
            "rounds": self.schedule.rounds,
            "test_every": self.test_every,
            "description": asdict(self.description),
            "shrunk": self.shrunk,
            "by_direction": self.by_direction,
            "components": self.components,
            "strength": self.strength,
        }

    def prepare(self, cache: Path) -> None:
        """Compute the features, half a minute; the same bit for bit on any number of cores."""
        path = self._features(cache)
        if path.exists():
            return
        pack = open_pack(self.packs, self.data)
        train, test = (
            describe(side.images, self.description).astype(np.float64)
            for side in (pack.train, pack.test)
        )
        with single_thread():
            found = make_pipeline(
                StandardScaler(), PCA(self.components, svd_solver="covariance_eigh")
            ).fit(train)
            train, test = found.transform(train), found.transform(test)
        unit = train[:, 0].std() if self.shrunk else 1.0
        arrays = {
            "train": (train / unit).astype(np.float32),
            "test": (test / unit).astype(np.float32),
        }
        write_whole(path, arrays_file(arrays))

    def run(self, arm: str, seed: int, cache: Path) -> Sequence[Row]:
        """Run one cell."""
        pack = open_pack(self.packs, self.data)
        train, test = _read(self._features(cache))
        chosen, tested = (
            draw_pool(pack.train, self.candidates, seed),
            slice(None, None, self.test_every),
        )
        task = Task(pack.train.labels[chosen], pack.test.labels[tested], pack.classes)
        learner = _Probe(task, train[chosen], test[tested], self.strength)
        rows = learning_curve(task, learner, self._by_name()[arm], self.schedule, seed)
        full = learner.full_metric(self.metric)
        return [Row(row.labels, {**row.values, "full": full}) for row in rows]

    def _features(self, cache: Path) -> Path:
        decides = {
            "data": digest(self.packs, self.data),
            "description": asdict(self.description),
            "shrunk": self.shrunk,
            "components": self.components,
            "version": _VERSION,
        }
        return cache / f"hog-{short_hash(decides)}.npz"

    def _by_name(self) -> dict[str, Arm]:
        many = 10 if self.data == "malaria" else 20
        likeness = _DIRECTIONS if self.by_direction else _STREAM
        two_stream = TwoStream(
            first_stream=_CLASSES,
            second_stream=likeness,
            first_clusters=many,
            second_clusters=max(1, self.schedule.step // many),
            queries_per_cell=1,
        )
        alike = {"stream": likeness}
        arms = {
            "random": Arm(strategy_of("random", {})),
            "entropy": Arm(strategy_of("entropy", {})),
            "core-set": Arm(strategy_of("core-set", alike)),
            "k-means": Arm(strategy_of("k-means", alike)),
            "typiclust": Arm(strategy_of("typiclust", alike)),
            "typiclust-cold": Arm(strategy_of("typiclust", alike), cold=True),
            "two-stream": Arm(two_stream),
            "two-stream-avoiding": Arm(replace(two_stream, avoid_overrepresented=True)),
            "two-stream-drawn": Arm(DrawnTwoStream(**asdict(two_stream))),
            "badge": Arm(strategy_of("badge", {"stream": _STREAM})),
        }
        if self.data != "malaria":  # for two classes margin ranks as entropy does
            arms["margin"] = Arm(strategy_of("margin", {}))
        return arms


class _Probe:
    """Logistic regression on the features."""

    def __init__(self, task: Task, pool: Features, test: Features, strength: float) -> None:
        self._task, self._pool, self._test, self._strength = task, pool, test, strength
        self._directions = directions(pool)
        self._model: LogisticRegression | None = None

    def learn(self, labelled: Rows, fresh: Rows) -> Mapping[str, float]:
        """Fit anew to all labels."""
        self._model = self._fitted(labelled)
        right = self._probabilities(self._pool[labelled]).argmax(1) == self._labels[labelled]
        return {"own_accuracy": float(np.mean(right))}

    def test(self) -> Probabilities:
        """Return the probabilities of the test pictures."""
        return self._probabilities(self._test)

    def pool(self, labelled: Rows) -> Pool:
        """Return the candidates with features and, once there is a model, probabilities."""
        streams = {_STREAM: self._pool, _DIRECTIONS: self._directions}
        probabilities = None
        if self._model is not None:
            probabilities = self._probabilities(self._pool)
            streams[_CLASSES] = probabilities
        return Pool.of(
            np.arange(len(self._labels)),
            streams=streams,
            probabilities=probabilities,
            labelled=labelled,
            verdicts=self._labels[labelled] == 1,
        )

    def full_metric(self, metric: str) -> float:
        """Return the metric with every label of the pool."""
        self._model = self._fitted(np.arange(len(self._labels)))
        return scores(self.test(), self._task.test_labels)[metric]

    @property
    def _labels(self) -> Labels:
        return self._task.labels

    def _fitted(self, rows: Rows) -> LogisticRegression:
        model = LogisticRegression(C=self._strength, max_iter=2000)
        return model.fit(self._pool[rows], self._labels[rows])

    def _probabilities(self, features: Features) -> Probabilities:
        """Class probabilities (N, C); a class that no label has is impossible."""
        assert self._model is not None
        found = np.zeros((len(features), self._task.classes), np.float32)
        found[:, self._model.classes_] = self._model.predict_proba(features)
        return found


def directions(features: Features) -> Features:
    """Return features (N, D) at unit length; a row of zeros stays one."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


@lru_cache(maxsize=2)
def _read(path: Path) -> tuple[Features, Features]:
    with np.load(path) as arrays:
        return arrays["train"], arrays["test"]
