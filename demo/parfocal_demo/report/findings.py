"""What a campaign found: the content of `report.json`, described in docs/demo-report.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parfocal_demo.intervals import Measure

FORMAT = 1
"""Raised when a key of `report.json` changes its meaning or goes away."""


@dataclass(frozen=True)
class InputFacts:
    """The image that the campaign ran on."""

    source: str
    """`generated`, or the path that was imported."""
    truth: str
    """`generated`, or the path of the ground truth."""
    shape: tuple[int, int, int]
    """Sections, rows and columns that were worked on."""
    voxel_size_nm: tuple[float, float, float] | None
    """Physical size of a voxel of that shape, zyx; `null` where it is not known."""
    level: int
    """Resolution level that was worked on; 0 is the finest, each further one halves y and x."""
    foreground_share: float
    """Share of voxels that the ground truth marks."""


@dataclass(frozen=True)
class Split:
    """Which columns train and which score."""

    train_x: tuple[int, int]
    """Half-open range of columns from which labels come."""
    test_x: tuple[int, int]
    """Half-open range of columns on which the model is scored. The gap is not used."""


@dataclass(frozen=True)
class Crop:
    """One fully labelled box that the base model starts from."""

    z: tuple[int, int]
    """Half-open range of sections."""
    y: tuple[int, int]
    """Half-open range of rows."""
    x: tuple[int, int]
    """Half-open range of columns."""
    foreground_share: float
    """Share of its pixels that the ground truth marks."""


@dataclass(frozen=True)
class InitialLabels:
    """What was labelled by hand before the first round."""

    crops: tuple[Crop, ...]
    """The boxes, chosen for their content as a person would."""
    pixels: int
    """Pixels labelled in all."""
    profiles: int
    """Outlines that a person would have had to draw."""


@dataclass(frozen=True)
class Pool:
    """The first candidate set, of which both arms and the comparison of propagation draw."""

    candidates: int
    """Number of candidates."""
    correct: int
    """How many of them are right by the rule of the paper."""
    correct_share: Measure
    """The same as a share: accuracy before any label."""
    threshold: float
    """Probability above which a pixel belongs to a proposal."""
    minimum_pixels: int
    """Proposals below this area are dropped."""
    excluded_columns_share: float
    """Share of the training part that lies in the x-y columns of the crops and is left out."""


@dataclass(frozen=True)
class Scores:
    """What a model version reaches on the test part."""

    roc_auc: Measure
    """Pixel ROC AUC."""
    average_precision: Measure
    """Pixel average precision."""
    coverage: Measure
    """Share of ground-truth profiles that proposals cover by more than half."""
    average_precision_gain: Measure
    """Gain of average precision over the base model on the same pixels."""


@dataclass(frozen=True)
class RoundErrors:
    """Errors that the picks of a strategy found, beside those of the random share."""

    strategy: Measure
    """Share of the answers to the strategy's picks that found an error."""
    random: Measure
    """The same of the random share."""
    ratio: Measure
    """Lift: the first over the second. With no value its lower end may still be known."""
    difference: Measure
    """The first minus the second."""


@dataclass(frozen=True)
class Turn:
    """One round of one arm; round 0 is the base model before any answer."""

    round: int
    """Number of the round."""
    model: str
    """`name/version` of the model that is scored, the one that the round made."""
    labels: int
    """Answers given in this round."""
    labels_total: int
    """Answers given so far."""
    answered_true: int
    """Answers of this round that said True."""
    candidates: int
    """Candidates that the round chose from."""
    correct_share: Measure
    """Share of those that are right by the ground truth."""
    estimated_share: Measure
    """The same as the loop estimates it from its random share alone."""
    errors: RoundErrors
    """What the loop says of the errors that the round found."""
    advice: str
    """What the loop says of another round, in words; empty before the first."""
    seconds_per_label: float
    """Median seconds that the oracle took for one answer, from asking for the question on."""
    scores: Scores
    """What the model of this round reaches on the test part."""


@dataclass(frozen=True)
class Arm:
    """One way of choosing what to ask."""

    name: str
    """`two-stream` or `random`."""
    random_share: float
    """Share of each queue that was drawn at random to estimate accuracy."""
    rounds: tuple[Turn, ...]
    """The rounds in order, beginning with round 0."""


@dataclass(frozen=True)
class PropagationMethod:
    """One way of carrying a few labels to all candidates, over several seeds."""

    name: str
    """`random`, `two-stream`, `late-fusion`, `learned` or `confidence-and-area`."""
    labels: tuple[int, ...]
    """Labels bought, by seed."""
    accuracy: tuple[float, ...]
    """Share of all candidates whose final label is right, own labels kept, by seed."""
    mean: Measure
    """Mean over the seeds with Student's interval."""
    over_random: Measure
    """Paired difference to `random` with Student's interval."""
    notes: tuple[str, ...] = ()
    """What could not be done as asked."""


@dataclass(frozen=True)
class Propagation:
    """The comparison on the first candidate set."""

    budget: int
    """Labels that each method may buy."""
    seeds: tuple[int, ...]
    """Seeds; method and seed give the labels bought."""
    expected_random: float
    """What the formula p (1 - s/N) + s/N expects of one-by-one correction."""
    methods: tuple[PropagationMethod, ...]
    """The methods, the control last."""


@dataclass(frozen=True)
class Suggestion:
    """One query of the two-stream arm as it was put to the annotator."""

    round: int
    """The round that asked."""
    rank: int
    """Place in the queue, from 0."""
    candidate: int
    """Number in the candidate set."""
    role: str
    """`strategy`, or `random` where it belongs to the random share."""
    reason: str
    """Why it was chosen, in words."""
    answer: str
    """`true`, `false` or `unsure`."""
    correct: bool
    """What the ground truth says."""


@dataclass(frozen=True)
class Stage:
    """Time spent on one kind of work."""

    name: str
    """What was done."""
    seconds: float
    """Wall-clock seconds in all."""
    times: int
    """How often it was done."""


@dataclass(frozen=True)
class Findings:
    """Everything that a campaign found."""

    product: str
    """Name and version of the program."""
    created: str
    """When the campaign ended, ISO 8601, UTC."""
    input: InputFacts
    split: Split
    initial_labels: InitialLabels
    pool: Pool
    arms: tuple[Arm, ...]
    """Two-stream first."""
    arms_difference: Measure
    """Average precision of two-stream minus random after the last round, on the same pixels."""
    propagation: Propagation
    suggestions: tuple[Suggestion, ...]
    stages: tuple[Stage, ...]
    """Where the time went, longest first; stages overlap, as the arms run side by side."""
    total_seconds: float
    """Wall-clock seconds of the run that ended the campaign; restarts are not added up."""
    own_label_accuracy: Mapping[str, float]
    """What each trained model reached on the labels that it learnt from, by `name/version`."""
    parameters: Mapping[str, str]
    """Every parameter and seed, as text."""
    versions: Mapping[str, str]
    """Versions of what it ran on."""
    commands: tuple[str, ...]
    """Commands that do it again."""
    notes: tuple[str, ...] = ()
    """What could not be done as asked."""
    format: int = field(default=FORMAT)

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`."""
        return next(arm for arm in self.arms if arm.name == name)
