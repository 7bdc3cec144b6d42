"""What a round and those of its history say together: pooled accuracy, measured models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.shares import Share, pooled


@dataclass(frozen=True)
class Past:
    """A round and those of its history that exist, oldest first, the round itself last.

    Attributes:
        members: By their own names, in the order of the history.
    """

    members: Mapping[str, rounds.Round]

    @property
    def labels(self) -> int:
        """Queries that were decided in all of them."""
        return sum(each.status.decided for each in self.members.values())

    def pooled(self) -> Share:
        """Share of right proposals over the rounds in which the model of the last one proposed."""
        every = list(self.members.values())
        return _right([each for each in every if _model(each) == _model(every[-1])])

    def models(self) -> list[tuple[artifacts.ModelVersion, int, Share]]:
        """Return each base model with the labels before its first round and its accuracy."""
        found: dict[tuple[str, int], list[rounds.Round]] = {}
        for each in self.members.values():
            found.setdefault(_model(each), []).append(each)
        return [
            (own[0].status.base_model, self._labels_before(own[0]), _right(own))
            for own in found.values()
        ]

    def _labels_before(self, each: rounds.Round) -> int:
        before = (self.members.get(name) for name in each.spec.history)
        return sum(one.status.decided for one in before if one is not None)


def _model(each: rounds.Round) -> tuple[str, int]:
    return each.status.base_model.name, each.status.base_model.version


def _right(measured: Sequence[rounds.Round]) -> Share:
    return pooled(
        [_share(each.status.accuracy) for each in measured],
        # Rounds of earlier versions do not say how many they chose from.
        [each.status.pool or each.status.candidate_count for each in measured],
    )


def _share(accuracy: rounds.AccuracyEstimate) -> Share:
    effective = accuracy.effective_labels or float(accuracy.labels)
    return Share(accuracy.labels, accuracy.right, accuracy.accuracy, effective)
