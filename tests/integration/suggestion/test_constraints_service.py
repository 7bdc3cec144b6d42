"""Constraints over gRPC: on a real candidate set, with images, a mask and measured seconds."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest

from parfocal.common.v1 import geometry_pb2
from parfocal.suggestion.v1 import constraints_pb2, strategy_pb2
from parfocal.suggestion.v1 import suggestion_service_pb2 as pb
from parfocal.suggestion.v1.suggestion_service_pb2_grpc import SuggestionServiceStub
from parfocal_runtime.arrays import create_array, create_group, open_array
from parfocal_runtime.channels import domain_error
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table

SET = "projects/demo/candidates/placed"
MASK = "projects/demo/masks/tissue.zarr"
SHAPE = (8, 40, 40)
ENTROPY = strategy_pb2.Strategy(entropy=strategy_pb2.EntropyStrategy())
SAME_SECONDS = constraints_pb2.TimeBudget(minutes=1, seconds_per_item=10)


def image(number: int) -> str:
    return f"projects/demo/images/stack{number}.ome.zarr"


def write_scale(store: ObjectStore, number: int, nanometres: float) -> None:
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale = {"type": "scale", "scale": [nanometres] * 3}
    level = {"path": "0", "coordinateTransformations": [scale]}
    multiscales = [{"axes": axes, "datasets": [level]}]
    attributes = {"ome": {"version": "0.5", "multiscales": multiscales}}
    create_group(store, image(number), attributes=attributes)


def write_table(store: ObjectStore, **changes: Any) -> None:
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {
        "candidate": np.arange(60),
        "source": np.repeat([0, 1], 30).astype(np.int32),
        "slice": rng.integers(0, 8, 60, np.int32),
        **{
            name: rng.uniform(0, side - 1, 60).astype(np.float32)
            for name, side in zip(("cz", "cy", "cx"), SHAPE, strict=True)
        },
        "mean_probability": rng.random(60, np.float32),
        "max_probability": rng.random(60, np.float32),
        "area": rng.integers(5, 500, 60, np.int32),
        "patient": rng.choice(list("abcd"), 60),
        "seconds": rng.uniform(2, 20, 60),
    }
    store.delete(f"{SET}/table.parquet")
    create_table(store, f"{SET}/table.parquet", pa.table({**columns, **changes}))


@pytest.fixture
def store(store: ObjectStore) -> ObjectStore:
    """The store of the other tests, with a set in two images and a mask for the second."""
    for number in (0, 1):
        create_array(store, f"{image(number)}/0", shape=SHAPE, dtype=np.uint8, chunks=SHAPE)
        write_scale(store, number, 10)
    tissue = create_array(store, MASK, shape=SHAPE, dtype=np.uint8, chunks=(1, 40, 40))
    tissue[:, :, :20].write(1).result()
    sources = [{"image": f"{image(number)}/0"} for number in (0, 1)]
    store.write(f"{SET}/set.json", json.dumps({"sources": sources}).encode())
    write_table(store)
    return store


def wish(*, budget: int = 20, random_share: float = 0.2, **constraints: Any) -> pb.SuggestRequest:
    return pb.SuggestRequest(
        parent="projects/demo",
        selection_id="held",
        candidates=SET,
        strategy=ENTROPY,
        budget=budget,
        random_share=random_share,
        seed=4,
        constraints=constraints_pb2.Constraints(**constraints),
    )


ALL: dict[str, Any] = {
    "maximum_per_image": 9,
    "groups": [
        constraints_pb2.GroupLimit(columns=["patient"], maximum=5),
        constraints_pb2.GroupLimit(columns=["source", "slice"], maximum=2),
    ],
    "minimum_distance_nm": 60,
    "quotas": [constraints_pb2.ClassQuota(predicted_class=1, share=0.5)],
    "regions": [constraints_pb2.RegionMask(source=1, mask=MASK)],
    "time": constraints_pb2.TimeBudget(minutes=3, seconds_column="seconds"),
}


def columns(store: ObjectStore, candidates: list[int]) -> dict[str, Any]:
    """The table's columns for some candidates."""
    table = read_table(store, f"{SET}/table.parquet").take(candidates)
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def replayed(suggestion: SuggestionServiceStub) -> pb.ReplaySelectionResponse:
    name = "projects/demo/selections/held"
    return suggestion.ReplaySelection(pb.ReplaySelectionRequest(name=name))


def test_every_kind_of_limit_is_kept_and_replays(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish(**ALL))

    rows = columns(store, [pick.candidate for pick in selection.picks])
    places = np.stack([rows[name] for name in ("cz", "cy", "cx")], axis=1) * 10.0
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    apart = (rows["source"][:, None] != rows["source"][None]) | np.eye(len(places), dtype=bool)
    assert max(Counter(rows["source"].tolist()).values()) <= 9
    assert max(Counter(rows["patient"].tolist()).values()) <= 5
    assert max(Counter(zip(rows["source"], rows["slice"], strict=True)).values()) <= 2
    assert gaps[~apart].min() >= 60
    assert np.count_nonzero(rows["mean_probability"] >= 0.5) <= 10
    assert np.all(rows["cx"][rows["source"] == 1] + 0.5 < 20)
    assert rows["seconds"].sum() <= 180
    assert len(selection.picks) >= 8
    assert selection.constraints.time.seconds_column == "seconds"
    assert replayed(suggestion).identical
    assert suggestion.Suggest(wish(**ALL)) == selection


def test_too_few_come_back_with_the_reason(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish(maximum_per_image=3))

    assert len(selection.picks) == 6
    assert selection.notes[0] == "the constraints admit 6 of the 20 picks asked for"
    assert selection.notes[1] == "at most 3 of each source: stands against 54 candidates"


def test_numbers_of_64_bits_are_groups(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    segments = 2**63 + np.repeat(np.arange(30, dtype=np.uint64), 2)
    write_table(store, segment=segments)

    selection = suggestion.Suggest(
        wish(budget=60, groups=[constraints_pb2.GroupLimit(columns=["segment"], maximum=1)])
    )

    chosen = segments[[pick.candidate for pick in selection.picks]]
    assert len(chosen) == len(set(chosen.tolist())) == 30


def test_seconds_beyond_the_exact_numbers_are_only_long(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    write_table(store, seconds=np.array([2**62 + 1, *[10] * 59]))
    limit = constraints_pb2.TimeBudget(minutes=1, seconds_column="seconds")

    selection = suggestion.Suggest(wish(time=limit))

    assert len(selection.picks) <= 6
    assert 0 not in [pick.candidate for pick in selection.picks]


def test_minutes_end_a_selection(suggestion: SuggestionServiceStub) -> None:
    selection = suggestion.Suggest(wish(time=SAME_SECONDS))

    assert len(selection.picks) == 6
    assert selection.notes[1] == "1 minutes: stands against 54 candidates"


def test_other_constraints_under_the_same_name_are_refused(
    suggestion: SuggestionServiceStub,
) -> None:
    suggestion.Suggest(wish(maximum_per_image=3))

    with pytest.raises(grpc.RpcError) as caught:
        suggestion.Suggest(wish(maximum_per_image=4))

    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_who_was_passed_over_hears_which_limit_it_was(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    selection = suggestion.Suggest(wish(maximum_per_image=3, regions=ALL["regions"]))
    chosen = {pick.candidate for pick in selection.picks}
    rows = columns(store, list(range(60)))
    full = min(set(range(30)) - chosen)
    outside = int(np.flatnonzero((rows["source"] == 1) & (rows["cx"] + 0.5 >= 20))[0])

    answer = suggestion.ExplainSelection(
        pb.ExplainSelectionRequest(name=selection.name, candidates=[full, outside])
    )

    texts = [each.text for each in answer.explanations]
    assert texts == [
        "Not chosen: 3 of source 0 are taken already.",
        f"Not chosen: its centre lies outside the mask {MASK} of image 1.",
    ]
    assert json.loads(answer.explanations[0].reason)["limit"] == "3 of source 0 are taken already"


def test_a_replay_names_the_mask_that_changed(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    suggestion.Suggest(wish(**ALL))
    tissue = open_array(store, MASK)
    tissue.write(1 - np.asarray(tissue.read().result())).result()

    replay = replayed(suggestion)

    assert not replay.identical
    assert replay.differences[1].startswith(f"input regions[{MASK} of image 1] was ")
    assert len(replay.differences) == 2


def test_a_replay_names_the_column_that_changed(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    suggestion.Suggest(wish(**ALL))
    write_table(store, patient=np.repeat(list("ab"), 30))

    replay = replayed(suggestion)

    assert not replay.identical
    assert replay.differences[1].startswith("input groups[patient] was ")
    assert len(replay.differences) == 2


def test_a_replay_says_that_places_changed(
    suggestion: SuggestionServiceStub, store: ObjectStore
) -> None:
    suggestion.Suggest(wish(minimum_distance_nm=200))
    write_scale(store, 0, 100)

    replay = replayed(suggestion)

    assert not replay.identical
    assert replay.differences[1].startswith("input positions was ")


def test_a_voxel_size_of_ones_own_needs_no_image(suggestion: SuggestionServiceStub) -> None:
    size = geometry_pb2.VoxelSize(z=10, y=10, x=10)

    by_image = suggestion.Suggest(wish(minimum_distance_nm=150))
    request = wish(minimum_distance_nm=150, voxel_size=size)
    request.selection_id = "by-size"
    by_size = suggestion.Suggest(request)

    assert [pick.candidate for pick in by_size.picks] == [pick.candidate for pick in by_image.picks]


GROUP, QUOTA, REGION, TIME = (
    constraints_pb2.GroupLimit,
    constraints_pb2.ClassQuota,
    constraints_pb2.RegionMask,
    constraints_pb2.TimeBudget,
)
BAD_CONSTRAINTS: dict[str, tuple[dict[str, Any], str]] = {
    "negative per image": ({"maximum_per_image": -1}, "constraints.maximum_per_image"),
    "group of 0": ({"groups": [GROUP(columns=["source"])]}, "constraints.groups.maximum"),
    "group of nothing": ({"groups": [GROUP(maximum=1)]}, "constraints.groups.columns"),
    "no such column": ({"groups": [GROUP(columns=["slide"], maximum=1)]}, "constraints"),
    "column of fractions": (
        {"groups": [GROUP(columns=["seconds"], maximum=1)]}, "constraints.groups.columns",
    ),
    "too many groups": (
        {"groups": [GROUP(columns=["source"], maximum=1)] * 101}, "constraints.groups",
    ),
    "distance not a number": (
        {"minimum_distance_nm": float("nan")}, "constraints.minimum_distance_nm",
    ),
    "flat voxels": (
        {"minimum_distance_nm": 1, "voxel_size": geometry_pb2.VoxelSize(z=1, y=1)},
        "constraints.voxel_size",
    ),
    "quota without number": ({"quotas": [QUOTA(predicted_class=1)]}, "constraints.quotas"),
    "quota of a negative class": (
        {"quotas": [QUOTA(predicted_class=-1, maximum=1)]}, "constraints.quotas.predicted_class",
    ),
    "share over 1": ({"quotas": [QUOTA(share=1.1)]}, "constraints.quotas.share"),
    "class twice": ({"quotas": [QUOTA(maximum=1)] * 2}, "constraints.quotas.predicted_class"),
    "no mask": ({"regions": [REGION(source=1)]}, "constraints.regions.mask"),
    "mask of no image": (
        {"regions": [REGION(source=2, mask=MASK)]}, "constraints.regions.source",
    ),
    "mask of fractions": (
        {"regions": [REGION(source=1, mask="projects/demo/embeddings/first/mask-1.zarr")]},
        "constraints.regions.mask",
    ),
    "no minutes": ({"time": TIME(seconds_per_item=1)}, "constraints.time.minutes"),
    "no seconds": ({"time": TIME(minutes=1)}, "constraints.time.seconds_per_item"),
    "seconds of words": ({"time": TIME(minutes=1, seconds_column="patient")}, "constraints"),
    "seconds of 0": ({"time": TIME(minutes=1, seconds_column="candidate")}, "seconds"),
}  # fmt: skip


def test_bad_constraints_name_their_field(suggestion: SuggestionServiceStub) -> None:
    refused = {}
    for name, (constraints, _) in BAD_CONSTRAINTS.items():
        with pytest.raises(grpc.RpcError) as caught:
            suggestion.Suggest(wish(**constraints))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, name
        refused[name] = domain_error(caught.value).metadata["field"]

    assert refused == {name: field for name, (_, field) in BAD_CONSTRAINTS.items()}


def test_constraints_by_table_need_a_candidate_set(suggestion: SuggestionServiceStub) -> None:
    request = wish(maximum_per_image=1)
    request.candidates = ""
    request.probabilities.extend([0.5] * 10)

    with pytest.raises(grpc.RpcError) as caught:
        suggestion.Suggest(request)

    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert domain_error(caught.value).metadata["field"] == "constraints.groups"


def test_a_mask_outside_the_store_is_denied(suggestion: SuggestionServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        suggestion.Suggest(wish(regions=[REGION(source=0, mask="file:///etc")]))

    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_mask_that_is_not_there_is_not_found(suggestion: SuggestionServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        suggestion.Suggest(wish(regions=[REGION(source=0, mask="projects/demo/masks/none.zarr")]))

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
