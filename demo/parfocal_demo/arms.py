"""One arm: rounds of asking, answering and learning, scored after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.labels.v1.label_pb2 import VERDICT_TRUE
from parfocal.loop.v1.round_pb2 import AccuracyEstimate, IntervalEstimate, RoundStatus
from parfocal_demo.artifacts import PROJECT, CandidateSet
from parfocal_demo.following import Follower
from parfocal_demo.intervals import Measure, wilson
from parfocal_demo.report.findings import Arm, RoundErrors, Turn
from parfocal_demo.report.wording import TITLES
from parfocal_demo.scoring import Scored, score_model
from parfocal_demo.specs import Specs, model_name, random_share

if TYPE_CHECKING:
    from parfocal import Client

_NO_ANSWERS = "no answers yet"


@dataclass(frozen=True)
class Start:
    """Where every arm begins.

    Attributes:
        base: The base model.
        encoders: The encoders by stream.
        candidates: The first candidate set.
        scored: The base model on the test part.
    """

    base: ModelVersion
    encoders: dict[str, ModelVersion]
    candidates: CandidateSet
    scored: Scored


@dataclass
class ArmResult:
    """An arm that was run to its end.

    Attributes:
        arm: What the report says of it.
        names: The rounds.
        statuses: What the loop says of each round.
        scored: The last model on the test part.
    """

    arm: Arm
    scored: Scored
    names: list[str] = field(default_factory=list)
    statuses: list[RoundStatus] = field(default_factory=list)


def run_arm(
    name: str,
    *,
    client: Client,
    specs: Specs,
    follower: Follower,
    start: Start,
    answer: Callable[[str], None],
) -> ArmResult:
    """Run every round of an arm.

    Args:
        name: `two-stream` or `random`.
        client: A connection as a curator.
        specs: Makes the messages.
        follower: Runs the work.
        start: Where the arm begins.
        answer: Answers the queries of a round.
    """
    turns = [_turn_zero(start)]
    result = ArmResult(Arm(name, random_share(name, specs.settings), ()), scored=start.scored)
    base = start.base
    for number in range(1, specs.settings.rounds + 1):
        round_name = f"{name}-{number}"
        spec = specs.round(
            name,
            number,
            base=base,
            encoders=start.encoders,
            first_candidates=start.candidates.folder,
            history=list(result.names),
        )
        title = f"{TITLES[name]}, round {number}"
        status = follower.round(round_name, spec, title=title, answer=answer)
        base = status.new_base_model if status.HasField("new_base_model") else base
        result.scored = score_model(specs, follower, model_name(base), title=title.lower())
        result.names.append(round_name)
        result.statuses.append(status)
        turns.append(
            _turn(client, specs, number, status, round_name, base, turns[-1], result, start)
        )
    result.arm = Arm(name, result.arm.random_share, tuple(turns))
    return result


def _turn_zero(start: Start) -> Turn:
    return Turn(
        round=0,
        model=model_name(start.base),
        labels=0,
        labels_total=0,
        answered_true=0,
        candidates=len(start.candidates),
        correct_share=wilson(int(start.candidates.correct.sum()), len(start.candidates)),
        estimated_share=Measure.undefined(_NO_ANSWERS),
        errors=RoundErrors(*[Measure.undefined(_NO_ANSWERS)] * 4),
        advice="",
        seconds_per_label=float("nan"),
        scores=start.scored.over(start.scored),
    )


def _turn(
    client: Client,
    specs: Specs,
    number: int,
    status: RoundStatus,
    round_name: str,
    model: ModelVersion,
    before: Turn,
    result: ArmResult,
    start: Start,
) -> Turn:
    labels = [one for one in client.labels.list(PROJECT, round=round_name) if not one.retracted]
    candidates = specs.artifacts.candidates(status.candidates)
    return Turn(
        round=number,
        model=model_name(model),
        labels=len(labels),
        labels_total=before.labels_total + len(labels),
        answered_true=sum(label.verdict == VERDICT_TRUE for label in labels),
        candidates=len(candidates),
        correct_share=wilson(int(candidates.correct.sum()), len(candidates)),
        estimated_share=_estimate(status.accuracy),
        errors=RoundErrors(
            strategy=_measure(status.lift.strategy.rate),
            random=_measure(status.lift.random.rate),
            ratio=_measure(status.lift.ratio),
            difference=_measure(status.lift.difference),
        ),
        advice=status.stopping_advice.text,
        seconds_per_label=median([label.seconds for label in labels] or [float("nan")]),
        scores=result.scored.over(start.scored),
    )


def _estimate(estimate: AccuracyEstimate) -> Measure:
    return Measure(
        estimate.accuracy, estimate.lower, estimate.upper, reason=estimate.undefined_reason
    )


def _measure(interval: IntervalEstimate) -> Measure:
    return Measure(interval.value, interval.lower, interval.upper, reason=interval.undefined_reason)
