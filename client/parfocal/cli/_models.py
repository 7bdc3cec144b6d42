"""`parfocal models`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from parfocal.cli import _local_services
from parfocal.cli._options import DataDirOption, JsonOption, ServerOption
from parfocal.cli._output import print_json, print_table, working
from parfocal.cli._stores import StoreOption, store_uri


class Precision(StrEnum):
    """What a variant computes with."""

    FP16 = "fp16"
    INT8 = "int8"


app = typer.Typer(help="The model repository.")


@app.command("list")
def list_models(
    store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """List models and their complete versions."""
    with working("Reading the repository"):
        models = _local_services.list_models(store_uri(store, data_dir))
    if as_json:
        for name, versions, reason in models:
            closed = {"state": "UNAVAILABLE", "reason": reason} if reason else {}
            print_json({"name": name, "versions": versions, **closed})
        return
    print_table(
        ["model", "versions"],
        [
            [name, f"UNAVAILABLE: {reason}" if reason else ", ".join(map(str, versions))]
            for name, versions, reason in models
        ],
    )


@app.command()
def publish(
    name: Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")],
    file: Annotated[
        Path,
        typer.Argument(
            help="An ONNX file, or a package of bioimage.io: a zip archive or a folder.",
            metavar="FILE",
        ),
    ],
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a file as the next version of a model; servers take it up by themselves.

    The pre- and post-processing of a package become part of its graph, and its test tensors
    the model's self-test.

    It goes straight to the object store: that of --data-dir, or --store. --server and
    PARFOCAL_SERVER are for a `parfocal up` of this machine, whose store is known.
    """
    root = store_uri(store, data_dir, server=server)
    with working(f"Checking and publishing {file.name}"):
        version = _local_services.publish_model(root, name, file)
    if as_json:
        print_json({"name": name, "version": version})
    else:
        typer.echo(f"{name} version {version}")


@app.command()
def variant(
    name: Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME")],
    precision: Annotated[Precision, typer.Argument(help="What the variant computes with.")],
    version: Annotated[
        int | None, typer.Option(help="Version of the model; the newest by default.")
    ] = None,
    limit: Annotated[
        float,
        typer.Option(
            help="Largest difference allowed, as a share of the output's largest value or of 1."
        ),
    ] = 0.05,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a copy of a model that computes with fewer bits, if it is near enough.

    It becomes the model NAME-fp16 or NAME-int8, with the version of the original. How much it
    differs on the model's test inputs stands in its card.
    """
    root = store_uri(store, data_dir, server=server)
    with working(f"Converting and comparing {name}"):
        made = _local_services.publish_variant(
            root, name, precision.value, version=version, limit=limit
        )
    if as_json:
        print_json(made)
    else:
        typer.echo(made["description"])
