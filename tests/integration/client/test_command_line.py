from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from closed_files import closed
from model_packages import cells_package, cells_package_0_4
from onnx_graphs import base_model
from parfocal import Client, round_spec
from parfocal._names import last_part
from parfocal.cli._app import app
from parfocal.labels.v1.query_pb2 import QUERY_ROLE_RANDOM, Query
from parfocal_labels.app import build as build_labels
from parfocal_labels.config import LabelsConfig
from parfocal_runtime.server import serving_in_thread
from parfocal_standalone import Standalone


def add_queries(client: Client, project: str, count: int, **rules: Any) -> None:
    client.projects.create(project, **rules)
    client.labels.add(
        project,
        [
            Query(
                round="round-1", candidate_set="set-1", candidate=i, rank=i, strategy="two-stream"
            )
            for i in range(count)
        ],
    )


def answer(client: Client, project: str, *answers: bool | str | None) -> None:
    leased = client.labels.lease(project, count=len(answers))
    client.labels.submit(
        project, {each.query.name: one for each, one in zip(leased, answers, strict=True)}
    )


def json_lines(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_project_is_created_listed_and_shown(parfocal: Any) -> None:
    created = parfocal(
        "project", "create", "cells", "--task", "classify", "--classes", "a, b", "--votes", 3
    )
    listed = parfocal("project", "list", "--json")
    shown = parfocal("project", "show", "cells")

    assert created.exit_code == 0, created.output
    assert "projects/cells: classify, 3 vote(s) a query" in created.output
    (project,) = [each for each in json_lines(listed.stdout) if each["name"] == "projects/cells"]
    assert (project["classes"], project["votes_needed"]) == (["a", "b"], 3)
    assert "decided" in shown.output


def test_a_missing_project_is_one_line_with_its_reason(parfocal: Any) -> None:
    done = parfocal("project", "show", "nothing")

    assert done.exit_code == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.rstrip().endswith("[ERROR_REASON_PROJECT_NOT_FOUND]")
    assert done.stderr.count("\n") == 1


def test_a_project_with_other_rules_is_a_conflict(parfocal: Any) -> None:
    parfocal("project", "create", "twice")

    done = parfocal("project", "create", "twice", "--votes", 3)

    assert done.exit_code == 4
    assert "ERROR_REASON_PROJECT_EXISTS" in done.stderr


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["project", "list", "--data-dir", str(tmp_path)])

    assert done.exit_code == 6
    assert "start one with `parfocal up`" in done.stderr


def test_labels_are_listed_and_exported(parfocal: Any, client: Client, tmp_path: Path) -> None:
    add_queries(client, "listed", 4)
    answer(client, "listed", True, False, None)

    listed = parfocal("labels", "list", "listed", "--json")
    exported = parfocal("labels", "export", "listed", "--out", tmp_path / "labels.csv", "--json")

    assert [each["candidate"] for each in json_lines(listed.stdout)] == ["0", "1", "2"]
    assert json.loads(exported.stdout)["rows"] == 3
    with (tmp_path / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["answer"] for row in rows] == ["true", "false", "unsure"]
    assert {row["strategy"] for row in rows} == {"two-stream"}


@pytest.mark.parametrize(
    "words",
    [
        ["labels", "list"],
        ["labels", "consensus"],
        ["labels", "disputed"],
        ["labels", "agreement"],
        ["labels", "export", "--out", "labels.csv"],
        ["export", "--format", "csv"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_round_that_nobody_knows_is_not_an_empty_one(
    parfocal: Any,
    client: Client,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    add_queries(client, "misspelt", 1)
    spec = round_spec(images=["i/0"], base_model="none", budget=1, strategy="random")
    client.rounds.create("misspelt", "unlabelled", spec)

    for known in ("round-1", "unlabelled"):
        assert parfocal(*words, "misspelt", "--round", known).exit_code == 0
    (tmp_path / "labels.csv").write_text("from before")
    done = parfocal(*words, "misspelt", "--round", "round-l")

    assert done.exit_code == 3
    assert done.stderr == (
        "error: there is no projects/misspelt/rounds/round-l [ERROR_REASON_WORK_NOT_FOUND]\n"
    )
    assert (tmp_path / "labels.csv").read_text() == "from before"


def test_names_are_taken_as_services_print_them(parfocal: Any, client: Client) -> None:
    add_queries(client, "full", 3)
    answer(client, "full", True, True)
    spec = round_spec(images=["i/0"], base_model="none", budget=1, strategy="random")
    client.rounds.create("full", "loop-1", spec)
    query = next(client.labels.queries("full")).name
    ours = "projects/full/rounds/round-1"

    done = [
        parfocal("round", "show", "full", "projects/full/rounds/loop-1"),
        parfocal("round", "show", "projects/full", "projects/full/rounds/loop-1"),
        parfocal("labels", "list", "--round", ours, "full"),
        parfocal("labels", "revise", "full", "projects/full/labels/1", "false"),
        parfocal("labels", "adjudicate", "full", query, "true"),
        parfocal(
            "export", "full", "--format", "csv", "--round", ours, "--round", "round-1",
            "--candidates", "projects/full/candidates/set-1",
        ),
    ]  # fmt: skip

    assert [each.exit_code for each in done] == [0] * len(done), [each.output for each in done]
    assert "round-1" in done[2].stdout
    assert done[-1].stdout.startswith("2 queries in projects/full/exports/")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["round", "show", "PROJECT", "projects/theirs/rounds/r"], "round"),
        (["labels", "list", "PROJECT", "--round", "projects/theirs/rounds/r"], "round"),
        (["labels", "list", "--round", "projects/theirs/rounds/r", "PROJECT"], "round"),
        (["labels", "list", "PROJECT", "--round", "projects/ours/labels/1"], "round"),
        (["labels", "propagate", "PROJECT", "--round", "projects/theirs/rounds/r"], "round"),
        (["labels", "revise", "PROJECT", "projects/theirs/labels/1", "true"], "label"),
        (["labels", "adjudicate", "PROJECT", "projects/theirs/queries/1", "true"], "query"),
        (["labels", "import", "PROJECT", "a.csv", "--format", "csv",
          "--candidates", "projects/theirs/candidates/s"], "candidate set"),
        (["export", "PROJECT", "--format", "csv", "--round", "r",
          "--round", "projects/theirs/rounds/r"], "round"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)  # fmt: skip
@pytest.mark.parametrize("project", ["ours", "projects/ours"])
def test_a_name_of_another_project_is_refused(
    parfocal: Any, words: list[str], kind: str, project: str
) -> None:
    done = parfocal(*(project if word == "PROJECT" else word for word in words))

    assert done.exit_code == 2
    said = " ".join(done.stderr.replace("│", "").split())
    assert f"is no {kind} of the project 'ours'" in said


def test_a_server_of_labels_alone_knows_rounds_by_their_queries(tmp_path: Path) -> None:
    config = LabelsConfig(
        port=0,
        store_uri=(tmp_path / "store").as_uri(),
        anonymous_role="admin",
        database=f"sqlite:///{tmp_path / 'labels.sqlite'}",
    )
    with serving_in_thread([build_labels(config)], config) as server:
        with Client(server.address) as client:
            add_queries(client, "alone", 1)
        words = ["labels", "list", "alone", "--server", server.address, "--round"]

        known = CliRunner().invoke(app, [*words, "round-1"])
        done = CliRunner().invoke(app, [*words, "round-l"])

    assert known.exit_code == 0
    assert done.exit_code == 3
    assert "[ERROR_REASON_WORK_NOT_FOUND]" in done.stderr


def test_an_export_from_a_project_that_is_not_there_writes_no_file(
    parfocal: Any, tmp_path: Path
) -> None:
    done = parfocal("labels", "export", "nowhere", "--out", tmp_path / "labels.csv")

    assert done.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_rounds_of_a_project_that_is_not_there_are_not_listed(
    parfocal: Any, client: Client
) -> None:
    client.projects.create("without-rounds")

    assert parfocal("round", "list", "without-rounds").exit_code == 0
    done = parfocal("round", "list", "nowhere")

    assert done.exit_code == 3
    assert "[ERROR_REASON_PROJECT_NOT_FOUND]" in done.stderr


def test_a_list_for_people_is_a_table(parfocal: Any, client: Client) -> None:
    add_queries(client, "table", 1)
    answer(client, "table", True)

    done = parfocal("labels", "list", "table")

    heading, row = done.stdout.rstrip().splitlines()
    assert heading.split() == [
        "label", "round", "candidate", "answer", "annotator", "seconds", "retracted",
    ]  # fmt: skip
    assert row.split()[1:4] == ["round-1", "0", "true"]


def test_consensus_says_what_is_open(parfocal: Any, client: Client) -> None:
    add_queries(client, "agreed", 2)
    answer(client, "agreed", False)

    every = parfocal("labels", "consensus", "agreed")
    decided = parfocal("labels", "consensus", "agreed", "--decided", "--json")

    assert "open" in every.stdout
    assert [each["verdict"] for each in json_lines(decided.stdout)] == ["VERDICT_FALSE"]


def test_agreement_without_a_pair_of_votes_says_why_it_is_not_defined(
    parfocal: Any, client: Client
) -> None:
    add_queries(client, "alone", 1)
    answer(client, "alone", True)

    shown = parfocal("labels", "agreement", "alone")
    as_json = parfocal("labels", "agreement", "alone", "--json")

    assert shown.exit_code == 0, shown.output
    assert math.isnan(float(json.loads(as_json.stdout)["pairwise_agreement"]))
    assert json.loads(as_json.stdout)["undefined_reason"] in shown.stdout


def test_a_curator_decides_a_query_and_no_dispute_is_left(parfocal: Any, client: Client) -> None:
    created = parfocal("project", "create", "ties", "--votes", 1, "--consensus", "majority")
    assert created.exit_code == 0, created.output
    add_queries(client, "ties", 1, consensus="majority")
    answer(client, "ties", True)
    (query,) = client.labels.queries("ties")
    number = query.name.rpartition("/")[2]

    decided = parfocal("labels", "adjudicate", "ties", number, "false")
    disputed = parfocal("labels", "disputed", "ties", "--json")

    assert decided.exit_code == 0, decided.output
    assert f"projects/ties/labels/2: false to query {number}" in decided.output
    assert json_lines(disputed.stdout) == []
    (outcome,) = client.labels.consensus("ties")
    assert outcome.adjudicated


def test_a_class_may_be_named_as_a_verdict_is(parfocal: Any, client: Client) -> None:
    add_queries(client, "words", 2, task="classify", classes=["true", "false", "glia"])
    answer(client, "words", "glia", "glia")
    numbers = [last_part(query.name) for query in client.labels.queries("words")]

    decided = parfocal("labels", "adjudicate", "words", numbers[0], "true")
    revised = parfocal("labels", "revise", "words", 2, "false", "--json")
    unsure = parfocal("labels", "adjudicate", "words", numbers[1], "unsure", "--json")
    unknown = parfocal("labels", "adjudicate", "words", numbers[1], "gila")

    assert f"projects/words/labels/3: true to query {numbers[0]}" in decided.output
    assert json_lines(revised.stdout)[0]["class_name"] == "false"
    assert json_lines(unsure.stdout)[0]["verdict"] == "VERDICT_UNSURE"
    assert unknown.exit_code == 2
    assert "ERROR_REASON_UNKNOWN_CLASS" in unknown.output


def test_unsure_can_be_said_where_a_class_has_that_name(parfocal: Any, client: Client) -> None:
    add_queries(client, "doubts", 2, task="classify", classes=["unsure", "glia"])
    answer(client, "doubts", "glia", "glia")
    number = last_part(next(client.labels.queries("doubts")).name)

    named = parfocal("labels", "adjudicate", "doubts", number, "unsure", "--json")
    decided = parfocal("labels", "adjudicate", "doubts", number, "unsure", "--verdict", "--json")
    revised = parfocal("labels", "revise", "doubts", 2, "unsure", "--verdict", "--json")
    refused = parfocal("labels", "adjudicate", "doubts", number, "glia", "--verdict")

    assert json_lines(named.stdout)[0]["class_name"] == "unsure"
    for done in (decided, revised):
        (label,) = json_lines(done.stdout)
        assert (label["verdict"], label["class_name"]) == ("VERDICT_UNSURE", "")
    assert refused.exit_code == 2
    assert "the only verdict is unsure" in refused.stderr


def test_a_label_is_revised(parfocal: Any, client: Client) -> None:
    add_queries(client, "revising", 1)
    answer(client, "revising", True)

    done = parfocal("labels", "revise", "revising", 1, "unsure", "--json")

    (label,) = json_lines(done.stdout)
    assert (label["verdict"], label["revises"]) == (
        "VERDICT_UNSURE",
        "projects/revising/labels/1",
    )


def test_annotators_are_set_and_listed(parfocal: Any, client: Client) -> None:
    client.projects.create("staff")

    done = parfocal("annotators", "set", "staff", "ada b", "--skills", "glia, axon", "--suspend")
    listed = parfocal("annotators", "list", "staff")
    nothing = parfocal("annotators", "set", "staff", "ada b")

    assert done.output.strip() == "ada b: suspended, skills: glia, axon"
    heading, row = listed.stdout.rstrip().splitlines()
    assert heading.startswith("annotator")
    assert row.split() == ["ada", "b", "glia,", "axon", "0", "0/0", "0/0", "0", "yes"]
    assert nothing.exit_code == 2


def test_an_export_holds_everything_in_plain_files(
    parfocal: Any, client: Client, tmp_path: Path
) -> None:
    add_queries(client, "whole", 3)
    answer(client, "whole", True, False)

    done = parfocal("export", "whole", "--out", tmp_path / "out", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "folder": str(tmp_path / "out"),
        "labels": 2,
        "consensus": 3,
        "rounds": 0,
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "consensus.csv", "labels.csv", "project.json", "rounds.jsonl", "snapshot.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "snapshot.json").read_text())["rows"] == "2"


def test_an_image_is_imported_into_the_store_of_the_server(
    parfocal: Any, server: Standalone, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "My Stack.tif", np.zeros((5, 40, 50), np.uint8))

    done = parfocal(
        "images", "import", tmp_path / "My Stack.tif", "--project", "p", "--voxel-size", "50,4,4"
    )
    shown = parfocal("images", "show", "my-stack", "--project", "projects/p", "--json")

    assert done.exit_code == 0, done.output
    assert "5 x 40 x 50" in done.stdout
    path = json.loads(shown.stdout)["path"]
    assert path == "projects/p/images/my-stack.ome.zarr/0"
    assert (server.data_dir / "store" / path / "zarr.json").is_file()


def test_a_published_model_is_listed(parfocal: Any, tmp_path: Path) -> None:
    (tmp_path / "grey.onnx").write_bytes(base_model())

    first = parfocal("models", "publish", "listed", tmp_path / "grey.onnx")
    listed = parfocal("models", "list", "--json")

    assert first.output == "listed version 1\n"
    assert {"name": "listed", "versions": [1]} in json_lines(listed.stdout)


def test_models_are_listed_beside_one_that_is_closed(parfocal: Any, tmp_path: Path) -> None:
    (tmp_path / "grey.onnx").write_bytes(base_model())
    store = tmp_path / "store"
    for name in ("closed", "open"):
        parfocal("models", "publish", name, tmp_path / "grey.onnx", "--store", store)
    (store / "models" / "elsewhere").symlink_to(tmp_path)

    with closed(store / "models" / "closed"):
        told = parfocal("models", "list", "--store", store, "--json")
        shown = parfocal("models", "list", "--store", store)

    first, second, third = json_lines(told.stdout)
    assert (first["name"], first["versions"], first["state"]) == ("closed", [], "UNAVAILABLE")
    assert "refused" in first["reason"]
    assert (second["name"], second["state"]) == ("elsewhere", "UNAVAILABLE")
    assert third == {"name": "open", "versions": [1]}
    assert f"UNAVAILABLE: {first['reason']}" in shown.stdout


def test_a_variant_is_published_with_how_much_it_differs(parfocal: Any, tmp_path: Path) -> None:
    (tmp_path / "grey.onnx").write_bytes(base_model())
    parfocal("models", "publish", "halved", tmp_path / "grey.onnx")

    said = parfocal("models", "variant", "halved", "fp16")
    told = parfocal("models", "variant", "halved", "fp16", "--json")
    refused = parfocal("models", "variant", "halved", "fp16", "--limit", "0.000001")
    again = parfocal("models", "variant", "halved-fp16", "fp16")

    assert said.output.startswith("The fp16 variant of halved/1: on 2 rows it differs by at most ")
    (made,) = json_lines(told.stdout)
    assert (made["name"], made["version"]) == ("halved-fp16", 1)
    assert 0 < made["max_difference"] < 0.01
    assert refused.exit_code != 0
    assert "ERROR_REASON_VARIANT_INACCURATE" in refused.stderr
    assert again.exit_code == 2
    assert "halved-fp16/1 is the fp16 variant of halved/1 already" in again.stderr


def test_publishing_to_the_server_of_this_machine_finds_its_store(
    parfocal: Any, server: Standalone, tmp_path: Path
) -> None:
    (tmp_path / "grey.onnx").write_bytes(base_model())

    here = parfocal("models", "publish", "here", tmp_path / "grey.onnx", "--server", server.address)
    elsewhere = parfocal(
        "models", "publish", "here", tmp_path / "grey.onnx", "--server", "lab:50051"
    )

    assert here.output == "here version 1\n"
    assert elsewhere.exit_code == 2
    assert "name it by --store" in elsewhere.stderr


@pytest.mark.parametrize(
    "words",
    [["publish", "there", "grey.onnx"], ["variant", "there", "fp16"], ["list"]],
    ids=lambda words: words[0],
)
def test_the_models_of_a_server_elsewhere_are_not_those_of_this_machine(
    parfocal: Any, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("PARFOCAL_SERVER", "grpc://lab:50051/?token=secret")

    done = parfocal("models", *words)

    assert done.exit_code == 2
    assert done.stderr.startswith("error: the object store of lab:50051 is not known")


def test_a_package_of_bioimage_io_is_published(
    parfocal: Any, server: Standalone, tmp_path: Path
) -> None:
    archive = cells_package().as_zip(tmp_path / "cells.zip")
    folder = cells_package_0_4().as_folder(tmp_path / "cells")

    first = parfocal("models", "publish", "cells", archive)
    second = parfocal("models", "publish", "cells", folder, "--server", server.address)

    assert first.output == "cells version 1\n"
    assert second.output == "cells version 2\n"


def test_a_package_without_its_weights_is_refused(parfocal: Any, tmp_path: Path) -> None:
    package = cells_package()
    del package.files["weights.onnx"]

    done = parfocal("models", "publish", "cells", package.as_zip(tmp_path / "broken.zip"))

    assert done.exit_code == 2
    assert "weights.onnx: the package has no such file" in done.stderr
    assert "ERROR_REASON_INVALID_MODEL" in done.stderr


def test_a_file_that_is_no_model_is_refused(parfocal: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(base_model()[:100])

    done = parfocal("models", "publish", "broken", tmp_path / "broken.onnx")
    missing = parfocal("models", "publish", "broken", tmp_path / "nothing.onnx")

    assert done.exit_code == 2
    assert "ERROR_REASON_INVALID_MODEL" in done.stderr
    assert missing.exit_code == 2
    assert "nothing.onnx: No such file" in missing.stderr


def test_a_round_is_created_followed_and_labelled(
    parfocal: Any, client: Client, server: Standalone, tmp_path: Path
) -> None:
    section = np.zeros((64, 64), np.uint8)
    section[8:24, 8:24] = section[36:52, 36:52] = 255
    tifffile.imwrite(tmp_path / "image.tif", np.stack([section] * 5))
    (tmp_path / "grey.onnx").write_bytes(base_model())
    parfocal("models", "publish", "grey", tmp_path / "grey.onnx")
    parfocal("images", "import", tmp_path / "image.tif", "--project", "turn")
    parfocal("project", "create", "turn")

    created = parfocal(
        "round", "create", "turn", "r1", "--image", "image", "--base-model", "grey",
        "--budget", 4, "--strategy", "foreground-random", "--set", "measure=area",
        "--set", "share=1", "--random-share", 1, "--json",
        "--per-image", 9, "--per-group", "source,slice=4", "--quota", "1=100%",
        "--minutes", 5, "--seconds", 20,
    )  # fmt: skip
    assert created.exit_code == 0, created.output
    limits = json_lines(created.stdout)[0]["spec"]["constraints"]
    for _ in client.rounds.watch("turn", "r1", timeout_seconds=60):
        for leased in client.labels.lease("turn"):
            client.labels.submit("turn", {leased.query.name: True})
    watched = parfocal("round", "watch", "turn", "r1", "--json")
    listed = parfocal("round", "list", "turn")
    shown = parfocal("round", "show", "turn", "r1")
    cancelled = parfocal("round", "cancel", "turn", "r1")

    last = json_lines(watched.stdout)[-1]
    assert last["status"]["state"] == "WORK_STATE_SUCCEEDED", shown.output
    assert last["status"]["accuracy"]["labels"] == 4
    assert "succeeded" in listed.stdout
    assert "1.000" in shown.stdout
    assert "errors found: 0 of 0 answers, unknown (no label in this share)" in shown.stdout
    assert "advice: Too early to say: it takes 3 models" in shown.stdout
    assert client.rounds.lift("turn", "r1").random.labels == 4
    assert client.rounds.advice("turn", "r1").labels == 4
    assert limits["groups"] == [{"columns": ["source", "slice"], "maximum": 4}]
    assert limits["quotas"] == [{"predicted_class": 1, "share": 1.0}]
    assert limits["time"] == {"minutes": 5.0, "seconds_per_item": 20.0}
    assert cancelled.exit_code == 4
    assert "ERROR_REASON_WORK_FINISHED" in cancelled.stderr


def test_a_round_that_failed_is_begun_again(parfocal: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((5, 64, 64), np.uint8))
    (tmp_path / "grey.onnx").write_bytes(base_model())
    parfocal("models", "publish", "grey-again", tmp_path / "grey.onnx")
    parfocal("project", "create", "again")
    parfocal(
        "round", "create", "again", "r1", "--image", "image", "--base-model", "grey-again",
        "--budget", 4, "--strategy", "random",
    )  # fmt: skip

    failed = parfocal("round", "watch", "again", "r1")
    parfocal("images", "import", tmp_path / "image.tif", "--project", "again")
    retried = parfocal("round", "retry", "again", "r1")
    watched = parfocal("round", "watch", "again", "r1")
    refused = parfocal("round", "retry", "again", "r1")

    assert failed.exit_code == 4
    assert "ERROR_REASON_ARTIFACT_NOT_FOUND" in failed.stderr
    assert "once the cause is gone: parfocal round retry again r1" in failed.stdout
    assert "projects/again/rounds/r1: pending" in retried.stdout
    assert watched.exit_code == 0, watched.output
    assert "projects/again/rounds/r1: succeeded" in watched.stdout
    assert refused.exit_code == 4
    assert "ERROR_REASON_NOTHING_TO_RETRY" in refused.stderr


def test_only_rounds_that_drew_uniformly_calibrate_what_is_carried(
    parfocal: Any, client: Client, tmp_path: Path
) -> None:
    section = np.zeros((64, 64), np.uint8)
    section[8:24, 8:24] = section[36:52, 36:52] = 255
    tifffile.imwrite(tmp_path / "image.tif", np.stack([section] * 5))
    (tmp_path / "grey.onnx").write_bytes(base_model())
    parfocal("models", "publish", "drawn-grey", tmp_path / "grey.onnx")
    parfocal("images", "import", tmp_path / "image.tif", "--project", "drawn")
    parfocal("project", "create", "drawn")

    def finish(name: str) -> Any:
        for _ in client.rounds.watch("drawn", name, timeout_seconds=60):
            for leased in client.labels.lease("drawn"):
                client.labels.submit("drawn", {leased.query.name: True})
        return client.rounds.get("drawn", name)

    parfocal(
        "round", "create", "drawn", "weighted", "--image", "image", "--base-model", "drawn-grey",
        "--budget", 3, "--strategy", "random", "--random-share", 1, "--random-measure", "area",
    )  # fmt: skip
    weighted = finish("weighted")
    words = ["labels", "propagate", "drawn", "--round", "weighted"]
    before = json.loads(parfocal(*words, "--json").stdout)

    uniform = weighted.spec
    uniform.ClearField("random_weights")
    uniform.candidates = weighted.status.candidates
    uniform.budget, uniform.history[:] = 4, ["weighted"]
    client.rounds.create("drawn", "uniform", uniform)
    finish("uniform")
    client.labels.add(
        "drawn",
        [
            Query(
                round="by-hand",
                candidate_set=last_part(weighted.status.candidates),
                candidate=0,
                strategy="random",
                role=QUERY_ROLE_RANDOM,
            )
        ],
    )
    answer(client, "drawn", True)
    after = json.loads(parfocal(*words, "--json").stdout)

    assert before["errors_left"]["checked"] == 0
    assert "because of weights or constraints" in before["notes"][0]
    assert after["errors_left"]["checked"] == 4
    assert "because of weights or constraints" in after["notes"][0]
    assert "'by-hand'" in after["notes"][-1]


def test_a_round_without_its_model_fails_with_the_reason(parfocal: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((2, 32, 32), np.uint8))
    parfocal("images", "import", tmp_path / "image.tif", "--project", "failing")
    parfocal("project", "create", "failing")

    done = parfocal(
        "round", "create", "failing", "r1", "--image", "image", "--base-model", "nothing",
        "--budget", 1, "--strategy", "random", "--watch",
    )  # fmt: skip

    assert done.exit_code == 4
    assert "[ERROR_REASON_MODEL_NOT_" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "0"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--encoder", "mask"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--per-group", "patient"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--quota", "one=2"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--quota", "1=-5"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--per-group", "patient=99999999999"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--per-image", "99999999999"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--seed", str(2**64)],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m",
         "--budget", str(2**40)],
        ["labels", "propagate", "p", "--round", "r", "--seed", str(2**64)],
        ["round", "create", "p", "r", "--image", "i", "--budget", "1", "--base-model", "mito/abc"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--encoder", "image=mito/abc"],
        ["project", "create", "p", "--votes", "99999999999"],
        ["project", "create", "p", "--votes-to-agree", "99999999999"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--minutes", "2"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--set", "step"],
        ["round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", "1",
         "--strategy", "acft", "--set", "mode=best"],
        ["images", "import", "x.tif", "--project", "p", "--voxel-size", "50,4"],
        ["labels", "export", "p", "--out", "labels.xlsx"],
        ["export", "p", "--out", "folder", "--round", "r"],
        ["export", "p", "--out", "folder", "--candidates", "c"],
        ["demo", "--images", "x"],
        ["up", "--port", "70000"],
    ],
    ids=lambda words: " ".join(words[:2]) + " " + words[-1],
)  # fmt: skip
def test_wrong_options_are_refused(parfocal: Any, words: list[str]) -> None:
    done = parfocal(*words)

    assert done.exit_code == 2
    assert "error" in done.stderr.lower()


@pytest.mark.parametrize(
    "words",
    [
        *(["--base-model", f"mito/{version}"] for version in ("", "-1", "0", "x", "1_0", "+1")),
        ["--encoder", "mask=vae/-1"],
        ["--quota", "0=150%"],
        ["--quota", "0=-5%"],
        ["--quota", "0=nan%"],
        ["--quota", "a=5%"],
        ["--quota", "-1=5%"],
        ["--quota", "0=1.5"],
        ["--quota", "0=-0.5"],
        ["--per-group", "patient=0"],
        ["--per-group", "patient,=3"],
        ["--mask", "-1=m.zarr/0"],
        ["--apart", "nan"],
        ["--minutes", "inf", "--seconds", "3"],
        ["--seconds", "-3", "--minutes", "3"],
        ["--seconds", "nan", "--minutes", "3"],
        ["--random-share", "nan"],
        ["--minimum-gain", "nan"],
        ["--history", "projects/other/rounds/r1"],
        ["--history", "projects/p/snapshots/0.parquet"],
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_refused_by_its_option(parfocal: Any, words: list[str]) -> None:
    model = [] if "--base-model" in words else ["--base-model", "m"]

    done = parfocal("round", "create", "p", "r", "--image", "i", "--budget", 1, *model, *words)

    assert done.exit_code == 2
    assert f"Invalid value for {words[0]}: " in " ".join(done.stderr.replace("'", "").split())


@pytest.mark.parametrize(
    "words",
    [
        ["--quota", "1=50%", "--quota", "1=3"],
        ["--per-group", "patient=3", "--per-group", "patient=5"],
        ["--mask", "0=a.zarr", "--mask", "0=b.zarr"],
        ["--encoder", "mask=one", "--encoder", "mask=other"],
        ["--set", "measure=area", "--set", "measure=other"],
    ],
    ids=["quota", "group", "mask", "encoder", "parameter"],
)
def test_a_limit_that_is_named_twice_is_refused(parfocal: Any, words: list[str]) -> None:
    done = parfocal(
        "round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", 1, *words
    )

    assert done.exit_code == 2
    assert "is named twice" in done.stderr


def test_an_unknown_strategy_is_refused_with_the_known_ones(parfocal: Any) -> None:
    done = parfocal(
        "round", "create", "p", "r", "--image", "i", "--base-model", "m", "--budget", 1,
        "--strategy", "best",
    )  # fmt: skip

    assert done.exit_code == 2
    assert "two-stream" in done.stderr
