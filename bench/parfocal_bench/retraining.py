"""The protocol of a network that is trained from scratch every round. Needs torch.

Z. Lin et al., Two Stream Active Query Suggestion for Active Learning in Connectomics, ECCV 2020,
section 5.3: pictures of ten classes, a residual network of eighteen layers, the class output and
the latent of a variational auto-encoder as the two streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parfocal_bench.cells import arrays_file, short_hash, write_whole
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
from parfocal_bench.recipes import Autoencoder, Recipe
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.seeds import bit_generator, derived_seed
from parfocal_suggestion.strategies.catalogue import strategy_of

_VERSION = 1
_LATENT, _FEATURES, _CLASSES = "latent", "features", "classes"
_CLUSTERS = 50


@dataclass(frozen=True)
class Retraining(OnPack):
    """A residual network, trained from scratch with all labels every round.

    Attributes:
        recipe: How the network is trained.
        autoencoder: What makes the latents.
        network: Name of the network.
        device: Where torch works, such as `cpu` or `cuda`.
    """

    recipe: Recipe = field(default_factory=Recipe)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    network: str = "resnet18"
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return f"{self.data}-{self.network}"

    @property
    def title(self) -> str:
        """Heading of the report."""
        return f"{self.data}, {self.network} from scratch every round"

    def settings(self) -> Mapping[str, Json]:
        """Return all that decides every cell; another device sums in another order."""
        return {
            "name": self.name,
            "version": _VERSION,
            "data": digest(self.packs, self.data),
            "candidates": self.candidates,
            "schedule": asdict(self.schedule),
            "recipe": asdict(self.recipe),
            "autoencoder": asdict(self.autoencoder),
            "network": self.network,
            "device": self.device,
        }

    def prepare(self, cache: Path) -> None:
        """Train the auto-encoder on the training side, unless it was done."""
        from parfocal_bench import latents, networks

        networks.require(self.device)
        path = self._latents(cache)
        if path.exists():
            return
        cache.mkdir(parents=True, exist_ok=True)
        images = networks.as_tensor(open_pack(self.packs, self.data).train.images)
        with networks.repeatable():
            found = latents.latents(images.to(self.device), self.autoencoder, seed=0)
        write_whole(path, arrays_file({"latents": found}))

    def run(self, arm: str, seed: int, cache: Path) -> Sequence[Row]:
        """Run one cell."""
        from parfocal_bench import networks

        with networks.repeatable():
            return self._run(self._by_name()[arm], seed, cache)

    def _run(self, arm: Arm, seed: int, cache: Path) -> Sequence[Row]:
        pack = open_pack(self.packs, self.data)
        chosen = draw_pool(pack.train, self.candidates, seed)
        with np.load(self._latents(cache)) as stored:
            latents = stored["latents"][chosen]
        task = Task(pack.train.labels[chosen], pack.test.labels, pack.classes)
        learner = Retrained(
            self, task, pack.train.images[chosen], pack.test.images, latents, seed, cache
        )
        return learning_curve(task, learner, arm, self.schedule, seed)

    def _by_name(self) -> dict[str, Arm]:
        two: dict[str, int | str] = {
            "first_stream": _CLASSES,
            "second_stream": _LATENT,
            "first_clusters": _CLUSTERS,
            "second_clusters": max(1, self.schedule.step // _CLUSTERS),
            "queries_per_cell": 1,
        }
        return {
            "random": Arm(strategy_of("random", {})),
            "two-stream": Arm(strategy_of("two-stream", two)),
            "entropy": Arm(strategy_of("entropy", {})),
            "core-set": Arm(strategy_of("core-set", {"stream": _FEATURES})),
        }

    def _latents(self, cache: Path) -> Path:
        decided = [digest(self.packs, self.data), asdict(self.autoencoder), self.device]
        return cache / f"latents-{short_hash(decided)}.npz"


class Retrained:
    """A network that is trained again and again, and the pictures that it is asked about."""

    def __init__(
        self,
        protocol: Retraining,
        task: Task,
        pool: Images,
        test: Images,
        latents: NDArray[np.float32],
        seed: int,
        cache: Path,
    ) -> None:
        from parfocal_bench import epochs, networks

        self._networks = networks
        self._protocol, self._task, self._latents = protocol, task, latents
        self._seed, self._cache = seed, cache
        self._pool, self._test = (
            networks.as_tensor(images).to(protocol.device) for images in (pool, test)
        )
        self._network = networks.new_network(
            protocol.network,
            channels=int(self._pool.shape[1]),
            classes=task.classes,
            seed=derived_seed(seed, "weights"),
        )
        self._untrained = networks.weights(self._network)
        networks.by_channel(self._network, protocol.device)
        self._trainer = epochs.Trainer(self._network, self._pool, task.labels, protocol.recipe)

    def learn(self, labelled: Rows, fresh: Rows) -> Mapping[str, float]:
        """Train from scratch with all labels; tell how well they are known afterwards."""
        rows = np.sort(labelled)
        is_first = len(fresh) == len(labelled)
        steps = self._first(rows) if is_first else self._train(rows)
        known = self._networks.predict(self._network, self._pool[rows])[0].argmax(axis=1)
        return {
            "own_accuracy": float(np.mean(known == self._task.labels[rows])),
            "steps": float(steps),
        }

    def test(self) -> Probabilities:
        """Return the probabilities of the test pictures."""
        return self._networks.predict(self._network, self._test)[0]

    def pool(self, labelled: Rows) -> Pool:
        """Return the candidates with latents, features and probabilities."""
        probabilities, features = self._networks.predict(self._network, self._pool)
        return Pool.of(
            np.arange(len(self._task.labels)),
            streams={_LATENT: self._latents, _FEATURES: features, _CLASSES: probabilities},
            probabilities=probabilities,
            labelled=labelled,
            verdicts=self._task.labels[labelled] == 1,
        )

    def _first(self, rows: Rows) -> int:
        """Train on the first labels, or put back what another cell of the seed made of them."""
        lesson = [self._protocol.settings(), self._seed, rows.tolist()]
        path = self._cache / f"first-{self._seed}-{short_hash(lesson)}.npz"
        return self._networks.taught_once(path, self._network, lambda: self._train(rows))

    def _train(self, rows: Rows) -> int:
        self._networks.restore(self._network, self._untrained)
        rng = np.random.Generator(bit_generator(self._seed, "lesson", index=len(rows)))
        return self._trainer.train(rows, rng)
