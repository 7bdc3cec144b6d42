"""Stopping advice of a round, as numbers and in plain words."""

from __future__ import annotations

from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.estimate import estimate_of
from parfocal_loop.intervals import Interval
from parfocal_loop.messages import estimate_to_pb, interval_to_pb
from parfocal_loop.past_rounds import Past
from parfocal_loop.stopping import Advice, Measured, Rule, Verdict, advise

_VERDICTS = {
    Verdict.TOO_EARLY: rounds.STOPPING_VERDICT_TOO_EARLY,
    Verdict.GO_ON: rounds.STOPPING_VERDICT_GO_ON,
    Verdict.STOP: rounds.STOPPING_VERDICT_STOP,
}


def rule_of(spec: rounds.RoundSpec) -> Rule:
    """Return when more rounds than this one are not worth their labels."""
    wanted, default = spec.stopping, Rule()
    return Rule(
        minimum_gain=(
            wanted.minimum_gain if wanted.HasField("minimum_gain") else default.minimum_gain
        ),
        patience=wanted.patience or default.patience,
    )


def advice_to_pb(past: Past, spec: rounds.RoundSpec, *, level: float) -> rounds.StoppingAdvice:
    """Return the advice after these rounds, the last of which has this spec."""
    models, rule = past.models(), rule_of(spec)
    advice = advise(
        [Measured(labels, right) for _, labels, right in models],
        labels=past.labels,
        step=spec.budget,
        rule=rule,
        level=level,
    )
    return rounds.StoppingAdvice(
        verdict=_VERDICTS[advice.verdict],
        text=words(advice, rule),
        gain_per_hundred_labels=interval_to_pb(advice.per_hundred),
        next_round_gain=interval_to_pb(advice.next_round),
        worthwhile_probability=advice.probability,
        minimum_gain=rule.minimum_gain,
        level=level,
        labels=past.labels,
        models=[
            rounds.MeasuredModel(
                model=model,
                labels=labels,
                accuracy=estimate_to_pb(estimate_of(right, level=level)),
            )
            for model, labels, right in models
        ],
    )


def words(advice: Advice, rule: Rule) -> str:
    """Return the advice in one or two sentences, with the numbers that it rests on."""
    if advice.verdict is Verdict.TOO_EARLY:
        return f"Too early to say: {advice.per_hundred.undefined_reason}."
    expected = (
        "The next hundred labels are expected to change accuracy by "
        f"{_points(advice.per_hundred)}; that the next round gains more than "
        f"{100 * rule.minimum_gain:.1f} points has a probability of "
        f"{100 * advice.probability:.0f} %."
    )
    if advice.verdict is Verdict.STOP:
        return f"Stop. {expected}"
    if advice.next_round.lower > 0:
        return f"Go on. {expected}"
    return f"Go on: a plateau cannot be told from progress yet. {expected}"


def _points(gain: Interval) -> str:
    value, lower, upper = (100 * each for each in (gain.value, gain.lower, gain.upper))
    return f"{value:+.1f} points ({lower:+.1f} to {upper:+.1f})"
