"""What the cells of a campaign add up to: curves, areas, differences to random, savings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_bench.cells import Finished
from parfocal_bench.curves import Scale, area, foreground_efficiency, saving
from parfocal_bench.protocol import RANDOM, Protocol
from parfocal_demo.intervals import CONFIDENCE, Measure, mean_over_seeds, paired_difference

LOW_ACCURACY = 0.9
"""A network that knows less of its own labels than this was not taught enough to be judged."""

_DRAWS = 2000
_MAY_BE_UNDEFINED = 0.025


@dataclass(frozen=True)
class Point:
    """A place of the learning curve of an arm.

    Attributes:
        labels: Labels bought, the mean over seeds.
        metric: The metric.
        difference: Metric minus that of random with the same seed.
    """

    labels: float
    metric: Measure
    difference: Measure


@dataclass(frozen=True)
class ArmFindings:
    """One arm, over all seeds.

    Attributes:
        name: Its name.
        curve: The learning curve.
        areas: Area under it, by scale.
        differences: Area minus that of random with the same seed, by scale.
        ahead: Seeds in which its linear area is above that of random.
        saving: Share of labels saved at the last value of random, of the mean curves.
        foreground_efficiency: Rate at which labelled foreground closes the gap to all labels.
        seconds_choosing: Seconds of all choices of a cell.
        seconds: Seconds of a cell in all.
        own_accuracy: Lowest accuracy on its own labels, over seeds and rounds.
    """

    name: str
    curve: Sequence[Point]
    areas: dict[str, Measure]
    differences: dict[str, Measure]
    ahead: int
    saving: Measure
    foreground_efficiency: Measure
    seconds_choosing: Measure
    seconds: Measure
    own_accuracy: Measure

    @property
    def verdict(self) -> str:
        """What may be claimed of its linear area: `better`, `worse` or `no claim`."""
        difference = self.differences[Scale.LINEAR]
        if not difference.excludes_zero:
            return "no claim"
        return "better" if difference.value > 0 else "worse"


@dataclass(frozen=True)
class Findings:
    """A campaign.

    Attributes:
        name: Its name.
        title: Its heading.
        metric: Name of the metric.
        seeds: The seeds.
        arms: The arms, random first, then by linear area, best first.
        settings: All that decided the cells.
        warnings: What makes a figure doubtful, in words.
    """

    name: str
    title: str
    metric: str
    seeds: Sequence[int]
    arms: Sequence[ArmFindings]
    settings: dict[str, object]
    warnings: Sequence[str]


def findings_of(protocol: Protocol, finished: Sequence[Finished]) -> Findings:
    """Add up cells of every arm and seed, random among the arms.

    Raises:
        ValueError: If random is missing, or an arm lacks a seed that random has.
    """
    by_arm: dict[str, list[Finished]] = {}
    for one in sorted(finished, key=lambda one: one.cell.seed):
        by_arm.setdefault(one.cell.arm, []).append(one)
    if RANDOM not in by_arm:
        raise ValueError("there is nothing to compare with: the arm random was not run")
    random = by_arm[RANDOM]
    seeds = [one.cell.seed for one in random]
    for name, cells in by_arm.items():
        if [one.cell.seed for one in cells] != seeds:
            raise ValueError(f"{name} was not run with the seeds of random, {seeds}")
    arms = [_arm(protocol, name, cells, random) for name, cells in by_arm.items()]
    arms.sort(key=lambda arm: (arm.name != RANDOM, -arm.areas[Scale.LINEAR].value))
    return Findings(
        name=protocol.name,
        title=protocol.title,
        metric=protocol.metric,
        seeds=seeds,
        arms=arms,
        settings=dict(protocol.settings()),
        warnings=[text for cells in by_arm.values() for text in warnings_of(cells)],
    )


def warnings_of(cells: Sequence[Finished]) -> list[str]:
    """Return what makes the figures of cells of one arm doubtful, in words.

    Only models that are taught in steps can be taught too little: one that is fitted to the end
    and does not know its labels is too simple for them, which is no fault of the campaign.
    """
    lessons = [
        (row.values["own_accuracy"], one.cell.seed, row.labels)
        for one in cells
        for row in one.rows
        if "steps" in row.values
    ]
    poor = sorted(lesson for lesson in lessons if lesson[0] < LOW_ACCURACY)
    if not poor:
        return []
    lowest, seed, labels = poor[0]
    return [
        f"{cells[0].cell.arm}: after {len(poor)} of {len(lessons)} lessons the network knows less "
        f"than {LOW_ACCURACY:.0%} of its own labels, at worst {lowest:.0%} (seed {seed}, {labels} "
        "labels)"
    ]


def _arm(
    protocol: Protocol, name: str, cells: Sequence[Finished], random: Sequence[Finished]
) -> ArmFindings:
    metric = protocol.metric
    areas, differences = {}, {}
    for scale in Scale:
        ours, theirs = _areas(protocol, cells, scale), _areas(protocol, random, scale)
        areas[scale.value] = mean_over_seeds(ours)
        differences[scale.value] = paired_difference(ours, theirs)
    ahead = sum(
        a > b
        for a, b in zip(
            _areas(protocol, cells, Scale.LINEAR),
            _areas(protocol, random, Scale.LINEAR),
            strict=True,
        )
    )
    return ArmFindings(
        name=name,
        curve=_points(metric, cells, random),
        areas=areas,
        differences=differences,
        ahead=ahead,
        saving=_saving(metric, cells, random),
        foreground_efficiency=_over_seeds(
            [
                foreground_efficiency(
                    _values(one, "foreground"), _values(one, metric), _values(one, "full")[-1]
                )
                for one in cells
            ]
        ),
        seconds_choosing=mean_over_seeds([sum(_values(one, "seconds_choosing")) for one in cells]),
        seconds=mean_over_seeds([one.seconds for one in cells]),
        own_accuracy=Measure(min(min(_values(one, "own_accuracy")) for one in cells)),
    )


def _points(metric: str, cells: Sequence[Finished], random: Sequence[Finished]) -> list[Point]:
    places = min(len(one.rows) for one in (*cells, *random))
    ours, theirs = _table(cells, metric, places), _table(random, metric, places)
    labels = np.array([[row.labels for row in one.rows[:places]] for one in cells], float)
    return [
        Point(
            labels=float(labels[:, place].mean()),
            metric=mean_over_seeds(ours[:, place].tolist()),
            difference=paired_difference(ours[:, place].tolist(), theirs[:, place].tolist()),
        )
        for place in range(places)
    ]


def _areas(protocol: Protocol, cells: Sequence[Finished], scale: Scale) -> list[float]:
    return [
        area(
            [row.labels for row in one.rows],
            _values(one, protocol.metric),
            scale=scale,
            chance=protocol.chance,
            all_labels=max(protocol.pool, one.rows[-1].labels),
        ).value
        for one in cells
    ]


def _saving(metric: str, cells: Sequence[Finished], random: Sequence[Finished]) -> Measure:
    """Saving of the mean curves, with a bootstrap interval over seeds."""
    if cells is random or cells[0].cell.arm == RANDOM:
        return Measure(0.0)
    places = min(len(one.rows) for one in (*cells, *random))
    labels = [int(row.labels) for row in cells[0].rows[:places]]
    random_labels = [int(row.labels) for row in random[0].rows[:places]]
    ours, theirs = _table(cells, metric, places), _table(random, metric, places)

    def of(chosen: NDArray[np.int64]) -> Measure:
        return saving(
            labels, ours[chosen].mean(0).tolist(), random_labels, theirs[chosen].mean(0).tolist()
        )

    whole = of(np.arange(len(cells)))
    if not whole.is_defined or len(cells) < 2:
        return whole
    rng = np.random.default_rng(0)
    drawn = [of(rng.integers(len(cells), size=len(cells))).value for _ in range(_DRAWS)]
    if np.mean(np.isnan(drawn)) > _MAY_BE_UNDEFINED:
        return Measure(whole.value, reason="no interval: undefined for some draws of the seeds")
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Measure(whole.value, float(low), float(high))


def _over_seeds(measures: Sequence[Measure]) -> Measure:
    undefined = [measure.reason for measure in measures if not measure.is_defined]
    if undefined:
        return Measure.undefined(undefined[0])
    return mean_over_seeds([measure.value for measure in measures])


def _values(finished: Finished, name: str) -> list[float]:
    return [row.values.get(name, math.nan) for row in finished.rows]


def _table(cells: Sequence[Finished], name: str, places: int) -> NDArray[np.float64]:
    return np.array([_values(one, name)[:places] for one in cells], float)
