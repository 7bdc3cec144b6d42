"""`parfocal images`."""

from __future__ import annotations

import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parfocal.cli._options import DataDirOption, JsonOption, VoxelSizeOption, voxel_size_nm
from parfocal.cli._output import Stages, print_json, progress_bars
from parfocal.cli._stores import StoreOption, store_uri

if TYPE_CHECKING:
    from parfocal._images import ImportedImage

app = typer.Typer(help="Images in the object store.")

# What `open_source` reads; the readers themselves are not there in every installation.
_SUFFIXES = (
    ".zarr",
    *(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"),
    *(".h5", ".hdf5", ".hdf", ".he5"),
)

ProjectOption = Annotated[
    str,
    typer.Option(
        "--project",
        help="Name of the project.",
        callback=lambda project: project.removeprefix("projects/"),
    ),
]


class TruthKind(StrEnum):
    """What the numbers of a truth image mean."""

    auto = "auto"
    mask = "mask"
    instances = "instances"


@app.callback()
def images() -> None:
    """Images in the object store."""


@app.command("import")
def import_images(
    path: Annotated[
        str,
        typer.Argument(
            help="TIFF, PNG or HDF5 file, folder with one picture per section, or OME-Zarr.",
            metavar="PATH",
        ),
    ],
    project: ProjectOption,
    image: Annotated[
        str | None, typer.Option("--image", help="Name of the image. Default: from the path.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option("--truth", help="Mask or object numbers of the same shape.")
    ] = None,
    truth_kind: Annotated[
        TruthKind, typer.Option(help="auto: a mask if there is nothing but 0, 1 and 255.")
    ] = TruthKind.auto,
    key: Annotated[
        str | None, typer.Option("--key", help="Data set of an HDF5 file. Default: main, or first.")
    ] = None,
    truth_key: Annotated[
        str | None, typer.Option("--truth-key", help="The same, for an HDF5 truth.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", min=0, help="Channel to read, counted from 0.")
    ] = None,
    voxel_size: VoxelSizeOption = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an image of that name, once the new one is complete."
        ),
    ] = False,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import an image, and its truth, as OME-Zarr 0.5 into the object store.

    Images of 16 bits or real numbers become bytes between their percentiles 0.5 and 99.5. An S3
    store is reached as PARFOCAL_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _REGION and _SECURE say.
    """
    from parfocal._images import import_image

    with progress_bars() as bars:
        imported = import_image(
            path,
            project=project,
            image=image or name_from(path),
            store=store_uri(store, data_dir),
            truth=truth,
            truth_kind=truth_kind.value,
            key=key,
            truth_key=truth_key,
            channel=channel,
            voxel_size_nm=voxel_size_nm(voxel_size),
            overwrite=overwrite,
            progress=Stages(bars),
        )
    _show(imported, as_json=as_json)


@app.command()
def show(
    image: Annotated[str, typer.Argument(help="Name of the image.", metavar="IMAGE")],
    project: ProjectOption,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an image that was imported."""
    from parfocal._images import describe_image

    described = describe_image(store_uri(store, data_dir), project=project, image=image)
    _show(described, as_json=as_json)


def name_from(path: str) -> str:
    """Return a name for the image at `path`: its last part, as far as names may have it."""
    stem = Path(path.rstrip("/")).name.lower()
    for suffix in (*_SUFFIXES, ".ome"):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63] or "image"


def _show(image: ImportedImage, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(image))
        return
    z, y, x = image.shape
    size = image.voxel_size_nm
    lines = [
        f"image   {image.path}",
        *([f"truth   {image.truth}"] if image.truth else []),
        f"shape   {z} x {y} x {x} (z, y, x), {image.levels} level(s)",
        "voxel   " + (f"{size[0]:g} x {size[1]:g} x {size[2]:g} nm" if size else "size not known"),
    ]
    typer.echo("\n".join(lines))
    if size is None:
        typer.echo("note: give the voxel size as --voxel-size Z,Y,X in nanometres", err=True)
