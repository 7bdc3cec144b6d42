"""`parfocal labels` for those who look after quality: corrections, disputes, agreement."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from parfocal._client import Client
from parfocal._exchange.answers import meaning
from parfocal._labels import Answer
from parfocal._names import child_name, last_part
from parfocal.cli._existing import of_round, require_round
from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    RoundOption,
    ServerOption,
    connect,
    own_part,
)
from parfocal.cli._output import as_dict, print_json, print_messages, print_table
from parfocal.cli._records import label_record
from parfocal.labels.v1.label_pb2 import Label, Verdict
from parfocal.labels.v1.labels_service_pb2 import GetAgreementResponse, Interval

AnswerArgument = Annotated[
    str,
    typer.Argument(
        help="true, false or unsure; in a project that classifies, a class or unsure.",
        metavar="ANSWER",
    ),
]
VerdictOption = Annotated[
    bool,
    typer.Option("--verdict", help="ANSWER is a verdict, also where a class has that name."),
]


def revise(
    project: ProjectArgument,
    label: Annotated[
        str,
        typer.Argument(help="Number of the label.", metavar="LABEL", callback=own_part("labels")),
    ],
    answer: AnswerArgument,
    verdict: VerdictOption = False,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put another answer in the place of a label of one's own."""
    with connect(server, data_dir) as client:
        name = child_name(project, "labels", label)
        given = _meant(client, project, answer, is_verdict=verdict)
        _show(client.labels.revise(name, given), as_json=as_json)


def adjudicate(
    project: ProjectArgument,
    query: Annotated[
        str,
        typer.Argument(help="Number of the query.", metavar="QUERY", callback=own_part("queries")),
    ],
    answer: AnswerArgument,
    verdict: VerdictOption = False,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide a query as a curator, whatever its votes say."""
    with connect(server, data_dir) as client:
        name = child_name(project, "queries", query)
        given = _meant(client, project, answer, is_verdict=verdict)
        _show(client.labels.adjudicate(name, given), as_json=as_json)


def disputed(
    project: ProjectArgument,
    round_id: RoundOption = "",
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the queries that wait for a curator to decide."""
    with connect(server, data_dir) as client:
        found = client.labels.queries(project, round=round_id, state="disputed")
        print_messages(
            of_round(client, project, round_id, found),
            as_json=as_json,
            columns={
                "query": lambda each: last_part(each.name),
                "round": lambda each: each.round,
                "set": lambda each: each.candidate_set,
                "candidate": lambda each: each.candidate,
                "votes": lambda each: each.votes,
            },
        )


def agreement(
    project: ProjectArgument,
    round_id: RoundOption = "",
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far people agree where queries have several votes, with 95 % intervals."""
    with connect(server, data_dir) as client:
        require_round(client, project, round_id)
        found = client.labels.agreement(project, round=round_id)
    if as_json:
        print_json(as_dict(found))
        return
    print_table(["agreement", "of", "", "95 %"], _figures(found))
    if found.undefined_reason:
        typer.echo(found.undefined_reason)


def _meant(client: Client, project: str, word: str, *, is_verdict: bool) -> Answer:
    """Return what a word answers in a project: where it classifies, `true` may be a class."""
    meant = meaning(client.projects.get(project)).written(word, is_verdict=is_verdict)
    if is_verdict and isinstance(meant, str):
        raise typer.BadParameter(
            "in a project that classifies the only verdict is unsure", param_hint="--verdict"
        )
    return meant


def _figures(found: GetAgreementResponse) -> list[tuple[str, str, str, str]]:
    alpha, pairwise = "Krippendorff's alpha", "with the others"
    queries = f"{found.queries} queries"
    rows = [
        ("pairs of votes", queries, _number(found.pairwise_agreement), ""),
        ("Fleiss' kappa", queries, _number(found.fleiss_kappa), _ends(found.fleiss_kappa_interval)),
        (
            alpha,
            queries,
            _number(found.krippendorff_alpha),
            _ends(found.krippendorff_alpha_interval),
        ),
    ]
    for each in found.answers:
        answer = each.class_name or Verdict.Name(each.verdict).removeprefix("VERDICT_").lower()
        value, ends = each.krippendorff_alpha, each.krippendorff_alpha_interval
        rows.append((alpha, answer, _number(value), _ends(ends)))
    for one in found.annotators:
        value, ends = one.pairwise_agreement, one.pairwise_agreement_interval
        rows.append((pairwise, one.annotator, _number(value), _ends(ends)))
    return rows


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _ends(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.3f} to {interval.high:.3f}"


def _show(label: Label, *, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(label))
    else:
        query = last_part(label.query)
        typer.echo(f"{label.name}: {label_record(label)['answer']} to query {query}")
