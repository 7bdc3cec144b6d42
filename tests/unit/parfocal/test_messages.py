from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from parfocal import Client, InvalidRequestError, constraints, round_spec
from parfocal._boxes import box_to_pb, model_to_pb
from parfocal._matrix import matrix_from_pb, matrix_to_pb
from parfocal._names import child_name, last_part, project_name
from parfocal._strategies import STRATEGIES, strategy_to_pb
from parfocal.loop.v1.round_pb2 import RoundTraining
from parfocal.suggestion.v1.strategy_pb2 import AcftMode


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(width=32)))
def test_a_matrix_survives_the_message(matrix: np.ndarray) -> None:
    np.testing.assert_array_equal(matrix_from_pb(matrix_to_pb(matrix)), matrix)


def test_a_project_may_be_named_with_or_without_its_collection() -> None:
    assert project_name("vnc") == project_name("projects/vnc") == "projects/vnc"
    assert child_name("vnc", "rounds", "r1") == "projects/vnc/rounds/r1"
    assert child_name("vnc", "rounds", "projects/x/rounds/r1") == "projects/x/rounds/r1"
    assert last_part("projects/vnc/rounds/r1") == last_part("r1") == "r1"


def test_a_model_without_a_version_means_the_latest() -> None:
    assert (model_to_pb("mito").name, model_to_pb("mito").version) == ("mito", 0)
    assert model_to_pb("mito/3").version == 3


@pytest.mark.parametrize(
    "model", ["mito/abc", "mito/1/2", "mito/1.5", f"mito/{2**64}", "mito/-1", "mito/0", "mito/"]
)
def test_a_version_of_a_model_is_a_number(model: str) -> None:
    with pytest.raises(InvalidRequestError, match="NAME/VERSION") as caught:
        model_to_pb(model)

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("task", lambda client: client.projects.create("p", task="nope")),
        ("consensus", lambda client: client.projects.create("p", consensus="nope")),
        ("ties", lambda client: client.projects.create("p", ties="nope")),
        ("state", lambda client: client.labels.queries("p", state="nope")),
        ("format", lambda client: client.labels.export("projects/p/snapshots/0", "nope")),
        (
            "stream",
            lambda client: client.embeddings.embed_candidates(
                "c", "e", stream="nope", encoder="vae"
            ),
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_word_that_is_not_known_is_refused_with_the_known_ones(
    field: str, call: Callable[[Client], object]
) -> None:
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(InvalidRequestError, match=f"{field} must be one of [a-z]") as caught,
    ):
        call(client)

    assert caught.value.metadata == {"field": field, "value": "nope"}


def test_a_box_is_two_corners() -> None:
    box = box_to_pb(((1, 2, 3), (4, 5, 6)))

    assert (box.start.z, box.start.y, box.start.x) == (1, 2, 3)
    assert (box.stop.z, box.stop.y, box.stop.x) == (4, 5, 6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_can_be_named(name: str) -> None:
    chosen = strategy_to_pb(name).WhichOneof("strategy")

    assert chosen == name.replace("-", "_")


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="two-stream") as caught:
        strategy_to_pb("best")

    assert caught.value.reason == "ERROR_REASON_UNKNOWN_STRATEGY"


def test_parameters_of_a_strategy_are_read_from_text() -> None:
    acft = strategy_to_pb(
        "acft", {"entropy_weight": "0", "diversity_weight": "1.5", "mode": "normalised"}
    ).acft
    two_stream = strategy_to_pb(
        "two-stream", {"first_clusters": "7", "avoid_overrepresented": "true"}
    ).two_stream

    assert (acft.entropy_weight, acft.diversity_weight) == (0, 1.5)
    assert acft.HasField("entropy_weight")
    assert AcftMode.Name(acft.mode) == "ACFT_MODE_NORMALISED"
    assert (two_stream.first_clusters, two_stream.avoid_overrepresented) == (7, True)


@pytest.mark.parametrize(
    ("strategy", "parameters", "fault"),
    [
        ("acft", {"temperature": "1"}, "not one of its parameters: entropy_weight"),
        ("random", {"seed": "1"}, "not one of its parameters: none"),
        ("acft", {"mode": "best"}, "cannot be 'best'"),
        ("acft", {"extension": "1.5"}, "cannot be '1.5'"),
        ("two-stream", {"avoid_overrepresented": "yes"}, "cannot be 'yes'"),
    ],
)
def test_a_parameter_that_is_not_there_or_not_so_is_refused(
    strategy: str, parameters: dict[str, str], fault: str
) -> None:
    with pytest.raises(InvalidRequestError, match=fault) as caught:
        strategy_to_pb(strategy, parameters)

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"


def test_a_round_says_what_is_wanted() -> None:
    spec = round_spec(
        images=["a/0"],
        base_model="mito/2",
        encoders={"mask": "mask-vae", "image": "image-vae"},
        budget=40,
        history=["projects/vnc/rounds/round-0"],
    )

    assert spec.base_model.version == 2
    assert [choice.stream for choice in spec.encoders] == ["image", "mask"]
    assert spec.strategy.HasField("two_stream")
    assert list(spec.history) == ["round-0"]
    assert not spec.HasField("training")


def test_constraints_are_given_in_short() -> None:
    limits = constraints(
        per_image=5,
        groups={"patient": 3, ("source", "slice"): 2},
        apart_nm=2000,
        voxel_size_nm=(40, 4, 4),
        quotas={0: 10, 1: 0.5},
        regions={1: "projects/vnc/masks/tissue.zarr"},
        minutes=30,
        seconds="seconds",
    )
    spec = round_spec(images=["a/0"], base_model="mito", budget=40, constraints=limits)

    assert spec.constraints == limits
    assert limits.maximum_per_image == 5
    assert [list(group.columns) for group in limits.groups] == [["patient"], ["source", "slice"]]
    assert [quota.WhichOneof("limit") for quota in limits.quotas] == ["maximum", "share"]
    assert (limits.voxel_size.z, limits.minimum_distance_nm) == (40, 2000)
    assert (limits.time.seconds_column, limits.time.minutes) == ("seconds", 30)
    assert constraints(minutes=1, seconds=12).time.seconds_per_item == 12


def test_numbers_of_numpy_are_quotas() -> None:
    limits = constraints(quotas={0: np.int64(10), 1: np.float32(0.5), 2: np.float64(0.25)})

    assert [quota.maximum for quota in limits.quotas] == [10, 0, 0]
    assert [quota.share for quota in limits.quotas] == [0, 0.5, 0.25]


def test_minutes_without_seconds_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="needs minutes and the seconds"):
        constraints(minutes=5)


def test_a_round_trains_only_when_it_is_told_to() -> None:
    told = round_spec(images=["a/0"], base_model="mito", budget=1, train=True)
    how = round_spec(
        images=["a/0"], base_model="mito", budget=1, training=RoundTraining(model="other")
    )

    assert told.HasField("training")
    assert how.training.model == "other"
