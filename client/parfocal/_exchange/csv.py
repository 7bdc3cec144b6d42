"""Labels in CSV: what is exported as `csv`, `labels.csv` and `consensus.csv`, and one's own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from parfocal._errors import InvalidRequestError
from parfocal._exchange.answers import Meaning
from parfocal._exchange.matching import Answer

_DANGEROUS = tuple("=+-@\t\r\n'")
_LARGEST = {"candidate": 2**63 - 1, "rank": 2**31 - 1, "model_version": 2**63 - 1}
# What a label is for, where it does not decide its query by itself, and why it is left out.
_NO_VOTES = {
    "gold": "an answer to a gold query",
    "repeat": "an answer that repeats one",
    "adjudication": "a curator's last word, which consensus.csv has",
}


@dataclass(frozen=True)
class Line:
    """One label of a file.

    Attributes:
        number: Line of the file, from 2.
        round: The round that asked.
        candidate_set: Name of the candidate set.
        candidate: The candidate.
        answer: The answer.
        annotator: Who gave it; empty where the file does not say.
        rank: Place in the round.
        role: `strategy` or `random`.
        strategy: What chose it.
        model: `name/version` of the model that proposed it; empty where the file does not say.
        seconds: Seconds spent.
    """

    number: int
    round: str
    candidate_set: str
    candidate: int
    answer: Answer
    annotator: str = ""
    rank: int = 0
    role: str = ""
    strategy: str = ""
    model: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Lines:
    """The labels of a file, and how many of its lines hold none, by the reason."""

    labels: tuple[Line, ...]
    left_out: Mapping[str, int]


def safe_cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: with an apostrophe before it."""
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def plain_text(cell: str) -> str:
    """Return the text of a cell that `safe_cell` made."""
    return cell[1:] if cell.startswith("'") else cell


def csv_lines(path: Path, *, meaning: Meaning, round: str = "", candidate_set: str = "") -> Lines:
    """Return the labels of a CSV file.

    Columns: `candidate`, and the answer as `answer`, or as `verdict` and `class_name`. `round` and
    `candidate_set` too unless they are given here. Others are used where they are there:
    `annotator`, `rank`, `role`, `strategy`, `model` (with `model_version`, or `name/version`),
    `seconds`, `purpose`, `retracted`, `decided`. The rest is passed over.

    Args:
        path: The file, in UTF-8.
        meaning: What its answers say.
        round: The round of labels without one.
        candidate_set: The candidate set of labels without one.

    Raises:
        InvalidRequestError: If a column is missing, a line says nothing that can be understood, or
            two are of one query and annotator; the message names the line.
    """
    labels: list[Line] = []
    seen: dict[tuple[str, str, int, str], int] = {}
    left_out: dict[str, int] = {}
    given = {"round": round, "candidate_set": candidate_set}
    for number, row in _rows(path):
        values = {**row, **{name: row.get(name) or value for name, value in given.items()}}
        reason = _reason_to_leave_out(values)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        try:
            line = _line(number, values, meaning)
        except (KeyError, ValueError) as error:
            raise _wrong(path, f"line {number}: {error}") from error
        key = (line.round, line.candidate_set, line.candidate, line.annotator)
        if key in seen:
            raise _wrong(path, f"line {number} answers what line {seen[key]} answers")
        seen[key] = number
        labels.append(line)
    return Lines(tuple(labels), left_out)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = set(reader.fieldnames or ())
            if "candidate" not in columns or not columns & {"answer", "verdict", "class_name"}:
                raise _wrong(path, "expected the columns candidate and answer, or verdict")
            for row in reader:
                texts = {name: plain_text(text or "") for name, text in row.items() if name}
                yield reader.line_num, texts
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, f"could not read it: {error}") from error


def _reason_to_leave_out(values: Mapping[str, str]) -> str:
    if values.get("retracted", "").lower() == "true":
        return "retracted"
    if values.get("decided", "").lower() == "false":
        return "not decided"
    if not _word(values):
        return "without an answer"
    return _NO_VOTES.get(values.get("purpose", ""), "")


def _word(values: Mapping[str, str]) -> str:
    return values.get("class_name") or values.get("verdict") or values.get("answer") or ""


def _line(number: int, values: Mapping[str, str], meaning: Meaning) -> Line:
    for name in ("round", "candidate_set"):
        if not values[name]:
            raise ValueError(f"it has no {name}, and none is given")
    model, _, version = values.get("model", "").rpartition("/")
    if not model and values.get("model_version"):
        model, version = version, values["model_version"]
    has_model = bool(model) and version.isdecimal()
    word, verdict = _word(values), "" if values.get("class_name") else values.get("verdict", "")
    answer = values.get("answer") or word
    if verdict and answer.lower() != verdict.lower():
        raise ValueError(f"its answer is {answer!r}, and its verdict {verdict!r}")
    return Line(
        number=number,
        round=values["round"],
        candidate_set=values["candidate_set"],
        candidate=_whole("candidate", values["candidate"]),
        answer=meaning.written(word, is_verdict=bool(verdict)),
        annotator=values.get("annotator", ""),
        rank=_whole("rank", values.get("rank") or "0"),
        role=values.get("role", ""),
        strategy=values.get("strategy", ""),
        model=f"{model}/{_whole('model_version', version)}" if has_model else "",
        seconds=float(values.get("seconds") or 0),
    )


def _whole(name: str, text: str) -> int:
    value = int(text)
    if not 0 <= value <= _LARGEST[name]:
        raise ValueError(f"{name} must be a number from 0 to {_LARGEST[name]}, got {text}")
    return value


def _wrong(path: Path, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{path}: {what}", reason="ERROR_REASON_INVALID_FIELD", metadata={"path": str(path)}
    )
