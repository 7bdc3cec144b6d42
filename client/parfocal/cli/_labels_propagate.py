"""`parfocal labels propagate`: verdicts for the candidates that nobody looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from parfocal._client import Client
from parfocal._errors import ConflictError
from parfocal._names import last_part
from parfocal.cli._options import (
    LARGEST_SEED,
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
    own_part,
)
from parfocal.cli._output import as_dict, print_json, print_table
from parfocal.cli._records import write_records
from parfocal.labels.v1.label_pb2 import VERDICT_FALSE, VERDICT_TRUE, Consensus
from parfocal.suggestion.v1.suggestion_service_pb2 import (
    UNSEEN_DECISION_ACCEPT,
    UNSEEN_DECISION_LOOK,
    UNSEEN_DECISION_REJECT,
    PropagateLabelsResponse,
    UnseenDecision,
)

_DECISIONS = {
    UNSEEN_DECISION_ACCEPT: "accept",
    UNSEEN_DECISION_REJECT: "reject",
    UNSEEN_DECISION_LOOK: "look",
}


def propagate(
    project: ProjectArgument,
    round_id: Annotated[
        str,
        typer.Option(
            "--round",
            help="Round whose candidates and embeddings are meant.",
            callback=own_part("rounds"),
        ),
    ],
    error_rate: Annotated[
        float,
        typer.Option(
            "--error-rate",
            min=0,
            max=0.99,
            help="Wrong share to allow of what is accepted unseen, and of what is rejected.",
        ),
    ] = 0.05,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of everything random.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all verdicts to a .csv or .jsonl file.")
    ] = None,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry what is decided about a round's candidates to all of them by a learned model.

    Decided queries of every round with the same candidates count. Those that were drawn at random
    show how many errors are left and what may be accepted or rejected unseen, but for rounds that
    drew with weights or under constraints.
    """
    with connect(server, data_dir) as client:
        status = client.rounds.get(project, round_id).status
        if not status.candidates:
            raise ConflictError(f"round {round_id!r} has no candidates yet")
        known = [
            each
            for each in client.labels.consensus(project, decided_only=True)
            if last_part(each.candidate_set) == last_part(status.candidates)
        ]
        told = [each for each in known if each.verdict in (VERDICT_TRUE, VERDICT_FALSE)]
        labels = {each.candidate: each.verdict == VERDICT_TRUE for each in told}
        selections = _selections(client, project, told)
        carried = client.suggestions.propagate_learned(
            project,
            status.candidates,
            labels=labels,
            features=dict(status.embeddings),
            selections=selections.values(),
            error_rate=error_rate,
            seed=seed,
        )
    carried.notes.extend(_unknown_draws(told, selections))
    if out is not None:
        write_records(out, _records(carried))
    if as_json:
        printed = as_dict(carried)
        printed["verdicts"] = list(_records(carried))
        print_json(printed)
    else:
        print_table(["", ""], _summary(carried, labels=len(labels)))


def _selections(client: Client, project: str, told: list[Consensus]) -> dict[str, str]:
    """Return the selection of each round of some queries: it knows how random ones were drawn."""
    asked = {last_part(each.round) for each in told}
    made = {last_part(each.name): each.status.selection for each in client.rounds.list(project)}
    return {name: made[name] for name in sorted(asked) if made.get(name)}


def _unknown_draws(told: list[Consensus], selections: dict[str, str]) -> list[str]:
    """Say of which rounds with random queries there is no selection."""
    drawn = {last_part(each.round) for each in told if each.role == "random"}
    return [
        f"how the random queries of {name!r} were drawn is not known, since it is no round of this "
        "project: they calibrate nothing"
        for name in sorted(drawn - selections.keys())
    ]


def _records(carried: PropagateLabelsResponse) -> Iterator[dict[str, Any]]:
    for each in carried.verdicts:
        yield {
            "candidate": each.candidate,
            "verdict": "true" if each.verdict else "false",
            "probability": round(each.probability, 4),
            "decision": _DECISIONS.get(each.decision, ""),
        }


def _summary(carried: PropagateLabelsResponse, *, labels: int) -> Iterator[tuple[str, str]]:
    verdicts, told, left = carried.verdicts, carried.reliability, carried.errors_left
    yield "candidates", f"{len(verdicts)}, {labels} of them labelled"
    yield "right", str(sum(each.verdict for each in verdicts))
    for decision, name in _DECISIONS.items():
        yield name, str(_count(carried, decision))
    yield (
        "errors left",
        left.undefined_reason
        or f"{left.expected:.0f} ({left.lower} to {left.upper}) of {left.candidates}",
    )
    for name in ("accuracy", "brier", "log_loss", "calibration_error", "auc"):
        why = told.undefined.get(name, "")
        yield name.replace("_", " "), why or f"{getattr(told, name):.3f}"
    for strength in carried.strengths:
        yield f"weight of {strength.part}", f"{strength.strength:g}"
    for note in carried.notes:
        yield "note", note


def _count(carried: PropagateLabelsResponse, decision: UnseenDecision.ValueType) -> int:
    return sum(each.decision == decision for each in carried.verdicts)
