from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import tifffile

from candidate_sets import PROJECT, write_candidate_set, write_image
from parfocal import Client, ConflictError, read_labels
from parfocal.labels.v1.label_pb2 import VERDICT_FALSE, VERDICT_TRUE
from parfocal_runtime.store import ObjectStore, open_store
from parfocal_standalone import Standalone

COUNT = 5


def objects() -> Any:
    found = np.zeros((2, 40, 60), np.uint32)
    for number in range(COUNT):
        found[number % 2, 5:15, 10 * number : 10 * number + 8] = number + 1
    found[:, 25:35, 0:8] = COUNT + 1
    return found


@pytest.fixture(scope="module")
def store(server: Standalone) -> ObjectStore:
    """The server's store, with one candidate set in it."""
    store = open_store(server.store_uri)
    write_candidate_set(store, {write_image(store, "stack", (2, 40, 60), levels=2): objects()})
    return store


@pytest.fixture
def round_id(client: Client, store: ObjectStore) -> str:
    """A round of a test's own, in the project of the candidate set."""
    client.projects.create(PROJECT)
    return f"round-{uuid4().hex}"


def truth(tmp_path: Path) -> Path:
    """Objects 1, 2 and 6 of the set, and one that is none."""
    shown = np.where(np.isin(objects(), [1, 2, COUNT + 1]), objects(), 0).astype(np.uint16)
    shown[0, 38:40, 50:60] = 99
    tifffile.imwrite(tmp_path / "truth.tif", shown, photometric="minisblack")
    return tmp_path / "truth.tif"


def verdicts(client: Client, round_: str) -> dict[int, int]:
    found = client.labels.consensus(PROJECT, round=round_)
    return {each.candidate: each.verdict for each in found}


def done(result: Any) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_label_image_is_imported_once(
    parfocal: Any, client: Client, round_id: str, tmp_path: Path
) -> None:
    words = [
        "labels", "import", PROJECT, truth(tmp_path), "--format", "label-image",
        "--round", round_id, "--candidates", "set", "--exhaustive",
        "--report", tmp_path / "unmatched.csv",
    ]  # fmt: skip

    planned = done(parfocal(*words, "--dry-run", "--json"))
    before = verdicts(client, round_id)
    first = done(parfocal(*words, "--json"))
    again = parfocal(*words)

    assert (planned["labels"], planned["added"], before) == (6, 0, {})
    assert (first["added"], first["present"], first["matched"]) == (6, 0, 3)
    assert [each["object"] for each in first["unmatched"]] == ["object 99"]
    right = {0: VERDICT_TRUE, 1: VERDICT_TRUE, 5: VERDICT_TRUE}
    assert verdicts(client, round_id) == right | {number: VERDICT_FALSE for number in (2, 3, 4)}
    assert "0 new, 6 there before" in again.stdout
    assert "1 object(s) are no candidate" in again.stdout
    with (tmp_path / "unmatched.csv").open() as stream:
        assert [row["object"] for row in csv.DictReader(stream)] == ["object 99"]


@pytest.mark.parametrize("format_", ["coco", "csv"])
def test_an_export_comes_back_as_the_same_labels(
    parfocal: Any,
    client: Client,
    store: ObjectStore,
    round_id: str,
    tmp_path: Path,
    format_: str,
) -> None:
    found = read_labels(
        truth(tmp_path),
        format="label-image",
        project=client.projects.get(PROJECT),
        round=round_id,
        candidate_set="set",
        store=store.root,
        exhaustive=format_ == "csv",
    )
    client.labels.import_labels(PROJECT, found.labels)
    file = tmp_path / f"labels.{format_}"

    exported = done(
        parfocal("export", PROJECT, "--format", format_, "--candidates", "set", "--round", round_id,
                 "--out", file, "--json")
    )  # fmt: skip
    words = ["labels", "import", PROJECT, exported["file"], "--format", format_]
    if format_ == "coco":
        words += ["--round", f"{round_id}-b", "--candidates", "set"]
    else:
        file.write_text(file.read_text().replace(f"{round_id},", f"{round_id}-b,"))
    back = done(parfocal(*words, "--json"))

    assert back["added"] == len(found.labels)
    assert back["unmatched"] == []
    assert verdicts(client, f"{round_id}-b") == verdicts(client, round_id)


def test_an_exported_label_image_comes_back(
    parfocal: Any, client: Client, round_id: str, tmp_path: Path
) -> None:
    parfocal("labels", "import", PROJECT, truth(tmp_path), "--format", "label-image",
             "--round", round_id, "--candidates", "set")  # fmt: skip
    exported = done(
        parfocal("export", PROJECT, "--format", "ome-zarr", "--candidates", "set", "--round",
                 round_id, "--out", tmp_path / "labels.zarr", "--json")
    )  # fmt: skip

    back = done(
        parfocal("labels", "import", PROJECT, Path(exported["file"]) / "stack", "--format",
                 "label-image", "--round", f"{round_id}-b", "--candidates", "set", "--json")
    )  # fmt: skip

    assert (back["added"], back["unmatched"]) == (3, [])
    assert verdicts(client, f"{round_id}-b") == verdicts(client, round_id)


@pytest.mark.parametrize(
    ("format_", "file"),
    [("ome-zarr", "stack/0/zarr.json"), ("neuroglancer", "stack/info")],
)
def test_a_folder_is_copied_whole(
    parfocal: Any, client: Client, round_id: str, tmp_path: Path, format_: str, file: str
) -> None:
    parfocal("labels", "import", PROJECT, truth(tmp_path), "--format", "label-image",
             "--round", round_id, "--candidates", "set")  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()

    exported = done(
        parfocal("export", PROJECT, "--format", format_, "--candidates", "set", "--round", round_id,
                 "--out", out, "--json")
    )  # fmt: skip

    assert exported["rows"] == "3"
    assert (Path(exported["file"]) / file).exists()
    assert Path(exported["file"]).parent == out


def test_an_export_without_a_place_says_where_it_lies(
    parfocal: Any, client: Client, round_id: str, tmp_path: Path
) -> None:
    parfocal("labels", "import", PROJECT, truth(tmp_path), "--format", "label-image",
             "--round", round_id, "--candidates", "set")  # fmt: skip

    shown = parfocal("export", PROJECT, "--format", "csv", "--round", round_id)

    assert shown.stdout.startswith(f"3 queries in projects/{PROJECT}/exports/")


def test_an_export_of_a_candidate_set_that_is_misspelt_leaves_no_file(
    parfocal: Any, client: Client, round_id: str, tmp_path: Path
) -> None:
    parfocal("labels", "import", PROJECT, truth(tmp_path), "--format", "label-image",
             "--round", round_id, "--candidates", "set")  # fmt: skip
    words = ["export", PROJECT, "--format", "csv", "--out", tmp_path / "labels.csv"]

    refused = parfocal(*words, "--candidates", "sett")

    assert refused.exit_code == 4
    assert "a decided query of the candidate set sett is missing" in refused.stderr
    assert not (tmp_path / "labels.csv").exists()


def test_an_export_of_nothing_asks_where_to(parfocal: Any) -> None:
    refused = parfocal("export", PROJECT)

    assert refused.exit_code == 2
    assert "--out must be given" in refused.stderr


def test_what_an_export_lacks_is_a_conflict(client: Client) -> None:
    client.projects.create("empty")
    snapshot = client.labels.snapshot("empty")

    with pytest.raises(ConflictError) as caught:
        client.labels.export(snapshot.name, "neuroglancer")

    assert caught.value.reason == "ERROR_REASON_EXPORT_IMPOSSIBLE"


def test_a_class_name_is_no_formula_in_a_csv(parfocal: Any, client: Client, tmp_path: Path) -> None:
    client.projects.create("formulas", task="classify", classes=["=1+1", "glia"])
    given = tmp_path / "given.csv"
    given.write_text("round,candidate_set,candidate,answer\nr1,set,0,'=1+1\nr1,set,1,glia\n")

    added = done(parfocal("labels", "import", "formulas", given, "--format", "csv", "--json"))
    parfocal("labels", "export", "formulas", "--out", tmp_path / "labels.csv")

    assert added["added"] == 2
    with (tmp_path / "labels.csv").open() as stream:
        assert [row["answer"] for row in csv.DictReader(stream)] == ["'=1+1", "glia"]
    client.projects.create("formulas-b", task="classify", classes=["=1+1", "glia"])
    back = done(
        parfocal("labels", "import", "formulas-b", tmp_path / "labels.csv", "--format", "csv",
                 "--json")
    )  # fmt: skip
    assert back["added"] == 2
    annotators = {label.annotator for label in client.labels.list("formulas-b")}
    assert annotators == {"import/csv:labels.csv:import/csv:given.csv"}
