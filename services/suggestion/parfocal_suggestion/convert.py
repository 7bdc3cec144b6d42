"""Messages of the suggestion service to the domain and back; checks what comes from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from parfocal.common.v1 import artifact_pb2 as artifact_pb
from parfocal.suggestion.v1 import selection_pb2 as selection_pb
from parfocal.suggestion.v1 import suggestion_service_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.layout import checked_name, selection_table
from parfocal_suggestion.archive import Stored
from parfocal_suggestion.constraints import Constraints
from parfocal_suggestion.convert_constraints import constraints_from_pb, constraints_to_pb
from parfocal_suggestion.convert_strategy import (
    descriptions_to_pb,
    strategy_from_pb,
    strategy_to_pb,
)
from parfocal_suggestion.digest import json_sha256
from parfocal_suggestion.explain import Explanation
from parfocal_suggestion.order import Measure, Order, Predictions, Stream
from parfocal_suggestion.pool import Floats, Ids, Mask
from parfocal_suggestion.propagation import Default, Propagated, Trust
from parfocal_suggestion.random_share import RandomWeights
from parfocal_suggestion.replay import Replay
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.verdicts import (
    CellMajority,
    ConfidenceAndArea,
    KeepDefault,
    LearnedModel,
    Method,
    Wish,
)

MOST_PICKS = 10_000
"""Picks in a message; the file has all."""
MOST_EXPLAINED = 1000

Resolve: TypeAlias = Callable[[str], str]
"""Turns what a caller named into a path of the object store, or raises."""

_ROLES = {
    "strategy": selection_pb.PICK_ROLE_STRATEGY,
    "random": selection_pb.PICK_ROLE_RANDOM,
}


def order_from_pb(request: pb.SuggestRequest, resolve: Resolve) -> Order:
    """Read a request for a selection.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If an array or folder lies outside the store.
    """
    labelled, verdicts = _labels_from_pb(request.labelled)
    return Order(
        project=_project_from_pb(request.parent),
        selection=_selection_id(request.selection_id),
        strategy=strategy_from_pb(request.strategy),
        budget=request.budget,
        seed=request.seed,
        random_share=request.random_share,
        random_weights=_random_weights_from_pb(request),
        candidates=resolve(request.candidates) if request.candidates else "",
        streams=_streams_from_pb(request.features, resolve),
        probabilities=_probabilities_from_pb(request),
        predictions=_predictions_from_pb(request, resolve),
        measures=_measures_from_pb(request.measures, resolve),
        labelled=labelled,
        verdicts=verdicts,
        excluded=np.array(request.excluded, np.int64),
        model=_version_from_pb(request.base_model),
        constraints=constraints_from_pb(request.constraints, resolve),
    )


def selection_name_from_pb(name: str, *, field: str) -> tuple[str, str]:
    """Read `projects/{project}/selections/{selection}` as its two names."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "projects" or parts[2] != "selections":
        raise _invalid(field, name, "must be projects/{project}/selections/{selection}")
    return checked_name(parts[1], field=field), checked_name(parts[3], field=field)


def selection_to_pb(stored: Stored) -> selection_pb.Selection:
    """Write a stored selection with its first picks."""
    record = stored.record
    created = Timestamp()
    created.FromDatetime(datetime.fromisoformat(record.create_time))
    return selection_pb.Selection(
        name=f"projects/{record.project}/selections/{record.selection}",
        path=selection_table(record.project, record.selection),
        strategy=strategy_to_pb(record.strategy, record.parameters),
        strategy_version=record.version,
        budget=record.budget,
        seed=record.seed,
        random_share=record.random_share,
        random_weights=(
            selection_pb.RandomWeights(**record.random_weights) if record.random_weights else None
        ),
        pool=record.pool,
        input_sha256=json_sha256(record.inputs),
        picks=[
            selection_pb.Pick(**{**pick, "role": _ROLES[pick["role"]]})
            for pick in stored.picks.slice(0, MOST_PICKS).to_pylist()
        ],
        create_time=created,
        cells_path=record.cells,
        constraints=constraints_to_pb(Constraints.from_json(record.constraints))
        if record.constraints
        else None,
        notes=record.notes,
    )


def replay_to_pb(replay: Replay) -> pb.ReplaySelectionResponse:
    """Write what came out of choosing again."""
    return pb.ReplaySelectionResponse(
        identical=replay.identical,
        differences=replay.differences,
        candidates=replay.candidates.tolist(),
    )


def explained_from_pb(request: pb.ExplainSelectionRequest) -> Ids:
    """Read which candidates to explain."""
    if len(request.candidates) > MOST_EXPLAINED:
        count = len(request.candidates)
        raise _invalid("candidates", count, f"may name at most {MOST_EXPLAINED}")
    return np.array(request.candidates, np.int64)


def explanations_to_pb(explanations: Sequence[Explanation]) -> pb.ExplainSelectionResponse:
    """Write explanations in their order."""
    return pb.ExplainSelectionResponse(
        explanations=[
            pb.Explanation(
                candidate=each.candidate, chosen=each.chosen, text=each.text, reason=each.reason
            )
            for each in explanations
        ]
    )


def propagation_from_pb(request: pb.PropagateLabelsRequest, resolve: Resolve) -> Wish:
    """Read a request for verdicts.

    Raises:
        InvalidInput: If a field has a value that can never work.
        PermissionDenied: If the candidate set lies outside the store.
    """
    project = _project_from_pb(request.parent)
    labelled, verdicts = _labels_from_pb(request.labels)
    if not request.candidates:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD", "a candidate set must be given", field="candidates"
        )
    return Wish(
        candidates=resolve(request.candidates),
        method=_method_from_pb(request, project, resolve),
        labelled=labelled,
        verdicts=verdicts,
        default=_default_from_pb(request.default_verdict),
        overrule_own=request.overrule_own,
    )


def propagated_to_pb(propagated: Propagated) -> pb.PropagateLabelsResponse:
    """Write verdicts; `decided_by` and decisions have the same numbers on both sides."""
    decisions = propagated.decisions
    if decisions is None:
        decisions = np.zeros(len(propagated.verdicts), np.uint8)
    columns = (propagated.verdicts, propagated.decided_by, propagated.probabilities, decisions)
    answer = pb.PropagateLabelsResponse(
        verdicts=[
            pb.PropagatedVerdict(
                candidate=candidate,
                verdict=verdict,
                decided_by=pb.DecidedBy.ValueType(decided_by),
                probability=probability,
                decision=pb.UnseenDecision.ValueType(decision),
            )
            for candidate, (verdict, decided_by, probability, decision) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ],
        notes=propagated.notes,
    )
    if propagated.trust is not None:
        answer.MergeFrom(_trust_to_pb(propagated.trust))
    return answer


def _trust_to_pb(trust: Trust) -> pb.PropagateLabelsResponse:
    told, left = trust.reliability, trust.errors_left
    return pb.PropagateLabelsResponse(
        reliability=pb.Reliability(
            labels=told.labels,
            accuracy=told.accuracy,
            brier=told.brier,
            log_loss=told.log_loss,
            calibration_error=told.calibration_error,
            auc=told.auc,
            bins=[pb.ReliabilityBin(**vars(each)) for each in told.bins],
            undefined=told.undefined,
        ),
        errors_left=pb.ErrorsLeft(
            candidates=left.candidates,
            checked=left.checked,
            wrong=left.wrong,
            expected=left.expected,
            lower=left.lower,
            upper=left.upper,
            undefined_reason=left.reason,
        ),
        strengths=[
            pb.PartStrength(part=part, strength=strength)
            for part, strength in trust.strengths.items()
        ],
    )


def strategies_to_pb(strategies: Mapping[str, type[Strategy]]) -> pb.ListStrategiesResponse:
    """Write what there is to choose by."""
    return pb.ListStrategiesResponse(strategies=descriptions_to_pb(strategies))


def _project_from_pb(parent: str) -> str:
    head, _, project = parent.partition("/")
    if head != "projects":
        raise _invalid("parent", parent, "must be projects/{project}")
    return checked_name(project, field="parent")


def _selection_id(name: str) -> str:
    # The table of the cells lies beside that of the picks under such a name.
    if "-cells-" in name:
        raise InvalidInput(
            "ERROR_REASON_INVALID_NAME",
            f"selection_id must not contain '-cells-', got {name!r}",
            field="selection_id",
            value=name,
        )
    return checked_name(name, field="selection_id")


def _labels_from_pb(labels: Sequence[pb.LabelledCandidate]) -> tuple[Ids, Mask]:
    return (
        np.fromiter((label.candidate for label in labels), np.int64, len(labels)),
        np.fromiter((label.verdict for label in labels), np.bool_, len(labels)),
    )


def _streams_from_pb(features: Sequence[pb.FeatureStream], resolve: Resolve) -> tuple[Stream, ...]:
    names = [each.name for each in features]
    if len(set(names)) < len(names):
        raise _invalid("features", ", ".join(names), "must have different names")
    return tuple(_stream_from_pb(each, resolve) for each in features)


def _stream_from_pb(feature: pb.FeatureStream, resolve: Resolve) -> Stream:
    name = checked_name(feature.name, field="features.name")
    source = feature.WhichOneof("source")
    if source is None:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD",
            f"features[{name}] needs an array or inline numbers",
            field=f"features[{name}]",
        )
    return Stream(
        name=name,
        array=resolve(feature.array) if source == "array" else "",
        inline=matrix_from_pb(feature.inline, f"features[{name}]") if source == "inline" else None,
        encoder=_version_from_pb(feature.encoder),
    )


def matrix_from_pb(matrix: artifact_pb.FloatMatrix, field: str) -> Floats:
    """Read an inline matrix without copying it.

    Raises:
        InvalidInput: If its size is not what it says (`ERROR_REASON_SHAPE_MISMATCH`).
    """
    rows, columns = matrix.rows, matrix.columns
    if rows < 0 or columns < 0 or rows * columns * 4 != len(matrix.data):
        raise InvalidInput(
            "ERROR_REASON_SHAPE_MISMATCH",
            f"{field} of {rows} x {columns} float32 cannot have {len(matrix.data)} bytes",
            field=field,
            shape=len(matrix.data),
            expected=rows * columns * 4,
        )
    return np.frombuffer(matrix.data, "<f4").reshape(rows, columns)


def _probabilities_from_pb(request: pb.SuggestRequest) -> Floats | None:
    if not request.probabilities:
        return None
    if request.candidates:
        raise _invalid("probabilities", len(request.probabilities), "come from the candidate set")
    return np.array(request.probabilities, np.float32)


def _predictions_from_pb(request: pb.SuggestRequest, resolve: Resolve) -> Predictions | None:
    if not request.HasField("predictions"):
        return None
    predictions = request.predictions
    source = predictions.WhichOneof("source")
    if source is None:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD",
            "predictions need an array or inline numbers",
            field="predictions",
        )
    if source == "array":
        return Predictions(resolve(predictions.array))
    flat = matrix_from_pb(predictions.inline, "predictions")
    if predictions.classes < 2 or flat.shape[1] % predictions.classes:
        fault = f"must be at least 2 and divide the {flat.shape[1]} columns"
        raise _invalid("predictions.classes", predictions.classes, fault)
    views = flat.shape[1] // predictions.classes
    return Predictions(inline=flat.reshape(len(flat), views, predictions.classes))


def _measures_from_pb(measures: Sequence[pb.Measure], resolve: Resolve) -> tuple[Measure, ...]:
    names = [each.name for each in measures]
    if len(set(names)) < len(names):
        raise _invalid("measures", ", ".join(names), "must have different names")
    return tuple(_measure_from_pb(each, resolve) for each in measures)


def _measure_from_pb(measure: pb.Measure, resolve: Resolve) -> Measure:
    name = checked_name(measure.name, field="measures.name")
    source = measure.WhichOneof("source")
    if source == "array":
        return Measure(name, array=resolve(measure.array))
    if source == "column":
        return Measure(name, column=measure.column)
    if source is None:
        return Measure(name, column=name)
    numbers = matrix_from_pb(measure.inline, f"measures[{name}]")
    if numbers.shape[1] != 1:
        raise _invalid(f"measures[{name}]", numbers.shape[1], "must have one column")
    return Measure(name, inline=numbers[:, 0])


def _random_weights_from_pb(request: pb.SuggestRequest) -> RandomWeights | None:
    if not request.HasField("random_weights"):
        return None
    weights = request.random_weights
    name = checked_name(weights.measure, field="random_weights.measure")
    return RandomWeights(name, weights.strength) if weights.strength else RandomWeights(name)


def _version_from_pb(version: artifact_pb.ModelVersion) -> str:
    return f"{version.name}-{version.version}" if version.name else ""


def _method_from_pb(request: pb.PropagateLabelsRequest, project: str, resolve: Resolve) -> Method:
    kind = request.WhichOneof("method")
    if kind is None:
        raise InvalidInput("ERROR_REASON_MISSING_FIELD", "a method must be given", field="method")
    if kind == "cell_majority":
        field = "cell_majority.selection"
        return CellMajority(*_own_selection(request.cell_majority.selection, project, field=field))
    if kind == "learned_model":
        return _learned_model_from_pb(request.learned_model, project, resolve)
    return ConfidenceAndArea() if kind == "confidence_and_area" else KeepDefault()


def _learned_model_from_pb(model: pb.LearnedModel, project: str, resolve: Resolve) -> LearnedModel:
    if not 0 <= model.error_rate < 1:
        raise _invalid("learned_model.error_rate", model.error_rate, "must lie in 0 to below 1")
    field = "learned_model.selections"
    return LearnedModel(
        streams=_streams_from_pb(model.features, resolve),
        groups=np.array(model.groups, np.int64),
        drawn=np.array(model.random_share, np.int64),
        selections=tuple(_own_selection(name, project, field=field) for name in model.selections),
        error_rate=model.error_rate,
        seed=model.seed,
    )


def _own_selection(name: str, project: str, *, field: str) -> tuple[str, str]:
    owner, selection = selection_name_from_pb(name, field=field)
    if owner != project:
        raise _invalid(field, name, "is of another project")
    return owner, selection


def _default_from_pb(default: pb.PropagationDefault.ValueType) -> Default:
    if default == pb.PROPAGATION_DEFAULT_UNSPECIFIED:
        return Default.TRUE
    try:
        return Default(default)
    except ValueError as error:
        raise _invalid("default_verdict", default, "is not a known default") from error


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {fault}, got {value!r}", field=field, value=value
    )
