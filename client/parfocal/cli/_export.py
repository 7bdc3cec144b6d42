"""`parfocal export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from parfocal._client import Client
from parfocal.cli._existing import require_round
from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
    own_part,
)
from parfocal.cli._output import Stages, as_dict, print_json, progress_bars, working
from parfocal.cli._records import (
    CONSENSUS_COLUMNS,
    LABEL_COLUMNS,
    consensus_record,
    label_record,
    write_records,
)
from parfocal.cli._stores import StoreOption, store_uri


class ExportFormat(StrEnum):
    """Formats of other programs."""

    csv = "csv"
    coco = "coco"
    ome_zarr = "ome-zarr"
    neuroglancer = "neuroglancer"


_FOLDERS = (ExportFormat.ome_zarr, ExportFormat.neuroglancer)


def export(
    project: ProjectArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write to; with --format, the file or folder."),
    ] = None,
    format_: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Write the decided queries in a format of other programs."),
    ] = None,
    candidates: Annotated[
        str,
        typer.Option(
            "--candidates",
            help="With --format: only this candidate set's queries.",
            callback=own_part("candidates"),
        ),
    ] = "",
    rounds: Annotated[
        list[str] | None,
        typer.Option(
            "--round",
            help="With --format: only this round's queries. Repeatable.",
            callback=own_part("rounds"),
        ),
    ] = None,
    store: StoreOption = None,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what is known of a project to plain files, or in a format of other programs.

    Without --format: `project.json`, `labels.csv` (every answer), `consensus.csv` (what they add
    up to), `rounds.jsonl` (what was asked and measured), and `snapshot.json`, which names the
    immutable file in the object store that training reads.

    With --format: the decided queries are frozen and written to the object store, and copied to
    --out if it is given.
    """
    with connect(server, data_dir) as client:
        if format_ is not None:
            root = store_uri(store, data_dir, server=server) if out is not None else None
            _export_format(
                client,
                project,
                format_,
                candidates=candidates,
                rounds=rounds or [],
                root=root,
                out=out,
                as_json=as_json,
            )
        elif out is None:
            raise typer.BadParameter("--out must be given, or --format", param_hint="--out")
        elif rounds or candidates:
            option = "--round" if rounds else "--candidates"
            raise typer.BadParameter("needs --format", param_hint=option)
        else:
            _export_everything(client, project, out, as_json=as_json)


def _export_format(
    client: Client,
    project: str,
    format_: ExportFormat,
    *,
    candidates: str,
    rounds: list[str],
    root: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    with working(f"Writing {format_.value}"):
        for round_id in rounds:
            require_round(client, project, round_id)
        snapshot = client.labels.snapshot(project, rounds=rounds)
        exported = client.labels.export(snapshot, format_.value, candidate_set=candidates)
    file = None
    if out is not None and root is not None:
        from parfocal._exchange.fetching import fetch_file, fetch_folder

        with progress_bars() as bars:
            if format_ in _FOLDERS:
                file = fetch_folder(root, exported.path, out, progress=Stages(bars))
            else:
                file = fetch_file(root, exported.path, out)
    if as_json:
        print_json({**as_dict(exported), "snapshot": snapshot.name, "file": str(file or "")})
        return
    where = f", copied to {file}" if file else ""
    typer.echo(f"{exported.rows} queries in {exported.path}{where}")


def _export_everything(client: Client, project: str, out: Path, *, as_json: bool) -> None:
    found = client.projects.get(project)
    counts = {
        "labels": write_records(
            out / "labels.csv",
            map(label_record, client.labels.list(project)),
            columns=LABEL_COLUMNS,
        ),
        "consensus": write_records(
            out / "consensus.csv",
            map(consensus_record, client.labels.consensus(project)),
            columns=CONSENSUS_COLUMNS,
        ),
        "rounds": write_records(out / "rounds.jsonl", map(as_dict, client.rounds.list(project))),
    }
    with working("Freezing the labels"):
        snapshot = client.labels.snapshot(project)
    (out / "project.json").write_text(json.dumps(as_dict(found), indent=2))
    (out / "snapshot.json").write_text(json.dumps(as_dict(snapshot), indent=2))
    if as_json:
        print_json({"folder": str(out), **counts})
        return
    typer.echo(
        f"{counts['labels']} label(s), {counts['consensus']} queries and {counts['rounds']} "
        f"round(s) of {found.name} in {out}"
    )
