from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnx_graphs import base_model, encoder
from parfocal import (
    Client,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    import_image,
)
from parfocal.common.v1.artifact_pb2 import WORK_STATE_SUCCEEDED, ModelVersion
from parfocal.labels.v1.label_pb2 import (
    LABEL_EVENT_KIND_RETRACTED,
    LABEL_PURPOSE_ADJUDICATION,
    VERDICT_UNSURE,
)
from parfocal.labels.v1.project_pb2 import CONSENSUS_RULE_N_OF_M, TIE_RULE_ADJUDICATE
from parfocal.labels.v1.query_pb2 import Query
from parfocal.loop.v1.job_pb2 import Job, SegmentJob
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.store import open_store
from parfocal_standalone import Standalone


def publish(server: Standalone, name: str, model: bytes, folder: Path) -> None:
    file = folder / f"{name}.onnx"
    file.write_bytes(model)
    publish_file(open_store(server.store_uri), name, file)


def import_squares(server: Standalone, project: str, folder: Path) -> str:
    section = np.zeros((64, 64), np.uint8)
    section[8:24, 8:24] = section[36:52, 36:52] = 255
    sections = folder / "sections"
    sections.mkdir()
    for z in range(4):
        Image.fromarray(section).save(sections / f"{z}.png")
    return import_image(sections, project=project, image="i", store=server.store_uri).path


def add_queries(client: Client, project: str, count: int) -> None:
    client.projects.create(project)
    queries = [Query(round="r", candidate_set="s", candidate=i, rank=i) for i in range(count)]
    assert client.labels.add(project, queries).added == count


def test_a_project_is_changed_unless_somebody_was_quicker(client: Client) -> None:
    first = client.projects.create("changing")
    first.display_name = "Changed"

    changed = client.projects.update(first, "display_name")
    with pytest.raises(ConflictError) as caught:
        client.projects.update(first, "display_name")

    assert changed.display_name == client.projects.get("changing").display_name == "Changed"
    assert caught.value.reason == "ERROR_REASON_ETAG_MISMATCH"


def test_leases_are_prolonged_and_given_back(client: Client) -> None:
    add_queries(client, "leases", 3)
    held = [each.query.name for each in client.labels.lease("leases", count=2)]

    renewed = client.labels.renew("leases", held, ttl_seconds=60)
    released = client.labels.release("leases", held[:1])

    assert renewed == held
    assert released == 1
    assert client.labels.progress("leases").leased == 1


def test_a_skipped_query_does_not_come_back(client: Client) -> None:
    add_queries(client, "skipped", 2)
    first, second = (each.query.name for each in client.labels.lease("skipped", count=2))

    assert client.labels.skip("skipped", {first: "out-of-focus"}) == 1
    with pytest.raises(ConflictError) as caught:
        client.labels.skip("skipped", {first: "out-of-focus", second: "blurred"})

    assert caught.value.reason == "ERROR_REASON_QUERY_NOT_LEASED"
    assert client.labels.lease("skipped", count=2) == []


def test_the_same_request_gives_the_same_labels(client: Client) -> None:
    add_queries(client, "repeated", 1)
    (leased,) = client.labels.lease("repeated")
    answers = {leased.query.name: True}

    first = client.labels.submit("repeated", answers, request_id="once")
    again = client.labels.submit("repeated", answers, request_id="once")

    assert [label.name for label in again] == [label.name for label in first]
    assert first[0].client.startswith("parfocal-python/")


def test_a_label_that_is_taken_back_opens_its_query_and_is_told(client: Client) -> None:
    add_queries(client, "retracted", 1)
    (leased,) = client.labels.lease("retracted")
    (label,) = client.labels.submit("retracted", {leased.query.name: False})

    client.labels.retract(label.name)
    events = list(client.labels.watch("retracted", until_present=True))

    assert [event.sequence for event in events] == [1, 2]
    assert events[1].kind == LABEL_EVENT_KIND_RETRACTED
    assert client.labels.progress("retracted").decided == 0


def test_a_label_is_revised_and_a_query_adjudicated(client: Client) -> None:
    add_queries(client, "revised", 1)
    (leased,) = client.labels.lease("revised")
    answers = {leased.query.name: True}
    (label,) = client.labels.submit("revised", answers, tags={leased.query.name: ["blurred"]})

    revised = client.labels.revise(label.name, False, seconds=2, tags=["sharp"])
    decided = client.labels.adjudicate(leased.query.name, None)

    assert (list(label.tags), list(revised.tags)) == (["blurred"], ["sharp"])
    assert (revised.revises, revised.seconds) == (label.name, 2)
    assert decided.purpose == LABEL_PURPOSE_ADJUDICATION
    (outcome,) = client.labels.consensus("revised")
    assert (outcome.adjudicated, outcome.verdict) == (True, VERDICT_UNSURE)


def test_queries_are_listed_by_state(client: Client) -> None:
    add_queries(client, "states", 2)
    (leased,) = client.labels.lease("states", count=1)
    client.labels.submit("states", {leased.query.name: True})

    listed = {
        state: [query.candidate for query in client.labels.queries("states", state=state)]
        for state in ("open", "decided", None)
    }

    assert listed == {"open": [1], "decided": [0], None: [0, 1]}


def test_a_project_has_rules_of_quality(client: Client) -> None:
    made = client.projects.create(
        "rules",
        votes_needed=3,
        consensus="n-of-m",
        votes_to_agree=2,
        ties="adjudicate",
        gold_share=0.1,
        repeat_share=0.2,
        blind=True,
    )

    assert made.consensus_rule == CONSENSUS_RULE_N_OF_M
    assert (made.votes_to_agree, made.tie_rule) == (2, TIE_RULE_ADJUDICATE)
    assert (made.gold_share, made.repeat_share, made.blind) == (0.1, 0.2, True)


def test_annotators_are_given_skills_and_listed(client: Client) -> None:
    client.projects.create("people")
    client.annotators.update("people", "ada lovelace", skills=["glia"], suspended=True)

    changed = client.annotators.update("people", "ada lovelace", suspended=False)

    assert list(client.annotators.list("people")) == [changed]
    assert changed.name == "projects/people/annotators/ada%20lovelace"
    assert (list(changed.skills), changed.suspended) == (["glia"], False)


def test_an_update_that_changes_nothing_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="skills, suspended"):
        client.annotators.update("people", "ada")


def test_queries_are_listed_and_withdrawn_by_round(client: Client) -> None:
    add_queries(client, "withdrawn", 3)

    listed = [query.candidate for query in client.labels.queries("withdrawn", round="r")]
    withdrawn = client.labels.withdraw("withdrawn", "r")

    assert listed == [0, 1, 2]
    assert withdrawn == 3
    assert list(client.labels.lease("withdrawn")) == []


def test_a_class_is_answered_by_its_name(client: Client) -> None:
    client.projects.create("classes", task="classify", classes=["ring", "trophozoite"])
    client.labels.add("classes", [Query(round="r", candidate_set="s", candidate=0, rank=0)])
    (leased,) = client.labels.lease("classes")

    client.labels.submit("classes", {leased.query.name: "ring"}, seconds={leased.query.name: 1.5})

    (found,) = client.labels.consensus("classes")
    assert (found.decided, found.class_name) == (True, "ring")
    assert client.labels.progress("classes").median_seconds == 1.5


def test_a_selection_from_vectors_is_kept_explained_and_replayed(client: Client) -> None:
    client.projects.create("chosen")
    vectors = np.random.default_rng(0).normal(size=(40, 8))

    selection = client.suggestions.suggest(
        "chosen",
        "try-1",
        budget=5,
        strategy="core-set",
        features={"image": vectors},
        labelled={3: True},
        excluded=[4],
        seed=7,
    )

    picked = [pick.candidate for pick in selection.picks]
    assert len(set(picked) - {3, 4}) == 5
    assert client.suggestions.get("chosen", "try-1").input_sha256 == selection.input_sha256
    assert client.suggestions.replay("chosen", "try-1").identical
    assert client.suggestions.explain("chosen", "try-1", candidates=picked[:1])[0].text


def test_a_selection_from_predictions_and_measures_is_kept_and_replayed(client: Client) -> None:
    client.projects.create("doubts")
    views = np.random.default_rng(0).dirichlet([1, 1, 1], size=(40, 6))

    by_views = client.suggestions.suggest(
        "doubts", "views", budget=5, strategy="bald", predictions=views
    )
    by_loss = client.suggestions.suggest(
        "doubts",
        "loss",
        budget=5,
        strategy="learning-loss",
        measures={"predicted_loss": np.arange(40)},
    )

    assert len(by_views.picks) == 5
    assert [pick.candidate for pick in by_loss.picks] == [39, 38, 37, 36, 35]
    assert client.suggestions.replay("doubts", "views").identical
    assert client.suggestions.replay("doubts", "loss").identical


@pytest.mark.parametrize(
    ("inputs", "field", "reason"),
    [
        ({"measures": {"predicted_loss": np.ones((9, 2))}}, "measures[predicted_loss]", "SHAPE"),
        ({"measures": {"predicted_loss": ["high"] * 9}}, "measures[predicted_loss]", "FIELD"),
        ({"features": {"image": np.ones(9)}}, "features[image]", "SHAPE"),
        ({"features": {"image": np.ones((9, 1, 4))}}, "features[image]", "SHAPE"),
        ({"predictions": np.ones((9, 2))}, "predictions", "SHAPE"),
        ({"predictions": [[[0.5, 0.5]], [[1]]]}, "predictions", "FIELD"),
    ],
    ids=["measures", "words", "one column", "sections", "no views", "ragged"],
)
def test_arrays_of_another_shape_are_refused_by_their_field(
    client: Client, inputs: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.suggestions.suggest("shapes", "s", budget=3, strategy="learning-loss", **inputs)

    assert caught.value.metadata["field"] == field
    assert reason in caught.value.reason


def test_measures_may_stand_in_one_column(client: Client) -> None:
    client.projects.create("column")
    losses = np.arange(9.0)

    picks = [
        [
            pick.candidate
            for pick in client.suggestions.suggest(
                "column", name, budget=3, strategy="learning-loss", measures={"predicted_loss": one}
            ).picks
        ]
        for name, one in (("flat", losses), ("column", losses[:, None]))
    ]

    assert picks[0] == picks[1]


def test_an_unknown_way_to_carry_labels_is_refused_with_the_known_ones(client: Client) -> None:
    with pytest.raises(InvalidRequestError, match="keep-default") as caught:
        client.suggestions.propagate("p", "set", labels={}, method="majority")  # type: ignore[arg-type]

    assert caught.value.metadata["field"] == "method"


def test_strategies_describe_themselves(client: Client) -> None:
    named = {strategy.name: strategy for strategy in client.suggestions.strategies()}

    assert named["two-stream"].needs_features


def test_patches_are_embedded_in_batches_of_bounded_size(
    client: Client, server: Standalone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Real batches are of 32 MiB; three patches each show the same.
    monkeypatch.setattr("parfocal._embeddings._BATCH_BYTES", 48)
    publish(server, "pixels", encoder(16), tmp_path)
    patches = np.random.default_rng(0).integers(0, 256, (7, 4, 4)).astype(np.uint8)

    vectors = client.embeddings.embed_patches(patches, encoder="pixels")

    np.testing.assert_array_equal(vectors, patches.reshape(7, 16).astype(np.float32))


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_patches_of_another_shape_are_refused_before_they_are_sent(
    client: Client, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidRequestError, match="patches must be"):
        client.embeddings.embed_patches(np.zeros(shape, np.uint8), encoder="pixels")


def test_an_image_is_predicted_and_searched_by_reference(
    client: Client, server: Standalone, tmp_path: Path
) -> None:
    publish(server, "grey", base_model(), tmp_path)
    image = import_squares(server, "searched", tmp_path)
    prediction = "projects/searched/predictions/i/grey-1.ome.zarr/0"
    whole = ((0, 0, 0), (4, 64, 64))

    first = client.segmentation.segment_block(image, prediction, box=whole, model="grey")
    again = client.segmentation.segment_block(image, prediction, box=whole, model="grey/1")
    found = client.candidates.propose(
        "projects/searched/candidates/one", sources={image: prediction}, patch_side=16
    )

    assert first.model == ModelVersion(name="grey", version=1)
    assert (first.already_done, again.already_done) == (False, True)
    assert found.count == 8


def test_a_job_is_followed_to_its_end(client: Client, server: Standalone, tmp_path: Path) -> None:
    publish(server, "bright", base_model(), tmp_path)
    image = import_squares(server, "jobs", tmp_path)
    client.projects.create("jobs")
    segment = SegmentJob(
        image=image,
        prediction="projects/jobs/predictions/i/bright-1.ome.zarr/0",
        model=ModelVersion(name="bright"),
    )

    client.jobs.create("jobs", "predict", Job(segment=segment))
    *_, last = client.jobs.watch("jobs", "predict", timeout_seconds=60)

    assert last.status.state == WORK_STATE_SUCCEEDED, last.status.failure
    assert client.jobs.get("jobs", "predict").status.fraction == 1.0
    assert [job.name for job in client.jobs.list("jobs")] == ["projects/jobs/jobs/predict"]
    with pytest.raises(ConflictError):
        client.jobs.cancel("jobs", "predict")


def test_a_run_that_is_not_there_is_not_found(client: Client) -> None:
    for ask in (client.training.get, client.training.cancel):
        with pytest.raises(NotFoundError) as caught:
            ask("nothing")
        assert caught.value.reason == "ERROR_REASON_RUN_NOT_FOUND"
