from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile
import typer
from typer.testing import CliRunner

from parfocal import InvalidRequestError
from parfocal._errors import (
    AccessError,
    ImageError,
    ParfocalError,
    ServerError,
    UnavailableError,
)
from parfocal._local import local_data
from parfocal.cli._app import app
from parfocal.cli._failures import exit_code
from parfocal.cli._images import name_from
from parfocal.cli._options import voxel_size_nm
from parfocal.cli._output import print_table
from parfocal.cli._records import consensus_record, label_record, write_records
from parfocal.cli._stores import store_uri
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.labels.v1.label_pb2 import (
    LABEL_PURPOSE_VOTE,
    VERDICT_FALSE,
    VERDICT_TRUE,
    Consensus,
    Label,
)


def test_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])

    assert done.exit_code == 0
    assert done.stdout.startswith("0.")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["up"],
        ["demo"],
        ["bench", "selection"],
        ["export"],
        *(["project", one] for one in ("create", "list", "show")),
        *(["images", one] for one in ("import", "show")),
        *(["round", one] for one in ("create", "list", "show", "watch", "cancel")),
        *(["labels", one] for one in ("list", "consensus", "export", "agreement")),
        *(["models", one] for one in ("list", "publish")),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])

    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_a_simulated_campaign_needs_the_folder_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARFOCAL_DATA_PACKS", raising=False)

    listed = CliRunner().invoke(app, ["bench", "selection"])
    done = CliRunner().invoke(app, ["bench", "selection", "malaria-probe"])

    assert "malaria-probe" in listed.stdout.split()
    assert done.exit_code == 2
    assert "--data-packs" in done.output


@pytest.mark.parametrize("place", ["notes.txt", "notes.txt/below"])
def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "notes.txt").touch()

    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / place)])

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {tmp_path / place}: ")
    assert done.stderr.count("\n") == 1


def test_where_its_libraries_are_missing_the_command_says_how_to_get_them() -> None:
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'typer' else real(name, *a)\n"
        "from parfocal.cli import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.returncode == 1
    assert done.stderr == 'the command line needs typer: pip install "parfocal[cli]"\n'


def test_where_a_reader_is_missing_the_import_says_how_to_get_it() -> None:
    code = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'h5py' else real(name, *a)\n"
        "import parfocal\n"
        "try: parfocal.import_image\n"
        "except parfocal.ParfocalError as error: print(error)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout == 'importing images needs h5py: pip install "parfocal[images]"\n'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ParfocalError, 1),
        (ServerError, 1),
        (ImageError, 2),
        (AccessError, 5),
        (UnavailableError, 6),
    ],
)
def test_a_failure_has_its_exit_code(error: type[ParfocalError], code: int) -> None:
    assert exit_code(error("that failed")) == code


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/My Stack.ome.tif", "my-stack"),
        ("stack1/raw/", "raw"),
        ("s3://bucket/Sample_7.ome.zarr", "sample-7"),
        ("photo.jpg", "photo"),
        ("Photo 2.JPEG", "photo-2"),
        ("photo.bmp", "photo"),
        ("...", "image"),
        ("x" * 100 + ".h5", "x" * 63),
    ],
)
def test_an_image_is_named_after_its_path(path: str, name: str) -> None:
    assert name_from(path) == name


def test_a_voxel_size_is_three_numbers() -> None:
    assert voxel_size_nm(None) is None
    assert voxel_size_nm("50,4.6,4.6") == (50.0, 4.6, 4.6)
    with pytest.raises(typer.BadParameter):
        voxel_size_nm("50 4 4")


def test_an_image_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["images", "import", str(tmp_path / "no.tif"), "--project", "p", "--store", "s"]
    )

    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {tmp_path}/no.tif: there is no such file")


def test_an_image_is_imported_into_a_store_by_its_folder(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", [[1, 2], [3, 4]], dtype="uint8")

    done = CliRunner().invoke(
        app,
        ["images", "import", str(tmp_path / "a.tif"), "--project", "p", "--json",
         "--store", str(tmp_path / "store")],
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["shape"] == [1, 2, 2]
    assert (tmp_path / "store" / "projects/p/images/a.ome.zarr/zarr.json").is_file()


def test_the_store_is_the_one_given_or_that_of_the_data_folder(tmp_path: Path) -> None:
    assert store_uri("s3://bucket/x", None) == "s3://bucket/x"
    assert store_uri(str(tmp_path), None) == tmp_path.as_uri()
    assert store_uri(None, tmp_path) == (tmp_path / "store").as_uri()


def test_a_path_may_go_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", [[1, 2], [3, 4]], dtype="uint8")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")

    def imported(*words: str) -> str:
        done = CliRunner().invoke(
            app, ["images", "import", *words, "--project", "p", "--overwrite", "--json"]
        )
        assert done.exit_code == 0, done.output
        return str(json.loads(done.stdout)["group"])

    group = imported("../a.tif", "--store", "../store")
    imported("../a.tif", "--data-dir", "../data")
    imported(f"../store/{group}", "--store", f"file://{tmp_path}/inside/../copies")

    for root in ("store", "data/store", "copies"):
        assert list((tmp_path / root).rglob("images/*/zarr.json"))
    assert store_uri("../store", None) == (tmp_path / "store").as_uri()
    assert store_uri(None, Path("../data")) == (tmp_path / "data" / "store").as_uri()


def test_the_store_of_a_running_server_is_the_one_it_announced(tmp_path: Path) -> None:
    about = {"address": "127.0.0.1:4711", "store": "s3://bucket/x"}
    (tmp_path / "server.json").write_text(json.dumps(about))

    assert store_uri(None, tmp_path, server="grpc://127.0.0.1:4711/") == "s3://bucket/x"
    with pytest.raises(InvalidRequestError, match="name it by --store"):
        store_uri(None, tmp_path, server="lab:4711")


def test_the_link_of_a_server_stands_for_its_address_and_is_not_printed(tmp_path: Path) -> None:
    about = {"address": "127.0.0.1:4711", "store": "s3://bucket/x"}
    (tmp_path / "server.json").write_text(json.dumps(about))

    here = store_uri(None, tmp_path, server="grpc://127.0.0.1:4711/?token=secret")
    with pytest.raises(InvalidRequestError, match="store of lab:4711 is not known") as caught:
        store_uri(None, tmp_path, server="grpc://lab:4711/?token=secret")

    assert here == "s3://bucket/x"
    assert "secret" not in str(caught.value)


def test_the_store_of_the_server_that_the_environment_names_is_known_on_its_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"address": "127.0.0.1:4711", "store": "s3://bucket/x"}
    (tmp_path / "server.json").write_text(json.dumps(about))
    monkeypatch.setenv("PARFOCAL_DATA_DIR", str(tmp_path))

    monkeypatch.setenv("PARFOCAL_SERVER", "grpc://127.0.0.1:4711/?token=secret")
    here = store_uri(None, None)
    monkeypatch.setenv("PARFOCAL_SERVER", "lab:4711")
    with pytest.raises(InvalidRequestError, match=r"store of lab:4711 .* name it by --store"):
        store_uri(None, None)

    assert here == "s3://bucket/x"
    assert store_uri(None, tmp_path) == "s3://bucket/x"
    assert store_uri(None, None, server="127.0.0.1:4711") == "s3://bucket/x"


def test_the_data_folder_is_given_named_by_the_environment_or_in_the_home(tmp_path: Path) -> None:
    assert local_data(tmp_path, environment={"PARFOCAL_DATA_DIR": "x"}).folder == tmp_path
    assert local_data(environment={"PARFOCAL_DATA_DIR": "x"}).folder == Path("x")
    assert local_data(environment={}).folder == Path.home() / ".parfocal"


def test_a_label_is_one_flat_record() -> None:
    label = Label(
        name="projects/p/labels/7",
        query="projects/p/queries/3",
        verdict=VERDICT_TRUE,
        model=ModelVersion(name="mito", version=2),
        purpose=LABEL_PURPOSE_VOTE,
        revises="projects/p/labels/6",
        tags=["blurred", "small"],
    )

    record = label_record(label)

    assert (record["label"], record["query"], record["answer"]) == ("7", "3", "true")
    assert record["model"] == "mito/2"
    assert (record["purpose"], record["revises"], record["tags"]) == ("vote", "6", "blurred;small")
    assert label_record(Label(class_name="ring"))["answer"] == "ring"


def test_what_is_not_decided_has_no_answer() -> None:
    open_one = Consensus(query="projects/p/queries/3", verdict=VERDICT_FALSE, decided=False)
    decided = Consensus(query="projects/p/queries/3", verdict=VERDICT_FALSE, decided=True)

    assert consensus_record(open_one)["answer"] == ""
    assert consensus_record(decided)["answer"] == "false"


@pytest.mark.parametrize(("probability", "written"), [(math.nan, None), (0.75, 0.75)])
def test_a_probability_that_is_not_defined_is_left_out(
    probability: float, written: float | None
) -> None:
    assert consensus_record(Consensus(probability=probability))["probability"] == written


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_no_records_make_an_empty_file(tmp_path: Path, name: str) -> None:
    assert write_records(tmp_path / "new" / name, []) == 0
    assert (tmp_path / "new" / name).read_text() == ""


def test_a_table_without_records_can_have_a_head(tmp_path: Path) -> None:
    assert write_records(tmp_path / "a.csv", [], columns=("candidate", "answer")) == 0
    assert (tmp_path / "a.csv").read_text() == "candidate,answer\n"


def test_square_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["myelin [thick]", "[red]x", "a[/b]"]

    print_table(["class"], [[name] for name in names])

    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == names


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(typer.BadParameter, match="cannot write"):
        write_records(tmp_path / "file" / "a.csv", [])
