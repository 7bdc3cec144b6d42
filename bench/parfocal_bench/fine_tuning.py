"""The protocol of a network that is taught round by round. Needs torch.

Z. Zhou, J. Y. Shin, S. R. Gurudu, M. B. Gotway, J. Liang, Active, Continual Fine Tuning of
Convolutional Neural Networks for Reducing Annotation Efforts, Medical Image Analysis 71 (2021)
101997; for pictures of ten classes the protocol of Z. Lin et al., ECCV 2020, section 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parfocal_bench.cells import short_hash
from parfocal_bench.classification import (
    Arm,
    OnPack,
    Probabilities,
    Rows,
    Task,
    draw_pool,
    learning_curve,
)
from parfocal_bench.packs import Images, digest, open_pack
from parfocal_bench.protocol import Json, Row
from parfocal_suggestion.pool import Mask, Pool
from parfocal_suggestion.seeds import bit_generator, derived_seed
from parfocal_suggestion.strategies.catalogue import strategy_of

if TYPE_CHECKING:
    from parfocal_bench.networks import Network

_VERSION = 2
_STREAM, _CLASSES = "features", "classes"
_EXTENSIONS = 3


class Learning(StrEnum):
    """What a lesson starts from and what it teaches."""

    ANEW = "anew, all labels"
    """From untrained weights, with L + Q (RFT, AFT)."""
    ALL = "on, all labels"
    """From the last weights, with L + Q."""
    NEW = "on, new labels"
    """From the last weights, with Q."""
    HARD = "on, hard and new labels"
    """From the last weights, with H + Q: H are the labelled candidates of which they get a view
    wrong."""


@dataclass(frozen=True)
class Lessons:
    """How long the network is taught.

    A lesson that ends below `wanted_accuracy` on what it taught is continued by half its steps, at
    most three times: a fixed number of steps would judge the optimiser, not the labels.

    A lesson that leaves old labels out is given in parts. H is taken anew before each, so that
    what was forgotten is hard again and comes back, and the lesson goes on until all labels are
    known well enough, those that it leaves out among them.

    Attributes:
        first_steps: Steps from untrained weights.
        steps: Steps from the last weights, with all labels.
        first_rate: Greatest learning rate from untrained weights.
        rate: Greatest learning rate from the last weights, with all labels.
        batch: Images a step.
        wanted_accuracy: Accuracy on the taught candidates.
        gentle_rate: Greatest learning rate where old labels are left out; lower, so that what was
            learnt from them is not lost.
        part_steps: Steps of a part of such a lesson.
        least_parts: Parts that are given in any case.
        most_parts: Parts that are given at most.
        gentle_accuracy: Accuracy on all labels at which it ends.
    """

    first_steps: int = 400
    steps: int = 200
    first_rate: float = 3e-3
    rate: float = 2e-3
    batch: int = 32
    wanted_accuracy: float = 0.95
    gentle_rate: float = 1e-3
    part_steps: int = 50
    least_parts: int = 8
    most_parts: int = 16
    gentle_accuracy: float = 0.98


@dataclass(frozen=True)
class FineTuning(OnPack):
    """A convolutional network on the pixels; the views of a candidate are its turns and mirrors.

    Attributes:
        lessons: How long the network is taught.
        network: Name of the network.
        test_every: Every n-th test picture is used.
        device: Where torch works, such as `cpu` or `cuda`.
    """

    lessons: Lessons
    network: str = "small"
    test_every: int = 1
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return f"{self.data}-network"

    @property
    def title(self) -> str:
        """Heading of the report."""
        return f"{self.data}, convolutional network"

    def settings(self) -> Mapping[str, Json]:
        """Return all that decides every cell; another device sums in another order."""
        return {
            "name": self.name,
            "version": _VERSION,
            "data": digest(self.packs, self.data),
            "candidates": self.candidates,
            "schedule": asdict(self.schedule),
            "lessons": asdict(self.lessons),
            "network": self.network,
            "test_every": self.test_every,
            "device": self.device,
        }

    def prepare(self, cache: Path) -> None:
        """Prepare nothing; the first lesson of a seed is kept when it has been given."""
        from parfocal_bench import networks

        networks.require(self.device)
        cache.mkdir(parents=True, exist_ok=True)

    def run(self, arm: str, seed: int, cache: Path) -> Sequence[Row]:
        """Run one cell."""
        from parfocal_bench import networks

        with networks.repeatable():
            return self._run(self._by_name()[arm], seed, cache)

    def _run(self, arm: Arm, seed: int, cache: Path) -> Sequence[Row]:
        pack = open_pack(self.packs, self.data)
        chosen, tested = (
            draw_pool(pack.train, self.candidates, seed),
            slice(None, None, self.test_every),
        )
        task = Task(pack.train.labels[chosen], pack.test.labels[tested], pack.classes)
        learner = NetworkLearner(
            self, task, pack.train.images[chosen], pack.test.images[tested], arm, seed, cache
        )
        return learning_curve(task, learner, arm, self.schedule, seed)

    def _by_name(self) -> dict[str, Arm]:
        many = 10 if self.data == "malaria" else 50
        two: dict[str, int | str] = {
            "first_stream": _CLASSES,
            "second_stream": _STREAM,
            "first_clusters": many,
            "second_clusters": max(1, self.schedule.step // many),
            "queries_per_cell": 1,
        }
        acft, draw = strategy_of("acft", {}), strategy_of("random", {})
        if self.data != "malaria":
            return {
                "random": Arm(draw, learning=Learning.ANEW),
                "two-stream": Arm(strategy_of("two-stream", two), learning=Learning.ANEW),
                "entropy": Arm(strategy_of("entropy", {}), learning=Learning.ANEW),
                "core-set": Arm(
                    strategy_of("core-set", {"stream": _STREAM}), learning=Learning.ANEW
                ),
            }
        return {
            "random": Arm(draw, learning=Learning.ALL),
            "entropy": Arm(strategy_of("entropy", {}), learning=Learning.ALL),
            "acft-hq": Arm(acft, learning=Learning.HARD),
            "random-hq": Arm(draw, learning=Learning.HARD),
            "acft-lq": Arm(acft, learning=Learning.ALL),
            "acft-q": Arm(acft, learning=Learning.NEW),
            "aft": Arm(acft, learning=Learning.ANEW),
            "rft": Arm(draw, learning=Learning.ANEW),
            "two-stream": Arm(strategy_of("two-stream", two), learning=Learning.ALL),
            "core-set": Arm(strategy_of("core-set", {"stream": _STREAM}), learning=Learning.ALL),
        }


class NetworkLearner:
    """A network, what it was taught, and the pictures that it is asked about."""

    def __init__(
        self,
        protocol: FineTuning,
        task: Task,
        pool: Images,
        test: Images,
        arm: Arm,
        seed: int,
        cache: Path,
    ) -> None:
        from parfocal_bench import networks

        self._networks = networks
        self._protocol, self._task, self._arm = protocol, task, arm
        self._seed, self._cache = seed, cache
        self._pool, self._test = (
            networks.as_tensor(images).to(protocol.device) for images in (pool, test)
        )
        self._augment = networks.turned if protocol.data == "malaria" else networks.shifted
        self._network = self._untrained()
        self._lesson = 0

    def learn(self, labelled: Rows, fresh: Rows) -> Mapping[str, float]:
        """Give one lesson; tell what was taught and how well all labels are known afterwards."""
        first, rate = self._lesson == 0, self._first_rate
        before = np.setdiff1d(labelled, fresh)
        hard = before[self._hard(before)] if len(before) else before
        taught = self._taught(labelled, fresh, hard)
        if first:
            steps = self._first_lesson(taught)
        elif self._leaves_out:
            steps = self._teach_in_parts(labelled, fresh)
        else:
            if self._arm.learning == Learning.ANEW:
                self._network = self._untrained()
            steps = self._teach(taught)
        self._lesson += 1
        return {
            "own_accuracy": float(np.mean(self._right(labelled))),
            "size_l": float(len(before)),
            "size_q": float(len(fresh)),
            "size_h": float(len(hard)),
            "taught": float(len(taught)),
            "steps": float(steps),
            "rate": rate,
        }

    def test(self) -> Probabilities:
        """Return the probabilities of the test pictures, each seen as it is."""
        return self._networks.predict(self._network, self._test)[0]

    def pool(self, labelled: Rows) -> Pool:
        """Return the candidates with features, probabilities and, if asked for, views."""
        probabilities, features = self._networks.predict(self._network, self._pool)
        views = None
        if self._arm.strategy.needs_predictions:
            views = self._networks.predict_views(self._network, self._pool)
        return Pool.of(
            np.arange(len(self._task.labels)),
            streams={_STREAM: features, _CLASSES: probabilities},
            probabilities=probabilities,
            predictions=views,
            labelled=labelled,
            verdicts=self._task.labels[labelled] == 1,
        )

    def _taught(self, labelled: Rows, fresh: Rows, hard: Rows) -> Rows:
        match self._arm.learning:
            case Learning.NEW:
                return np.sort(fresh)
            case Learning.HARD:
                return np.union1d(hard, fresh)
            case _:
                return np.sort(labelled)

    def _first_lesson(self, taught: Rows) -> int:
        """Teach untrained weights, or put back what the same lesson made in another cell."""
        lesson = [self._protocol.settings(), self._seed, taught.tolist()]
        path = self._cache / f"first-{self._seed}-{short_hash(lesson)}.npz"
        return self._networks.taught_once(path, self._network, lambda: self._teach(taught))

    def _teach(self, rows: Rows) -> int:
        """Teach until the rows are known well enough, within limits; return the steps taken."""
        lessons = self._protocol.lessons
        steps = lessons.first_steps if self._is_anew else lessons.steps
        rng = self._random()
        taken = 0
        for extension in range(_EXTENSIONS + 1):
            more = steps if extension == 0 else max(1, steps // 2)
            self._step(rows, more, self._first_rate if extension == 0 else self._rate, rng)
            taken += more
            if np.mean(self._right(rows)) >= lessons.wanted_accuracy:
                break
        return taken

    def _teach_in_parts(self, labelled: Rows, fresh: Rows) -> int:
        """Teach with some old labels left out, as `Lessons` says; return the steps taken."""
        lessons = self._protocol.lessons
        before = np.setdiff1d(labelled, fresh)
        # Without hard labels what is left out cannot come back, so it is no aim.
        aim = labelled if self._arm.learning == Learning.HARD else fresh
        rng = self._random()
        parts = 0
        while parts < lessons.most_parts:
            rows = self._taught(labelled, fresh, before[self._hard(before)])
            self._step(rows, lessons.part_steps, self._rate, rng)
            parts += 1
            known = np.mean(self._right(aim)) >= lessons.gentle_accuracy
            if parts >= lessons.least_parts and known:
                break
        return parts * lessons.part_steps

    def _step(self, rows: Rows, steps: int, rate: float, rng: np.random.Generator) -> None:
        self._networks.teach(
            self._network,
            self._pool[rows],
            self._task.labels[rows],
            steps=steps,
            rate=rate,
            batch=self._protocol.lessons.batch,
            augment=self._augment,
            rng=rng,
        )

    def _random(self) -> np.random.Generator:
        return np.random.Generator(bit_generator(self._seed, "lesson", index=self._lesson))

    @property
    def _leaves_out(self) -> bool:
        """Whether the lesson is given without some of the old labels."""
        return self._arm.learning in (Learning.NEW, Learning.HARD) and self._lesson > 0

    @property
    def _is_anew(self) -> bool:
        """Whether the lesson starts from untrained weights."""
        return self._lesson == 0 or self._arm.learning == Learning.ANEW

    @property
    def _first_rate(self) -> float:
        return self._protocol.lessons.first_rate if self._is_anew else self._rate

    @property
    def _rate(self) -> float:
        """Learning rate of a lesson that goes on."""
        lessons = self._protocol.lessons
        return lessons.gentle_rate if self._leaves_out else lessons.rate

    def _right(self, rows: Rows) -> Mask:
        """Whether the mean over the views, or of pictures of things the picture, is right."""
        return np.asarray(
            self._views(rows).mean(axis=1).argmax(axis=1) == self._task.labels[rows], np.bool_
        )

    def _hard(self, rows: Rows) -> Mask:
        """Whether a view is wrong."""
        wrong = self._views(rows).argmax(axis=2) != self._task.labels[rows][:, None]
        return np.asarray(wrong.any(axis=1), np.bool_)

    def _views(self, rows: Rows) -> Probabilities:
        """Return (n, views, classes) probabilities; a picture of a thing has one view."""
        images = self._pool[rows]
        if self._protocol.data == "malaria":
            return self._networks.predict_views(self._network, images)
        return self._networks.predict(self._network, images)[0][:, None]

    def _untrained(self) -> Network:
        return self._networks.new_network(
            self._protocol.network,
            channels=int(self._pool.shape[1]),
            classes=self._task.classes,
            seed=derived_seed(self._seed, "weights"),
        ).to(self._protocol.device)
