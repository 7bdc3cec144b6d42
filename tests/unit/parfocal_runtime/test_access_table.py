"""The table of who may call what, against everything that the contracts say can be called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from contracts import all_methods, places_of
from parfocal_runtime.access import METHOD_RULES, PUBLIC_METHODS

# Texts of requests that name no project and no place in the object store, whatever they say. A
# field that is neither here nor in the rule of its method fails the build: say which it is.
NAMES_NO_PROJECT = {
    # Names inside of the project that the request names elsewhere, and must match it.
    "parfocal.labels.v1.Answer.query",
    "parfocal.labels.v1.Query.candidate_set",
    "parfocal.labels.v1.Query.round",
    "parfocal.labels.v1.ReleaseQueriesRequest.queries",
    "parfocal.labels.v1.RenewLeasesRequest.queries",
    "parfocal.labels.v1.Skip.query",
    "parfocal.labels.v1.CreateSnapshotRequest.rounds",
    "parfocal.labels.v1.ExportSnapshotRequest.candidate_set",
    "parfocal.loop.v1.CreateJobRequest.job_id",
    "parfocal.loop.v1.CreateRoundRequest.round_id",
    "parfocal.loop.v1.RoundSpec.history",
    "parfocal.suggestion.v1.SuggestRequest.selection_id",
    # Models and training runs belong to no project.
    "parfocal.common.v1.ModelVersion.name",
    "parfocal.loop.v1.RoundTraining.encoder_model",
    "parfocal.loop.v1.RoundTraining.model",
    "parfocal.training.v1.CancelRunRequest.run",
    "parfocal.training.v1.GetRunRequest.run",
    "parfocal.training.v1.TrainRequest.model",
    "parfocal.training.v1.TrainRequest.run",
    # Output only, or said to be ignored: services do not read them.
    "CreateProject project.name",
    "parfocal.labels.v1.Query.name",
    "parfocal.loop.v1.Job.name",
    "parfocal.loop.v1.Round.name",
    # Words.
    "google.protobuf.FieldMask.paths",
    "parfocal.labels.v1.Annotator.skills",
    "parfocal.labels.v1.Answer.class_name",
    "parfocal.labels.v1.Answer.tags",
    "parfocal.labels.v1.ImportedLabel.source",
    "parfocal.labels.v1.Project.classes",
    "parfocal.labels.v1.Project.display_name",
    "parfocal.labels.v1.Project.etag",
    "parfocal.labels.v1.Query.gold_class_name",
    "parfocal.labels.v1.Query.reason",
    "parfocal.labels.v1.Query.skill",
    "parfocal.labels.v1.Query.strategy",
    "parfocal.labels.v1.Skip.reason",
    "parfocal.loop.v1.EncoderChoice.stream",
    "parfocal.suggestion.v1.BadgeStrategy.stream",
    "parfocal.suggestion.v1.CoreSetStrategy.stream",
    "parfocal.suggestion.v1.CoverageStrategy.stream",
    "parfocal.suggestion.v1.CoverageStrategy.x_measure",
    "parfocal.suggestion.v1.CoverageStrategy.y_measure",
    "parfocal.suggestion.v1.CoverageStrategy.z_measure",
    "parfocal.suggestion.v1.FeatureStream.name",
    "parfocal.suggestion.v1.ForegroundRandomStrategy.measure",
    "parfocal.suggestion.v1.GroupLimit.columns",
    "parfocal.suggestion.v1.KMeansStrategy.stream",
    "parfocal.suggestion.v1.LateFusionStrategy.first_stream",
    "parfocal.suggestion.v1.LateFusionStrategy.second_stream",
    "parfocal.suggestion.v1.LearningLossStrategy.measure",
    "parfocal.suggestion.v1.Measure.column",
    "parfocal.suggestion.v1.Measure.name",
    "parfocal.suggestion.v1.ProbcoverStrategy.stream",
    "parfocal.suggestion.v1.RandomWeights.measure",
    "parfocal.suggestion.v1.SimilarityStrategy.stream",
    "parfocal.suggestion.v1.TimeBudget.seconds_column",
    "parfocal.suggestion.v1.TwoStreamStrategy.first_stream",
    "parfocal.suggestion.v1.TwoStreamStrategy.second_stream",
    "parfocal.suggestion.v1.TypiclustStrategy.stream",
}
# Fields of these names are the same in every request.
NAMES_NO_PROJECT_ANYWHERE = {"client", "page_token", "request_id", "round"}
# What a message says of itself when it is answered, and no service reads from a request.
OUTPUT_ONLY = {"parfocal.loop.v1.JobStatus", "parfocal.loop.v1.RoundStatus"}


OURS = sorted(name for name in all_methods() if name.startswith("/parfocal."))


def texts(
    message: Descriptor, *, prefix: str = "", inside: tuple[str, ...] = ()
) -> Iterator[tuple[str, FieldDescriptor]]:
    """Every field that holds text, by its path, in the messages inside as well."""
    for field in message.fields:
        path = f"{prefix}{field.name}"
        if field.type == FieldDescriptor.TYPE_STRING:
            yield path, field
        inner = field.message_type
        if inner is not None and inner.full_name not in {*inside, *OUTPUT_ONLY}:
            yield from texts(inner, prefix=f"{path}.", inside=(*inside, inner.full_name))


def places(method: str) -> set[str]:
    return set(places_of(METHOD_RULES[method]))


def in_method(method: str, path: str) -> str:
    return f"{method.rpartition('/')[2]} {path}"


def test_the_stubs_are_found() -> None:
    services = {method.rpartition("/")[0] for method in all_methods()}

    assert len(services) >= 7
    assert "/inference.GRPCInferenceService" in services


@pytest.mark.parametrize("method", sorted(all_methods()))
def test_every_method_has_a_rule(method: str) -> None:
    assert (method in METHOD_RULES) != (method in PUBLIC_METHODS)


@pytest.mark.parametrize("method", [name for name in METHOD_RULES if name.startswith("/parfocal.")])
def test_every_rule_is_for_a_method_that_exists(method: str) -> None:
    assert method in all_methods()


@pytest.mark.parametrize("method", OURS)
def test_every_place_of_a_rule_is_a_text_of_the_request(method: str) -> None:
    known = {path for path, _ in texts(all_methods()[method].input_type)}

    assert places(method) <= known


@pytest.mark.parametrize("method", OURS)
def test_every_text_of_a_request_is_judged_or_known_to_name_no_project(method: str) -> None:
    unjudged = {
        f"{path} ({field.full_name})"
        for path, field in texts(all_methods()[method].input_type)
        if path not in places(method)
        and not NAMES_NO_PROJECT & {field.full_name, in_method(method, path)}
        and field.name not in NAMES_NO_PROJECT_ANYWHERE
    }

    assert unjudged == set()


@pytest.mark.parametrize("method", OURS)
def test_a_rule_without_a_place_is_about_a_request_without_one(method: str) -> None:
    named = {path.rpartition(".")[2] for path, _ in texts(all_methods()[method].input_type)}

    assert places(method) or not named & {"parent", "project", "project_id", "image", "candidates"}


def test_what_is_no_project_is_still_in_the_contracts() -> None:
    known = {
        text
        for name in OURS
        for path, field in texts(all_methods()[name].input_type)
        for text in (field.full_name, in_method(name, path))
    }

    assert known >= NAMES_NO_PROJECT


def test_a_method_changes_something_unless_its_name_says_that_it_reads() -> None:
    reading = ("Get", "List", "Watch", "Explain", "Replay", "Propagate", "Find", "EmbedPatches")

    wrong = {
        name
        for name in OURS
        if METHOD_RULES[name].changes
        == name.rpartition("/")[2].startswith((*reading, "ProposeBackground"))
    }

    assert wrong == set()


def test_public_methods_only_probe_and_describe() -> None:
    assert all(
        name.startswith(("/grpc.health.", "/grpc.reflection.")) or "/Server" in name
        for name in PUBLIC_METHODS
    )
