from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal import InvalidRequestError
from parfocal._exchange.answers import meaning
from parfocal._exchange.csv import csv_lines, plain_text, safe_cell
from parfocal.cli._records import consensus_record, label_record, write_records
from parfocal.labels.v1.label_pb2 import VERDICT_UNSURE, Consensus, Label
from parfocal.labels.v1.project_pb2 import TASK_KIND_CLASSIFY, TASK_KIND_VERIFY, Project

VERIFY = Project(task_kind=TASK_KIND_VERIFY)
CLASSIFY = Project(task_kind=TASK_KIND_CLASSIFY, classes=["glia", "=axon", "true"])


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    return path


@given(st.text())
def test_a_cell_comes_back(text: str) -> None:
    assert plain_text(safe_cell(text)) == text


def test_two_columns_and_what_is_given_suffice(tmp_path: Path) -> None:
    path = file_of(tmp_path, "candidate,answer\n3,true\n4,unsure\n5,false\n")

    lines = csv_lines(path, meaning=meaning(VERIFY), round="r1", candidate_set="set")

    assert [(line.candidate, line.answer) for line in lines.labels] == [
        (3, True), (4, None), (5, False),
    ]  # fmt: skip
    assert {(line.round, line.candidate_set) for line in lines.labels} == {("r1", "set")}


def test_columns_of_ours_are_understood(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        "round,candidate_set,candidate,rank,role,strategy,model,model_version,verdict,class_name\r\n"
        "r1,set,3,7,random,entropy,unet,2,,'=axon\r\n"
        "r1,set,4,8,strategy,entropy,,,unsure,\r\n"
        "r1,set,5,9,strategy,entropy,,,,true\r\n",
    )

    first, second, third = csv_lines(path, meaning=meaning(CLASSIFY)).labels

    assert (first.answer, first.rank, first.role) == ("=axon", 7, "random")
    assert (first.strategy, first.model) == ("entropy", "unet/2")
    assert second.answer is None
    assert third.answer == "true"


@pytest.mark.parametrize("kind", ["labels", "consensus"])
def test_a_class_that_is_called_unsure_comes_back_beside_the_verdict(
    tmp_path: Path, kind: str
) -> None:
    place: dict[str, Any] = {"round": "r1", "candidate_set": "set"}
    answers: list[dict[str, Any]] = [{"class_name": "unsure"}, {"verdict": VERDICT_UNSURE}]
    records = [
        label_record(Label(**place, candidate=number, **each))
        if kind == "labels"
        else consensus_record(Consensus(**place, candidate=number, decided=True, **each))
        for number, each in enumerate(answers)
    ]
    write_records(tmp_path / "a.csv", records)

    project = Project(task_kind=TASK_KIND_CLASSIFY, classes=["glia", "unsure"])
    lines = csv_lines(tmp_path / "a.csv", meaning=meaning(project))

    assert [line.answer for line in lines.labels] == ["unsure", None]


def test_a_class_that_is_called_unsure_is_meant_where_a_file_does_not_tell(tmp_path: Path) -> None:
    path = file_of(tmp_path, "candidate,answer\n1,unsure\n2,glia\n")
    project = Project(task_kind=TASK_KIND_CLASSIFY, classes=["glia", "unsure"])

    lines = csv_lines(path, meaning=meaning(project), round="r1", candidate_set="set")

    assert [line.answer for line in lines.labels] == ["unsure", "glia"]


def test_a_meaning_of_unsure_holds_for_verdicts_too(tmp_path: Path) -> None:
    path = file_of(tmp_path, "candidate,answer,verdict\n1,unsure,unsure\n2,true,true\n")

    lines = csv_lines(
        path, meaning=meaning(VERIFY, ["unsure=false"]), round="r1", candidate_set="set"
    )

    assert [line.answer for line in lines.labels] == [False, True]


def test_lines_without_a_label_are_counted(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        "round,candidate_set,candidate,answer,retracted,decided\n"
        "r1,set,1,true,True,\nr1,set,2,,,False\nr1,set,3,,,\nr1,set,4,true,False,True\n",
    )

    lines = csv_lines(path, meaning=meaning(VERIFY))

    assert [line.candidate for line in lines.labels] == [4]
    assert lines.left_out == {"retracted": 1, "not decided": 1, "without an answer": 1}


def test_only_votes_are_labels(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        "round,candidate_set,candidate,answer,annotator,purpose\n"
        "r1,set,1,true,ann,vote\nr1,set,1,true,bob,import\nr1,set,1,false,ann,repeat\n"
        "r1,set,1,false,eve,adjudication\nr1,set,2,true,ann,gold\n",
    )

    lines = csv_lines(path, meaning=meaning(VERIFY))

    assert [(line.candidate, line.annotator) for line in lines.labels] == [(1, "ann"), (1, "bob")]
    assert sorted(lines.left_out.values()) == [1, 1, 1]


def test_spreadsheets_write_verdicts_in_capitals(tmp_path: Path) -> None:
    path = file_of(tmp_path, "candidate,answer\n3,TRUE\n4,False\n")

    lines = csv_lines(path, meaning=meaning(VERIFY), round="r1", candidate_set="set")

    assert [line.answer for line in lines.labels] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("round,answer\nr1,true\n", "columns candidate and answer"),
        ("candidate,round\n1,r1\n", "columns candidate and answer"),
        ("candidate,answer\nx,true\n", "line 2"),
        ("candidate,answer\n1,true\n", "line 2: it has no candidate_set"),
        ("candidate,answer,candidate_set,seconds\n1,true,set,much\n", "line 2"),
        ("candidate,answer,verdict,candidate_set\n1,false,true,set\n", "line 2: its answer is"),
        (f"candidate,answer,candidate_set\n{2**63},true,set\n", "line 2: candidate must be"),
        ("candidate,answer,candidate_set\n-1,true,set\n", "line 2: candidate must be"),
        (f"candidate,answer,candidate_set,rank\n1,true,set,{2**31}\n", "line 2: rank must be"),
        (
            f"candidate,answer,candidate_set,model\n1,true,set,unet/{2**63}\n",
            "line 2: model_version must be",
        ),
        (
            "candidate,answer,candidate_set,annotator\n1,true,set,ann\n1,true,set,bob\n"
            "1,false,set,ann\n",
            "line 4 answers what line 2 answers",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        csv_lines(file_of(tmp_path, text), meaning=meaning(VERIFY), round="r1")


def test_a_word_that_says_nothing_in_the_project_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, "candidate,answer\n1,vesicle\n")

    with pytest.raises(InvalidRequestError) as caught:
        csv_lines(path, meaning=meaning(CLASSIFY), round="r1", candidate_set="set")

    assert caught.value.reason == "ERROR_REASON_UNKNOWN_CLASS"


def test_words_can_be_given_a_meaning() -> None:
    by_number = meaning(CLASSIFY, ["3=glia", "*=unsure"])
    by_name = meaning(VERIFY, ["artefact=false"])

    assert [by_number.of(word) for word in ("3", "4", "true")] == ["glia", None, None]
    assert [by_name.of(word) for word in ("artefact", "mito")] == [False, True]


@pytest.mark.parametrize("pair", ["glia", "=glia", "3=", "3=vesicle"])
def test_a_meaning_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(InvalidRequestError):
        meaning(CLASSIFY, [pair])
