"""Selections: which candidates a strategy chooses, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from parfocal._connection import Connection
from parfocal._errors import InvalidRequestError
from parfocal._matrix import matrix_to_pb
from parfocal._names import child_name, last_part, project_name
from parfocal._strategies import strategy_to_pb
from parfocal.suggestion.v1 import suggestion_service_pb2 as messages
from parfocal.suggestion.v1.constraints_pb2 import Constraints
from parfocal.suggestion.v1.selection_pb2 import RandomWeights, Selection
from parfocal.suggestion.v1.strategy_pb2 import Strategy, StrategyDescription
from parfocal.suggestion.v1.suggestion_service_pb2_grpc import SuggestionServiceStub

_LONG_SECONDS = 3600.0
_RULES = ("cell-majority", "confidence-and-area", "keep-default")


class Suggestions:
    """What to look at next."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = SuggestionServiceStub(connection.channel)

    def suggest(
        self,
        project: str,
        selection: str,
        *,
        budget: int,
        strategy: str | Strategy = "two-stream",
        candidates: str = "",
        features: Mapping[str, str | npt.ArrayLike] | None = None,
        probabilities: Iterable[float] = (),
        predictions: str | npt.ArrayLike | None = None,
        measures: Mapping[str, str | npt.ArrayLike] | None = None,
        labelled: Mapping[int, bool] | None = None,
        excluded: Iterable[int] = (),
        seed: int = 0,
        random_share: float = 0.0,
        constraints: Constraints | None = None,
        random_measure: str = "",
        timeout_seconds: float = _LONG_SECONDS,
    ) -> Selection:
        """Choose candidates and keep the choice under a name.

        Args:
            project: Name of the project.
            selection: Name of the selection; the same inputs again give the same selection.
            budget: How many to choose; more than there are takes all.
            strategy: Name of a strategy, such as `two-stream`, or a message with parameters;
                `strategies` lists them.
            candidates: Folder of the candidate set, unless features are sent along.
            features: By stream: the path of an array (N, d) in the object store, or the matrix
                itself. Row i belongs to candidate i.
            probabilities: Mean probability of each candidate, where there is no candidate set.
            predictions: Class probabilities of several views of each candidate: the path of an
                array (N, views, classes) in the object store, or the array itself.
            measures: By name, such as `foreground` or `predicted_loss`: a column of the candidate
                table, or the numbers (N,) themselves.
            labelled: Verdicts that are known, by candidate; these are not chosen again.
            excluded: Candidates that must not be chosen.
            seed: The same inputs and seed give the same selection, bit for bit.
            random_share: Share of the budget that is drawn at random first.
            constraints: What may be chosen together, as `parfocal.constraints` makes it.
            random_measure: One of the measures: half of the chance to be drawn follows it. Each
                pick keeps its chance, `inclusion_probability`.
            timeout_seconds: How long it may take.

        Raises:
            InvalidRequestError: If features, predictions or measures are of another shape, or
                anything else can never work; the metadata name the field.

        Example:
            >>> chosen = client.suggestions.suggest(  # doctest: +SKIP
            ...     "vnc", "try-1", budget=10, strategy="core-set", features={"image": vectors}
            ... )
            >>> [pick.candidate for pick in chosen.picks]  # doctest: +SKIP
        """
        request = messages.SuggestRequest(
            parent=project_name(project),
            selection_id=last_part(selection),
            candidates=candidates,
            features=[_stream(name, source) for name, source in (features or {}).items()],
            probabilities=probabilities,
            predictions=_predictions(predictions),
            measures=[_measure(name, source) for name, source in (measures or {}).items()],
            labelled=_labelled(labelled or {}),
            excluded=excluded,
            strategy=strategy_to_pb(strategy),
            budget=budget,
            seed=seed,
            random_share=random_share,
            constraints=constraints,
            random_weights=RandomWeights(measure=random_measure) if random_measure else None,
        )
        return self._connection.call(self._stub.Suggest, request, timeout_seconds=timeout_seconds)

    def get(self, project: str, selection: str) -> Selection:
        """Return a selection.

        Raises:
            NotFoundError: If there is none of that name.

        Example:
            >>> client.suggestions.get("vnc", "try-1").input_sha256  # doctest: +SKIP
        """
        request = messages.GetSelectionRequest(name=child_name(project, "selections", selection))
        return self._connection.call(self._stub.GetSelection, request)

    def replay(self, project: str, selection: str) -> messages.ReplaySelectionResponse:
        """Choose again from the stored parameters; say whether it is the same, bit for bit.

        Example:
            >>> client.suggestions.replay("vnc", "try-1").identical  # doctest: +SKIP
            True
        """
        request = messages.ReplaySelectionRequest(name=child_name(project, "selections", selection))
        return self._connection.call(
            self._stub.ReplaySelection, request, timeout_seconds=_LONG_SECONDS
        )

    def explain(
        self, project: str, selection: str, *, candidates: Iterable[int] = ()
    ) -> list[messages.Explanation]:
        """Say in words why candidates were, or were not, chosen; none named means all picks.

        Example:
            >>> print(client.suggestions.explain("vnc", "try-1")[0].text)  # doctest: +SKIP
        """
        request = messages.ExplainSelectionRequest(
            name=child_name(project, "selections", selection), candidates=candidates
        )
        return list(self._connection.call(self._stub.ExplainSelection, request).explanations)

    def propagate(
        self,
        project: str,
        candidates: str,
        *,
        labels: Mapping[int, bool],
        method: Literal["cell-majority", "confidence-and-area", "keep-default"] = "cell-majority",
        selection: str = "",
    ) -> messages.PropagateLabelsResponse:
        """Carry the verdicts of labelled candidates to all others by a simple rule.

        Args:
            project: Name of the project.
            candidates: Folder of the candidate set.
            labels: Verdicts by candidate.
            method: How they are carried.
            selection: The selection whose cells are meant, for `cell-majority`.

        Raises:
            InvalidRequestError: If there is no such method, or anything else can never work.

        Example:
            >>> carried = client.suggestions.propagate(  # doctest: +SKIP
            ...     "vnc", folder, labels={3: True, 9: False}, selection="try-1"
            ... )
            >>> sum(each.verdict for each in carried.verdicts)  # doctest: +SKIP
        """
        if method not in _RULES:
            raise InvalidRequestError(
                f"there is no method {method!r}; there are {', '.join(_RULES)}",
                reason="ERROR_REASON_INVALID_FIELD",
                metadata={"field": "method", "known": ", ".join(_RULES)},
            )
        request = messages.PropagateLabelsRequest(
            parent=project_name(project), candidates=candidates, labels=_labelled(labels)
        )
        if method == "cell-majority":
            request.cell_majority.selection = child_name(project, "selections", selection)
        else:
            getattr(request, method.replace("-", "_")).SetInParent()
        return self._connection.call(
            self._stub.PropagateLabels, request, timeout_seconds=_LONG_SECONDS
        )

    def propagate_learned(
        self,
        project: str,
        candidates: str,
        *,
        labels: Mapping[int, bool],
        features: Mapping[str, str | npt.ArrayLike] | None = None,
        groups: Iterable[int] = (),
        random_share: Iterable[int] = (),
        selections: Iterable[str] = (),
        error_rate: float = 0.0,
        seed: int = 0,
    ) -> messages.PropagateLabelsResponse:
        """Carry verdicts by a model of all that is known, and say how far to trust it.

        Args:
            project: Name of the project.
            candidates: Folder of the candidate set.
            labels: Verdicts by candidate.
            features: Embeddings by stream, as for `suggest`.
            groups: Group of each candidate, such as a patient, or nothing.
            random_share: Labelled candidates that were drawn uniformly at random; only these show
                how many errors are left and calibrate decisions.
            selections: Selections whose random picks belong to the random share, too.
            error_rate: Wrong share to allow among what is accepted unseen, and among what is
                rejected; 0 asks for no decisions.
            seed: Seed of folds and of the labels that calibrate.

        Example:
            >>> carried = client.suggestions.propagate_learned(  # doctest: +SKIP
            ...     "vnc", folder, labels=answers, selections=["round-1"], error_rate=0.05
            ... )
            >>> carried.errors_left.upper  # doctest: +SKIP
        """
        model = messages.LearnedModel(
            features=[_stream(name, source) for name, source in (features or {}).items()],
            groups=groups,
            random_share=random_share,
            selections=[child_name(project, "selections", name) for name in selections],
            error_rate=error_rate,
            seed=seed,
        )
        request = messages.PropagateLabelsRequest(
            parent=project_name(project),
            candidates=candidates,
            labels=_labelled(labels),
            learned_model=model,
        )
        return self._connection.call(
            self._stub.PropagateLabels, request, timeout_seconds=_LONG_SECONDS
        )

    def strategies(self) -> list[StrategyDescription]:
        """Return what strategies there are.

        Example:
            >>> [strategy.name for strategy in client.suggestions.strategies()]  # doctest: +SKIP
        """
        request = messages.ListStrategiesRequest()
        return list(self._connection.call(self._stub.ListStrategies, request).strategies)


def _stream(name: str, source: str | npt.ArrayLike) -> messages.FeatureStream:
    if isinstance(source, str):
        return messages.FeatureStream(name=name, array=source)
    field = f"features[{name}]"
    matrix = _numbers(source, field)
    if matrix.ndim != 2:
        raise _wrong_shape(field, matrix, "(N, d)")
    return messages.FeatureStream(name=name, inline=matrix_to_pb(matrix))


def _predictions(source: str | npt.ArrayLike | None) -> messages.Predictions | None:
    if source is None or isinstance(source, str):
        return None if source is None else messages.Predictions(array=source)
    values = _numbers(source, "predictions")
    if values.ndim != 3:
        raise _wrong_shape("predictions", values, "(N, views, classes)")
    rows, views, classes = values.shape
    flat = values.reshape(rows, views * classes)
    return messages.Predictions(inline=matrix_to_pb(flat), classes=classes)


def _measure(name: str, source: str | npt.ArrayLike) -> messages.Measure:
    if isinstance(source, str):
        return messages.Measure(name=name, column=source)
    field = f"measures[{name}]"
    values = _numbers(source, field)
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise _wrong_shape(field, values, "(N,) or (N, 1)")
    return messages.Measure(name=name, inline=matrix_to_pb(values.reshape(-1, 1)))


def _numbers(source: npt.ArrayLike, field: str) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(source, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"{field} must be an array of numbers: {error}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": field},
        ) from error


def _wrong_shape(field: str, values: npt.NDArray[np.float32], expected: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{field} must have the shape {expected}, got {values.shape}",
        reason="ERROR_REASON_SHAPE_MISMATCH",
        metadata={"field": field, "shape": str(values.shape), "expected": expected},
    )


def _labelled(verdicts: Mapping[int, bool]) -> list[messages.LabelledCandidate]:
    return [
        messages.LabelledCandidate(candidate=candidate, verdict=verdict)
        for candidate, verdict in verdicts.items()
    ]
