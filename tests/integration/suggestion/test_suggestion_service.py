from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest

from parfocal._strategies import STRATEGIES, strategy_to_pb
from parfocal.common.v1 import artifact_pb2
from parfocal.suggestion.v1 import constraints_pb2, selection_pb2, strategy_pb2
from parfocal.suggestion.v1 import suggestion_service_pb2 as pb
from parfocal.suggestion.v1.suggestion_service_pb2_grpc import SuggestionServiceStub
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.channels import domain_error
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table

SET = "projects/demo/candidates/first"
IMAGE = "projects/demo/embeddings/first/image-1.zarr"
TWO_STREAM = strategy_pb2.Strategy(two_stream=strategy_pb2.TwoStreamStrategy())
RANDOM = strategy_pb2.Strategy(random=strategy_pb2.RandomStrategy())
EVERY_STRATEGY = {name: strategy_to_pb(name) for name in STRATEGIES}
VIEWS = np.random.default_rng(5).dirichlet([1, 1], size=(60, 4)).astype("<f4")
NESTED = strategy_pb2.Strategy(
    sequence=strategy_pb2.SequenceStrategy(
        shortlist=strategy_pb2.Strategy(product=strategy_pb2.ProductStrategy()),
        choice=TWO_STREAM,
        factor=2.5,
    )
)
MIXED = strategy_pb2.Strategy(
    shares=strategy_pb2.SharesStrategy(
        parts=[
            strategy_pb2.WeightedStrategy(strategy=RANDOM, weight=2),
            strategy_pb2.WeightedStrategy(strategy=TWO_STREAM),
        ]
    )
)


def stream(name: str) -> pb.FeatureStream:
    return pb.FeatureStream(
        name=name,
        array=f"projects/demo/embeddings/first/{name}-1.zarr",
        encoder=artifact_pb2.ModelVersion(name=f"{name}-encoder", version=1),
    )


def wish(**changes: Any) -> pb.SuggestRequest:
    """A request that works, with `changes`."""
    fields: dict[str, Any] = {
        "parent": "projects/demo",
        "selection_id": "round-1",
        "candidates": SET,
        "features": [stream("mask"), stream("image")],
        "labelled": [pb.LabelledCandidate(candidate=i, verdict=i % 2 == 0) for i in (3, 4)],
        "excluded": [7],
        "strategy": TWO_STREAM,
        "budget": 12,
        "seed": 5,
        "random_share": 0.25,
        "predictions": pb.Predictions(
            inline=artifact_pb2.FloatMatrix(rows=60, columns=8, data=VIEWS.tobytes()), classes=2
        ),
        "measures": [
            pb.Measure(name="foreground", column="area"),
            pb.Measure(name="predicted_loss", column="max_probability"),
        ],
        "base_model": artifact_pb2.ModelVersion(name="base", version=2),
    }
    return pb.SuggestRequest(**{**fields, **changes})


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, reason and metadata of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = domain_error(caught.value)
    return caught.value.code(), error.reason, error.metadata


@pytest.mark.parametrize(
    "strategy",
    [*EVERY_STRATEGY.values(), NESTED, MIXED],
    ids=[*EVERY_STRATEGY, "nested", "mixed"],
)
def test_every_strategy_meets_the_budget_and_replays_bit_for_bit(
    suggestion: SuggestionServiceStub, strategy: strategy_pb2.Strategy
) -> None:
    selection = suggestion.Suggest(wish(strategy=strategy))
    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=selection.name))

    chosen = [pick.candidate for pick in selection.picks]
    assert len(set(chosen)) == 12
    assert not {3, 4, 7} & set(chosen)
    assert [pick.role for pick in selection.picks].count(selection_pb2.PICK_ROLE_RANDOM) == 3
    assert (replay.identical, list(replay.differences)) == (True, [])
    assert list(replay.candidates) == chosen


def test_a_selection_lies_in_the_store_with_reasons(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish())

    table = read_table(store, selection.path)
    reason = json.loads(table.column("reason")[0].as_py())
    cells = read_table(store, selection.cells_path)
    assert selection.path == "projects/demo/selections/round-1.parquet"
    assert table.column_names == [
        "candidate", "rank", "role", "score", "cell", "cell_size", "cluster", "distance", "reason",
        "inclusion_probability",
    ]  # fmt: skip
    assert table.column("candidate").to_pylist() == [pick.candidate for pick in selection.picks]
    assert reason["encoders"] == {"image": "image-encoder-1", "mask": "mask-encoder-1"}
    assert reason["model"] == "base-2"
    assert {"cell", "cell_size", "distance", "nearest_labelled", "confidence", "seed"} <= set(
        reason
    )
    assert cells.column("state").to_pylist()[7] == "excluded"
    assert cells.column("cell").to_pylist()[7] == -1


def test_inline_predictions_and_measures_are_enough_and_replay(
    suggestion: SuggestionServiceStub,
) -> None:
    numbers = artifact_pb2.FloatMatrix(rows=60, columns=1, data=VIEWS[:, 0, 0].tobytes())
    request = wish(
        candidates="",
        features=[],
        measures=[pb.Measure(name="predicted_loss", inline=numbers)],
        strategy=strategy_pb2.Strategy(
            acft=strategy_pb2.AcftStrategy(entropy_weight=0, diversity_weight=1)
        ),
    )

    selection = suggestion.Suggest(request)
    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=selection.name))

    acft = selection.strategy.acft
    assert (acft.entropy_weight, acft.diversity_weight) == (0, 1)
    assert acft.mode == strategy_pb2.ACFT_MODE_CODE
    assert (replay.identical, list(replay.differences)) == (True, [])


def test_predictions_by_path_are_the_same_as_inline(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    path = "projects/demo/predictions/views.zarr"
    array = create_array(store, path, shape=VIEWS.shape, dtype=np.float32, chunks=(16, 4, 2))
    array.write(VIEWS).result()
    acft = strategy_pb2.Strategy(acft=strategy_pb2.AcftStrategy())

    inline = suggestion.Suggest(wish(strategy=acft))
    by_path = suggestion.Suggest(
        wish(strategy=acft, selection_id="by-path", predictions=pb.Predictions(array=path))
    )
    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=by_path.name))

    assert [pick.candidate for pick in by_path.picks] == [pick.candidate for pick in inline.picks]
    assert replay.identical


def test_parts_of_a_score_are_in_the_reason(suggestion: SuggestionServiceStub) -> None:
    acft = strategy_pb2.Strategy(acft=strategy_pb2.AcftStrategy())

    selection = suggestion.Suggest(wish(strategy=acft))

    reasons = [json.loads(pick.reason) for pick in selection.picks]
    chosen = [reason for reason in reasons if reason["role"] == "strategy"]
    assert all(reason["parts"]["entropy"] == reason["score"] for reason in chosen)
    assert all("parts" not in reason for reason in reasons if reason["role"] == "random")


def test_derived_numbers_are_told(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish())

    two_stream = selection.strategy.two_stream
    assert (two_stream.first_stream, two_stream.second_stream) == ("mask", "image")
    assert two_stream.first_clusters * two_stream.second_clusters * two_stream.queries_per_cell <= 9
    assert min(two_stream.first_clusters, two_stream.starts) >= 1
    assert selection.pool == 57


def test_the_same_request_again_returns_what_is_kept(suggestion: SuggestionServiceStub) -> None:
    first = suggestion.Suggest(wish())

    again = suggestion.Suggest(wish(labelled=list(reversed(wish().labelled))))

    assert again == first
    assert suggestion.GetSelection(pb.GetSelectionRequest(name=first.name)) == first


def test_the_name_of_other_inputs_is_taken(suggestion: SuggestionServiceStub) -> None:
    suggestion.Suggest(wish())

    code, reason, metadata = failure(lambda: suggestion.Suggest(wish(seed=6)))

    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ERROR_REASON_ARTIFACT_EXISTS")
    assert metadata["name"] == "projects/demo/selections/round-1"


def test_a_replay_says_which_input_changed(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish())
    array = open_array(store, IMAGE)
    array.write(-np.cumsum(np.asarray(array.read().result()), axis=0)).result()

    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=selection.name))

    assert not replay.identical
    assert any(text.startswith("input features[image] was") for text in replay.differences)
    assert not any("features[mask]" in text for text in replay.differences)


def test_a_replay_says_that_an_input_is_gone(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish())
    store.delete_prefix(IMAGE)

    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=selection.name))

    assert not replay.identical
    assert "cannot be made now" in replay.differences[0]
    assert IMAGE in replay.differences[0]


def test_inline_features_are_enough_and_replay(suggestion: SuggestionServiceStub) -> None:
    numbers = np.random.default_rng(1).normal(size=(20, 4)).astype("<f4")
    inline = artifact_pb2.FloatMatrix(rows=20, columns=4, data=numbers.tobytes())
    request = pb.SuggestRequest(
        parent="projects/demo",
        selection_id="inline",
        features=[pb.FeatureStream(name="points", inline=inline)],
        probabilities=np.linspace(0, 1, 20),
        excluded=[2],
        strategy=EVERY_STRATEGY["core-set"],
        budget=5,
    )

    selection = suggestion.Suggest(request)

    name = pb.ReplaySelectionRequest(name=selection.name)
    assert suggestion.ReplaySelection(name).identical
    assert selection.strategy.core_set.stream == "points"


def test_a_budget_beyond_the_pool_takes_all_of_it(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish(budget=1000))

    expected = set(range(60)) - {3, 4, 7}
    assert {pick.candidate for pick in selection.picks} == expected
    assert selection.budget == 1000


def test_explanations_cover_chosen_labelled_excluded_and_others(
    suggestion: SuggestionServiceStub,
) -> None:
    selection = suggestion.Suggest(wish())
    chosen = selection.picks[0].candidate
    other = min(set(range(60)) - {pick.candidate for pick in selection.picks} - {3, 4, 7})

    answer = suggestion.ExplainSelection(
        pb.ExplainSelectionRequest(name=selection.name, candidates=[chosen, 4, 7, other])
    )

    texts = [each.text for each in answer.explanations]
    assert [each.chosen for each in answer.explanations] == [True, False, False, False]
    assert texts[0].startswith("Represents cell")
    assert "labelled True" in texts[1]
    assert "excluded" in texts[2]
    assert "is represented by" in texts[3]


@pytest.mark.parametrize(
    ("changes", "sample"),
    [
        ({}, "as part of the unbiased sample of 57 candidates"),
        (
            {
                "random_weights": selection_pb2.RandomWeights(measure="foreground"),
                "labelled": [],
            },
            "with a chance that goes by foreground, from 59 candidates",
        ),
        (
            {
                "constraints": constraints_pb2.Constraints(
                    quotas=[constraints_pb2.ClassQuota(predicted_class=1, maximum=2)]
                )
            },
            "as far as the constraints admit, from 57 candidates",
        ),
    ],
    ids=["uniform", "by weight", "under constraints"],
)
def test_only_a_uniform_draw_is_called_an_unbiased_sample(
    suggestion: SuggestionServiceStub, changes: dict[str, Any], sample: str
) -> None:
    selection = suggestion.Suggest(wish(**changes))

    answer = suggestion.ExplainSelection(pb.ExplainSelectionRequest(name=selection.name))

    drawn = [each.text for each in answer.explanations if each.text.startswith("Drawn at random")]
    assert len(drawn) == sum(p.role == selection_pb2.PICK_ROLE_RANDOM for p in selection.picks) > 0
    assert all(sample in text for text in drawn)


def test_without_names_all_picks_are_explained(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish(strategy=EVERY_STRATEGY["entropy"]))

    answer = suggestion.ExplainSelection(pb.ExplainSelectionRequest(name=selection.name))

    assert [each.candidate for each in answer.explanations] == [
        pick.candidate for pick in selection.picks
    ]
    assert any("entropy in nats is" in each.text for each in answer.explanations)


def test_a_strategy_inside_of_another_is_filled_in_and_told(
    suggestion: SuggestionServiceStub,
) -> None:
    selection = suggestion.Suggest(wish(strategy=NESTED))

    sequence = selection.strategy.sequence
    parts = sequence.shortlist.product.parts
    assert [part.strategy.WhichOneof("strategy") for part in parts] == ["entropy", "core_set"]
    assert parts[1].strategy.core_set.stream == "mask"
    assert sequence.choice.two_stream.first_clusters >= 1
    assert sequence.factor == 2.5


def test_a_pick_says_what_its_score_is_made_of_and_which_part_chose_it(
    suggestion: SuggestionServiceStub,
) -> None:
    product = suggestion.Suggest(wish(strategy=EVERY_STRATEGY["product"], random_share=0))
    shares = suggestion.Suggest(wish(strategy=MIXED, random_share=0, selection_id="by-shares"))

    texts = [
        suggestion.ExplainSelection(pb.ExplainSelectionRequest(name=each.name)).explanations[0].text
        for each in (product, shares)
    ]
    reasons = [[json.loads(pick.reason) for pick in each.picks] for each in (product, shares)]
    assert all(set(reason["parts"]) == {"entropy", "core_set"} for reason in reasons[0])
    assert [reason["chosen_by"] for reason in reasons[1]] == ["random"] * 8 + ["two_stream"] * 4
    assert f"It is made of entropy {reasons[0][0]['parts']['entropy']:g}" in texts[0]
    assert "chosen by its part random" in texts[1]


def test_a_replay_names_the_strategy_inside_that_changed(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish(strategy=EVERY_STRATEGY["product"]))
    table = read_table(store, selection.path)
    record = json.loads(table.schema.metadata[b"parfocal.selection"])
    record["inner_versions"]["core-set"] = "0"
    record["seed"] += 1
    store.delete(selection.path)
    create_table(
        store,
        selection.path,
        table.replace_schema_metadata({"parfocal.selection": json.dumps(record)}),
    )

    replay = suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=selection.name))

    assert not replay.identical
    assert any(
        text.startswith("strategy core-set inside of it was version 0")
        for text in replay.differences
    )


def propagation(**changes: Any) -> pb.PropagateLabelsRequest:
    fields: dict[str, Any] = {
        "parent": "projects/demo",
        "candidates": SET,
        "labels": [pb.LabelledCandidate(candidate=i, verdict=i % 3 == 0) for i in range(12)],
    }
    return pb.PropagateLabelsRequest(**{**fields, **changes})


def test_labels_go_by_cells_and_own_labels_stay(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish())

    answer = suggestion.PropagateLabels(
        propagation(cell_majority=pb.CellMajority(selection=selection.name))
    )

    assert [each.candidate for each in answer.verdicts] == list(range(60))
    assert [each.verdict for each in answer.verdicts[:12]] == [i % 3 == 0 for i in range(12)]
    assert {each.decided_by for each in answer.verdicts[:12]} == {pb.DECIDED_BY_OWN_LABEL}
    assert pb.DECIDED_BY_CELL in {each.decided_by for each in answer.verdicts}


def test_labels_go_by_confidence_and_area(suggestion: SuggestionServiceStub) -> None:
    answer = suggestion.PropagateLabels(
        propagation(confidence_and_area=pb.ConfidenceAndArea(), overrule_own=True)
    )

    assert {each.decided_by for each in answer.verdicts} == {pb.DECIDED_BY_MODEL}
    assert all(each.verdict == (each.probability >= 0.5) for each in answer.verdicts)


def test_one_class_of_labels_is_noted(suggestion: SuggestionServiceStub) -> None:
    labels = [pb.LabelledCandidate(candidate=i, verdict=False) for i in range(3)]

    answer = suggestion.PropagateLabels(
        propagation(labels=labels, confidence_and_area=pb.ConfidenceAndArea())
    )

    assert not any(each.verdict for each in answer.verdicts)
    assert "all labels are False" in answer.notes[0]


def test_nothing_known_keeps_the_default(suggestion: SuggestionServiceStub) -> None:
    answer = suggestion.PropagateLabels(
        propagation(
            keep_default=pb.KeepDefault(),
            default_verdict=pb.PROPAGATION_DEFAULT_LABEL_MAJORITY,
        )
    )

    assert not any(each.verdict for each in answer.verdicts[12:])


def learned(**changes: Any) -> pb.LearnedModel:
    fields: dict[str, Any] = {"features": [stream("mask"), stream("image")], "error_rate": 0.3}
    return pb.LearnedModel(**{**fields, **changes})


def test_a_learned_model_says_what_may_be_accepted_unseen(
    suggestion: SuggestionServiceStub,
) -> None:
    answer = suggestion.PropagateLabels(
        propagation(
            learned_model=learned(random_share=range(12), groups=[i // 2 for i in range(60)])
        )
    )

    decisions = [each.decision for each in answer.verdicts]
    assert decisions[:2] == [pb.UNSEEN_DECISION_ACCEPT, pb.UNSEEN_DECISION_REJECT]
    assert pb.UNSEEN_DECISION_UNSPECIFIED not in decisions
    assert {each.decided_by for each in answer.verdicts[12:]} == {pb.DECIDED_BY_MODEL}
    assert answer.reliability.labels == 12
    assert sum(each.labels for each in answer.reliability.bins) == 12
    left = answer.errors_left
    assert (left.candidates, left.checked) == (48, 12)
    assert left.lower <= left.expected <= left.upper
    assert {each.part for each in answer.strengths} == {
        "geometry",
        "groups",
        "embedding:mask",
        "embedding:image",
    }


def test_the_random_picks_of_a_selection_are_its_random_share(
    suggestion: SuggestionServiceStub,
) -> None:
    mixed = suggestion.Suggest(wish(selection_id="mixed"))
    drawn = suggestion.Suggest(wish(selection_id="drawn", strategy=RANDOM, random_share=0))
    picks = {pick.candidate: pick.role for one in (mixed, drawn) for pick in one.picks}
    labels = [pb.LabelledCandidate(candidate=i, verdict=i % 3 == 0) for i in picks]

    checked = [
        suggestion.PropagateLabels(
            propagation(labels=labels, learned_model=learned(selections=[selection.name]))
        ).errors_left.checked
        for selection in (mixed, drawn)
    ]

    assert checked == [3, 12]


def test_random_picks_that_were_not_drawn_uniformly_calibrate_nothing(
    suggestion: SuggestionServiceStub,
) -> None:
    weights = selection_pb2.RandomWeights(measure="area", strength=0.5)
    selection = suggestion.Suggest(
        wish(random_weights=weights, measures=[pb.Measure(name="area", column="area")])
    )
    labels = [pb.LabelledCandidate(candidate=i.candidate, verdict=True) for i in selection.picks]

    answer = suggestion.PropagateLabels(
        propagation(labels=labels, learned_model=learned(selections=[selection.name]))
    )

    assert answer.errors_left.checked == 0
    assert "were not drawn uniformly" in answer.notes[0]


def test_an_excluded_candidate_is_no_part_of_the_draw(
    suggestion: SuggestionServiceStub,
) -> None:
    excluded = list(range(30, 60))
    selection = suggestion.Suggest(
        wish(strategy=RANDOM, random_share=0, labelled=[], excluded=excluded, budget=20)
    )
    labels = [pb.LabelledCandidate(candidate=i.candidate, verdict=True) for i in selection.picks]

    answer = suggestion.PropagateLabels(
        propagation(
            labels=labels,
            learned_model=learned(selections=[selection.name], random_share=[], error_rate=0.9),
        )
    )

    decisions = [each.decision for each in answer.verdicts]
    assert set(decisions[30:]) == {pb.UNSEEN_DECISION_LOOK}
    assert set(decisions[:30]) == {pb.UNSEEN_DECISION_ACCEPT}
    assert (answer.errors_left.checked, answer.errors_left.candidates) == (20, 10)
    assert answer.notes[0].startswith("30 candidates were excluded from the random draw")


def test_a_label_that_another_draw_left_out_calibrates_nothing(
    suggestion: SuggestionServiceStub,
) -> None:
    draw = {"strategy": RANDOM, "random_share": 0, "labelled": []}
    first = suggestion.Suggest(wish(selection_id="all", budget=60, excluded=[], **draw))
    second = suggestion.Suggest(
        wish(selection_id="few", budget=5, excluded=list(range(10, 60)), **draw)
    )
    labels = [pb.LabelledCandidate(candidate=i, verdict=True) for i in range(20)]

    answer = suggestion.PropagateLabels(
        propagation(labels=labels, learned_model=learned(selections=[first.name, second.name]))
    )

    assert (answer.errors_left.checked, answer.errors_left.candidates) == (10, 0)


@pytest.mark.parametrize(
    "method",
    [
        {"cell_majority": pb.CellMajority(selection="projects/demo/selections/other")},
        {"learned_model": pb.LearnedModel(selections=["projects/demo/selections/other"])},
    ],
    ids=["cells", "random share"],
)
def test_a_selection_of_another_set_of_as_many_candidates_is_refused(
    suggestion: SuggestionServiceStub, store: ObjectStore, method: dict[str, Any]
) -> None:
    other = "projects/demo/candidates/second"
    create_table(store, f"{other}/table.parquet", read_table(store, f"{SET}/table.parquet"))
    suggestion.Suggest(wish(selection_id="other", candidates=other))

    code, _, metadata = failure(lambda: suggestion.PropagateLabels(propagation(**method)))

    assert (code, metadata["value"]) == (INVALID, "other")
    assert metadata["field"] in ("cell_majority.selection", "learned_model.selections")


def test_without_a_random_share_everything_is_looked_at(suggestion: SuggestionServiceStub) -> None:
    answer = suggestion.PropagateLabels(propagation(learned_model=learned()))

    assert {each.decision for each in answer.verdicts[12:]} == {pb.UNSEEN_DECISION_LOOK}
    assert np.isnan(answer.errors_left.expected)
    assert "random share" in answer.errors_left.undefined_reason
    assert "random share" in answer.notes[0]


def test_no_error_rate_asks_for_no_decision(suggestion: SuggestionServiceStub) -> None:
    answer = suggestion.PropagateLabels(propagation(learned_model=learned(error_rate=0)))

    assert {each.decision for each in answer.verdicts} == {pb.UNSEEN_DECISION_UNSPECIFIED}


def test_strategies_are_listed_by_name(suggestion: SuggestionServiceStub) -> None:
    answer = suggestion.ListStrategies(pb.ListStrategiesRequest())

    assert [each.name for each in answer.strategies] == sorted(EVERY_STRATEGY)
    assert all(each.description and each.version for each in answer.strategies)


INVALID = grpc.StatusCode.INVALID_ARGUMENT
BAD_REQUESTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "budget 0": ({"budget": 0}, "ERROR_REASON_INVALID_BUDGET", "budget"),
    "negative budget": ({"budget": -4}, "ERROR_REASON_INVALID_BUDGET", "budget"),
    "no strategy": (
        {"strategy": strategy_pb2.Strategy()}, "ERROR_REASON_UNKNOWN_STRATEGY", "strategy",
    ),
    "share over 1": ({"random_share": 1.5}, "ERROR_REASON_INVALID_FIELD", "random_share"),
    "share not a number": (
        {"random_share": float("nan")}, "ERROR_REASON_INVALID_FIELD", "random_share",
    ),
    "missing stream": ({"features": [stream("mask")]}, "ERROR_REASON_INVALID_FIELD", "features"),
    "stream named twice": (
        {"features": [stream("mask"), stream("mask")]}, "ERROR_REASON_INVALID_FIELD", "features",
    ),
    "stream without source": (
        {"features": [pb.FeatureStream(name="mask")]},
        "ERROR_REASON_MISSING_FIELD",
        "features[mask]",
    ),
    "labelled unknown": (
        {"labelled": [pb.LabelledCandidate(candidate=99)]},
        "ERROR_REASON_INVALID_FIELD",
        "labelled",
    ),
    "labelled twice": (
        {"labelled": [pb.LabelledCandidate(candidate=9)] * 2},
        "ERROR_REASON_INVALID_FIELD",
        "labelled",
    ),
    "excluded negative": ({"excluded": [-1]}, "ERROR_REASON_INVALID_FIELD", "excluded"),
    "a negative number of clusters": (
        {"strategy": strategy_pb2.Strategy(
            two_stream=strategy_pb2.TwoStreamStrategy(first_clusters=-1))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.two_stream.first_clusters",
    ),
    "endless starts": (
        {"strategy": strategy_pb2.Strategy(
            late_fusion=strategy_pb2.LateFusionStrategy(starts=2**31 - 1))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.late_fusion.starts",
    ),
    "a random product": (
        {"strategy": strategy_pb2.Strategy(
            product=strategy_pb2.ProductStrategy(
                parts=[strategy_pb2.WeightedStrategy(strategy=RANDOM)]))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.product.parts",
    ),
    "a part without a strategy": (
        {"strategy": strategy_pb2.Strategy(
            shares=strategy_pb2.SharesStrategy(parts=[strategy_pb2.WeightedStrategy()]))},
        "ERROR_REASON_UNKNOWN_STRATEGY",
        "strategy",
    ),
    "a negative weight": (
        {"strategy": strategy_pb2.Strategy(
            shares=strategy_pb2.SharesStrategy(
                parts=[strategy_pb2.WeightedStrategy(strategy=RANDOM, weight=-1)]))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.shares.parts.weight",
    ),
    "a shortlist shorter than the budget": (
        {"strategy": strategy_pb2.Strategy(
            sequence=strategy_pb2.SequenceStrategy(factor=0.5))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.sequence.factor",
    ),
    "one stream twice": (
        {"strategy": strategy_pb2.Strategy(
            two_stream=strategy_pb2.TwoStreamStrategy(first_stream="image"))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy",
    ),
    "probabilities twice": (
        {"probabilities": [0.5] * 60}, "ERROR_REASON_INVALID_FIELD", "probabilities",
    ),
    "nothing to choose from": (
        {
            "candidates": "", "features": [], "predictions": None, "measures": [],
            "labelled": [], "excluded": [], "strategy": RANDOM,
        },
        "ERROR_REASON_MISSING_FIELD",
        "candidates",
    ),
    "predictions without source": (
        {"predictions": pb.Predictions()}, "ERROR_REASON_MISSING_FIELD", "predictions",
    ),
    "classes that do not divide the columns": (
        {"predictions": pb.Predictions(
            inline=artifact_pb2.FloatMatrix(rows=60, columns=8, data=VIEWS.tobytes()), classes=3)},
        "ERROR_REASON_INVALID_FIELD",
        "predictions.classes",
    ),
    "measure named twice": (
        {"measures": [pb.Measure(name="area")] * 2}, "ERROR_REASON_INVALID_FIELD", "measures",
    ),
    "a measure that is no column": (
        {"measures": [pb.Measure(name="weight")]},
        "ERROR_REASON_INVALID_FIELD",
        "measures[weight]",
    ),
    "a measure of two columns": (
        {"measures": [pb.Measure(
            name="weight",
            inline=artifact_pb2.FloatMatrix(rows=60, columns=8, data=VIEWS.tobytes()))]},
        "ERROR_REASON_INVALID_FIELD",
        "measures[weight]",
    ),
    "an unknown word": (
        {"strategy": strategy_pb2.Strategy(
            acft=strategy_pb2.AcftStrategy(mode=99))},  # type: ignore[arg-type]
        "ERROR_REASON_INVALID_FIELD",
        "strategy.acft.mode",
    ),
    "a number that is none": (
        {"strategy": strategy_pb2.Strategy(
            acft=strategy_pb2.AcftStrategy(epsilon=float("nan")))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.acft.epsilon",
    ),
    "predictions of nobody": (
        {"predictions": pb.Predictions(inline=artifact_pb2.FloatMatrix(columns=8), classes=2)},
        "ERROR_REASON_SHAPE_MISMATCH",
        "predictions",
    ),
    "a share of more than all": (
        {"strategy": strategy_pb2.Strategy(
            foreground_random=strategy_pb2.ForegroundRandomStrategy(share=1.5))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.foreground_random.share",
    ),
    "balls purer than pure": (
        {"strategy": strategy_pb2.Strategy(
            probcover=strategy_pb2.ProbcoverStrategy(purity=1.5))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.probcover.purity",
    ),
    "a power beyond numbers": (
        {"strategy": strategy_pb2.Strategy(
            power_bald=strategy_pb2.PowerBaldStrategy(strength=1e300))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy",
    ),
    "a weight beyond numbers": (
        {"strategy": strategy_pb2.Strategy(
            acft=strategy_pb2.AcftStrategy(diversity_weight=1e300))},
        "ERROR_REASON_INVALID_FIELD",
        "strategy.acft",
    ),
    "a name for the cells": (
        {"selection_id": "a-cells-b"}, "ERROR_REASON_INVALID_NAME", "selection_id",
    ),
    "no parent": ({"parent": ""}, "ERROR_REASON_INVALID_FIELD", "parent"),
    "a parent with a path": ({"parent": "projects/../x"}, "ERROR_REASON_INVALID_NAME", "parent"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason", "field"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys()
)
def test_bad_input_names_its_field(
    suggestion: SuggestionServiceStub, changes: dict[str, Any], reason: str, field: str
) -> None:
    code, given, metadata = failure(lambda: suggestion.Suggest(wish(**changes)))

    assert (code, given) == (INVALID, reason)
    assert metadata["field"] == field


def inline_request(matrix: artifact_pb2.FloatMatrix) -> pb.SuggestRequest:
    return wish(features=[stream("mask"), pb.FeatureStream(name="image", inline=matrix)])


def test_features_that_are_not_numbers_name_their_candidates(
    suggestion: SuggestionServiceStub,
) -> None:
    numbers = np.zeros((60, 2), "<f4")
    numbers[[11, 30]] = np.nan, np.inf
    matrix = artifact_pb2.FloatMatrix(rows=60, columns=2, data=numbers.tobytes())

    code, reason, metadata = failure(lambda: suggestion.Suggest(inline_request(matrix)))

    assert (code, reason) == (INVALID, "ERROR_REASON_FEATURES_NOT_FINITE")
    assert metadata == {"field": "features[image]", "candidates": "11, 30", "count": "2"}


@pytest.mark.parametrize(
    "matrix",
    [
        artifact_pb2.FloatMatrix(rows=59, columns=1, data=bytes(59 * 4)),
        artifact_pb2.FloatMatrix(rows=60, columns=1, data=bytes(7)),
        artifact_pb2.FloatMatrix(rows=-60, columns=-1, data=bytes(240)),
        artifact_pb2.FloatMatrix(rows=60, columns=0, data=b""),
    ],
    ids=["a row short", "bytes missing", "negative", "no columns"],
)
def test_features_of_the_wrong_shape_are_refused(
    suggestion: SuggestionServiceStub, matrix: artifact_pb2.FloatMatrix
) -> None:
    code, reason, metadata = failure(lambda: suggestion.Suggest(inline_request(matrix)))

    assert (code, reason) == (INVALID, "ERROR_REASON_SHAPE_MISMATCH")
    assert metadata["field"] == "features[image]"


@pytest.mark.parametrize(
    "uri", ["../elsewhere", "/etc", "file:///etc", "s3://other/bucket"], ids=str
)
def test_an_address_outside_the_store_is_denied(
    suggestion: SuggestionServiceStub, uri: str
) -> None:
    outside = pb.FeatureStream(name="mask", array=uri)
    denied = (grpc.StatusCode.PERMISSION_DENIED, "ERROR_REASON_URI_OUTSIDE_ROOTS")

    by_array = failure(lambda: suggestion.Suggest(wish(features=[outside, stream("image")])))
    by_set = failure(lambda: suggestion.Suggest(wish(candidates=uri)))
    by_labels = failure(
        lambda: suggestion.PropagateLabels(
            propagation(candidates=uri, keep_default=pb.KeepDefault())
        )
    )

    assert by_array[:2] == by_set[:2] == by_labels[:2] == denied


def test_what_does_not_exist_is_not_found(suggestion: SuggestionServiceStub) -> None:
    name = "projects/demo/selections/none"
    gone = pb.FeatureStream(name="mask", array="projects/demo/embeddings/first/none.zarr")
    majority = pb.CellMajority(selection=name)
    codes = {
        failure(call)[0]
        for call in (
            lambda: suggestion.GetSelection(pb.GetSelectionRequest(name=name)),
            lambda: suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=name)),
            lambda: suggestion.ExplainSelection(pb.ExplainSelectionRequest(name=name)),
            lambda: suggestion.PropagateLabels(propagation(cell_majority=majority)),
            lambda: suggestion.Suggest(wish(candidates="projects/demo/candidates/none")),
            lambda: suggestion.Suggest(wish(features=[gone, stream("image")])),
        )
    }

    assert codes == {grpc.StatusCode.NOT_FOUND}


def test_damaged_features_are_told(suggestion: SuggestionServiceStub, store: ObjectStore) -> None:
    for chunk in [path for path in store.list(IMAGE) if "/c/" in path]:
        store.write(chunk, b"no chunk")

    code, reason, metadata = failure(lambda: suggestion.Suggest(wish()))

    assert (code, reason) == (INVALID, "ERROR_REASON_INVALID_ARTIFACT")
    assert metadata["path"] == IMAGE


def test_the_file_of_the_cells_is_no_selection(suggestion: SuggestionServiceStub) -> None:
    cells = suggestion.Suggest(wish()).cells_path.removesuffix(".parquet")
    request = pb.GetSelectionRequest(name=cells)

    code, reason, _ = failure(lambda: suggestion.GetSelection(request))

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ERROR_REASON_SELECTION_NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "method"),
        ({"cell_majority": pb.CellMajority(selection="round-1")}, "cell_majority.selection"),
        (
            {"cell_majority": pb.CellMajority(selection="projects/other/selections/a")},
            "cell_majority.selection",
        ),
        ({"keep_default": pb.KeepDefault(), "default_verdict": 9}, "default_verdict"),
        (
            {
                "keep_default": pb.KeepDefault(),
                "labels": [pb.LabelledCandidate(candidate=60)],
            },
            "labels",
        ),
        (
            {
                "keep_default": pb.KeepDefault(),
                "labels": [pb.LabelledCandidate(candidate=3)] * 2,
            },
            "labels",
        ),
        ({"keep_default": pb.KeepDefault(), "candidates": ""}, "candidates"),
        ({"learned_model": learned(error_rate=1)}, "learned_model.error_rate"),
        ({"learned_model": learned(error_rate=float("nan"))}, "learned_model.error_rate"),
        ({"learned_model": learned(groups=[1, 2])}, "learned_model.groups"),
        ({"learned_model": learned(random_share=[30])}, "learned_model.random_share"),
        ({"learned_model": learned(selections=["a"])}, "learned_model.selections"),
        ({"learned_model": learned(features=[stream("mask")] * 2)}, "features"),
    ],
    ids=[
        "no method",
        "ill-formed name",
        "other project",
        "unknown default",
        "unknown label",
        "repeated label",
        "no candidate set",
        "error rate of 1",
        "error rate not a number",
        "too few groups",
        "drawn without a label",
        "ill-formed selection",
        "stream named twice",
    ],
)
def test_propagation_names_the_field_at_fault(
    suggestion: SuggestionServiceStub, changes: dict[str, Any], field: str
) -> None:
    code, _, metadata = failure(lambda: suggestion.PropagateLabels(propagation(**changes)))

    assert (code, metadata["field"]) == (INVALID, field)


def rewritten(store: ObjectStore, **columns: Any) -> str:
    """Put a set with other columns beside the first one, and return its folder."""
    table = read_table(store, f"{SET}/table.parquet")
    for name, values in columns.items():
        at = table.column_names.index(name) if name in table.column_names else -1
        table = (
            table.append_column(name, [values]) if at < 0 else table.set_column(at, name, [values])
        )
    folder = "projects/demo/candidates/rewritten"
    create_table(store, f"{folder}/table.parquet", table)
    return folder


GAP = [None, *[0.5] * 59]
CONFIDENCE = {"confidence_and_area": pb.ConfidenceAndArea()}
LEARNED = {"learned_model": pb.LearnedModel()}


@pytest.mark.parametrize(
    ("column", "values", "method"),
    [
        ("mean_probability", pa.array([float("nan"), *[0.5] * 59]), CONFIDENCE),
        ("mean_probability", pa.array(["high"] * 60), CONFIDENCE),
        ("max_probability", pa.array(GAP), CONFIDENCE),
        ("area", pa.array([None, *[5] * 59], pa.int32()), CONFIDENCE),
        ("area", pa.array([None, *[5] * 59], pa.int32()), LEARNED),
        ("source", pa.array(["stack"] * 60), LEARNED),
    ],
    ids=["no number", "a word", "a gap", "no area", "no area to learn from", "a word as source"],
)
def test_a_column_that_cannot_be_used_is_named(
    suggestion: SuggestionServiceStub,
    store: ObjectStore,
    column: str,
    values: pa.Array,
    method: dict[str, Any],
) -> None:
    folder = rewritten(store, **{column: values})

    with pytest.raises(grpc.RpcError) as caught:
        suggestion.PropagateLabels(propagation(candidates=folder, **method))

    assert caught.value.code() == INVALID
    assert column in str(caught.value.details())


@pytest.mark.parametrize("method", [CONFIDENCE, LEARNED], ids=["confidence", "learned model"])
def test_a_set_without_candidates_has_no_verdicts(
    suggestion: SuggestionServiceStub, store: ObjectStore, method: dict[str, Any]
) -> None:
    empty = read_table(store, f"{SET}/table.parquet").slice(0, 0)
    for name in ("source", "z0", "z1", "y0", "x0", "y1", "x1"):
        empty = empty.append_column(name, [pa.array([], pa.int64())])
    create_table(store, "projects/demo/candidates/empty/table.parquet", empty)
    if "learned_model" in method:
        inline = artifact_pb2.FloatMatrix(rows=0, columns=3)
        streams = [pb.FeatureStream(name="mask", inline=inline)]
        method = {"learned_model": pb.LearnedModel(features=streams, error_rate=0.1)}

    answer = suggestion.PropagateLabels(
        propagation(candidates="projects/demo/candidates/empty", labels=[], **method)
    )

    assert not answer.verdicts


def test_explaining_a_stranger_is_refused(suggestion: SuggestionServiceStub) -> None:
    name = suggestion.Suggest(wish()).name
    request = pb.ExplainSelectionRequest(name=name, candidates=[400])

    code, _, metadata = failure(lambda: suggestion.ExplainSelection(request))

    assert (code, metadata["field"], metadata["value"]) == (INVALID, "candidates", "400")
