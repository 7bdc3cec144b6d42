"""`parfocal labels import`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from parfocal._exchange.matching import Unmatched
from parfocal._exchange.reading import FoundLabels, read_labels
from parfocal.cli._options import (
    DataDirOption,
    JsonOption,
    ProjectArgument,
    ServerOption,
    connect,
    own_part,
)
from parfocal.cli._output import Stages, print_json, print_table, progress_bars
from parfocal.cli._records import write_records
from parfocal.cli._stores import StoreOption, store_uri

_SHOWN = 20


class LabelFormat(StrEnum):
    """Files with labels."""

    csv = "csv"
    coco = "coco"
    label_image = "label-image"


def import_labels(
    project: ProjectArgument,
    file: Annotated[Path, typer.Argument(help="The file, or a label image.", metavar="FILE")],
    format_: Annotated[LabelFormat, typer.Option("--format", help="What FILE is.")],
    round_id: Annotated[
        str,
        typer.Option(
            "--round",
            help="Round that the labels belong to. A CSV may name it.",
            callback=own_part("rounds"),
        ),
    ] = "",
    candidates: Annotated[
        str,
        typer.Option(
            "--candidates",
            help="Candidate set to match with. A CSV may name it.",
            callback=own_part("candidates"),
        ),
    ] = "",
    image: Annotated[
        str, typer.Option("--image", help="Image of the set that FILE is of, if it has several.")
    ] = "",
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="WORD=ANSWER: what a category, an object's number or `*` means: a class, "
            "true, false or unsure. Repeatable.",
        ),
    ] = None,
    iou: Annotated[
        float,
        typer.Option("--iou", help="Least intersection over union of an object and a candidate."),
    ] = 0.5,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive",
            help="FILE shows every object there is: candidates that are none are False.",
        ),
    ] = False,
    source: Annotated[
        str, typer.Option("--source", help="Who gave the labels. Default: format and file name.")
    ] = "",
    key: Annotated[
        str | None, typer.Option("--key", help="Data set of an HDF5 label image.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write every unmatched object to this .csv or .jsonl."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be imported, and import nothing.")
    ] = False,
    store: StoreOption = None,
    server: ServerOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import labels that were given elsewhere; again, it adds only what is new.

    A CSV names candidates by their numbers. Objects of a COCO file or a label image become labels
    of the candidates that are the same by --iou or more; what matches none is reported.
    """
    needs_store = format_ is not LabelFormat.csv
    root = store_uri(store, data_dir, server=server) if needs_store else None
    with connect(server, data_dir) as client, progress_bars() as bars:
        stages = Stages(bars)
        found = read_labels(
            file,
            format=format_.value,
            project=client.projects.get(project),
            round=round_id,
            candidate_set=candidates,
            store=root,
            image=image,
            classes=classes or (),
            least_iou=iou,
            exhaustive=exhaustive,
            source=source,
            key=key,
            progress=stages,
        )
        if report is not None:
            write_records(report, map(_record, found.unmatched))
        added = present = 0
        if not dry_run:
            total = len(found.labels)
            answer = client.labels.import_labels(
                project, found.labels, progress=lambda done: stages("importing", done, total)
            )
            added, present = answer.added, answer.present
    _show(found, added=added, present=present, dry_run=dry_run, as_json=as_json)


def _show(found: FoundLabels, *, added: int, present: int, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "labels": len(found.labels),
                "added": added,
                "present": present,
                "matched": len(found.matches),
                "unmatched": [_record(each) for each in found.unmatched],
                "left_out": dict(found.left_out),
            }
        )
        return
    outcome = "none sent" if dry_run else f"{added} new, {present} there before"
    typer.echo(f"{len(found.labels)} label(s): {outcome}")
    for reason, count in found.left_out:
        typer.echo(f"{count} line(s) left out: {reason}")
    if found.unmatched:
        typer.echo(f"{len(found.unmatched)} object(s) are no candidate:")
        _show_unmatched(found.unmatched)


def _show_unmatched(unmatched: Iterable[Unmatched]) -> None:
    rows = [_record(each) for each in unmatched]
    print_table(["object", "why", "candidate", "iou"], [[*row.values()] for row in rows[:_SHOWN]])
    if len(rows) > _SHOWN:
        typer.echo(f"... and {len(rows) - _SHOWN} more; --report writes all to a file")


def _record(each: Unmatched) -> dict[str, object]:
    return {
        "object": each.thing,
        "reason": each.reason,
        "candidate": "" if each.candidate is None else each.candidate,
        "iou": round(each.iou, 4),
    }
